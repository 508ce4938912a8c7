"""The running server: where it is published, and the one link that opens it."""

import urllib.error
import urllib.request
from typing import Any

from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.observe.containers import Binding, Container, token
from host_tasks.observe.ports import INSIDE_PORT

ANSWER_S = 10.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: where the container points to is not trusted."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Return None: no further request is made."""


def binding(container: Container, wanted: int) -> Binding | None:
    """Return where a container's server is published: at the wanted port, else at its first; None where it is not."""
    if container.network_mode == "host":
        return Binding(INSIDE_PORT, "127.0.0.1", INSIDE_PORT)
    found = [each for each in container.bindings if each.inside == INSIDE_PORT]
    return next((each for each in found if each.port == wanted), found[0] if found else None)


def link(container: Container | None, wanted: int) -> str:
    """Return the link that opens JupyterLab, after it has answered.

    Raises:
        HostError: the server does not run, is not published, has no token, or does not answer (69).
    """
    if container is None or container.status != "running":
        state = "not running" if container is None else container.status
        raise HostError(f"the server is {state}", fix=task_command("up"), code=ExitCode.UNAVAILABLE)
    where, secret = binding(container, wanted), token(container)
    if where is None or not secret:
        what = "publishes no port of its server" if where is None else "has no server with a token"
        raise HostError(f"{container.name} {what}", fix=task_command("logs"), code=ExitCode.UNAVAILABLE)
    host = where.host_ip if where.host_ip not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 (read, not bound)
    # Programs put their own paths in place of the first one; a browser is led on to the notebooks.
    url = f"http://{f'[{host}]' if ':' in host else host}:{where.port}/?token={secret}"
    ask(url, f"{host}:{where.port}")
    return url


def ask(url: str, where: str) -> None:
    """Return where a server answers a link; a redirect of it is an answer too."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        opener.open(url, timeout=ANSWER_S).close()
    except urllib.error.HTTPError as err:
        if err.code >= 400:
            raise _silent(where, str(err)) from err
    except (OSError, ValueError) as err:  # URLError is an OSError, and http.client's errors are ValueErrors or these
        raise _silent(where, str(err)) from err


def _silent(where: str, why: str) -> HostError:
    """Return that a server gives no answer that can be used."""
    return HostError(
        f"the server does not answer on {where}: {why}", fix=task_command("logs"), code=ExitCode.UNAVAILABLE
    )
