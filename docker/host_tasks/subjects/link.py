"""The link that opens the running JupyterLab: where it is published, with its token, after it has answered."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

from host_tasks.kit import report
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import WARN, Ended, Finding, Seen, Step, examined, fact, fail, ok, rule
from host_tasks.subjects import containers, ports

ANSWER_S = 10.0

# look


@fact
def link(seen: Seen) -> str:
    """Return the link, after the server has answered it.

    Raises:
        HostError: no engine answers; the server does not run, publishes nothing, has no token, or is silent (69).
    """
    container = containers.server(seen)
    if container is None or container.status != "running":
        containers.known(seen)  # where no engine answers, that is the reason
        state = "not running" if container is None else container.status
        raise HostError(f"the server is {state}", fix=task_command("up"), code=ExitCode.UNAVAILABLE)
    where, secret = binding(container, ports.published(seen)), containers.token(container)
    if where is None or not secret:
        what = "publishes no port of its server" if where is None else "has no server with a token"
        raise HostError(f"{container.name} {what}", fix=task_command("logs"), code=ExitCode.UNAVAILABLE)
    host = where.host_ip if where.host_ip not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 (read, not bound)
    # Programs put their own paths in place of the first one; a browser is led on to the notebooks.
    url = f"http://{f'[{host}]' if ':' in host else host}:{where.port}/?token={secret}"
    ask(url, f"{host}:{where.port}")
    return url


def binding(container: containers.Container, wanted: int) -> containers.Binding | None:
    """Return where a container's server is published: at the wanted port, else at its first; None where it is not."""
    if container.network_mode == "host":
        return containers.Binding(ports.INSIDE_PORT, "127.0.0.1", ports.INSIDE_PORT)
    own = [place for place in container.bindings if place.inside == ports.INSIDE_PORT]
    return next((place for place in own if place.port == wanted), own[0] if own else None)


def ask(url: str, where: str) -> None:
    """Return where a server answers a link; a redirect is an answer, and not followed: the container is not trusted.

    Raises:
        HostError: it does not (69).
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=ANSWER_S)  # which knows no proxy
    with contextlib.closing(connection):
        try:
            connection.request("GET", f"{address.path}?{address.query}")
            answer = connection.getresponse()
            why = f"HTTP Error {answer.status}: {answer.reason}" if answer.status >= 400 else ""
        except (OSError, ValueError, http.client.HTTPException) as err:
            why = str(err) or type(err).__name__
    if why:
        problem = f"the server does not answer on {where}: {why}"
        raise HostError(problem, fix=task_command("logs"), code=ExitCode.UNAVAILABLE)


# judge


@rule("link", afterwards=True)
def answers(seen: Seen) -> Iterator[Finding]:
    """Ask for a server that answers its link."""
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
    elif not seen.tried[step.name].ok:
        fix = f"{task_command('down')} && {task_command('up')}"
        yield fail(f"{container.name} has kept its token", fix, ExitCode.SOFTWARE)
    else:
        yield ok("the token is another one")


# repair


def rotate(seen: Seen) -> Ended | None:
    """Have the entrypoint make another token, which the server reads at the next request."""
    if container := containers.server(seen):
        before = containers.token(container)
        # It needs no environment, whose activation takes a while on a busy machine.
        again = 'rm -f "${JUPYTER_TOKEN_FILE}" && exec env BASH_ENV= /usr/local/bin/entrypoint.sh true'
        containers.run_in(container, ["/bin/sh", "-c", again])
        return Ended(containers.token(container) != before)
    return None


# show


def tell(seen: Seen) -> None:
    """Print the link, and warn of what other machines reach."""
    report.result(link(seen))
    for finding in examined(seen, [ports.reach]):
        if finding.state == WARN:
            report.note(f"{finding.code}: {finding.cause}.")


def open_in_browser(link: str) -> None:
    """Open a link in the person's browser.

    Raises:
        HostError: there is none on this machine (69).
    """
    import webbrowser

    if not webbrowser.open(link):
        raise HostError("no browser can be opened here", fix=f"open it yourself: {link}", code=ExitCode.UNAVAILABLE)
