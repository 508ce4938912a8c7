"""Tests of host_tasks.server: the port that is published and the link that is printed, with real sockets."""

import contextlib
import http.server
import io
import socket
import tarfile
import threading
import webbrowser
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from host_tasks import server
from host_tasks.ground.errors import ExitCode, HostError

PROJECT = "my-project-00000005"
OWN_START = 8889 + 5


@pytest.mark.parametrize(
    ("text", "expected"), [("", None), ("1024", 1024), ("8888", 8888), ("65535", 65535), ("08889", 8889)]
)
def test_port_that_is_one(text: str, expected: int | None) -> None:
    """Every port that a user may take is one; no text is no wish."""
    assert server.parse_port(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "80",
        "1023",
        "65536",
        "70000",
        "-1",
        "+8888",
        "abc",
        "8888.0",
        " 8888",
        "0x22b8",
        "1e4",
        "8888 ",
        "²",
        "9" * 99,
    ],
)
def test_port_that_is_none_ends_with_64(text: str) -> None:
    """Anything else is refused as a wrong word on the command line, with the word."""
    with pytest.raises(HostError) as refusal:
        server.parse_port(text)

    assert refusal.value.code == ExitCode.USAGE
    assert refusal.value.problem == f"--port {text} is not between 1024 and 65535"


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The ports that are not free, which the test fills."""
    ports: set[int] = set()
    monkeypatch.setattr(server, "is_free", lambda number: number not in ports)
    monkeypatch.setattr(server, "holder", lambda number: f"the holder of {number}")
    return ports


@pytest.mark.parametrize(
    ("asked", "kept", "ours", "busy", "expected"),
    [
        (None, None, None, (), 8888),
        (None, None, None, (8888,), OWN_START),
        (None, None, None, (8888, OWN_START, OWN_START + 1), OWN_START + 2),
        (None, 9000, None, (), 9000),
        (None, 9000, None, (9000,), 8888),
        (None, 9000, 9000, (9000,), 9000),
        (None, 9000, 9100, (9100,), 9100),
        (9200, 9000, 9000, (9000,), 9200),
        (9000, None, 9000, (9000,), 9000),
    ],
    ids=[
        *("first", "own-start", "next-of-own", "kept", "kept-is-taken", "ours-runs", "ours-before-kept"),
        *("asked", "asked-is-ours"),
    ],
)
def test_chosen_port(
    taken: set[int], asked: int | None, kept: int | None, ours: int | None, busy: tuple[int, ...], expected: int
) -> None:
    """The one asked for, else the one the server has, else the one of docker/.env, else 8888, else its own range."""
    taken.update(busy)

    assert server.choose_port(asked, kept, ours, PROJECT) == expected


def test_port_asked_for_that_is_taken_ends_with_75(taken: set[int]) -> None:
    """A wish is granted or refused, with who holds the port; it is not replaced by another port."""
    taken.add(9000)

    with pytest.raises(HostError) as refusal:
        server.choose_port(9000, None, 8888, PROJECT)

    assert refusal.value.code == ExitCode.TRY_AGAIN
    assert refusal.value.problem == "port 9000 is held by the holder of 9000"


def listener(family: socket.AddressFamily, address: str) -> socket.socket:
    """Return a socket that listens on a free port of an address."""
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, the engine's too
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listening.bind((address, 0))
    listening.listen()
    return listening


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_port_of_a_listener_is_not_free_until_it_closes(address: str) -> None:
    """Who listens on 127.0.0.1, or everywhere, holds the port; right after that it is free again."""
    listening = listener(socket.AF_INET, address)
    number = listening.getsockname()[1]

    assert not server.is_free(number)
    with contextlib.closing(socket.create_connection(("127.0.0.1", number))):
        listening.accept()[0].close()  # leaves a connection in TIME_WAIT behind
    listening.close()
    assert server.is_free(number)


def test_listener_on_ipv6_alone_does_not_clash() -> None:
    """127.0.0.1 is free where only ::1 is taken, and the engine publishes there."""
    try:
        listening = listener(socket.AF_INET6, "::1")
    except OSError as err:
        pytest.skip(f"no IPv6 here: {err}")

    with contextlib.closing(listening):
        assert server.is_free(listening.getsockname()[1])


def fake_engine(monkeypatch: pytest.MonkeyPatch, *containers: Any) -> None:
    """Let the engine list these containers."""
    listing = SimpleNamespace(list=lambda: list(containers))
    monkeypatch.setattr(server.engine, "client", lambda: SimpleNamespace(containers=listing))  # type: ignore[attr-defined]


def container(name: str = "x", ports: dict[str, Any] | None = None, **more: Any) -> Any:
    """Return a container as the SDK shows it."""
    attrs = {"NetworkSettings": {"Ports": ports}, "Config": {"Env": ["A=b", "JUPYTER_TOKEN_FILE=/home/ada/.token"]}}
    return SimpleNamespace(name=name, attrs=attrs, **more)


def test_holder_is_a_container_or_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that a container publishes is named after it; unpublished and missing ports are no trap."""
    published = container("db", {"1/tcp": None, "2/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9000"}]})
    fake_engine(monkeypatch, container("none"), container("empty", {}), published)

    assert server.holder(9000) == "container db"
    assert server.holder(9001) == "another program"


def token_archive(text: str) -> tuple[list[bytes], None]:
    """Return what the SDK's get_archive returns for a file with this text."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo(".token")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return [stream.getvalue()[:100], stream.getvalue()[100:]], None


class Silent(http.server.BaseHTTPRequestHandler):
    """Answers 200 to everything."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[int]:
    """The port of a web server on 127.0.0.1."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running.server_address[1]
        running.shutdown()
        thread.join()


def published(number: int) -> dict[str, Any]:
    """Return the ports of a container whose server is published."""
    return {server.INSIDE_PORT: [{"HostIp": "127.0.0.1", "HostPort": str(number)}]}


def test_link_has_the_host_port_and_the_token_and_asks_no_proxy(web: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link is that of the port on this machine, checked past every proxy of the environment."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    running = container(ports=published(web), get_archive=lambda _: token_archive("abc\n"))

    assert server.link(running) == f"http://127.0.0.1:{web}/lab/tree/notebooks?token=abc"


def test_link_of_a_silent_server_ends_with_69() -> None:
    """A published port behind which nothing answers is no link."""
    closed = listener(socket.AF_INET, "127.0.0.1")
    number = closed.getsockname()[1]
    closed.close()

    with pytest.raises(HostError) as refusal:
        server.link(container(ports=published(number), get_archive=lambda _: token_archive("abc")))

    assert refusal.value.code == ExitCode.UNAVAILABLE
    assert f"127.0.0.1:{number}" in refusal.value.problem


@pytest.mark.parametrize(("ports", "token"), [({}, "abc"), (published(8888), "")], ids=["no-port", "no-token"])
def test_container_that_is_no_server_has_no_link(ports: dict[str, Any], token: str) -> None:
    """Without a published port or a token there is nothing to open."""
    with pytest.raises(HostError) as refusal:
        server.link(container(ports=ports, get_archive=lambda _: token_archive(token)))

    assert refusal.value.code == ExitCode.UNAVAILABLE


def test_missing_token_file_is_no_traceback() -> None:
    """A container that has made no token yet has no link yet."""

    def missing(_: str) -> Any:
        raise server.docker_errors().NotFound("no such file")

    with pytest.raises(HostError):
        server.link(container(ports=published(8888), get_archive=missing))


def test_machine_without_a_browser_gets_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no browser opens the person can still open the link; where one does, nothing is said."""
    monkeypatch.setattr(webbrowser, "open", lambda link: link == "http://127.0.0.1:1/")
    server.open_in_browser("http://127.0.0.1:1/")

    with pytest.raises(HostError) as refusal:
        server.open_in_browser("http://127.0.0.1:2/")

    assert refusal.value.fix == "open it yourself: http://127.0.0.1:2/"


def with_state(status: str, health: str | None) -> Any:
    """Return a container in a state, as the SDK shows it."""
    state = {"Status": status} if health is None else {"Status": status, "Health": {"Status": health}}
    return SimpleNamespace(attrs={"State": state})


@pytest.mark.parametrize(
    ("states", "seen", "ready"),
    [
        ([("running", "starting"), ("running", "starting"), ("running", "healthy")], 3, True),
        ([("running", "starting"), ("running", "unhealthy")], 2, False),
        ([("running", "starting"), ("exited", "unhealthy")], 2, False),
        ([("exited", "starting")], 1, False),
        ([("running", None)], 1, True),
    ],
    ids=["gets healthy", "gets ill", "ends", "has ended", "has no check"],
)
def test_server_is_waited_for_until_its_health_is_known(
    monkeypatch: pytest.MonkeyPatch,
    states: list[tuple[str, str | None]],
    seen: int,
    ready: bool,  # noqa: FBT001
) -> None:
    """Waiting ends as soon as there is nothing more to wait for, with the last that was seen."""
    left = [with_state(*each) for each in states]
    looks: list[Any] = []

    def look(project: str, *, running: bool) -> list[Any]:
        looks.append(left.pop(0))
        return looks[-1:]

    monkeypatch.setattr(server, "containers", look)
    monkeypatch.setattr(server, "POLL_S", 0)

    found = server.settled("p", timeout_s=60)

    assert found is looks[-1]
    assert (len(looks), server.is_ready(found)) == (seen, ready)


def test_server_that_never_tells_its_health_is_not_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time is up, what is there is returned: not ready."""
    starting = with_state("running", "starting")
    monkeypatch.setattr(server, "containers", lambda project, *, running: [starting])

    found = server.settled("p", timeout_s=0)

    assert found is starting
    assert not server.is_ready(found)


def test_server_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project without the server's container, such as one scaled to 0, ends at once."""
    monkeypatch.setattr(server, "containers", lambda project, *, running: [])

    assert server.settled("p", timeout_s=60) is None
