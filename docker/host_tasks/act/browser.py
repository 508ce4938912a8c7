"""Open the link in the person's browser."""

import webbrowser

from host_tasks.ground.errors import ExitCode, HostError


def open_in_browser(link: str) -> None:
    """Open a link in the person's browser.

    Raises:
        HostError: there is none on this machine (69).
    """
    if not webbrowser.open(link):
        raise HostError("no browser can be opened here", fix=f"open it yourself: {link}", code=ExitCode.UNAVAILABLE)
