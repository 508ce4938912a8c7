"""Tests of host_tasks.kit.task and setup/program.py: tasks as processes, with signals, pipes, Invoke's switches."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aids import alive, end_all, number_in, wait_until

from host_tasks.kit.paths import DOCKER_DIR
from host_tasks.setup.basics import CALLED_AS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and pipes are POSIX's here")

TASKS = """
from pathlib import Path
from invoke.context import Context
from host_tasks.kit import report, runner
from host_tasks.kit.task import Elsewhere, after_dashes, ended, task

THERE = Elsewhere("Do it there.", lambda name, on, said: report.result(f"{name} on {on}: {dict(said)}"))

@task()
def act(c: Context) -> None:
    "Act."
    report.result("acted")

@task()
def many(c: Context) -> None:
    "Say much."
    for each in range(100_000):
        report.result(str(each))

@task()
def build(c: Context) -> None:
    "Run a command that does not end."
    runner.run(["sh", "-c", "echo $$ >leader.pid; exec sleep 60"], cwd=Path.cwd(), keep=True)

@task()
def talk(c: Context) -> None:
    "Run a command that says something all the time."
    runner.run(["sh", "-c", "echo $$ >leader.pid; while :; do echo said; done"], cwd=Path.cwd(), keep=True)

@task(help={"port": "Where.", "attach": "Stay."})
def up(c: Context, port: str = "", attach: bool = False) -> None:
    "Start."
    report.result(f"started on {port}")

@task(help={"file": "Into which.", "yes": "Even so."})
def save(c: Context, file: str, yes: bool = False) -> None:
    "Save."
    report.result(f"saved into {file}")

@task()
def say(c: Context) -> None:
    "Say what stands behind --."
    report.result(" ".join(after_dashes()))

@task(elsewhere=THERE)
def tell(c: Context, loud: bool = False, times: int = 1) -> None:
    "Tell."
    report.result("told here")

@task(hidden=True)
def ours(c: Context) -> None:
    "For us."
    report.result("ours")

@task()
def inner(c: Context) -> None:
    "Run a command that a signal ends."
    ended(runner.run(["sh", "-c", "kill -PIPE $$"], cwd=Path.cwd(), interactive=True))
"""

SESSION = ("setsid", "--ctty")  # util-linux: the terminal on standard input is the session's, and hangs it up
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start tasks of a clone in its folder; what is left of them is killed afterwards."""
    shutil.copytree(
        DOCKER_DIR / "host_tasks", tmp_path / "docker" / "host_tasks", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "tasks.py").write_text(TASKS, encoding="utf-8")
    program = tmp_path / "docker" / "host_tasks" / "setup" / "program.py"
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, before: tuple[str, ...] = (), terminal: int | None = None) -> "subprocess.Popen[str]":
        argv = [*before, *(SESSION if terminal else ()), sys.executable, "-I", str(program), *words]
        environ = {**os.environ, CALLED_AS: "python3 tasks.py"}
        to = terminal or subprocess.PIPE
        process = subprocess.Popen(argv, cwd=tmp_path, env=environ, stdin=terminal, stdout=to, stderr=to, text=True)
        started.append(process)
        return process

    yield start
    end_all(started, tmp_path)


def ending(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Return the exit code and both streams of a task that ends."""
    stdout, stderr = process.communicate(timeout=600)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize("words", [["--dry", "act"], ["-R", "act"], ["act", "--dry"]], ids=" ".join)
def test_dry_is_refused_because_the_task_would_act(start: Start, words: list[str]) -> None:
    """Invoke's --dry holds back only what Invoke itself runs: it must not look as if nothing happened."""
    assert ending(start(*words)) == (
        64,
        "",
        "error: --dry would hold nothing back here: this task would act; a --dry-run of its own would\n"
        "fix: python3 tasks.py --help act\n",
    )


@pytest.mark.parametrize(
    "words",
    [["--hide", "both"], ["--config", "/nowhere.yaml"], ["--echo"], ["--warn-only"], ["--pty"], ["-T", "1"]],
    ids=" ".join,
)
def test_other_switches_of_invoke_change_nothing(start: Start, words: list[str]) -> None:
    """What Invoke has for commands that it runs itself neither hides nor breaks a task."""
    assert ending(start(*words, "act")) == (0, "acted\n", "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *(("up", words) for words in ("up -h", "up --help", "-h up", "--help up", "up --port -h", "up --port 1 -h")),
        *(("save", words) for words in ("save --help", "save -h", "save a --help", "save --yes --help a")),
    ],
)
def test_help_is_help_wherever_it_stands(start: Start, name: str, words: str) -> None:
    """Neither a task's own argument nor the value of an option is -h or --help: nothing is done, and help is shown."""
    code, stdout, stderr = ending(start(*words.split()))

    assert (code, stderr) == (0, "")
    assert f" {name} [--options]" in stdout
    assert ("started" in stdout, "saved" in stdout) == (False, False)


def test_help_behind_dashes_is_the_commands_own(start: Start) -> None:
    """What stands behind -- is not ours to read."""
    assert ending(start("say", "--", "ls", "--help")) == (0, "ls --help\n", "")


@pytest.mark.parametrize("words", [["up", "-a"], ["save", "a", "-y"]], ids=" ".join)
def test_options_have_no_single_letters(start: Start, words: list[str]) -> None:
    """Invoke would make up letters, which change as options come and go: nobody may learn one."""
    code, stdout, stderr = ending(start(*words))

    assert (code, stdout) == (64, "")
    assert stderr.startswith(f"error: No idea what '{words[-1]}' is\n")


def test_hidden_task_can_be_called_and_is_not_listed(start: Start) -> None:
    """What is for who works on the starter stands in nobody's way."""
    assert ending(start("ours")) == (0, "ours\n", "")
    listed = ending(start("--list"))[1]
    assert ("ours" in listed, "act" in listed) == (False, True)


@pytest.mark.parametrize("words", [["--search-root", "/"], ["--collection", "evil"]], ids=" ".join)
def test_another_collection_cannot_be_named(start: Start, words: list[str]) -> None:
    """The tasks are this clone's and no others: a switch for others is no switch."""
    code, stdout, stderr = ending(start(*words, "act"))

    assert (code, stdout) == (64, "")
    assert stderr.startswith(f"error: No idea what '{words[0]}' is\nfix: python3 tasks.py --list\n")


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "error: interrupted\nfix: python3 tasks.py build\n"),
        (signal.SIGTERM, 143, ""),
        (signal.SIGHUP, 129, ""),
    ],
    ids=["Ctrl-C", "SIGTERM", "the window closed"],
)
def test_signal_ends_the_task_and_what_it_started(
    start: Start, tmp_path: Path, number: signal.Signals, code: int, said: str
) -> None:
    """However a task is told to end, its command ends too, and the exit code says which signal it was."""
    process = start("build")
    leader = number_in(tmp_path / "leader.pid")

    process.send_signal(number)
    ended = ending(process)

    assert (ended[0], ended[2].partition("sleep 60'\n")[2]) == (code, said)
    wait_until(lambda: not alive(leader))


@pytest.mark.parametrize("first", ["the signal", "what is written"])
def test_window_that_closes_amid_the_output_ends_the_task_as_its_signal_does(
    tmp_path: Path, start: Start, first: str
) -> None:
    """What can no longer be written, before the signal comes or after it, is no error of its own."""
    ours, theirs = os.openpty()
    ignoring = ("sh", "-c", 'trap "" HUP; exec "$@"', "sh") if first == "what is written" else ()
    process = start("talk", before=ignoring, terminal=theirs)
    os.close(theirs)
    leader = number_in(tmp_path / "leader.pid")
    assert os.read(ours, 100)

    os.close(ours)

    assert process.wait(timeout=600) == 129
    wait_until(lambda: not alive(leader))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tell"], "told here"),
        (["tell", "--on", "big"], "tell on big: {}"),
        (["tell", "--on", "big", "--times", "3"], "tell on big: {'times': 3}"),
    ],
    ids=["here", "there", "there, otherwise"],
)
def test_task_is_done_on_another_machine_with_what_was_asked_for(start: Start, words: list[str], told: str) -> None:
    """--on hands over the name, the machine, and the options that are not as they are without a word."""
    assert ending(start(*words)) == (0, f"{told}\n", "")


def test_task_under_nohup_outlives_its_terminal(start: Start, tmp_path: Path) -> None:
    """Who asked for a task that goes on when the terminal is gone gets it."""
    process = start("build", before=("sh", "-c", 'trap "" HUP; exec "$@"', "sh"))
    leader = number_in(tmp_path / "leader.pid")

    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)  # comes second, and ends it

    assert ending(process)[0] == 143
    wait_until(lambda: not alive(leader))


@pytest.mark.parametrize("words", [["many"], ["--list"]], ids=" ".join)
def test_pipe_that_nobody_reads_ends_the_task_quietly(start: Start, words: list[str]) -> None:
    """`| head` ends a task as it ends cat(1): 141 = 128 + SIGPIPE, without a traceback."""
    process = start(*words)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=600)

    assert (process.returncode, stderr) == (141, "")


def test_command_that_a_signal_ends_gives_the_code_of_a_shell(start: Start) -> None:
    """An inner command that dies by SIGPIPE ends the task with 141, as the shell would say."""
    assert ending(start("inner"))[0] == 141


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root works in the clones of others")
@pytest.mark.parametrize(("owner", "kept"), [(0, True), (1234, False)], ids=["one's own clone", "somebody else's"])
def test_compiled_modules_are_kept_in_ones_own_clone(start: Start, tmp_path: Path, owner: int, kept: bool) -> None:  # noqa: FBT001
    """They save a third of a short task; under sudo they would be root's, in the person's folders."""
    os.chown(tmp_path / "docker" / "host_tasks" / "setup" / "program.py", owner, owner)

    ending(start("act"))

    assert bool(list(tmp_path.rglob("__pycache__"))) == kept
