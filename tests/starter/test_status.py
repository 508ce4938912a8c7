"""One screen of what there is; it always prints, whatever state things are in."""

import json
from typing import Any

import pytest
from observed import GIB, INPUTS, STAND_IN, Seen, bare, base, beside, engine, healthy, server, settings, stopped

from host_tasks.kit.client import UnreachableError
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.subjects import containers
from host_tasks.subjects.images import Image
from host_tasks.subjects.status import print_status

MADE = "2026-07-01T12:34:56.789Z"
PROBLEM = "docker/.env:2: no KEY=value"


NO_LINK = HostError("the server is not running", fix="invoke up", code=ExitCode.UNAVAILABLE)
CHOICES = dict.fromkeys(("gpu", "hardened", "workers"), "no")


@pytest.fixture(autouse=True)
def _answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine answer that nothing runs, and every container take 1.5 of 8 GiB."""
    monkeypatch.setattr(containers, "of_project", lambda project: ())
    monkeypatch.setattr(containers, "memory", lambda container: (3 * GIB // 2, 8 * GIB))


def told(seen: Seen, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return what status tells programs."""
    print_status(seen, json=True)
    read: dict[str, str] = json.loads(capsys.readouterr().out)
    return read


def test_status_of_a_server_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Every row says what is there."""
    image = Image("sha256:i", 5 * GIB // 2, MADE)

    assert told(healthy(engine=engine(), image=image, containers=(server(), beside())), capsys) == {
        "project": "study-1a2b3c4d",
        "server": "healthy",
        "link": "http://127.0.0.1:8888/?token=t",
        **CHOICES,
        "other services": "db runs",
        "identity": "ada 1815:1852 (you)",
        "base image": "base:1",
        "stand-ins": "none",
        "image": "2.5 GiB, made 2026-07-01 12:34 UTC, from what is here now",
        "memory": "1.5 of 8.0 GiB",
        "disk": "100 GiB free for the clone",
        "docker/.env": "up to date",
    }


def test_status_of_a_bare_clone(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is, that is said: an empty link is no error."""
    assert told(bare(link=NO_LINK), capsys) == {
        "project": "study-1a2b3c4d",
        "server": "not started",
        "link": "",
        **CHOICES,
        "other services": "none",
        "identity": "ada 1815:1852 (you)",
        "base image": "base:1, not on this engine",
        "stand-ins": "none",
        "image": "none",
        "memory": "none",
        "disk": "100 GiB free for the clone",
        "docker/.env": "out of date",
    }


def test_status_with_a_file_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """What needs docker/.env is unknown, with the reason; the rest is told."""
    broken = HostError(PROBLEM, fix="correct line 2", code=ExitCode.CONFIG)

    found = told(healthy(engine=engine(), settings=broken), capsys)

    assert {key for key, value in found.items() if value == f"unknown: {PROBLEM}"} == {
        *CHOICES,
        *("identity", "docker/.env"),
    }
    assert (found["project"], found["server"]) == ("study-1a2b3c4d", "healthy")


@pytest.mark.parametrize(
    ("seen", "row", "expected"),
    [
        (stopped(containers=(server(status="paused"),)), "server", "is paused"),
        (stopped(containers=(server(status="exited", exit_code=3),)), "server", "ended with exit code 3"),
        (healthy(engine=engine(), containers=(server(health="starting"),)), "server", "is still starting"),
        (healthy(engine=engine(), containers=(server(health="none"),)), "server", "runs"),
        (stopped(base=base(name=STAND_IN)), "base image", f"{STAND_IN} (a stand-in made here)"),
        (
            stopped(stand_ins=(Image("s1", GIB), Image("s2", GIB // 2))),
            "stand-ins",
            "2, at most 1.5 GiB; `clean` removes those that this clone made and nothing needs",
        ),
        (
            stopped(image=Image("other", GIB, MADE)),
            "image",
            "1.0 GiB, made 2026-07-01 12:34 UTC, changed since: not known",
        ),
        (stopped(inputs={**INPUTS, "x": "y"}), "image", "0.0 GiB, made at a time that is not known, changed since: x"),
        (healthy(engine=engine(), settings=settings(DASK_WORKERS="2")), "workers", "2"),
    ],
    ids=["paused", "ended", "starting", "no check", "base", "stand-ins", "not built here", "no time", "a choice"],
)  # fmt: skip
def test_row_says_the_state(seen: Seen, row: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each state has its words."""
    assert told(seen, capsys)[row] == expected


def test_memory_is_no_containers_where_the_engine_limits_none(capsys: pytest.CaptureFixture[str]) -> None:
    """A rootless engine without cgroup v2 has no group for a container: its numbers would be the machine's."""
    seen = healthy(engine=engine(), engine_says={"SecurityOptions": ["name=rootless"], "MemoryLimit": False})

    assert told(seen, capsys)["memory"] == "not measured: the engine enforces no limit of memory"


def test_part_of_an_engine_that_went_away_is_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An engine that stops answering in the middle leaves the other rows."""

    def gone(container: Any) -> Any:
        raise UnreachableError("EOF")

    monkeypatch.setattr(containers, "memory", gone)

    found = told(healthy(engine=engine()), capsys)

    assert found["memory"] == "unknown: the engine gave no answer that can be used: EOF"
    assert found["server"] == "healthy"


def test_status_for_people_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """The same rows, in two columns, without a header."""
    seen = healthy(engine=engine())

    print_status(seen, json=False)

    people = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    print_status(seen, json=True)
    assert people == [row.split()[0] for row in json.loads(capsys.readouterr().out)]
