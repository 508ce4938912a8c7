"""Well-known extensions of JupyterLab, from PyPI: what they keep has a place, what they serve has one origin."""

import json
import uuid
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import browser
import pytest
import websocket
from conftest import Clone, docker, wait_until
from lab import api, cookies_of, executed, status_of

PACKAGES = (
    "distributed",
    "jupyter-resource-usage >=1",
    "jupyter-collaboration >=5",
    "jupyter-scheduler >=2",
    "jupyter-server-proxy >=4",
    "jupyterlab-lsp >=5",
    "python-lsp-server",  # a language server, for jupyterlab-lsp to talk to
)
ECHO_PORT = 5151
ECHO = f"""
import http.server
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with open("results/heard", "a") as heard:
            print(self.command, self.path, file=heard, flush=True)
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", {ECHO_PORT}), Echo).serve_forever()
"""
NOTEBOOK = {
    "cells": [
        {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [], "source": "print(6*7)"}
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.fixture(scope="module")
def link(clone: Clone) -> str:
    """The link of a server with these extensions."""
    with (clone.root / "requirements.txt").open("a", encoding="utf-8") as file:
        file.write("".join(f"{package}\n" for package in PACKAGES))
    return clone.succeed("up", "--yes", timeout_s=1200).splitlines()[-1]


def save(link: str, path: str) -> None:
    """Save a notebook."""
    api(link, f"contents/{path}", method="PUT", body={"type": "notebook", "format": "json", "content": NOTEBOOK})


def socket_to(link: str, path: str) -> websocket.WebSocket:
    """Open a WebSocket of the server, with its token."""
    base, token = link.split("/?")[0].removeprefix("http://"), link.rpartition("token=")[2]
    return websocket.create_connection(f"ws://{base}/{path}token={token}", timeout=60)


def room(link: str, path: str) -> str:
    """Return what jupyter-collaboration calls a notebook, after it has sent the notebook's state."""
    body = {"format": "json", "type": "notebook"}
    session = api(link, f"collaboration/session/{path}", method="PUT", body=body)
    name = f"json:notebook:{session['fileId']}"
    with closing(socket_to(link, f"api/collaboration/room/{name}?sessionId={session['sessionId']}&")) as socket:
        kind = socket.recv()[:1]
    assert kind in (b"\x00", b"\x01"), kind  # a message of the Yjs protocol: of the document, or of who is there
    return name


def kept_names(clone: Clone) -> set[str]:
    """Return the names of what lies in the volume of JupyterLab's settings."""
    return set(clone.inside("sh", "-c", "ls -A ~/.jupyter/lab").stdout.split())


def test_notebook_opens_with_jupyter_collaboration(clone: Clone, link: str) -> None:
    """Its room opens, is the same in the next container, and what it keeps lies in a volume."""
    save(link, "notebooks/together.ipynb")

    first = room(link, "notebooks/together.ipynb")
    names = kept_names(clone)
    clone.succeed("down")
    new = clone.succeed("up", "--yes").splitlines()[-1]
    again = room(new, "notebooks/together.ipynb")

    assert {"ystore.db", "file-ids.db"} <= names
    assert again == first


@pytest.fixture
def fresh(clone: Clone, link: str) -> str:
    """The link of the server now."""
    del link
    return clone.succeed("up", "--yes").splitlines()[-1]


def test_notebook_of_jupyter_collaboration_runs_in_a_browser(clone: Clone, fresh: str, tmp_path: Path) -> None:
    """It opens on the page, its cell runs, and the output is in the file."""
    if reason := browser.missing():
        pytest.skip(reason)
    save(fresh, "notebooks/alone.ipynb")

    with browser.chromium(tmp_path) as driver:
        browser.Lab(driver, fresh).run_notebook("alone.ipynb")

        file = clone.root / "notebooks" / "alone.ipynb"
        wait_until(lambda: '"42\\n"' in file.read_text("utf-8"), timeout_s=120, what="the output in the file")


def test_jobs_of_jupyter_scheduler_survive_the_container(clone: Clone, fresh: str) -> None:
    """A job runs, is listed in the next container, and what it gives can be fetched there to results/jobs."""
    save(fresh, "notebooks/job.ipynb")
    body = {"name": "j", "input_uri": "notebooks/job.ipynb", "output_formats": ["ipynb"]}
    environment = json.loads(json.dumps(api(fresh, "runtime_environments", root="scheduler")))[0]["name"]
    job = api(fresh, "jobs", root="scheduler", method="POST", body={**body, "runtime_environment_name": environment})

    def status() -> object:
        return api(fresh, f"jobs/{job['job_id']}", root="scheduler")["status"]

    wait_until(lambda: status() in ("COMPLETED", "FAILED"), timeout_s=300, what="the end of the job")
    ended = status()
    clone.succeed("down")
    new = clone.succeed("up", "--yes").splitlines()[-1]
    listed = api(new, "jobs", root="scheduler")["jobs"]
    api(new, f"jobs/{job['job_id']}/download_files", root="scheduler")

    def fetched() -> list[Path]:
        return list((clone.root / "results" / "jobs").glob("**/job-*.ipynb"))

    assert ended == "COMPLETED"
    assert [each["job_id"] for each in listed] == [job["job_id"]]  # type: ignore[attr-defined]
    wait_until(fetched, timeout_s=120, what="the job's notebook in results/jobs")
    assert "42" in fetched()[0].read_text("utf-8")


def test_language_server_reads_what_is_typed(clone: Clone, fresh: str) -> None:
    """jupyterlab-lsp writes its copy of a text where it may, and nothing in the log says that it may not."""
    uri = "file:///tmp/virtual-documents/typed.py"
    document = {"uri": uri, "languageId": "python", "version": 1, "text": "answer = 42\n"}
    messages: tuple[dict[str, object], ...] = (
        {"id": 1, "method": "initialize", "params": {"processId": None, "rootUri": None, "capabilities": {}}},
        {"method": "initialized", "params": {}},
        {"method": "textDocument/didOpen", "params": {"textDocument": document}},
    )

    with closing(socket_to(fresh, "lsp/ws/pylsp?")) as socket:
        for message in messages:
            socket.send(json.dumps({"jsonrpc": "2.0", **message}))
        copy = ("cat", "/tmp/virtual-documents/typed.py")  # noqa: S108
        wait_until(lambda: clone.inside(*copy).stdout == "answer = 42\n", timeout_s=60, what="the copy of the text")

    log = clone.run("docker", "logs", clone.container_id())
    assert "Permission denied" not in log.stdout + log.stderr


@pytest.fixture
def proxied(clone: Clone, fresh: str) -> str:
    """The link of a server behind which an application answers, and notes what it is asked."""
    clone.run("docker", "exec", "--detach", clone.container_id(), "python", "-c", ECHO)
    url = fresh.replace("/?", f"/proxy/{ECHO_PORT}/ready?")
    wait_until(lambda: status_of(url) == 200, timeout_s=60, what="the application behind the proxy")
    return fresh


SAME, OTHER = "http://{host}", "http://127.0.0.1:1"
FETCHED = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}
CLICKED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
ASKED = {
    "a form of its own": ("POST", {"Origin": SAME}, 200),
    "a form of another port": ("POST", {"Origin": OTHER}, 403),
    "a form of no origin's page": ("POST", {"Origin": "null"}, 403),
    "a script of another port": ("DELETE", {"Origin": OTHER, **FETCHED}, 403),
    "a picture of another port": ("GET", FETCHED, 403),
    "a link of another site": ("GET", CLICKED, 200),
    "a socket of another port": ("GET", {"Origin": OTHER, **UPGRADE, "Sec-WebSocket-Key": "A" * 22 + "=="}, 403),
    "a program": ("PUT", {}, 200),
}


@pytest.mark.parametrize(("method", "headers", "status"), ASKED.values(), ids=ASKED)
def test_page_of_another_origin_reaches_no_application(
    clone: Clone, proxied: str, method: str, headers: dict[str, str], status: int
) -> None:
    """With the cookie, which another port of this machine is sent too, it gets 403, and nothing is passed on."""
    base, cookies, _ = cookies_of(proxied)
    host, path = proxied.split("/")[2], f"/{base.split('/', 3)[3]}/proxy/{ECHO_PORT}/{uuid.uuid4().hex}"
    told = {name: value.format(host=host) for name, value in headers.items()}

    connection = HTTPConnection(host, timeout=60)
    connection.request(method, path, headers={"Cookie": cookies, **told})
    answered = connection.getresponse().status
    connection.close()

    heard = (clone.root / "results" / "heard").read_text("utf-8")
    assert (answered, path.rpartition("/")[2] in heard) == (status, status == 200)


@pytest.mark.parametrize(
    ("asked", "heard"),
    [("/proxy/{}/a/b?c=d", "/a/b?c=d"), ("/proxy/absolute/{}/a/b?c=d", "{}/proxy/absolute/{}/a/b?c=d")],
    ids=["relative links", "absolute links"],
)
def test_application_is_asked_by_the_path_that_the_manual_says(
    clone: Clone, proxied: str, asked: str, heard: str
) -> None:
    """Without the prefix, for what links relatively; with it, for what is told its own address."""
    url, token = proxied.split("/?")[0], proxied.rpartition("token=")[2]
    query, place = f"&e={uuid.uuid4().hex}", cookies_of(proxied)[0].removeprefix(url)
    expected = heard.format(place, ECHO_PORT)

    status = status_of(f"{url}{asked.format(ECHO_PORT)}{query}", Authorization=f"token {token}")
    stranger = status_of(f"{url}{asked.format(ECHO_PORT)}{query}")

    lines = (clone.root / "results" / "heard").read_text("utf-8").splitlines()
    assert (status, stranger) == (200, 403)
    assert [line for line in lines if query in line] == [f"GET {expected}{query}"]


def test_links_that_are_shown_lead_to_jupyterlabs_address(proxied: str) -> None:
    """Dask's dashboard and TensorBoard, in a notebook."""
    code = """import os
from distributed.utils import format_dashboard_link
print(format_dashboard_link("127.0.0.1", 8787), os.environ["TENSORBOARD_PROXY_URL"])"""

    messages = executed(proxied, code)

    streams: list[Any] = [each["content"] for each in messages if each["msg_type"] == "stream"]
    shown = "".join(each["text"] for each in streams if each["name"] == "stdout")
    place = cookies_of(proxied)[0].removeprefix(proxied.split("/?")[0])
    assert shown == f"{place}/proxy/8787/status {place}/proxy/%PORT%/\n", messages


def test_memory_that_is_shown_is_the_containers(clone: Clone, fresh: str) -> None:
    """jupyter-resource-usage shows MEMORY_LIMIT of docker/.env as what there is."""
    answered: dict[str, Any] = api(fresh, "v1", root="api/metrics")

    limit = docker("inspect", "--format", "{{.HostConfig.Memory}}", clone.container_id())
    assert int(limit) > 0
    assert answered["limits"]["memory"]["rss"] == int(limit)


def test_other_origin_that_shows_the_token_is_answered(proxied: str) -> None:
    """Who has the token needs no cookie, and comes from where he likes."""
    url, token = proxied.split("/?")[0], proxied.rpartition("token=")[2]

    shown = status_of(f"{url}/proxy/{ECHO_PORT}/", method="POST", Origin=OTHER, Authorization=f"token {token}")

    assert shown == 200


def test_settings_of_extensions_are_known_to_them(clone: Clone, fresh: str) -> None:
    """None is a name that the extension no longer has."""
    log = clone.run("docker", "logs", clone.container_id())

    told = log.stdout + log.stderr
    assert "jupyter_server_ydoc | extension was successfully loaded" in told
    assert [line for line in told.splitlines() if "recognized" in line] == []
