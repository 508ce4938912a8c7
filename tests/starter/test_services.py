"""What is left where a start failed: it is shown and cleared away, and nothing else is."""

from typing import Any

import pytest
from observed import Seen, beside, crossing, healthy, server, stopped

from host_tasks import goals
from host_tasks.kit import runner
from host_tasks.kit.client import UnreachableError
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import plan
from host_tasks.subjects import compose, containers, services
from host_tasks.subjects.containers import Container

START = ("start on port 8888",)
ENDED = server(status="exited", exit_code=1)
WAITING = server(status="created", health="none")


def unreachable() -> None:
    """Stand in for an engine that has removed the container, or is gone."""
    raise UnreachableError("gone")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, by the name of each container; the network is removed by its project's name."""
    found: list[str] = []

    def run(argv: list[str], **_: Any) -> None:
        found.append(" ".join(argv[1:]))
        if argv[-1] == "gone":
            raise HostError("no answer", fix="docker info", code=ExitCode.TRY_AGAIN)

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(services, "client", unreachable)
    monkeypatch.setattr(containers, "last_lines", lambda container: f"the log of {container.id}")
    monkeypatch.setattr(compose, "call_by_name", lambda project, *words, **_: found.append(f"{words[0]} {project}"))
    return found


@pytest.mark.parametrize(
    ("seen", "expected", "said"),
    [
        pytest.param(stopped(tried=("build",), containers=(ENDED,)), [], "", id="nothing was started"),
        pytest.param(
            stopped(tried=START, containers=(ENDED,)),
            ["rm --force lab", "down study-1a2b3c4d"],
            "jupyterlab-server | the log of lab\n",
            id="first start: nothing of it is left",
        ),
        pytest.param(
            stopped(tried=START, containers=(ENDED,), before=(server(),)),
            [],
            "jupyterlab-server | the log of lab\n",
            id="the old server stays, for its kernels' sake",
        ),
        pytest.param(
            stopped(tried=START, containers=(server(), beside(status="exited", exit_code=2)), before=(server(),)),
            ["rm --force db"],
            "db | the log of db\n",
            id="another service failed: the server that runs is left alone",
        ),
        pytest.param(
            stopped(tried=START, containers=(server(), beside(status="exited", exit_code=2))),
            ["rm --force db"],
            "db | the log of db\n",
            id="a server that this start brought up stays too",
        ),
        pytest.param(
            stopped(tried=START, containers=(WAITING, beside(status="exited", exit_code=2))),
            ["rm --force db", "rm --force lab", "down study-1a2b3c4d"],
            "db | the log of db\n",
            id="the log is that of who is to blame, not of who waits for it",
        ),
        pytest.param(
            stopped(tried=START, containers=(server(), beside(status="exited")), before=(server(),)),
            ["rm --force db"],
            "",
            id="a job that is done, and a fault elsewhere: what is new goes",
        ),
        pytest.param(
            stopped(tried=START, containers=(server(id="gone", status="dead"),), before=(beside("other"),)),
            ["rm --force gone"],
            "jupyterlab-server | the log of gone\n",
            id="a container that is gone meanwhile is no traceback",
        ),
    ],
)
def test_what_a_failed_start_left_is_cleared_away(
    done: list[str], seen: Seen, expected: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last lines are shown; what is new and does not do its work is removed, and what ran before is not touched."""
    services.give_up(seen)

    assert done == expected
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param((), ["rm --force lab", "down study-1a2b3c4d"], id="a server of this start"),
        pytest.param((server(),), [], id="a server that ran before"),
    ],
)
def test_server_whose_mounts_are_not_proved_does_not_stay(
    done: list[str], before: tuple[Container, ...], expected: list[str]
) -> None:
    """It is healthy, and what is saved in it would not get here; one that ran before is left, and told."""
    seen = healthy(tried=START, crossings=(crossing(owner=(7, 8)),), before=before)
    problem = plan(seen, goals.up()).problem

    assert problem
    assert problem.parting is services.give_up
    problem.parting(seen)
    assert done == expected


def test_log_that_cannot_be_read_is_not_shown(
    done: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service whose log goes elsewhere is cleared away all the same."""
    empty: Any = lambda container: ""  # noqa: E731
    monkeypatch.setattr(containers, "last_lines", empty)

    services.give_up(stopped(tried=START, containers=(ENDED,)))

    assert done == ["rm --force lab", "down study-1a2b3c4d"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seen", "asked"),
    [
        pytest.param(stopped(tried=START, containers=(ENDED,)), {}, id="a server that ended"),
        pytest.param(stopped(tried=START, busy=[8888]), {"JUPYTER_PORT": "8888"}, id="a port that was lost in a race"),
    ],
)
def test_what_a_start_left_is_cleared_away_before_its_error(seen: Seen, asked: dict[str, str]) -> None:
    """Nobody has to look for the log, nor finds a container that is in the way of the next start."""
    seen.asked = asked

    problem = plan(seen, goals.up()).problem

    assert problem
    assert problem.parting is services.give_up
