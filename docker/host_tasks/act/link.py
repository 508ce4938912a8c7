"""The link of the running JupyterLab: told, or opened in the person's browser."""

from host_tasks.act.remove import require_engine
from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.observe import containers, server
from host_tasks.observe.observation import Observation


def current_link(*, rotate: bool = False) -> str:
    """Return the link of the server that runs, after another token was made where that is asked for.

    Raises:
        HostError: the engine cannot be asked, or nothing answers (69).
    """
    seen = Observation()
    require_engine(seen)
    if rotate and seen.server and seen.server.status == "running":
        _rotate(seen.server)
    return server.link(seen.server, seen.port)


def _rotate(container: containers.Container) -> None:
    """Have the entrypoint make another token, which the server reads at the next request.

    Raises:
        HostError: the token is the same afterwards (70).
    """
    before = containers.token(container)
    again = 'rm -f "${JUPYTER_TOKEN_FILE}" && exec /usr/local/bin/entrypoint.sh true'
    containers.run_in(container, ["/bin/sh", "-c", again])
    if containers.token(container) == before:
        fix = f"{task_command('down')} && {task_command('up')}"
        raise HostError(f"{container.name} has kept its token", fix=fix, code=ExitCode.SOFTWARE)


def open_in_browser(link: str) -> None:
    """Open a link in the person's browser.

    Raises:
        HostError: there is none on this machine (69).
    """
    import webbrowser

    if not webbrowser.open(link):
        raise HostError("no browser can be opened here", fix=f"open it yourself: {link}", code=ExitCode.UNAVAILABLE)
