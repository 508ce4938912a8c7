"""The link of the running JupyterLab: told, or opened in the person's browser."""

from host_tasks.act.remove import require_engine
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.observe import server
from host_tasks.observe.observation import Observation


def current_link() -> str:
    """Return the link of the server that runs.

    Raises:
        HostError: the engine cannot be asked, or nothing answers (69).
    """
    seen = Observation()
    require_engine(seen)
    return server.link(seen.server, seen.port)


def open_in_browser(link: str) -> None:
    """Open a link in the person's browser.

    Raises:
        HostError: there is none on this machine (69).
    """
    import webbrowser

    if not webbrowser.open(link):
        raise HostError("no browser can be opened here", fix=f"open it yourself: {link}", code=ExitCode.UNAVAILABLE)
