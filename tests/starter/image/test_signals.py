"""`run` without a terminal, as in `run -- train | tee log`: what it started in the container ends with it."""

import os
import random
import signal
from collections.abc import Callable, Iterator

import pytest
from beside import Started, at_work, commands, start
from conftest import Clone, docker, wait_until

ENDINGS: dict[str, tuple[Callable[[Started], None], int]] = {
    "Ctrl-C in a pipeline": (lambda task: os.killpg(task.pid, signal.SIGINT), 130),
    "SIGTERM": (lambda task: os.kill(task.pid, signal.SIGTERM), 143),
    "the window closed": (lambda task: os.kill(task.pid, signal.SIGHUP), 129),
    "kill -9": (lambda task: os.kill(task.pid, signal.SIGKILL), -9),
}


@pytest.fixture
def training() -> Iterator[str]:
    """A command line that no other process has, and that would take a day."""
    command = f"sleep {random.SystemRandom().randrange(10**5, 10**6)}.5"
    yield command
    assert command not in commands()


@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("place", ["in the running server", "beside it"])
def test_run_ends_what_it_started_inside(how: str, place: str, stub: Clone, training: str) -> None:
    """However `run` ends, so does the process in the container, which has the time to save; the server runs on."""
    stub.succeed("up" if place == "in the running server" else "down", *(["--yes"] if place[0] == "i" else []))
    send, code = ENDINGS[how]
    script = f"trap 'echo saved; exit' INT TERM; echo begun; {training} & wait"
    task = start(stub, "run", "--yes", "--", "sh", "-c", script)
    wait_until(lambda: training in commands(), timeout_s=60, what=f"`{training}` in the container")
    server = stub.container_id()

    send(task)

    assert task.ended() == code, task.said()
    wait_until(lambda: training not in commands(), timeout_s=20, what="the end of the process inside")
    wait_until(lambda: not at_work(stub), timeout_s=20, what="the end of what `run` started")
    assert "Traceback" not in task.said()
    assert place != "in the running server" or stub.container_id() == server
    listing = ["ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={stub.project}"]
    oneoffs = [*listing, "--filter", "label=com.docker.compose.oneoff=True"]
    wait_until(lambda: not docker(*oneoffs), timeout_s=20, what="the end of its container")
