"""Tests of host_tasks.subjects.link and of a container's token: the one link that opens JupyterLab."""

import contextlib
import http.server
import io
import socket
import tarfile
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest
from observed import PROJECT, settings as settings_of

from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import Ended, Finding, Seen
from host_tasks.subjects import clone, containers, link, settings
from host_tasks.subjects.compose import SERVICE
from host_tasks.subjects.containers import Binding, Container
from host_tasks.subjects.link import open_in_browser

ASKED = ["/api/status?token=abc", "/api/status"]
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
    """A web server on 127.0.0.1 that answers in one way who has its token, and in another who has not."""

    def __init__(self) -> None:
        self.status, self.without = 200, 403  # with its token, and without it
        self.token = "abc"  # noqa: S105
        self.asked: list[str] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                self.send_response(web.status if self.path == f"/api/status?token={web.token}" else web.without)
                self.send_header("Location", f"http://{self.headers['Host']}/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server that answers 200 to who has the token `abc`."""
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
    environ = {"JUPYTER_TOKEN_FILE": TOKEN_FILE, **more.pop("more", {})}
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
    assert web.asked == ASKED


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
    assert web.asked == ASKED


@pytest.mark.parametrize(
    ("environ", "command", "problem"),
    [
        ({}, (), "does not answer on 127.0.0.1:{port}: HTTP Error 403"),
        ({"JUPYTER_TOKEN": ""}, (), "does not answer on 127.0.0.1:{port}: HTTP Error 403"),
        (
            {},
            ("jupyter", "lab", "--IdentityProvider.token=x"),
            "has another token than its file: --IdentityProvider.token",
        ),
    ],
    ids=["nobody knows", "an empty variable sets none", "by its command"],
)
def test_link_that_a_token_of_the_persons_own_shuts_out_is_none(
    web: Web, sent: dict[str, Any], environ: dict[str, str], command: tuple[str, ...], problem: str
) -> None:
    """A link that opens nothing is not given, and the message says what sets the token."""
    web.token = "x"  # noqa: S105

    with pytest.raises(HostError) as refusal:
        link_of(lab(web.port, more=environ, command=command), 1)

    assert problem.format(port=web.port) in refusal.value.problem


def test_link_has_the_token_that_a_variable_sets(web: Web, sent: dict[str, Any]) -> None:
    """Jupyter goes by JUPYTER_TOKEN where it is set, whatever characters it has, and so does the link."""
    web.token = "a%20%26b"  # noqa: S105

    found = link_of(lab(web.port, more={"JUPYTER_TOKEN": "a &b"}), 1)

    assert found == f"http://127.0.0.1:{web.port}/?token=a%20%26b"


def test_server_that_asks_nobody_for_a_token_has_no_link(web: Web, sent: dict[str, Any]) -> None:
    """`--IdentityProvider.token=` opens the server to every user of this machine."""
    web.without = 200

    with pytest.raises(HostError) as refusal:
        link_of(lab(web.port, command=("jupyter", "lab", "--IdentityProvider.token=")), 1)

    where = f"the server on 127.0.0.1:{web.port} asks nobody for a token"
    assert refusal.value.problem == f"{where}: --IdentityProvider.token of your Compose files"
    assert refusal.value.fix.startswith("take --IdentityProvider.token out of your Compose files, then: ")
    assert refusal.value.code == ExitCode.CONFIG


@pytest.mark.parametrize(
    "drip",
    [b"H", b"HTTP/1.1 200 OK\r\nX: ", b"a\n", b"", b"\0" * 5000],
    ids=["status line", "headers", "no HTTP", "silence", "no line"],
)
def test_server_that_answers_without_end_is_not_waited_for(drip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte from time to time keeps no task waiting: an answer has a time as a whole, and a size."""
    monkeypatch.setattr(link, "ANSWER_S", 60.0 if len(drip) > link.STATUS_BYTES else 0.5)
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(drip)
            while not ended.wait(0.05):
                connection.sendall(b"x" if drip else b"")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        where = f"127.0.0.1:{listening.getsockname()[1]}"
        served = threading.Thread(target=lambda: answer(listening.accept()[0]))
        asked = threading.Thread(target=lambda: told.append(asked_of(where)))
        told: list[int | str] = []
        served.start()
        asked.start()
        asked.join(timeout=30)
        waits = asked.is_alive()
        ended.set()
        served.join()
        asked.join()

    assert not waits
    assert told == [200 if b"200" in drip else told[0]]
    assert told[0] == 200 or isinstance(told[0], str)


def asked_of(where: str) -> int | str:
    """Return the status of a server, or why it has none."""
    try:
        return link.status(where, "/api/status")
    except (OSError, ValueError) as err:
        return str(err)


def test_rotation_that_shuts_nobody_out_is_not_claimed(
    web: Web, sent: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old link is tried afterwards: where it still opens, `url --rotate` says so, and what sets the token."""
    monkeypatch.setattr(containers, "run_in", lambda *_: sent.update(pieces=archive(b"new")) or b"")
    kept = lab(web.port, more={"JUPYTER_TOKEN": "abc"})
    facts = {clone.project: PROJECT, settings.now: settings_of(JUPYTER_PORT=str(web.port))}

    def rotated(container: Container, token: str) -> Finding:
        sent["pieces"], web.token = archive(b"abc"), token
        seen = Seen({**facts, containers.ours: (container,)})
        [asked_for] = link.rotated.found(seen)
        assert asked_for.step
        done = Seen(dict(seen.facts), tried={asked_for.step.name: asked_for.step.do(seen) or Ended()})
        [finding] = link.rotated.found(done)
        return finding

    set_by = "lab-1 has kept its token, which JUPYTER_TOKEN of your Compose files sets"
    assert rotated(lab(web.port), "new").cause == "the token is another one"
    assert rotated(lab(web.port), "abc").cause == "lab-1 has kept its token"
    assert rotated(kept, "abc").cause == set_by


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


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What the browser is called with."""
    found: list[str] = []

    def called(address: str) -> bool:
        found.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", called)
    monkeypatch.setattr(link, "REDIRECT_FILE", tmp_path / "open.html")
    monkeypatch.delenv("WSL_DISTRO_NAME", raising=False)
    return found


def test_browser_is_called_without_the_token(opened: list[str], tmp_path: Path) -> None:
    """Every user sees what a program is called with: it is led to the link by a page that its owner alone reads."""
    open_in_browser("http://127.0.0.1:1/?token=abc&x=%22")

    page = tmp_path / "open.html"
    assert opened == [page.as_uri()]
    assert page.stat().st_mode & 0o777 == 0o600
    assert "url=http://127.0.0.1:1/?token=abc&amp;x=%22" in page.read_text(encoding="utf-8")


def test_browser_of_windows_is_called_with_the_link(opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """WSL opens Windows' browser, which knows no path of Linux."""
    monkeypatch.setenv("WSL_DISTRO_NAME", "Debian")

    open_in_browser("http://127.0.0.1:1/?token=abc")

    assert opened == ["http://127.0.0.1:1/?token=abc"]


def test_machine_without_a_browser_gets_the_link(opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no browser opens the person can still open the link."""
    monkeypatch.setattr(webbrowser, "open", lambda _: False)

    with pytest.raises(HostError) as refusal:
        open_in_browser("http://127.0.0.1:2/")

    assert refusal.value.fix == "open it yourself: http://127.0.0.1:2/"
