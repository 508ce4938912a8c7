"""Tests of host_tasks.kit.runner, with real processes, signals and a real terminal."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aids import alive, end_all, number_in, wait_until

from host_tasks.kit import runner
from host_tasks.kit.paths import DOCKER_DIR
from host_tasks.kit.words import ExitCode, HostError

# A task as far as signals go: it runs one command and prints how that ended.
TASK = """
import signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from host_tasks.kit import runner
watch = runner._watch
runner._watch = lambda *words: (watch(*words), Path("watched").touch())
for each in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(each, lambda number, _: sys.exit(128 + number))
runner.GRACE_S = float(sys.argv[2])
options = dict.fromkeys(filter(None, sys.argv[3].split(",")), True)
try:
    done = runner.run(sys.argv[4:], cwd=Path.cwd(), announce=False, also_stop=["touch", "stopped"], **options)
except KeyboardInterrupt:
    sys.exit(130)
print(repr(done.stderr))
"""


def sh(script: str) -> list[str]:
    """Return the argument list that runs a shell script."""
    return ["sh", "-c", script]


@pytest.fixture
def task(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a task of its own process in tmp_path; what is left of it is killed afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *argv: str, options: str = "", grace_s: float = 10, stderr: int = subprocess.PIPE
    ) -> "subprocess.Popen[str]":
        words = [sys.executable, "-c", TASK, str(DOCKER_DIR), str(grace_s), options, *argv]
        started.append(subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=stderr, text=True))
        return started[-1]

    yield start
    end_all(started, tmp_path)


def test_words_are_passed_as_they_are(tmp_path: Path) -> None:
    """An argument list is never read by a shell: nothing is split, expanded or executed."""
    words = ["a b", "$HOME", "$(touch pwned)", "`touch pwned`", "*", "'", '"', "", "x;touch pwned"]

    done = runner.run(["printf", "%s\\n", *words], cwd=tmp_path, capture=True)

    assert done.stdout.split("\n")[:-1] == words
    assert list(tmp_path.iterdir()) == []


def test_command_is_shown_before_it_runs_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command is printed as a person could paste it, its output goes to stderr too: stdout is for results."""
    runner.run(["echo", "a b"], cwd=tmp_path)

    assert capfd.readouterr() == ("", "$ echo 'a b'\na b\n")


def test_interactive_command_keeps_stdout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What a person asked to run writes to stdout itself."""
    runner.run(["echo", "a"], cwd=tmp_path, interactive=True, announce=False)

    assert capfd.readouterr() == ("a\n", "")


def test_environment_and_directory_are_those_given(tmp_path: Path) -> None:
    """Nothing is inherited beside the environment that is given."""
    done = runner.run(["/usr/bin/env"], cwd=tmp_path, env={"A": "b"}, capture=True)
    here = runner.run(["pwd"], cwd=tmp_path, capture=True)

    assert done.stdout == "A=b\n"
    assert here.stdout.strip() == str(tmp_path)


def test_command_has_no_stdin_that_it_could_wait_for(tmp_path: Path) -> None:
    """A command that asks something gets the end of the file, not the person's keys."""
    assert runner.run(["cat"], cwd=tmp_path, capture=True, timeout_s=20).ok


def test_exit_code_and_both_streams_are_returned(tmp_path: Path) -> None:
    """A captured command returns both streams apart, and the last line with words in it as the cause."""
    done = runner.run(sh("echo out; echo cause >&2; echo ' ' >&2; exit 3"), cwd=tmp_path, capture=True)

    assert (done.returncode, done.ok, done.stdout, done.stderr) == (3, False, "out\n", "cause\n \n")
    assert done.last_line == "cause"
    assert runner.run(sh("exit 3"), cwd=tmp_path, capture=True).last_line == "exit code 3"


def test_kept_output_is_shown_and_returned(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Both streams are shown on stderr in their order, and returned without the terminal's control sequences."""
    script = r"echo one; echo two >&2; printf '\033[31mthree\033[0m\r\n'; exit 4"

    done = runner.run(sh(script), cwd=tmp_path, keep=True, announce=False)

    assert (done.returncode, done.stdout, done.stderr) == (4, "", "one\ntwo\nthree\n")
    assert capfd.readouterr().err == "one\ntwo\n\x1b[31mthree\x1b[0m\r\n"


def test_only_the_end_of_much_output_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of hours does not fill the memory: the end, where the cause is, stays."""
    monkeypatch.setattr(runner, "KEPT_CHARACTERS", 10)

    done = runner.run(sh("seq 100000; echo the-cause"), cwd=tmp_path, keep=True, announce=False)

    assert done.stderr == "the-cause\n"


def test_character_on_the_border_of_two_reads_stays_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What comes in two pieces is one character: half of one is not an error of its own. What is none is shown so."""
    script = r"printf 'caf\303'; sleep 0.3; printf '\251 \377\n'"

    done = runner.run(sh(script), cwd=tmp_path, keep=True, announce=False)

    assert done.stderr == "café \ufffd\n"
    assert capfd.readouterr().err == "café \ufffd\n"


def test_kept_output_goes_to_a_terminal_as_large_as_ours(
    task: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    """Where stderr is a terminal the command gets one too, of the same size, and its end is noticed."""
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "rows", "33", "cols", "77"], stdin=theirs, check=True)

    running = task(*sh("test -t 1 && test -t 2 && stty size <&1"), options="keep", stderr=theirs)
    os.close(theirs)
    stdout, _ = running.communicate(timeout=600)

    assert stdout == "'33 77\\n'\n"
    assert b"33 77" in os.read(ours, 1000)
    os.close(ours)


def test_missing_command_ends_with_69(tmp_path: Path) -> None:
    """A command that is not there is named, with what to do."""
    with pytest.raises(HostError) as refusal:
        runner.run(["no-such-command", "x"], cwd=tmp_path)

    assert refusal.value.code == ExitCode.UNAVAILABLE
    assert (
        refusal.value.message
        == "error: no-such-command is not on the PATH\nfix: install no-such-command, then try again"
    )


@pytest.mark.parametrize("capture", [False, True], ids=["shown", "captured"])
def test_command_without_an_answer_ends_with_75_and_is_gone(tmp_path: Path, capture: bool) -> None:  # noqa: FBT001
    """A wait has an end: the message says for what and how long, and nothing of the command still runs."""
    argv = sh("sleep 60 & echo $! >child.pid; wait")

    with pytest.raises(HostError) as refusal:
        runner.run(argv, cwd=tmp_path, timeout_s=1, capture=capture)

    assert refusal.value.code == ExitCode.TRY_AGAIN
    assert refusal.value.problem == "`sh -c 'sleep 60 & echo $! >child.pid; wait'` gave no answer within 1 s"
    child = number_in(tmp_path / "child.pid")
    wait_until(lambda: not alive(child))


# The command writes down each signal and goes on until the test lets it end; a child of it ignores SIGINT.
STUBBORN = """
trap 'echo INT >>signals' INT
trap 'echo TERM >>signals' TERM
trap 'echo HUP >>signals' HUP
sleep 60 & echo $! >child.pid
echo $$ >leader.pid
while [ ! -e go ]; do sleep 0.01; done
"""


@pytest.mark.parametrize("options", ["", "capture", "keep"])
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["INT", "TERM", "HUP"],
)
def test_signal_is_passed_on_once_and_nothing_is_left(
    task: Callable[..., "subprocess.Popen[str]"], tmp_path: Path, number: signal.Signals, code: int, options: str
) -> None:
    """However often Ctrl-C is pressed the command gets one, ends in its own time, and its children end with it."""
    running = task(*sh(STUBBORN), options=options)
    leader, child = number_in(tmp_path / "leader.pid"), number_in(tmp_path / "child.pid")
    signals = tmp_path / "signals"

    running.send_signal(number)
    wait_until(signals.exists)
    for _ in range(5):
        running.send_signal(number)
    still_there = alive(leader) and running.poll() is None
    (tmp_path / "go").touch()
    _, stderr = running.communicate(timeout=600)

    assert still_there
    assert (running.returncode, "Traceback" in stderr) == (code, False)
    assert signals.read_text(encoding="utf-8") == ("INT\n" if number == signal.SIGINT else "TERM\n")
    assert (tmp_path / "stopped").exists()
    wait_until(lambda: not alive(leader) and not alive(child))


def test_command_that_does_not_end_is_killed(task: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    """A command that stays after its signal and the grace is killed, with its children."""
    running = task(*sh(STUBBORN), grace_s=0.1)
    leader, child = number_in(tmp_path / "leader.pid"), number_in(tmp_path / "child.pid")

    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=600)

    assert running.returncode == 143
    wait_until(lambda: not alive(leader) and not alive(child))


@pytest.mark.parametrize("options", ["", "keep"])
def test_killed_task_takes_its_command_along(
    task: Callable[..., "subprocess.Popen[str]"], tmp_path: Path, options: str
) -> None:
    """After kill -9 nobody holds the lock: a build that went on would replace the server behind a person's back."""
    running = task(*sh(STUBBORN), options=options, grace_s=0.1)
    leader, child = number_in(tmp_path / "leader.pid"), number_in(tmp_path / "child.pid")

    wait_until((tmp_path / "watched").exists)
    running.kill()

    wait_until(lambda: not alive(leader) and not alive(child))
    assert (tmp_path / "stopped").exists()


def test_killed_task_takes_its_interactive_command_along(
    task: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    """A command that shares the terminal, and so the group, ends alone: what else is in the pipeline is not ours."""
    running = task(*sh("echo $$ >leader.pid; exec sleep 60"), options="interactive")
    leader = number_in(tmp_path / "leader.pid")

    wait_until((tmp_path / "watched").exists)
    running.kill()

    wait_until(lambda: not alive(leader) and (tmp_path / "stopped").exists())


def test_command_that_ended_leaves_nothing_to_stop(
    task: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    """Where the command ends by itself the second one does not run, and nobody watches any more."""
    running = task("true")
    running.communicate(timeout=600)

    assert (running.returncode, (tmp_path / "stopped").exists()) == (0, False)


def test_interactive_command_gets_the_signal_too(task: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    """Without a terminal that tells it, an interactive command hears of the end from the task."""
    running = task(*sh("echo $$ >leader.pid; exec sleep 60"), options="interactive")
    leader = number_in(tmp_path / "leader.pid")

    running.send_signal(signal.SIGINT)
    running.communicate(timeout=600)

    assert running.returncode == 130
    wait_until(lambda: not alive(leader))


def test_signal_amid_the_start_of_a_command_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C that comes while the command is being started ends the command, instead of leaving it behind."""
    started: list[subprocess.Popen[str]] = []
    start = subprocess.Popen

    def interrupted_start(*words: object, **options: object) -> "subprocess.Popen[str]":
        started.append(start(*words, **options))  # type: ignore[call-overload]
        signal.raise_signal(signal.SIGINT)
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", interrupted_start)

    with pytest.raises(KeyboardInterrupt):
        runner.run(["sleep", "60"], cwd=tmp_path, capture=True)

    assert started[0].returncode == -signal.SIGINT
