"""How JupyterLab serves this project; Jupyter reads it from /etc/jupyter (Jupyter Server 2, "Config file")."""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

from jupyter_server.auth.identity import IdentityProvider
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.serverapp import JupyterServerAuthWarning
from jupyterlab_server.licenses_handler import LicensesHandler
from tornado.httputil import responses
from tornado.web import HTTPError, RequestHandler

sys.path.insert(0, str(Path(__file__).parent))
from mounted_contents import MountedContents

c = get_config()  # type: ignore[name-defined]  # noqa: F821


class LinkOnly(IdentityProvider):
    """The link with its token is the only way in: there is no login page, and no password can be set."""

    login_available = False


def refuse(handler: JupyterHandler) -> str:
    """Answer 403 where Jupyter would redirect to its login page."""
    raise HTTPError(403, "Open the link that `invoke url` prints.")


def answer_error(handler: LicensesHandler, status_code: int, **_: Any) -> None:
    """Answer an error where jupyterlab_server 2.28 never does: nobody awaits the coroutine that its `finish` is."""
    RequestHandler.finish(handler, {"message": responses[status_code]})


JupyterHandler.get_login_url = refuse
LicensesHandler.write_error = answer_error
c.ServerApp.identity_provider_class = LinkOnly
# What an extension serves without saying to whom is for those with the token; at start it would be told that it has to.
c.ServerApp.allow_unauthenticated_access = False
warnings.filterwarnings("ignore", category=JupyterServerAuthWarning)
# Another site's pages send neither cookie with what they post here.
c.IdentityProvider.cookie_options = {"samesite": "Lax"}
c.ServerApp.tornado_settings = {"xsrf_cookie_kwargs": {"path": "/", "samesite": "Lax"}}

# Inside the container it listens everywhere; docker-compose.yml publishes it on 127.0.0.1 only.
c.ServerApp.ip = "0.0.0.0"  # noqa: S104
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False

# With ip 0.0.0.0 Jupyter would accept any Host header, and so DNS rebinding.
c.ServerApp.allow_remote_access = False

# The tree shows ~/app, whose folders are the host's. It opens in notebooks/, where saving is safe.
c.ServerApp.root_dir = os.environ["PROJECT_DIR"]
c.LabApp.default_url = "/lab/tree/notebooks"
c.ServerApp.contents_manager_class = MountedContents
