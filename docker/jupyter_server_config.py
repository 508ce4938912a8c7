"""How JupyterLab serves this project; Jupyter reads it from /etc/jupyter (Jupyter Server 2, "Config file")."""

import os
from pathlib import Path
from typing import Any

from jupyter_server.auth.identity import IdentityProvider
from jupyter_server.base.handlers import JupyterHandler
from tornado.web import HTTPError

c = get_config()  # type: ignore[name-defined]  # noqa: F821


class LinkOnly(IdentityProvider):
    """The link with its token is the only way in: there is no login page, and no password can be set."""

    login_available = False


def refuse(handler: JupyterHandler) -> str:
    """Answer 403 where Jupyter would redirect to its login page."""
    raise HTTPError(403, "Open the link that `invoke url` prints.")


def refuse_to_lose(path: str, **_: Any) -> None:
    """Answer 403 to a save outside the host's folders, whose file would end with the container: ~/app/env is such."""
    project = Path(os.environ["PROJECT_DIR"])
    place = project / path.strip("/")
    if not any(each.is_mount() for each in (place, *place.parents) if each.is_relative_to(project)):
        raise HTTPError(403, f"{path} would be lost with the container: save it in notebooks.")


JupyterHandler.get_login_url = refuse
c.ServerApp.identity_provider_class = LinkOnly

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
c.FileContentsManager.pre_save_hook = refuse_to_lose
