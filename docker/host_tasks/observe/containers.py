"""The containers of a Compose project, as the engine describes them: frozen values, and the few questions to one."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from host_tasks.ground import inside
from host_tasks.observe.client import asking, client

PROJECT_LABEL = "com.docker.compose.project"
ONEOFF_LABEL = "com.docker.compose.oneoff"
LOG_LINES = 20
RUN_S = 10  # for a short command in a container
TOKEN = re.compile(r"[A-Za-z0-9_.~-]{1,256}")  # RFC 3986, 2.3: what a link carries as it is
TOKEN_ARCHIVE_BYTES = 16_384  # a tar archive of one small file is 10,240 bytes; what comes after is not read


@dataclass(frozen=True)
class Binding:
    """A port of a container that is published on this machine."""

    inside: int
    host_ip: str
    port: int


@dataclass(frozen=True)
class Container:
    """One container, by the engine's answer (Engine API 1.45, ContainerInspect)."""

    id: str
    name: str = ""
    project: str = ""
    service: str = ""
    folder: str = ""  # from which Compose started it
    oneoff: bool = False  # made by `docker compose run`
    started: str = ""  # when it was started last, RFC 3339
    status: str = "running"  # created, running, paused, restarting, removing, exited or dead
    health: str = "none"  # none, starting, healthy or unhealthy
    last_check: str = ""  # what the last health check said
    exit_code: int = 0
    restarts: int = 0  # how often the engine started it again
    out_of_memory: bool = False
    error: str = ""  # why the engine could not start it
    image: str = ""  # its id
    config_hash: str = ""  # Compose's, of the service that it was made from
    network_mode: str = ""
    log_driver: str = ""
    shm_bytes: int = 0  # of /dev/shm, where the engine sizes it; 0 = it does not
    bindings: tuple[Binding, ...] = ()
    binds: Mapping[str, str] = field(default_factory=dict)  # of its bind mounts: target to source
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def serves(self) -> bool:
        """Whether it runs and is not ill; a health check that is not there, or turned off, says nothing."""
        return self.status == "running" and self.health in ("healthy", "none")

    @property
    def ended_well(self) -> bool:
        """Whether it is a job that has done its work."""
        return self.status == "exited" and self.exit_code == 0 and not self.error

    @property
    def failed(self) -> bool:
        """Whether it broke down, and was not only stopped: SIGINT and SIGTERM end it with 130 and 143."""
        ended_ill = self.status == "exited" and self.exit_code not in (0, 130, 143)
        ill = ended_ill or self.status in ("dead", "restarting") or self.health == "unhealthy"
        return bool(ill or self.out_of_memory or self.error)

    @property
    def settled(self) -> bool:
        """Whether waiting would tell no more."""
        return not (self.status == "running" and self.health == "starting")


def of_project(project: str) -> tuple[Container, ...]:
    """Return all containers of a Compose project, in whatever state, newest first.

    Raises:
        UnreachableError: the engine gives no answer.
    """
    # A container of `docker run` has the image's labels, the project's among them, but not this one.
    return _listed({"label": [f"{PROJECT_LABEL}={project}", ONEOFF_LABEL]}, everything=True)


def publishing() -> tuple[Container, ...]:
    """Return the running containers of this engine; any of them may hold a port."""
    return _listed({}, everything=False)


def _listed(filters: Mapping[str, Any], *, everything: bool) -> tuple[Container, ...]:
    """Return the containers that the engine lists; one that goes meanwhile is left out."""
    with asking():
        found = client().containers.list(all=everything, filters=dict(filters), ignore_removed=True)
    return tuple(parsed(each.attrs) for each in found)


def parsed(attrs: Mapping[str, Any]) -> Container:
    """Return a container from what the engine says of it; what is missing or null there counts as empty."""
    config, state, host = (attrs.get(part) or {} for part in ("Config", "State", "HostConfig"))
    labels, health = config.get("Labels") or {}, state.get("Health") or {}
    checks = health.get("Log") or []
    compose = {name.removeprefix("com.docker.compose."): value for name, value in labels.items()}
    return Container(
        id=attrs["Id"],
        name=str(attrs.get("Name", "")).removeprefix("/"),
        project=compose.get("project", ""),
        service=compose.get("service", ""),
        folder=compose.get("project.working_dir", ""),
        oneoff=compose.get("oneoff") == "True",
        started=state.get("StartedAt", ""),
        status=state.get("Status", ""),
        health=_health(health),
        last_check=" ".join(str(checks[-1].get("Output", "")).split())[-200:] if checks else "",
        exit_code=int(state.get("ExitCode") or 0),
        restarts=int(attrs.get("RestartCount") or 0),
        out_of_memory=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        image=attrs.get("Image", ""),
        config_hash=compose.get("config-hash", ""),
        network_mode=str(host.get("NetworkMode", "")),
        log_driver=str((host.get("LogConfig") or {}).get("Type", "")),
        shm_bytes=0 if "/dev/shm" in (host.get("Tmpfs") or {}) else int(host.get("ShmSize") or 0),  # noqa: S108
        bindings=tuple(_bindings((attrs.get("NetworkSettings") or {}).get("Ports") or {})),
        binds={each["Destination"]: each["Source"] for each in attrs.get("Mounts") or [] if each.get("Type") == "bind"},
        environ={name: value for name, _, value in (each.partition("=") for each in config.get("Env") or [])},
    )


def _health(told: Mapping[str, Any]) -> str:
    """Return a container's health; a pause makes it unhealthy until the next check, though none failed.

    moby 26, daemon/health.go, stopHealthchecks.
    """
    status = str(told.get("Status") or "none")
    return "healthy" if status == "unhealthy" and told.get("FailingStreak") == 0 else status


def _bindings(ports: Mapping[str, Any]) -> Iterator[Binding]:
    """Yield the published TCP ports of `{"8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8888"}]}`."""
    for name, published in ports.items():
        number, _, protocol = name.partition("/")
        for each in published or []:
            if protocol == "tcp" and each.get("HostPort"):
                yield Binding(int(number), each.get("HostIp", ""), int(each["HostPort"]))


def last_lines(container: Container) -> str:
    """Return the last lines of a container's log; "" where its log cannot be read (a `logging` driver of its own)."""
    with contextlib.suppress(Exception), asking():
        text: bytes = client().containers.get(container.id).logs(tail=LOG_LINES)
        return text.decode(errors="replace").strip()
    return ""


def memory(container: Container) -> tuple[int, int]:
    """Return what a running container uses and may use, in bytes, without the cache of files that can be given back.

    Raises:
        UnreachableError: the engine gives no answer.
    """
    with asking():
        told = client().api.stats(container.id, stream=False, one_shot=True).get("memory_stats") or {}
    given_back = (
        (told.get("stats") or {}).get("inactive_file") or (told.get("stats") or {}).get("total_inactive_file") or 0
    )
    return max(int(told.get("usage") or 0) - int(given_back), 0), int(told.get("limit") or 0)


def run_in(container: Container, argv: Sequence[str]) -> bytes:
    """Return the output of a short command in a container, at most 64 KiB of it; the engine ends it with the answer.

    Programs are root's: those of the environment, which is first on the container's own PATH, can be anybody's. The
    SDK waits for output without end (docker-py 7.1, utils/socket.py, read), so the command is ended in there.

    Raises:
        UnreachableError: it gives no answer in time.
    """
    kept = b""
    with asking():
        found = client().containers.get(container.id)
        bounded = ["/usr/bin/timeout", str(RUN_S), *argv]
        output: Any = found.exec_run(bounded, stream=True, environment={"PATH": inside.ROOTS_PATH}).output
        for piece in output:
            kept += piece
            if len(kept) > 65_536:
                break
    return kept[:65_536]


def token(container: Container) -> str:
    """Return the token that Jupyter reads from its file, or "": read by the engine, without a process inside.

    The engine copies nothing out of a tmpfs, where a hardened container keeps it: there a program reads it.
    What comes out of a container is not trusted: only a small regular file with the characters of a token counts.
    """
    import docker.errors

    path = container.environ.get("JUPYTER_TOKEN_FILE", "/nonexistent")
    try:
        with asking():
            pieces, _ = client().containers.get(container.id).get_archive(path)
            archive = _first_bytes(pieces, TOKEN_ARCHIVE_BYTES)
        text = _only_file(archive)
    except docker.errors.NotFound:
        reader = ("/usr/bin/head", "--bytes=257", path)
        text = run_in(container, reader).decode("ascii", errors="replace").strip()
    return text if TOKEN.fullmatch(text) else ""


def _first_bytes(pieces: Iterable[bytes], count: int) -> bytes:
    """Return the first bytes of a stream, without reading on behind them."""
    kept = b""
    for piece in pieces:
        kept += piece
        if len(kept) >= count:
            break
    return kept[:count]


def _only_file(archive: bytes) -> str:
    """Return the text of the regular file that an archive begins with, "" where that is anything else."""
    import io
    import tarfile

    with contextlib.suppress(tarfile.TarError), tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        first = opened.next()
        file = opened.extractfile(first) if first and first.isreg() and first.size <= 1024 else None
        return file.read().decode("ascii", errors="replace").strip() if file else ""
    return ""
