"""Tests of host_tasks.subjects.link and of a container's token: the one link that opens JupyterLab."""

import http.server
import io
import socket
import tarfile
import threading
import webbrowser
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest
from observed import PROJECT, settings as settings_of

from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import Seen
from host_tasks.subjects import clone, containers, link, settings
from host_tasks.subjects.compose import SERVICE
from host_tasks.subjects.containers import Binding, Container
from host_tasks.subjects.link import open_in_browser

TOKEN_FILE = "/home/ada/.token"  # noqa: S105 (a path)


def archive(text: bytes, kind: bytes = tarfile.REGTYPE) -> list[bytes]:
    """Return what the engine sends of a file with this text, in pieces."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as opened:
        member = tarfile.TarInfo(".token")
        member.type, member.linkname = kind, "/etc/shadow" if kind != tarfile.REGTYPE else ""
        member.size = len(text) if kind == tarfile.REGTYPE else 0
        opened.addfile(member, io.BytesIO(text) if member.size else None)
    return [stream.getvalue()[:100], stream.getvalue()[100:]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the engine sends of the token file; an exception is raised."""
    answer: dict[str, Any] = {"pieces": archive(b"abc\n"), "printed": [b""]}

    def get_archive(path: str) -> tuple[Any, None]:
        assert path == TOKEN_FILE
        if isinstance(answer["pieces"], Exception):
            raise answer["pieces"]
        return iter(answer["pieces"]), None

    def exec_run(argv: list[str], *, stream: bool, environment: dict[str, str]) -> Any:
        assert (argv[-1], stream) == (TOKEN_FILE, True)
        return SimpleNamespace(output=iter(answer["printed"]))

    opened = SimpleNamespace(get_archive=get_archive, exec_run=exec_run)
    engine = SimpleNamespace(get=lambda _: opened, list=lambda **_: [])
    monkeypatch.setattr(containers, "client", lambda: SimpleNamespace(containers=engine))
    return answer


class Web:
    """A web server on 127.0.0.1 that answers everything in one way."""

    def __init__(self) -> None:
        self.status = 200
        self.asked: list[str] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                self.send_response(web.status)
                self.send_header("Location", f"http://{self.headers['Host']}/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server that answers 200."""
    found = Web()
    with found.server as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        running.shutdown()
        thread.join()


def lab(*ports: int, host: str = "127.0.0.1", status: str = "running", **more: Any) -> Container:
    """Return the server's container, published on ports of this machine."""
    bindings = tuple(Binding(8888, host, number) for number in ports)
    environ = {"JUPYTER_TOKEN_FILE": TOKEN_FILE}
    return Container("1", "lab-1", service=SERVICE, status=status, bindings=bindings, environ=environ, **more)


def link_of(container: Container | None, port: int) -> str:
    """Return the link of a clone whose server this is, and whose docker/.env names the port."""
    found = (container,) if container else ()
    facts = {containers.ours: found, clone.project: PROJECT, settings.now: settings_of(JUPYTER_PORT=str(port))}
    return link.link(Seen(facts))


def test_link_has_the_host_port_and_the_token_and_asks_no_proxy(
    web: Web, sent: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is that of the port on this machine, checked past every proxy of the environment."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)

    assert link_of(lab(web.port), web.port) == f"http://127.0.0.1:{web.port}/?token=abc"
    assert web.asked == ["/?token=abc"]


@pytest.mark.parametrize(
    ("container", "wanted", "expected"),
    [
        pytest.param(lab(1, 2), 2, ("127.0.0.1", 2), id="the wanted of two"),
        pytest.param(lab(1, 2), 3, ("127.0.0.1", 1), id="the first where none is wanted"),
        pytest.param(lab(), 1, None, id="not published"),
        pytest.param(
            Container("1", bindings=(Binding(5432, "", 1),)), 1, None, id="another port inside is not the server's"
        ),
        pytest.param(lab(network_mode="host"), 1, ("127.0.0.1", 8888), id="network of the host"),
    ],
)
def test_server_is_where_it_is_published(container: Container, wanted: int, expected: tuple[str, int] | None) -> None:
    """A second published port, or the host's network, does not hide the server."""
    found = link.binding(container, wanted)

    assert (found and (found.host_ip, found.port)) == expected


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::"])  # noqa: S104
def test_server_on_every_address_is_opened_here(web: Web, sent: dict[str, Any], host: str) -> None:
    """No browser opens 0.0.0.0."""
    assert link_of(lab(web.port, host=host), 1) == f"http://127.0.0.1:{web.port}/?token=abc"


@pytest.mark.parametrize(
    ("status", "good"), [(200, True), (302, True), (403, False), (500, False)], ids=["ok", "redirect", "403", "500"]
)
def test_link_is_one_that_answers(web: Web, sent: dict[str, Any], status: int, *, good: bool) -> None:
    """A redirect is an answer, and not followed: where the container points to is not trusted."""
    web.status = status

    if good:
        assert link_of(lab(web.port), 1).endswith("token=abc")
    else:
        with pytest.raises(HostError, match=f"does not answer on 127.0.0.1:{web.port}: HTTP Error {status}"):
            link_of(lab(web.port), 1)
    assert web.asked == ["/?token=abc"]


def test_link_of_a_silent_server_ends_with_69(sent: dict[str, Any]) -> None:
    """A published port behind which nothing answers is no link."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        number = closed.getsockname()[1]

    with pytest.raises(HostError) as refusal:
        link_of(lab(number), number)

    assert refusal.value.code == ExitCode.UNAVAILABLE
    assert refusal.value.problem.startswith(f"the server does not answer on 127.0.0.1:{number}: ")


@pytest.mark.parametrize(
    ("container", "problem", "fix"),
    [
        (None, "the server is not running", "invoke up"),
        (lab(1, status="exited"), "the server is exited", "invoke up"),
        (lab(1, status="paused"), "the server is paused", "invoke up"),
        (lab(), "lab-1 publishes no port of its server", "invoke logs"),
    ],
    ids=["none", "ended", "paused", "no port"],
)
def test_container_that_does_not_serve_has_no_link(
    sent: dict[str, Any], container: Container | None, problem: str, fix: str
) -> None:
    """Without a server that runs and is published there is nothing to open."""
    with pytest.raises(HostError) as refusal:
        link_of(container, 8888)

    assert (refusal.value.problem, refusal.value.fix) == (problem, fix)
    assert refusal.value.code == ExitCode.UNAVAILABLE


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(docker.errors.NotFound("no such file"), id="not made yet"),
        pytest.param(archive(b""), id="empty"),
        pytest.param(archive(b"a b"), id="blank"),
        pytest.param(archive(b"a&b=c"), id="another parameter"),
        pytest.param(archive(b"\x1b[2J"), id="escapes"),
        pytest.param(archive(b"\xe9t\xe9"), id="not ASCII"),
        pytest.param(archive(b"a" * 257), id="too long"),
        pytest.param(archive(b"a" * 5000), id="a large file"),
        pytest.param(archive(b"", tarfile.SYMTYPE), id="link"),
        pytest.param(archive(b"", tarfile.FIFOTYPE), id="pipe"),
        pytest.param([b"no archive"], id="no archive"),
        pytest.param([], id="nothing"),
    ],
)
def test_what_is_no_token_makes_no_link(sent: dict[str, Any], pieces: Any) -> None:
    """What comes out of a container is not trusted: only a small file with the characters of a token counts."""
    sent["pieces"] = pieces

    assert containers.token(lab(1)) == ""
    with pytest.raises(HostError, match="lab-1 has no server with a token"):
        link_of(lab(1), 1)


@pytest.mark.parametrize(
    ("printed", "token"),
    [([b"a", b"bc\n"], "abc"), ([b"a" * 257], ""), ([b"\xff\n"], ""), ([b"head: cannot open it"], "")],
    ids=["whole", "too long", "not ASCII", "not there"],
)
def test_token_on_a_tmpfs_is_read_by_a_program(sent: dict[str, Any], printed: list[bytes], token: str) -> None:
    """A hardened container keeps its token in memory, from which the engine copies nothing."""
    sent.update(pieces=docker.errors.NotFound("no such file"), printed=printed)

    assert containers.token(lab(1)) == token


def test_token_is_read_without_the_rest_of_an_endless_answer(sent: dict[str, Any]) -> None:
    """A container that sends for ever does not fill this machine's memory."""

    def endless() -> Iterator[bytes]:
        yield from archive(b"abc")
        for _ in range(2):
            yield b"\0" * containers.TOKEN_ARCHIVE_BYTES
        raise AssertionError("read on")

    sent["pieces"] = endless()

    assert containers.token(lab(1)) == "abc"


def test_machine_without_a_browser_gets_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no browser opens the person can still open the link; where one does, nothing is said."""
    monkeypatch.setattr(webbrowser, "open", lambda link: link == "http://127.0.0.1:1/")
    open_in_browser("http://127.0.0.1:1/")

    with pytest.raises(HostError) as refusal:
        open_in_browser("http://127.0.0.1:2/")

    assert refusal.value.fix == "open it yourself: http://127.0.0.1:2/"
