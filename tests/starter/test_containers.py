"""Tests of host_tasks.subjects.containers: what the engine says of a container, and what little is asked of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from host_tasks.kit import client
from host_tasks.loop import Seen
from host_tasks.subjects import containers
from host_tasks.subjects.compose import SERVICE
from host_tasks.subjects.containers import Binding, Container, parsed

INSPECTED: dict[str, Any] = {
    "Id": "1a",
    "Name": "/study-1a2b-jupyterlab-server-1",
    "Image": "sha256:2b",
    "Config": {
        "Env": ["A=b=c", "EMPTY=", "NAME"],
        "Labels": {
            "com.docker.compose.project": "study-1a2b",
            "com.docker.compose.service": "jupyterlab-server",
            "com.docker.compose.project.working_dir": "/study/docker",
            "com.docker.compose.oneoff": "False",
            "com.docker.compose.config-hash": "3c",
        },
    },
    "State": {
        "Status": "running",
        "ExitCode": 0,
        "OOMKilled": False,
        "Error": "",
        "Health": {"Status": "unhealthy", "Log": [{"Output": "first"}, {"Output": "line 1\n  line 2\n"}]},
    },
    "HostConfig": {"NetworkMode": "study_default", "ShmSize": 67108864},
    "NetworkSettings": {
        "Ports": {
            "8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9000"}, {"HostIp": "::1", "HostPort": "9001"}],
            "53/udp": [{"HostIp": "", "HostPort": "53"}],
            "80/tcp": None,
            "81/tcp": [{"HostIp": "", "HostPort": ""}],
        }
    },
    "Mounts": [
        {"Type": "bind", "Source": "/study/data", "Destination": "/home/ada/app/data"},
        {"Type": "volume", "Source": "/var/lib/x", "Destination": "/home/ada/.jupyter"},
    ],
}


def test_container_is_what_the_engine_says() -> None:
    """Every field has its place; UDP and unpublished ports, and volumes, are left out."""
    assert parsed(INSPECTED) == Container(
        id="1a",
        name="study-1a2b-jupyterlab-server-1",
        project="study-1a2b",
        service="jupyterlab-server",
        folder="/study/docker",
        oneoff=False,
        status="running",
        health="unhealthy",
        last_check="line 1 line 2",
        exit_code=0,
        out_of_memory=False,
        error="",
        image="sha256:2b",
        config_hash="3c",
        network_mode="study_default",
        shm_bytes=67108864,
        bindings=(Binding(8888, "127.0.0.1", 9000), Binding(8888, "::1", 9001)),
        binds={"/home/ada/app/data": "/study/data"},
        environ={"A": "b=c", "EMPTY": "", "NAME": ""},
    )


@pytest.mark.parametrize("nothing", [{}, None], ids=["missing", "null"])
def test_what_the_engine_leaves_out_counts_as_empty(nothing: None) -> None:
    """A container that was only made has no health, no ports, perhaps no labels: that is no traceback."""
    names = ("Config", "State", "HostConfig", "NetworkSettings", "Mounts")
    attrs = {"Id": "1a"} if nothing == {} else {"Id": "1a", **dict.fromkeys(names)}
    bare = {"Id": "1a", "Config": {"Labels": None, "Env": None}, "State": {"Health": None}, "NetworkSettings": None}

    assert parsed(attrs) == parsed(bare) == Container("1a", status="")


def test_what_a_check_says_is_short() -> None:
    """The output of a health check is the container's to write: only its end is kept."""
    state = {"Health": {"Status": "starting", "Log": [{"Output": "x" * 5000 + "end"}]}}

    assert parsed({"Id": "1a", "State": state}).last_check == "x" * 197 + "end"


@pytest.mark.parametrize(
    ("status", "health", "code", "serves", "ended_well", "settled"),
    [
        ("running", "healthy", 0, True, False, True),
        ("running", "none", 0, True, False, True),
        ("running", "starting", 0, False, False, False),
        ("running", "unhealthy", 0, False, False, True),
        ("paused", "healthy", 0, False, False, True),
        ("restarting", "starting", 1, False, False, True),
        ("created", "none", 0, False, False, True),
        ("exited", "healthy", 0, False, True, True),
        ("exited", "starting", 1, False, False, True),
    ],
)
def test_status_counts_before_health(
    status: str, health: str, code: int, *, serves: bool, ended_well: bool, settled: bool
) -> None:
    """The last health check of a container that is paused or has ended says nothing of it."""
    found = Container("1", status=status, health=health, exit_code=code)

    assert (found.serves, found.ended_well, found.settled) == (serves, ended_well, settled)


def engine(monkeypatch: pytest.MonkeyPatch, **container: Any) -> list[Any]:
    """Let the engine have one container, which can do these things; return what it was asked for."""
    asked: list[Any] = []

    def get(name: str) -> Any:
        asked.append(name)
        return SimpleNamespace(**container)

    def listed(**words: Any) -> list[Any]:
        asked.append(words)
        return [SimpleNamespace(attrs=INSPECTED)]

    made = SimpleNamespace(containers=SimpleNamespace(get=get, list=listed))
    monkeypatch.setattr(containers, "client", lambda: made)
    return asked


def test_containers_of_a_clone_are_those_that_compose_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container of `docker run` has the labels of our image, but is not Compose's: it is not ours to stop."""
    asked = engine(monkeypatch)

    found = containers.of_project("study-1a2b")

    assert found == (parsed(INSPECTED),)
    labels = ["com.docker.compose.project=study-1a2b", "com.docker.compose.oneoff"]
    assert asked == [{"all": True, "filters": {"label": labels}, "ignore_removed": True}]


def test_command_inside_is_read_no_further_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that writes for ever does not fill this machine's memory."""

    def endless() -> Iterator[bytes]:
        for _ in range(5):
            yield b"x" * 30_000
        raise AssertionError("read on")

    engine(monkeypatch, exec_run=lambda argv, *, stream, environment: SimpleNamespace(output=endless()))

    assert containers.run_in(Container("1"), ["yes"]) == b"x" * 65_536


@pytest.mark.parametrize("text", [b"one\ntwo \n", b"\xff\n"], ids=["text", "not UTF-8"])
def test_last_lines_are_text(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """Whatever a container logs can be shown."""
    engine(monkeypatch, logs=lambda *, tail: text)

    assert containers.last_lines(Container("1")) == text.decode(errors="replace").strip()


def test_log_that_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `logging` driver of the person's own may keep the log elsewhere: that is no traceback."""

    def refused(*, tail: int) -> bytes:
        raise client.UnreachableError("configured logging driver does not support reading")

    engine(monkeypatch, logs=refused)

    assert containers.last_lines(Container("1")) == ""


@pytest.mark.parametrize("id_", ["proc", "0123456789ab"], ids=["the container's process", "another process"])
def test_paths_in_a_container_are_looked_at_through_its_own_process(tmp_path: Path, id_: str) -> None:
    """A process in whose mounts the container's id does not stand is another machine's, and tells nothing."""
    container = Container(id_, pid=os.getpid())

    found = containers.status_inside(container, [str(tmp_path), str(tmp_path / "missing")])

    assert {path: status.st_ino for path, status in found.items()} == (
        {str(tmp_path): tmp_path.stat().st_ino} if id_ == "proc" else {}
    )


@pytest.mark.parametrize(
    ("said", "count"),
    [
        pytest.param(b"low 0\noom 3\noom_kill 2\noom_group_kill 0\n", 2, id="cgroup v2"),
        pytest.param(b"oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1, id="cgroup v1"),
        pytest.param(b"", 0, id="no shell"),
    ],
)
def test_processes_that_were_killed_for_memory_are_counted(
    monkeypatch: pytest.MonkeyPatch, said: bytes, count: int
) -> None:
    """The kernel counts them, whoever started them."""
    monkeypatch.setattr(containers, "run_in", lambda container, argv: said)

    seen = Seen({containers.ours: (Container("1", service=SERVICE),)})

    assert containers.killed_for_memory(seen) == count


@pytest.mark.parametrize(
    ("signal", "second", "status"),
    [
        pytest.param("15", 20, "ending", id="told to end since its start"),
        pytest.param("1", 20, "running", id="told something else"),
        pytest.param("15", 5, "running", id="told before its last start"),
    ],
)
def test_container_that_was_told_to_end_does_not_run(
    monkeypatch: pytest.MonkeyPatch, signal: str, second: int, status: str
) -> None:
    """The engine ends it also where the command that asked for it is gone; until then it looks healthy."""
    event = {"Actor": {"ID": "1a", "Attributes": {"signal": signal}}, "time": second, "timeNano": second * 10**9 + 7}
    api = SimpleNamespace(events=lambda **_: iter([event]))
    monkeypatch.setattr(containers, "client", lambda: SimpleNamespace(api=api))
    found = (Container("1a", started="1970-01-01T00:00:10.5Z"),)
    monkeypatch.setattr(containers, "of_project", lambda project: found)

    assert [each.status for each in containers.ours(Seen())] == [status]
