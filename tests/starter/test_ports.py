"""Ports: which are free, who holds one, and which one this clone publishes; with real sockets."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from observed import Seen, settings

from host_tasks import choices
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import OK, Ended, Finding
from host_tasks.subjects import ports, services
from host_tasks.subjects.compose import SERVICE
from host_tasks.subjects.containers import Binding, Container

PROJECT = "my-project-00000005"
OWN_START = 8889 + 5


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("", {}),
        *((text, {"JUPYTER_PORT": text}) for text in ("1024", "8888", "65535")),
        ("08889", {"JUPYTER_PORT": "8889"}),
    ],
)
def test_port_that_is_one(text: str, asked: dict[str, str | None]) -> None:
    """Every port that a user may take is one; no text is no wish."""
    assert choices.asked({"port": text}) == asked


@pytest.mark.parametrize(
    "text",
    [
        *("0", "80", "1023", "65536", "70000", "-1", "+8888", "abc", "8888.0", " 8888", "0x22b8", "1e4", "8888 "),
        *("²", "9" * 99, "9" * 5000),
    ],
)
def test_port_that_is_none_ends_with_64(text: str) -> None:
    """Anything else is refused as a wrong word on the command line, with the word."""
    with pytest.raises(HostError) as refusal:
        choices.asked({"port": text})

    assert refusal.value.code == ExitCode.USAGE
    assert refusal.value.problem == f"--port {text} is not between 1024 and 65535"


def judged(
    asked: int | None,
    *,
    kept: int | None = None,
    busy: Iterable[int] = (),
    ours: Iterable[int] = (),
    status: str = "running",
    error: str = "",
    said: str = "",
    published: Iterable[int] | None = None,
) -> Finding:
    """Return what the rule says of the port."""
    bindings = tuple(Binding(8888, "127.0.0.1", number) for number in ours)
    own = [asked or kept or 8888] if published is None else published
    declared = [{"target": 8888, "published": str(number)} for number in own]
    seen = Seen(
        busy=busy,
        tried={f"{services.START}{kept}": Ended(ok=False, said=said)} if said else {},
        asked={} if asked is None else {"JUPYTER_PORT": str(asked)},
        holders=lambda number: f"the holder of {number}",
        has_compose=True,
        project=PROJECT,
        settings=settings(JUPYTER_PORT=str(asked or kept or "")),
        model={"services": {SERVICE: {"ports": declared}}},
        containers=(Container("1", service=SERVICE, status=status, error=error, bindings=bindings),),
    )
    [finding] = ports.port.found(seen)
    return finding


ALLOCATED = "driver failed programming external connectivity: Bind for 127.0.0.1:9000 failed: port is already allocated"
IN_USE = "listen tcp4 127.0.0.1:9000: bind: address already in use"
UNAVAILABLE = "Ports are not available: exposing port TCP 127.0.0.1:9000 -> 127.0.0.1:0: "
# What Windows says of a port that is taken, or that it keeps for itself (winsock2, WSAEADDRINUSE and WSAEACCES).
WINSOCK = {
    "taken": "listen tcp4 127.0.0.1:9000: bind: Only one usage of each socket address is normally permitted.",
    "kept by Windows": "listen tcp4 127.0.0.1:9000: bind: An attempt was made to access a socket in a way forbidden by "
    "its access permissions.",
}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        pytest.param({"asked": None}, 8888, id="first"),
        pytest.param({"asked": None, "busy": [8888]}, OWN_START, id="own start"),
        pytest.param({"asked": None, "busy": [8888, OWN_START, OWN_START + 1]}, OWN_START + 2, id="next of its own"),
        pytest.param({"asked": None, "kept": 9000}, 9000, id="kept"),
        pytest.param({"asked": None, "kept": 9000, "busy": [9000]}, 8888, id="kept is taken"),
        pytest.param({"asked": None, "kept": 9000, "busy": [9000], "ours": [9000]}, 9000, id="ours runs"),
        pytest.param(
            {"asked": None, "kept": 9000, "busy": [9000], "ours": [9000], "status": "paused"}, 9000, id="ours is paused"
        ),
        pytest.param(
            {"asked": None, "kept": 9000, "busy": [9000], "ours": [9000], "status": "exited"},
            8888,
            id="ours ended, and another took it",
        ),
        pytest.param({"asked": 9200, "kept": 9000, "busy": [9000], "ours": [9000]}, 9200, id="asked"),
        pytest.param({"asked": 9000, "kept": 9000, "busy": [9000], "ours": [9000]}, 9000, id="asked is ours"),
        pytest.param(
            {"asked": 9100, "kept": 9000, "busy": [9000, 9100], "ours": [9000, 9100]}, 9100, id="asked is our second"
        ),
        pytest.param(
            {"asked": None, "kept": 9000, "status": "created", "error": ALLOCATED}, 8888, id="lost in a race: allocated"
        ),
        pytest.param(
            {"asked": None, "kept": 9000, "status": "created", "error": IN_USE}, 8888, id="lost in a race: in use"
        ),
        *(
            pytest.param(
                {"asked": None, "kept": 9000, "status": "created", "error": f"{UNAVAILABLE}{end}"},
                8888,
                id=f"Docker Desktop: {why}",
            )
            for why, end in WINSOCK.items()
        ),
        pytest.param(
            {"asked": None, "kept": 9000, "status": "created", "said": f"{UNAVAILABLE}{IN_USE}"},
            8888,
            id="Docker Desktop has refused before its engine, which keeps no reason",
        ),
        pytest.param(
            {"asked": None, "kept": 9000, "status": "created", "error": ALLOCATED.replace("9000", "5432")},
            9000,
            id="a second published port was taken: ours stays",
        ),
        pytest.param(
            {"asked": None, "kept": 9000, "status": "running", "error": ALLOCATED}, 9000, id="an error of long ago"
        ),
    ],
)
def test_port_that_is_taken_or_chosen(case: dict[str, Any], expected: int) -> None:
    """The one asked for, else the one of docker/.env while it is ours or free, else 8888, else its own range."""
    found = judged(**case)

    if found.state == OK:
        assert found.cause == f"127.0.0.1:{expected}"
    else:
        assert found.step is not None
        assert found.step.what == f"publish on port {expected}"
        assert found.step.do.keywords == {"JUPYTER_PORT": str(expected)}  # type: ignore[attr-defined] # a partial


@pytest.mark.parametrize("kept", [None, 9000], ids=["other than now", "as now"])
def test_port_asked_for_that_is_taken_ends_with_75(kept: int | None) -> None:
    """A wish is granted or refused, with who holds the port; it is not replaced by another port."""
    found = judged(9000, kept=kept, busy=[9000])

    assert (found.step, found.exit_code) == (None, ExitCode.TRY_AGAIN)
    assert found.cause == "port 9000 is held by the holder of 9000"


@pytest.mark.parametrize("published", [[], [7777]], ids=["nowhere", "elsewhere"])
def test_port_that_a_person_publishes_is_not_ours_to_change(published: list[int]) -> None:
    """With a port of the override file JUPYTER_PORT means nothing and is left alone."""
    found = judged(None, kept=9000, busy=[9000], published=published)

    assert (found.state, found.cause) == (OK, "the Compose files publish JupyterLab their own way")


def test_second_published_port_does_not_count() -> None:
    """JUPYTER_PORT is ours where one of several published ports is it."""
    assert judged(None, kept=9000, published=[7777, 9000]).cause == "127.0.0.1:9000"


# This machine


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

    assert not ports.is_free(number)
    with contextlib.closing(socket.create_connection(("127.0.0.1", number))):
        listening.accept()[0].close()  # leaves a connection in TIME_WAIT behind
    listening.close()
    assert ports.is_free(number)


def test_listener_on_ipv6_alone_does_not_clash() -> None:
    """127.0.0.1 is free where only ::1 is taken, and the engine publishes there."""
    try:
        listening = listener(socket.AF_INET6, "::1")
    except OSError as err:
        pytest.skip(f"no IPv6 here: {err}")

    with contextlib.closing(listening):
        assert ports.is_free(listening.getsockname()[1])


def test_holder_is_the_container_that_publishes_the_port() -> None:
    """A container is named; one that publishes nothing, or another port, is none."""
    published = Container("3", "db", bindings=(Binding(5432, "", 5432), Binding(2, "127.0.0.1", 9000)))

    assert ports.holder(9000, (Container("1", "none"), published)) == "container db"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who listens")
def test_holder_is_the_process_that_listens() -> None:
    """A process of the caller's is named with its number, so that it can be ended."""
    with contextlib.closing(listener(socket.AF_INET, "127.0.0.1")) as listening:
        number = listening.getsockname()[1]

        found = ports.holder(number, ())

    name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    assert found == f"{name} (process {os.getpid()})"
    assert ports.holder(number, ()) == "another program"
