"""What the server does for somebody without the token, what its log keeps, and how it ends."""

import os
import re
import secrets
import signal
import socket
from pathlib import Path

import pytest
from conftest import Clone, docker, wait_until
from lab import cookies_of, status_of
from test_container import status_of_restarted, token_in

TOO_MUCH = 500 * 2**20
HEADERS = {
    "length": f"Content-Length: {TOO_MUCH}\r\n\r\n",
    "chunks": f"Transfer-Encoding: chunked\r\n\r\n{TOO_MUCH:x}\r\n",
    "asked first": f"Content-Length: {TOO_MUCH}\r\nExpect: 100-continue\r\n\r\n",
    "a wrong token": f"Content-Length: {TOO_MUCH}\r\nAuthorization: token {'0' * 48}\r\n\r\n",
}


@pytest.fixture(scope="module")
def link(running: Clone) -> str:
    """The link of the running clone."""
    return running.succeed("url").splitlines()[-1]


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("path", ["/api/contents/x", "/login", "/nothing", "/static/lab/index.html"])
def test_big_body_without_the_token_is_not_read(link: str, path: str, header: str) -> None:
    """The answer comes with the headers, and the connection ends: no byte of the body is waited for."""
    host, port = link.split("/")[2].split(":")

    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{header}".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

    assert b" 400 Bad Request" in answer, answer


def test_big_body_with_the_token_or_the_cookie_is_read(running: Clone, link: str) -> None:
    """What is longer than a stranger may send is saved for who has the link, by either."""
    base, token = link.split("/?")[0], link.rpartition("token=")[2]
    model = {"type": "file", "format": "text", "content": "x" * 10**6}
    inside, cookies, values = cookies_of(link)

    by_token = status_of(f"{base}/api/contents/results/a", method="PUT", body=model, Authorization=f"token {token}")
    by_cookie = status_of(
        f"{inside}/api/contents/results/b",
        method="PUT",
        body=model,
        **{"Cookie": cookies, "X-XSRFToken": values["_xsrf"]},
    )

    sizes = [(running.root / "results" / name).stat().st_size for name in ("a", "b")]
    assert (by_token, by_cookie, sizes) == (201, 201, [10**6, 10**6])


def test_small_body_without_the_token_is_refused_as_ever(link: str) -> None:
    """It gets 403 and no broken connection."""
    base = link.split("/?")[0]

    assert status_of(f"{base}/api/contents/results/a", method="PUT", body={"type": "file"}) == 403


def test_logging_out_takes_the_token(link: str) -> None:
    """A page of another site cannot have a browser forget its cookie by an address that is open."""
    base = link.split("/?")[0]

    assert status_of(f"{base}/logout") == 403
    assert status_of(link.replace("/?", "/logout?")) == 200


def test_log_keeps_no_query(running: Clone, link: str) -> None:
    """Neither a token, however it is written, nor another value; of the address of the page before neither."""
    base, token, word = link.split("/?")[0], link.rpartition("token=")[2], secrets.token_hex(8)
    place = cookies_of(link)[0].rpartition("/")[2]
    for query in (f"token={token}", f"%74oken={token}", f"a={word}", word, f"a=%22)&b={word}"):
        for path in ("api/none", "api/contents/none", "lab/none", "files/none", "none"):
            status_of(f"{base}/{path}?{query}", Referer=f"{base}/lab?{query}")

    log = running.run("docker", "logs", running.container_id())
    told = log.stdout + log.stderr

    assert "404 GET /api/none" in told
    assert "/files/none" in told
    assert [each for each in (token, word, place) if each in told] == []


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped long ago"])
def test_token_is_another_after_an_end_that_may_have_told_it(running: Clone, tmp_path: Path, *, killed: bool) -> None:
    """Somebody else may have had the port meanwhile: an open tab asks there, and shows its token."""
    container, link = running.container_id(), running.succeed("url").splitlines()[-1]
    first = token_in(running)
    if killed:
        docker("kill", "--signal=KILL", container)
    else:
        docker("stop", container)
        age(container, running.values()["USER"], tmp_path)

    docker("start", container)

    wait_until(lambda: status_of_restarted(link) == 403, timeout_s=60, what="a server that refuses the old link")
    second = token_in(running)
    new = running.succeed("up", "--yes").splitlines()[-1]
    assert (len(second), second != first, new.endswith(second), status_of(new)) == (48, True, True, 200)
    assert running.container_id() == container


def age(container: str, user: str, folder: Path) -> None:
    """Make the mark of a server's end an hour older."""
    mark = f"/home/{user}/.jupyter-token.ended"
    docker("cp", f"{container}:{mark}", str(folder))
    (copy,) = folder.iterdir()
    os.utime(copy, (copy.stat().st_atime - 3600, copy.stat().st_mtime - 3600))
    docker("cp", str(copy), f"{container}:{mark}")


MOMENTS = {"python starts": "", "configured": "ServerApp]", "serving": "is running at"}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize("name", ["INT", "TERM"])
@pytest.mark.parametrize("init", ["--init", "--init=false"], ids=["", "first process"])
def test_signal_ends_the_server_without_a_traceback(running: Clone, init: str, name: str, moment: str) -> None:
    """However early it comes, and whether or not the server is the container's first process."""
    container = docker("run", "--detach", init, f"{running.project}-jupyterlab-server")

    def told() -> str:
        done = running.run("docker", "logs", container)
        return done.stdout + done.stderr

    def listens() -> bool:
        """Whether it has handlers: before that the kernel keeps a first process from every signal (signal(7))."""
        status = running.run("docker", "exec", container, "cat", "/proc/1/status").stdout
        caught = int((re.findall(r"SigCgt:\s*(\w+)", status) or ["0"])[0], 16)
        return all(caught >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM))

    try:
        wait_until(lambda: "jupyter-lab" in docker("top", container, "-o", "pid,args"), timeout_s=60, what="Python")
        wait_until(lambda: init == "--init" or listens(), timeout_s=60, what="the handlers of signals")
        wait_until(lambda: moment in told(), timeout_s=60, what=moment)
        docker("kill", f"--signal={name}", container)
        ended = docker("wait", container)
    finally:
        log = told()
        docker("rm", "--force", container)

    assert ended in {"0", "130" if name == "INT" else "143"}
    assert re.findall(r"Traceback|Error", log) == []
