"""What strangers and other pages may send to the server, where its cookies go, and what its log keeps of an address.

Nothing here is a setting of Jupyter's: each function changes one class of it, and jupyter_server_config.py calls them.
"""

import contextlib
import logging
import re
import signal
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from jupyter_server.auth.logout import LogoutHandler
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.serverapp import ServerApp, ServerWebApplication
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest
from tornado.web import HTTPError, RequestHandler, authenticated

STRANGERS_BODY_BYTES = 2**16  # any form that asks for a token has room in it; a server holds each body in memory
USE_THE_LINK = "Open the link that `python3 tasks.py url` prints."
QUERY = re.compile(r"(?<=\S)\?\S+")


class Judged(HTTPMessageDelegate):
    """A request whose sender is known, or not, before its body is read (tornado 6.5, http1connection.py)."""

    def __init__(
        self, app: ServerWebApplication, request: HTTPServerRequest, delegate: HTTPMessageDelegate, *, came_in: bool
    ) -> None:
        self.app, self.request, self.delegate, self.came_in = app, request, delegate, came_in

    async def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        """Limit the body of somebody without the token: one that is longer ends the connection, with 400.

        What the page of another origin sends with the cookie gets 403, whoever would answer it; and so does all that a
        stranger sends who does not know the place of the cookie.
        """
        asked_elsewhere = of_another_page(self.request)
        if self.came_in or asked_elsewhere or "Content-Length" in headers or "Transfer-Encoding" in headers:
            handler = JupyterHandler(self.app, self.request)
            user = handler.identity_provider.get_user(handler)
            handler.current_user = await user if isinstance(user, Awaitable) else user
            stranger = handler.current_user is None
            refused = asked_elsewhere and not stranger and not may_ask_elsewhere(handler)
            if refused:
                self.delegate = self.app.get_handler_delegate(self.request, Refusal)
            elif self.came_in and (stranger or asks_for_a_page(self.request)):
                self.delegate = self.app.get_handler_delegate(self.request, Outside if stranger else WayIn)
            if stranger or refused:
                self.request.connection.set_max_body_size(STRANGERS_BODY_BYTES)
        if (received := self.delegate.headers_received(start_line, headers)) is not None:
            await received

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass on a part of the body."""
        received: Awaitable[None] | None = self.delegate.data_received(chunk)
        return received

    def finish(self) -> None:
        """Pass on that it is complete."""
        self.delegate.finish()

    def on_connection_close(self) -> None:
        """Pass on that it never will be."""
        self.delegate.on_connection_close()


def of_another_page(request: HTTPServerRequest) -> bool:
    """Return whether a page of another origin may have sent a request; to follow a link to here is not that.

    Another port is another origin, and yet gets the cookie: to that it is the same site (RFC 6265, 8.5). A browser
    tells the origin where something is changed, and the site always (W3C, Fetch Metadata Request Headers).
    """
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
    reads = request.method in ("GET", "HEAD", "OPTIONS") and "Upgrade" not in request.headers
    if origin is not None and not reads:
        return str(urlparse(origin.lower()).netloc) != str(request.headers.get("Host", "")).lower()
    return bool(site in ("same-site", "cross-site") and request.headers.get("Sec-Fetch-Mode") != "navigate")


def may_ask_elsewhere(handler: JupyterHandler) -> bool:
    """Return whether a request says the token itself, or comes from an origin that a person has allowed."""
    shown = handler.identity_provider.is_token_authenticated(handler)
    return bool(shown or ((handler.allow_origin or handler.allow_origin_pat) and handler.check_origin()))


class Refusal(APIHandler):
    """The answer to a page of another origin; JupyterLab's own handlers ask, those of extensions may not."""

    def prepare(self) -> None:
        """Answer before any method is called."""
        raise HTTPError(403, "This was sent by the page of another origin.")


class Outside(RequestHandler):
    """The answer to a stranger outside of the place of the cookie: nothing that tells it, as Jupyter's pages do."""

    def prepare(self) -> None:
        """Answer before any method is called; the health check asks for /api, and for the header."""
        self.set_header("X-Identity-Provider", type(self.settings["identity_provider"]).__name__)
        is_api = self.request.path == f"{self.settings['base_url']}api"
        self.set_status(200 if is_api else 403)
        self.finish({} if is_api else f"<h1>403 : Forbidden</h1><p>{USE_THE_LINK}</p>")


class WayIn(RequestHandler):
    """What leads a browser that came by the link to the place of the cookie."""

    def prepare(self) -> None:
        """Answer before any method is called."""
        self.redirect(self.request.uri or "/")


def asks_for_a_page(request: HTTPServerRequest) -> bool:
    """Return whether a browser asks for what it shows; programs get their answers where they ask."""
    return request.method == "GET" and "text/html" in request.headers.get("Accept", "")


def came_in(request: HTTPServerRequest, base_url: str) -> bool:
    """Take a request from outside of the place of the cookie in there, and return whether it was: by the token alone.

    A browser sends a cookie to each port of an address, and only below the path that the cookie names (RFC 6265, 5.1.4
    and 8.5). So no other server is sent one whose path it cannot guess.
    """
    if f"{request.path}/".startswith(base_url):
        return False
    request.headers.pop("Cookie", None)
    request.uri = base_url + (request.uri or "").lstrip("/")
    request.path = base_url + request.path.lstrip("/")
    return True


def judge_before_bodies() -> None:
    """Have headers judged before a body is read: Jupyter holds up to 512 MB of it before it asks for the token."""
    found_handler = ServerWebApplication.find_handler

    def find_handler(app: ServerWebApplication, request: HTTPServerRequest, **options: Any) -> HTTPMessageDelegate:
        # Jupyter has it so where nothing is said of this cookie; a person's own Compose file may name another place.
        app.settings["xsrf_cookie_kwargs"]["path"] = app.settings["base_url"]
        outside = came_in(request, app.settings["base_url"])
        return Judged(app, request, found_handler(app, request, **options), came_in=outside)

    ServerWebApplication.find_handler = find_handler


def ask_who_logs_out() -> None:
    """Have /logout ask for the token as all else does; it is open to anybody in jupyter_server 2.21."""
    log_out = LogoutHandler.get

    @authenticated  # type: ignore[untyped-decorator]
    def get(handler: LogoutHandler) -> None:
        log_out(handler)

    LogoutHandler.get = get


class WithoutQueries(logging.LogRecord):
    """A line of the log that keeps no query of an address: Jupyter hides `token=`, and misses `%74oken=`."""

    place = "/"  # of the cookie, which a log that is shown to others does not tell either

    def getMessage(self) -> str:  # noqa: N802 # the name that logging calls
        """Return the message."""
        return QUERY.sub("?...", super().getMessage().replace(self.place, "/"))


def log_no_queries(place: str) -> None:
    """Have no line of the log hold what stands after the `?` of an address, nor the place of the cookie."""
    WithoutQueries.place = place
    logging.setLogRecordFactory(WithoutQueries)


def end_as_asked(mark: Path) -> None:
    """Have Ctrl-C and SIGTERM end the server alike, and a mark left when it has ended so: its token may go on.

    Without a terminal Jupyter leaves Ctrl-C to Python, whose KeyboardInterrupt comes wherever it is.
    """
    init_signal, run_loop = ServerApp.init_signal, ServerApp.start_ioloop

    def init(app: ServerApp) -> None:
        init_signal(app)
        if signal.getsignal(signal.SIGINT) != app._handle_sigint:
            signal.signal(signal.SIGINT, app._signal_stop)

    def run(app: ServerApp) -> None:
        run_loop(app)
        with contextlib.suppress(OSError):  # the disk is full, say: then there is a new token
            mark.touch(mode=0o600)

    ServerApp.init_signal, ServerApp.start_ioloop = init, run
