"""The link as programs take it: VS Code's "Existing Jupyter server" appends to the address and sends the token."""

import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from aids import executable, wait_until
from conftest import Clone
from lab import OPENER, api, cookies_of, executed, status_of


@pytest.fixture(scope="module")
def link(running: Clone) -> str:
    """The link that is printed: http://127.0.0.1:PORT/?token=..."""
    return running.succeed("url").splitlines()[-1]


def test_link_leads_a_person_to_the_notebooks(link: str) -> None:
    """The short link ends in notebooks/, with the token; with another token it ends nowhere."""
    with OPENER.open(link, timeout=20) as answer:
        landed = urllib.parse.urlsplit(answer.url)

    inside = urllib.parse.urlsplit(cookies_of(link)[0]).path
    assert (landed.path, landed.query) == (f"{inside}/lab/tree/notebooks", urllib.parse.urlsplit(link).query)
    assert status_of(f"{link.rpartition('=')[0]}=wrong") == 403


def test_link_serves_as_a_programs_address(link: str) -> None:
    """What VS Code 1.9x does (vscode-jupyter, userServerUrlProvider.ts): the path is kept, `api/...` appended."""
    url = urllib.parse.urlsplit(link)
    address = f"{url.scheme}://{url.netloc}{url.path}"
    token = urllib.parse.parse_qs(url.query)["token"][0]

    assert status_of(f"{address}api/kernelspecs", Authorization=f"token {token}") == 200
    assert status_of(f"{address}api/kernelspecs?token={token}") == 200
    assert status_of(f"{address}api/kernelspecs") == 403


def test_session_and_kernel_work_from_the_link(link: str) -> None:
    """A session for a notebook starts a kernel in its folder, another one computes, and the session can be ended."""
    body = {"path": "notebooks/x.ipynb", "name": "x", "type": "notebook", "kernel": {"name": "python3"}}

    session = api(link, "sessions", method="POST", body=body)
    messages = executed(link, "print(6 * 7)")
    api(link, f"sessions/{session['id']}", method="DELETE")

    streams = [m["content"]["text"] for m in messages if m["msg_type"] == "stream"]  # type: ignore[index]
    assert "".join(streams) == "42\n"
    assert not api(link, "sessions")


def test_up_opens_the_link(running: Clone, link: str, tmp_path: Path) -> None:
    """`up --open` hands the person's browser a page of the person's own, which leads to the link."""
    browser = executable(tmp_path / "browser", f'echo "$1" >{tmp_path}/opened')

    running.succeed("up", "--open", BROWSER=f"{browser} %s")

    wait_until((tmp_path / "opened").exists, what="the browser")
    page = Path(urllib.parse.urlsplit((tmp_path / "opened").read_text(encoding="utf-8").strip()).path)
    assert f"url={link}" in page.read_text(encoding="utf-8")
    assert page.stat().st_mode & 0o777 == 0o600


def test_restart_ends_kernels_and_keeps_the_link(running: Clone, link: str) -> None:
    """A server that is started anew has no kernel, and is the same container behind the same link."""
    container = running.container_id()
    kernel = api(link, "kernels", method="POST", body={"name": "python3"})
    assert kernel["id"]

    printed = running.succeed("restart")

    assert printed.splitlines()[-1] == link
    assert running.container_id() == container
    assert not api(link, "kernels")
