"""Two tasks at once, and tasks that are killed: one waits and says so, and nothing is left half done."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from beside import Started, at_work, close_window, commands, ctrl_c, start
from conftest import SERVER, Clone, docker, wait_until
from lab import status_of

ROUNDS = int(os.environ.get("ROUNDS", "4"))
WAITING = "Another task is at work in this clone: waiting for it to end."
STOP_S = 2.0  # from a signal to the end of the build's step, on a quiet machine

needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="a build's processes are seen in /proc")


def leftovers(clone: Clone) -> list[str]:
    """Return the containers of the clone that are neither removed nor running under their own name."""
    label = f"label=com.docker.compose.project={clone.project}"
    rows = docker("ps", "--all", "--filter", label, "--format", "{{.Names}} {{.State}}").splitlines()
    return [row for row in rows if row != f"{clone.project}-jupyterlab-server-1 running"]


def networks(clone: Clone) -> str:
    """Return the networks of the clone."""
    return docker("network", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={clone.project}")


def health(clone: Clone) -> str:
    """Return the health of the clone's server; an empty string where there is none."""
    container = clone.container_id()
    return docker("inspect", "--format", "{{.State.Health.Status}}", container) if container else ""


@pytest.fixture(scope="module")
def calm(stub: Clone) -> Clone:
    """A clone that has been up once, so that a round is short; its server starts as slowly as JupyterLab."""
    with (stub.root / "docker" / "Dockerfile").open("a", encoding="utf-8") as dockerfile:
        command = ["sh", "-c", 'sleep 1.5; exec python3 -c "$0"', SERVER]
        dockerfile.write(f"CMD {json.dumps(command)}\n")
    stub.succeed("up", "--yes")
    stub.succeed("down")
    return stub


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_two_ups_at_once_both_end_well(calm: Clone, round_: int) -> None:
    """Of two `up` at the same moment one waits and says so; both end with 0 and the link of the one server."""
    calm.succeed("down")

    tasks = [start(calm, "up", "--yes"), start(calm, "up", "--yes")]
    codes = [each.ended() for each in tasks]

    said = [each.said() for each in tasks]
    assert codes == [0, 0], said
    assert sum(WAITING in each for each in said) == 1, said
    assert said[0].splitlines()[-1] == said[1].splitlines()[-1]
    assert status_of(said[0].splitlines()[-1]) == 200
    assert leftovers(calm) == []


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_up_and_down_at_once_leave_all_or_nothing(calm: Clone, round_: int) -> None:
    """Whoever comes first, both end with 0, and there is a healthy server or nothing at all."""
    pause_s = random.Random(round_).choice([0, 0, 0.2, 1, 2])  # noqa: S311 - a different interleaving each round

    first = start(calm, *(["up", "--yes"] if round_ % 2 else ["down"]))
    started_at = time.monotonic()
    wait_until(lambda: time.monotonic() - started_at >= pause_s, timeout_s=5, what="the second task's turn")
    second = start(calm, *(["down"] if round_ % 2 else ["up", "--yes"]))
    codes = [first.ended(), second.ended()]

    said = [first.said(), second.said()]
    assert codes == [0, 0], said
    assert not any("Traceback" in each for each in said)
    assert leftovers(calm) == []
    assert (health(calm), bool(networks(calm))) in (("healthy", True), ("", False))


@pytest.fixture
def slow(calm: Clone) -> Iterator[tuple[Clone, str, str]]:
    """A clone whose server runs and whose next build would take ten minutes; the step's command; the container."""
    calm.succeed("up", "--yes")
    step = f"sleep {random.SystemRandom().randrange(10**5, 10**6)}.5"
    dockerfile = calm.root / "docker" / "Dockerfile"
    text = dockerfile.read_text(encoding="utf-8")
    dockerfile.write_text(text.replace("\nWORKDIR ", f"\nRUN {step}\nWORKDIR "), encoding="utf-8")
    yield calm, step, calm.container_id()
    dockerfile.write_text(text, encoding="utf-8")


SIGNALS: dict[str, tuple[bool, Callable[[Started], None], int]] = {  # on a terminal; how; the exit code
    "Ctrl-C on a terminal": (True, ctrl_c, 130),
    "SIGINT to the group": (False, lambda task: os.killpg(task.pid, signal.SIGINT), 130),
    "SIGINT to the task only": (False, lambda task: os.kill(task.pid, signal.SIGINT), 130),
    "SIGTERM": (False, lambda task: os.kill(task.pid, signal.SIGTERM), 143),
    "the window closed": (True, close_window, 129),
}


@needs_proc
@pytest.mark.parametrize("how", SIGNALS)
def test_signal_in_a_build_ends_task_and_build(how: str, slow: tuple[Clone, str, str]) -> None:
    """The task ends with 130 or 143 and one line, its build step stops, the old server runs on, `up` works again."""
    clone, step, container = slow
    terminal, send, code = SIGNALS[how]
    task = start(clone, "up", "--yes", terminal=terminal)
    wait_until(lambda: step in commands(), timeout_s=60, what=f"the build's `{step}`")

    send(task)
    ended = task.ended()
    wait_until(lambda: step not in commands(), timeout_s=STOP_S, what="the end of the build's step")
    wait_until(lambda: not at_work(clone), timeout_s=STOP_S, what="the end of Compose and its builder")

    assert ended == code, task.said()
    assert "Traceback" not in task.said()
    assert clone.container_id() == container
    assert health(clone) == "healthy"


@needs_proc
def test_up_works_after_its_builder_was_killed(slow: tuple[Clone, str, str]) -> None:
    """`kill -9` of a task that builds stops its build and frees its lock: the next `up` neither waits nor fails."""
    clone, step, container = slow
    task = start(clone, "up", "--yes")
    wait_until(lambda: step in commands(), timeout_s=60, what=f"the build's `{step}`")

    os.kill(task.pid, signal.SIGKILL)
    assert task.ended() == -signal.SIGKILL
    wait_until(lambda: step not in commands(), timeout_s=STOP_S, what="the end of the build's step")
    wait_until(lambda: not at_work(clone), timeout_s=STOP_S, what="the end of Compose and its builder")
    dockerfile = clone.root / "docker" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text(encoding="utf-8").replace(f"RUN {step}\n", ""), encoding="utf-8")
    done = clone.task("up", "--yes")

    assert done.returncode == 0, done.stderr
    assert WAITING not in done.stderr
    assert clone.container_id() == container
    assert leftovers(clone) == []


@needs_proc
def test_up_works_after_one_that_waited_was_killed(slow: tuple[Clone, str, str]) -> None:
    """`kill -9` of a task that waits leaves the one that works alone, and the lock whole."""
    clone, step, container = slow
    holder = start(clone, "up", "--yes")
    wait_until(lambda: step in commands(), timeout_s=60, what=f"the build's `{step}`")
    waiting = start(clone, "up", "--yes")
    wait_until(lambda: WAITING in waiting.said(), timeout_s=20, what="the second `up` to wait")

    os.kill(waiting.pid, signal.SIGKILL)
    waiting.ended()
    third = start(clone, "down")
    wait_until(lambda: WAITING in third.said(), timeout_s=20, what="`down` to wait")
    still = step in commands()
    os.kill(holder.pid, signal.SIGTERM)
    codes = [holder.ended(), third.ended()]

    assert still
    assert codes == [143, 0], third.said()
    assert container
    assert clone.container_id() == ""
    assert leftovers(clone) == []


@pytest.mark.parametrize("round_", range((ROUNDS + 1) // 2))
def test_up_works_after_a_start_was_killed(calm: Clone, round_: int) -> None:
    """`kill -9` of an `up` at any moment leaves nothing that keeps the next `up` from working."""
    calm.succeed("down")
    delay_s = 0.4 + 2.4 * (round_ * 0.618 % 1)  # spread evenly over the time that `up` takes
    task = start(calm, "up", "--yes")
    started_at = time.monotonic()
    wait_until(lambda: time.monotonic() - started_at >= delay_s, timeout_s=5, what="the moment to kill")

    os.kill(task.pid, signal.SIGKILL)
    task.ended()
    done = calm.task("up", "--yes")

    assert done.returncode == 0, done.stderr[-3000:]
    assert health(calm) == "healthy"
    assert leftovers(calm) == []
    state = json.loads(docker("inspect", "--format", "{{json .State}}", calm.container_id()))
    assert state["Running"] is True


@pytest.mark.parametrize("round_", range((ROUNDS + 1) // 2))
def test_up_works_after_a_down_was_killed(calm: Clone, round_: int) -> None:
    """`kill -9` of a `down` while the engine ends the server: the next `up` takes none for healthy that is ending."""
    calm.succeed("up", "--yes")
    task = start(calm, "down")
    wait_until(lambda: "Stopping" in task.said(), timeout_s=20, what="the end of the server to be asked for")

    os.kill(task.pid, signal.SIGKILL)
    task.ended()
    done = calm.task("up", "--yes")

    assert done.returncode == 0, done.stderr[-3000:]
    assert status_of(done.stdout.splitlines()[-1]) == 200
    assert leftovers(calm) == []
