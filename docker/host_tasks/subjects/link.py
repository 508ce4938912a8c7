"""The link that opens the running JupyterLab: where it is published, with its token, after it has opened."""

from __future__ import annotations

import html
import os
import re
import socket
import time
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from host_tasks.kit import files, report
from host_tasks.kit.paths import REDIRECT_FILE
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import WARN, Ended, Finding, Seen, Step, examined, fact, fail, ok, rule
from host_tasks.subjects import containers, links, ports, volumes

ANSWER_S = 10.0  # for a whole answer, however slowly it comes
STATUS_BYTES = 4096  # of it that are read: its first line has the status (RFC 9112, 4)
NEEDS_TOKEN = "/api/status"  # noqa: S105 (a page: Jupyter Server 2, "REST API")

# look


@fact
def link(seen: Seen) -> str:
    """Return the link, after it has opened.

    Raises:
        HostError: no engine answers; the server does not run, publishes nothing, has no token, or is silent (69); it
            goes by another token, or by none (78).
    """
    container = containers.server(seen)
    if container is None or container.status != "running":
        containers.known(seen)  # where no engine answers, that is the reason
        state = "not running" if container is None else container.status
        raise HostError(f"the server is {state}", fix=task_command("up"), code=ExitCode.UNAVAILABLE)
    where, secret = binding(container, ports.published(seen)), _token(container)
    if where is None or not secret:
        what = "publishes no port of its server" if where is None else "has no server with a token"
        raise HostError(f"{container.name} {what}", fix=task_command("logs"), code=ExitCode.UNAVAILABLE)
    url = _url(where, secret)
    ask(url, set_by=_set_by(container))
    return url


def binding(container: containers.Container, wanted: int) -> containers.Binding | None:
    """Return where a container's server is published: at the wanted port, else at its first; None where it is not."""
    if container.network_mode == "host":
        return containers.Binding(ports.INSIDE_PORT, "127.0.0.1", ports.INSIDE_PORT)
    own = [place for place in container.bindings if place.inside == ports.INSIDE_PORT]
    return next((place for place in own if place.port == wanted), own[0] if own else None)


def _url(where: containers.Binding, secret: str) -> str:
    """Return a link. Programs put their own paths in place of its first one; a browser is led on to the notebooks."""
    host = where.host_ip if where.host_ip not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 (read, not bound)
    return f"http://{f'[{host}]' if ':' in host else host}:{where.port}/?token={quote(secret, safe='')}"


def _token(container: containers.Container) -> str:
    """Return the token by which a container's server goes; Jupyter prefers a variable to the file."""
    return container.environ.get("JUPYTER_TOKEN") or containers.token(container)


def _set_by(container: containers.Container) -> str:
    """Return what of a person's own sets the token; "" where the entrypoint has made it."""
    named = (match[0] for word in container.command if (match := re.match(r"--[\w.]*token\b", word)))
    return "JUPYTER_TOKEN" if container.environ.get("JUPYTER_TOKEN") else next(named, "")


def ask(url: str, *, set_by: str = "") -> None:
    """Return where a link opens; a redirect is an answer, and not followed: the container is not trusted.

    Raises:
        HostError: it does not (69), or something sets another token or none (78).
    """
    where, token = urlsplit(url).netloc, urlsplit(url).query
    problem, logs = f"the server does not answer on {where}", task_command("logs")
    try:
        told, without = status(where, f"{NEEDS_TOKEN}?{token}"), status(where, NEEDS_TOKEN)
    except (OSError, ValueError) as err:
        raise HostError(f"{problem}: {err}", fix=logs, code=ExitCode.UNAVAILABLE) from err
    if without == 200 or (told == 403 and set_by):
        what = "asks nobody for a token" if without == 200 else "has another token than its file"
        cause = f"the server on {where} {what}" + (f": {set_by} of your Compose files" if set_by else "")
        raise HostError(cause, fix=_without(set_by), code=ExitCode.CONFIG)
    if told >= 400:
        raise HostError(f"{problem}: HTTP Error {told}", fix=logs, code=ExitCode.UNAVAILABLE)


def status(where: str, path: str) -> int:
    """Return the status with which a server answers, past every proxy; what else it sends is not read.

    Raises:
        OSError: it sends none in time.
        ValueError: it sends something else.
    """
    address, deadline, line = urlsplit(f"//{where}"), time.monotonic() + ANSWER_S, b""
    with socket.create_connection((address.hostname, address.port or 80), timeout=ANSWER_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {where}\r\nConnection: close\r\n\r\n".encode())
        while b"\n" not in line and len(line) < STATUS_BYTES:
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError(f"no answer within {ANSWER_S:g} s")
            connection.settimeout(left)
            if not (piece := connection.recv(STATUS_BYTES)):
                break
            line += piece
    if not (match := re.match(rb"HTTP/1\.[01] ([1-5]\d\d)\b", line)):
        raise ValueError("what answers there speaks no HTTP" if line else "it ends the connection")
    return int(match[1])


# judge


def _without(set_by: str) -> str:
    """Return how to go by the token that is made here."""
    return f"take {set_by or 'what sets the token'} out of your Compose files, then: {task_command('up')}"


@rule("link", afterwards=True)
def answers(seen: Seen) -> Iterator[Finding]:
    """Ask for a server that opens to its link."""
    yield ok(f"{link(seen).partition('?')[0]} answers")


@rule("rotate")
def rotated(seen: Seen) -> Iterator[Finding]:
    """Ask for another token than before, once; where no server runs, `answers` tells."""
    container = containers.server(seen)
    if container is None or container.status != "running":
        return
    step = Step(rotate, "make another token", "the token's file in the container; the old link stops working")
    if step.name not in seen.tried:
        yield fail("it was asked for", task_command("url --rotate"), step=step)
    elif seen.tried[step.name].ok:
        yield ok("the token is another one")
    elif set_by := _set_by(container):
        yield fail(f"{container.name} has kept its token, which {set_by} of your Compose files sets", _without(set_by))
    else:
        fix = f"{task_command('down')} && {task_command('up')}"
        yield fail(f"{container.name} has kept its token", fix, ExitCode.SOFTWARE)


# repair


def rotate(seen: Seen) -> Ended | None:
    """Have the entrypoint make another token, which the server reads at the next request; the old link is tried."""
    if (container := containers.server(seen)) is None:
        return None
    before, where = _token(container), binding(container, ports.published(seen))
    # It needs no environment, whose activation takes a while on a busy machine.
    again = 'rm -f "${JUPYTER_TOKEN_FILE}" && exec env BASH_ENV= /usr/local/bin/entrypoint.sh true'
    containers.run_in(container, ["/bin/sh", "-c", again])
    still = (
        where and status(urlsplit(_url(where, before)).netloc, f"{NEEDS_TOKEN}?token={quote(before, safe='')}") < 400
    )
    return Ended(_token(container) != before and not still)


# show


def tell(seen: Seen) -> None:
    """Print the link, and warn of what other machines reach."""
    report.result(link(seen))
    for finding in examined(seen, [ports.reach, links.inward, volumes.lost]):
        if finding.state == WARN:
            report.note(f"{finding.code}: {finding.cause}.")
            report.note(f"fix: {finding.fix}")


def open_in_browser(link: str) -> None:
    """Open a link in the person's browser, by a page that leads there: every user sees what a program is called with.

    Windows' browser, which WSL opens, does not read that page.

    Raises:
        HostError: there is none on this machine (69).
    """
    import webbrowser

    page = (
        f'<meta http-equiv="refresh" content="0; url={html.escape(link)}"><meta name="referrer" content="no-referrer">'
    )
    files.write(REDIRECT_FILE, page.encode())
    if not webbrowser.open(link if "WSL_DISTRO_NAME" in os.environ else REDIRECT_FILE.as_uri()):
        raise HostError("no browser can be opened here", fix=f"open it yourself: {link}", code=ExitCode.UNAVAILABLE)
