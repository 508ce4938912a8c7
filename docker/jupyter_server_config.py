"""How JupyterLab serves this project; Jupyter reads it from /etc/jupyter (Jupyter Server 2, "Config file")."""

import hashlib
import hmac
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
from tornado.netutil import is_valid_ip
from tornado.web import HTTPError, RequestHandler

sys.path.insert(0, str(Path(__file__).parent))
import door
from mounted_contents import MountedContents
from mounted_settings import write_settings_whole

os.environ.pop("TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR", None)  # for this server, not for what runs in it
c = get_config()  # type: ignore[name-defined]  # noqa: F821


# Of cgroup v2 and v1 (Linux, "Control Group v2" and "Memory Resource Controller").
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
TOKEN_FILE = Path(os.environ["JUPYTER_TOKEN_FILE"])


class LinkOnly(IdentityProvider):
    """The link with its token is the only way in: there is no login page, and no password can be set.

    `url --rotate` writes another token while the server runs, and kernels go on.
    """

    login_available = False
    in_file = TOKEN_FILE.read_text(encoding="ascii") if TOKEN_FILE.is_file() else ""
    token: str  # the trait, whose type is not told

    def get_user(self, handler: JupyterHandler) -> Any:
        """Return who asks, by the token that its file holds now; the header tells that these rules are in force."""
        handler.set_header("X-Identity-Provider", type(self).__name__)
        fresh = TOKEN_FILE.read_text(encoding="ascii") if TOKEN_FILE.is_file() else ""
        if fresh and fresh != self.in_file == self.token:  # else it was given another way, as Binder's hub does
            self.token = self.in_file = fresh
            handler.settings["cookie_secret"] = os.urandom(32)  # who came by the old link has to come by the new one
            handler.settings.setdefault("page_config_data", {})["token"] = fresh  # JupyterLab's pages ask with it
            self.parent.write_server_info_file()
        return super().get_user(handler)

    def cookie_secret_hook(self, h: "hmac.HMAC") -> "hmac.HMAC":
        """Make cookies of another token worth nothing after a restart either."""
        h.update(self.token.encode())
        return h


def refuse(handler: JupyterHandler) -> str:
    """Answer 403 where Jupyter would redirect to its login page."""
    raise HTTPError(403, door.USE_THE_LINK)


def answer_error(handler: LicensesHandler, status_code: int, **_: Any) -> None:
    """Answer an error where jupyterlab_server 2.28 never does: nobody awaits the coroutine that its `finish` is."""
    RequestHandler.finish(handler, {"message": responses[status_code]})


write_settings_whole()
door.judge_before_bodies()
door.ask_who_logs_out()
door.end_as_asked(TOKEN_FILE.with_name(f"{TOKEN_FILE.name}.ended"))
JupyterHandler.get_login_url = refuse
LicensesHandler.write_error = answer_error
c.ServerApp.identity_provider_class = LinkOnly
# What an extension serves without saying to whom is for those with the token; at start it would be told that it has to.
c.ServerApp.allow_unauthenticated_access = False
warnings.filterwarnings("ignore", category=JupyterServerAuthWarning)
# Both cookies are sent to a path that nobody else knows, and so to no server on another port of this machine. It lasts
# as long as the token does, of which it tells nothing. Elsewhere door.py takes in what has the token.
place_of = LinkOnly.in_file.encode() or os.urandom(32)
c.ServerApp.base_url = f"/{hashlib.sha256(b'place of ' + place_of).hexdigest()[:24]}/"
door.log_no_queries(c.ServerApp.base_url)
os.environ["JUPYTERHUB_SERVICE_PREFIX"] = c.ServerApp.base_url  # by which packages make links to what is behind /proxy/
# Another site's pages send neither cookie with what they post here.
c.IdentityProvider.cookie_options = {"samesite": "Lax"}
c.ServerApp.tornado_settings = {"xsrf_cookie_kwargs": {"samesite": "Lax"}}

# Inside the container it listens everywhere; docker-compose.yml publishes it on 127.0.0.1 only.
c.ServerApp.ip = "0.0.0.0"  # noqa: S104
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
# In a rootless engine's container root is the person, without any right of root's (user_namespaces(7)); it stays
# refused where it is root of the machine.
c.ServerApp.allow_root = Path("/proc/self/uid_map").read_text(encoding="ascii").split()[1] != "0"

# With ip 0.0.0.0 Jupyter would accept any Host header, and so DNS rebinding.
c.ServerApp.allow_remote_access = False
known_by_name = JupyterHandler.check_host


def known(handler: JupyterHandler) -> bool:
    """Return whether a Host header names this server; an address in digits is no name that could be rebound."""
    return is_valid_ip(handler.request.host_name.strip("[]")) or bool(known_by_name(handler))


if os.environ.get("JUPYTER_BIND"):  # published for other machines, which call it by its address
    JupyterHandler.check_host = known

# What it would install ends with the container; environment.yml is the way. The one of PyPI tells the log its proxy.
c.LabApp.extension_manager = "readonly"

# The tree shows ~/app, whose folders are the host's. It opens in notebooks/, where saving is safe.
c.ServerApp.root_dir = os.environ["PROJECT_DIR"]
c.LabApp.default_url = "/lab/tree/notebooks"
c.ServerApp.contents_manager_class = MountedContents

# Extensions keep files in the working directory or in the tree's root, where nothing can be written, or where they
# end with the container. A name of a class that is not installed does nothing (traitlets 5, "Configuration").
kept = Path.home() / ".jupyter" / "lab"
# jupyter-collaboration 5: what was typed together, the number that it knows a file by, and who was there.
c.SQLiteYStore.db_path = str(kept / "ystore.db")
c.BaseFileIdManager.db_path = str(kept / "file-ids.db")
c.YDocExtension.session_store_path = str(kept / "collaboration-sessions.json")
# jupyter-scheduler 2: its jobs, what they are still to give, and what they gave.
c.SchedulerApp.db_url = f"sqlite:///{kept / 'scheduler.sqlite'}"
c.BaseScheduler.staging_path = f"{os.environ['PROJECT_DIR']}/results/.jobs"
c.BaseScheduler.output_directory = "results/jobs"
# jupyter-resource-usage 1: its display says of how much memory; a number without a limit is larger than any machine.
limit = next(filter(Path.is_file, map(Path, LIMITS)), None)
if limit and (most := limit.read_text(encoding="ascii").strip()).isdecimal() and int(most) < 2**60:
    c.ResourceUseDisplay.mem_limit = int(most)
# jupyterlab-lsp 5: copies of what is being typed, for language servers that read files.
c.LanguageServerManager.virtual_documents_dir = "/tmp/virtual-documents"  # noqa: S108 # the container's own
