"""Tests of host_tasks.act.aftermath: a failed start is shown and cleared away, and nothing else is."""

from typing import Any

import docker.errors
import pytest
from observed import Seen, beside, server, stopped

from host_tasks.act import aftermath
from host_tasks.observe import compose, containers

START = ("start port=8888",)
ENDED = server(status="exited", exit_code=1)
WAITING = server(status="created", health="none")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, by the name of each container; the network is removed by its project's name."""
    found: list[str] = []

    class Handle:
        def __init__(self, name: str) -> None:
            self.id = name

        def remove(self, *, force: bool) -> None:
            found.append(f"remove {self.id}{' by force' if force else ''}")
            if self.id == "gone":
                raise docker.errors.NotFound("gone")

    class Engine:
        def __init__(self) -> None:
            self.containers = self

        def get(self, name: str) -> Handle:
            return Handle(name)

    monkeypatch.setattr(aftermath, "client", Engine)
    monkeypatch.setattr(containers, "last_lines", lambda container: f"the log of {container.id}")
    monkeypatch.setattr(compose, "call_by_name", lambda project, *words, **_: found.append(f"{words[0]} {project}"))
    return found


@pytest.mark.parametrize(
    ("seen", "expected", "said"),
    [
        pytest.param(stopped(tried=("build",), containers=(ENDED,)), [], "", id="nothing was started"),
        pytest.param(
            stopped(tried=START, containers=(ENDED,)),
            ["remove lab by force", "down study-1a2b3c4d"],
            "the log of lab\n",
            id="first start: nothing of it is left",
        ),
        pytest.param(
            stopped(tried=START, containers=(ENDED,), before=frozenset(["lab"])),
            [],
            "the log of lab\n",
            id="a server of before stays, for its kernels' sake",
        ),
        pytest.param(
            stopped(
                tried=START, containers=(server(), beside(status="exited", exit_code=2)), before=frozenset(["lab"])
            ),
            ["remove db by force"],
            "the log of db\n",
            id="another service failed: the server that runs is left alone",
        ),
        pytest.param(
            stopped(tried=START, containers=(server(), beside(status="exited", exit_code=2))),
            ["remove db by force"],
            "the log of db\n",
            id="a server that this start brought up stays too",
        ),
        pytest.param(
            stopped(tried=START, containers=(WAITING, beside(status="exited", exit_code=2))),
            ["remove lab by force", "remove db by force", "down study-1a2b3c4d"],
            "the log of db\n",
            id="the log is that of who is to blame, not of who waits for it",
        ),
        pytest.param(
            stopped(tried=START, containers=(server(), beside(status="exited"))),
            [],
            "",
            id="a job that is done, and a fault elsewhere",
        ),
        pytest.param(
            stopped(tried=START, containers=(server(id="gone", status="dead"),), before=frozenset(["other"])),
            ["remove gone by force"],
            "the log of gone\n",
            id="a container that is gone meanwhile is no traceback",
        ),
    ],
)
def test_what_a_failed_start_left_is_cleared_away(
    done: list[str], seen: Seen, expected: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last lines are shown; what is new and does not do its work is removed, and what ran before is not touched."""
    aftermath.give_up(seen)

    assert done == expected
    assert capsys.readouterr().err == said


def test_log_that_cannot_be_read_is_not_shown(
    done: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service whose log goes elsewhere is cleared away all the same."""
    empty: Any = lambda container: ""  # noqa: E731
    monkeypatch.setattr(containers, "last_lines", empty)

    aftermath.give_up(stopped(tried=START, containers=(ENDED,)))

    assert done == ["remove lab by force", "down study-1a2b3c4d"]
    assert capsys.readouterr().err == ""
