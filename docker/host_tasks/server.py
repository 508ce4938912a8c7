"""The running server: its container, its health, and the one link that opens it."""

import contextlib
import io
import socket
import tarfile
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Mapping
from typing import Any

from host_tasks import engine
from host_tasks.compose import SERVICE
from host_tasks.ground.errors import ExitCode, HostError

INSIDE_PORT = "8888/tcp"
FIRST_PORT = 8888
POLL_S = 0.1
LANDING = "lab/tree/notebooks"  # docker/jupyter_server_config.py, default_url


def containers(project: str, *, running: bool = True) -> list[Any]:
    """Return the server's containers of a Compose project, newest first; not those of `invoke run`."""
    labels = [
        f"com.docker.compose.project={project}",
        f"com.docker.compose.service={SERVICE}",
        "com.docker.compose.oneoff=False",
    ]
    return list(engine.client().containers.list(all=not running, filters={"label": labels}))


def runs(project: str) -> bool:
    """Return whether the server runs; an engine that cannot be asked is a no, and engine.diagnose tells why."""
    try:
        return bool(containers(project))
    except (HostError, OSError):
        return False


def container(project: str) -> Any:
    """Return the running container of the server.

    Raises:
        HostError: it does not run (69).
    """
    found = containers(project)
    if not found:
        raise HostError("the server is not running", fix="invoke up", code=ExitCode.UNAVAILABLE)
    return found[0]


def settled(project: str, *, timeout_s: float) -> Any:
    """Return the server's container once its health is known or it has ended, or when the time is up; None for none."""
    deadline = time.monotonic() + timeout_s
    while found := containers(project, running=False):
        state = found[0].attrs["State"]
        if state["Status"] != "running" or _health(state) != "starting" or time.monotonic() >= deadline:
            return found[0]
        time.sleep(POLL_S)
    return None


def is_ready(container: Any) -> bool:
    """Return whether a container runs and is healthy; one whose health check somebody has turned off counts as such."""
    state = container.attrs["State"]
    return bool(state["Status"] == "running" and _health(state) in ("healthy", "none"))


def _health(state: Mapping[str, Any]) -> str:
    """Return the health in a container's state: none, starting, healthy or unhealthy (Engine API 1.45, Health)."""
    return str(state.get("Health", {}).get("Status") or "none")


def port(container: Any) -> int | None:
    """Return the port of the host on which a container's server is published; None where it is not."""
    published = container.attrs["NetworkSettings"]["Ports"].get(INSIDE_PORT)
    return int(published[0]["HostPort"]) if published else None


def link(container: Any) -> str:
    """Return the link that opens JupyterLab, after it has answered.

    Raises:
        HostError: the server is not published, has no token, or does not answer (69).
    """
    number, token = port(container), _token(container)
    if number is None or not token:
        raise HostError("the container runs, but not a server", fix="invoke logs", code=ExitCode.UNAVAILABLE)
    url = f"http://127.0.0.1:{number}/{LANDING}?token={token}"
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10):
            return url
    except (urllib.error.URLError, OSError) as err:
        raise HostError(
            f"the server does not answer on 127.0.0.1:{number}: {err}", fix="invoke logs", code=ExitCode.UNAVAILABLE
        ) from err


def _token(container: Any) -> str:
    """Return the token that Jupyter reads from its file, or an empty string; read by the engine, without a process."""
    environ = {name: value for name, _, value in (each.partition("=") for each in container.attrs["Config"]["Env"])}
    try:
        pieces, _ = container.get_archive(environ.get("JUPYTER_TOKEN_FILE", "/nonexistent"))
    except docker_errors().NotFound:
        return ""
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        file = archive.extractfile(archive.getmembers()[0])
        return file.read().decode().strip() if file else ""


def docker_errors() -> Any:
    """Return the SDK's exceptions; imported late, since the SDK takes longer to load than most tasks to run."""
    import docker.errors

    return docker.errors


def open_in_browser(link: str) -> None:
    """Open a link in the person's browser.

    Raises:
        HostError: there is none on this machine (69).
    """
    if not webbrowser.open(link):
        raise HostError("no browser can be opened here", fix=f"open it yourself: {link}", code=ExitCode.UNAVAILABLE)


def last_lines(container: Any, count: int = 20) -> str:
    """Return the last lines of a container's log."""
    return str(container.logs(tail=count).decode(errors="replace").strip())


def is_free(number: int) -> bool:
    """Return whether a port of 127.0.0.1 can be taken now."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True


def holder(number: int) -> str:
    """Return who holds a port, as far as the engine knows."""
    for each in engine.client().containers.list():
        ports = each.attrs["NetworkSettings"]["Ports"] or {}
        if any(int(where["HostPort"]) == number for published in ports.values() for where in published or []):
            return f"container {each.name}"
    return "another program"


def parse_port(text: str) -> int | None:
    """Return the port that a person asks for, None for an empty text.

    Raises:
        HostError: it is no port that a user may take: 1024 to 65535 (64).
    """
    if not text:
        return None
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise HostError(
            f"--port {text} is not between 1024 and 65535", fix="invoke up --port 8889", code=ExitCode.USAGE
        )
    return int(text)


def choose_port(asked: int | None, kept: int | None, ours: int | None, project: str) -> int:
    """Return the port to publish: the one asked for, else the one this clone has, else the first free one.

    Raises:
        HostError: the one asked for is taken (75).
    """
    if asked is not None:
        if asked != ours and not is_free(asked):
            raise HostError(
                f"port {asked} is held by {holder(asked)}",
                fix="invoke up, which finds a free one",
                code=ExitCode.TRY_AGAIN,
            )
        return asked
    # After 8888, from a place of this clone's own: clones that start at once seldom meet.
    start = FIRST_PORT + 1 + int(project[-8:], 16) % 1000
    candidates: list[int | None] = [ours, kept, FIRST_PORT, *range(start, start + 1000)]
    return next(each for each in candidates if each is not None and (each == ours or is_free(each)))
