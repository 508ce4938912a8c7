"""The one way a command is run: an argument list, a directory, an environment, and signals passed on once."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_tasks.ground import report
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.watcher import Watcher

GRACE_S = 10.0
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows ends a process at once by either
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
KEPT_CHARACTERS = 64_000
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")  # ECMA-48, 5.4: control sequences


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str  # empty where it was not captured
    stderr: str  # empty where it was not captured

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.returncode == 0

    @property
    def last_line(self) -> str:
        """The last non-blank line of stderr, else of stdout: where most programs put the cause."""
        lines = [line.strip() for line in (self.stdout + "\n" + self.stderr).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.returncode}"


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    capture: bool = False,
    keep: bool = False,
    interactive: bool = False,
    announce: bool = True,
    watched: bool = True,
    also_stop: Sequence[str] = (),
) -> Finished:
    """Run a command to its end and return how it ended; where this process ends first, however, so does the command.

    Output goes to stderr unless captured; kept output does both, and its end is returned as stderr.
    An interactive command keeps the terminal and its signals; any other gets each signal once, in its own session.
    A command that ends by itself at once needs no watcher; a captured one has none. also_stop is a second command, for
    what the first has started elsewhere; it runs where the first must end early.

    Raises:
        HostError: the command is not on the PATH (69), or did not end within timeout_s (75).
    """
    if announce:
        report.command(shlex.join(argv))
    options, terminal = _options(cwd, env, capture=capture, keep=keep, interactive=interactive)
    with _undisturbed() as came:
        watcher = Watcher(also_stop, grace_s=GRACE_S, needed=watched and not capture)
        started = _Started(_process(argv, watcher, options), also_stop, watcher, interactive=interactive)
    return _wait(started, terminal, keep=keep, timeout_s=timeout_s, came=came)


def _options(
    cwd: Path, env: Mapping[str, str] | None, *, capture: bool, keep: bool, interactive: bool
) -> tuple[dict[str, Any], int | None]:
    """Return the options of Popen, and our end of a terminal of the command's own."""
    ours, theirs = (_own_terminal() if keep else None) or (None, subprocess.PIPE)
    return {
        "cwd": cwd,
        "env": env,
        "stdin": None if interactive else subprocess.DEVNULL,
        "stdout": theirs if capture or keep else None if interactive else sys.stderr,
        "stderr": subprocess.PIPE if capture else subprocess.STDOUT if keep else None,
        "start_new_session": not interactive,
        "text": True,
        "errors": "replace",
    }, ours


def _process(argv: Sequence[str], watcher: Watcher, options: Mapping[str, Any]) -> "subprocess.Popen[str]":
    """Start a command under its watcher, or say that it is missing."""
    try:
        process = subprocess.Popen(list(argv), **options)
    except FileNotFoundError as err:
        watcher.dismiss()
        raise HostError(
            f"{argv[0]} is not on the PATH", fix=f"install {argv[0]}, then try again", code=ExitCode.UNAVAILABLE
        ) from err
    finally:
        if isinstance(options["stdout"], int) and options["stdout"] >= 0:  # the command's end of a terminal
            os.close(options["stdout"])
    watcher.watch(-process.pid if options["start_new_session"] else process.pid)
    return process


@dataclass(frozen=True)
class _Started:
    """A command that runs, and how it is stopped."""

    process: "subprocess.Popen[str]"
    also_stop: Sequence[str]
    watcher: Watcher
    interactive: bool = field(kw_only=True)

    def stop(self, how: signal.Signals) -> None:
        """Send one signal, then SIGKILL to what is there after GRACE_S, or of the group after the command's end."""
        with _undisturbed():
            if self.also_stop:
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    subprocess.run(self.also_stop, capture_output=True, timeout=2 * GRACE_S, check=False)
            for each in (how, KILL):
                # Ended already, or another user's: sudo's, which the terminal has told.
                with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
                    if self.interactive or os.name == "nt":
                        self.process.send_signal(each)
                    else:
                        os.killpg(self.process.pid, each)
                    self.process.wait(timeout=GRACE_S)


def _shown(process: "subprocess.Popen[str]", terminal: int | None) -> str:
    """Show a process's output as it comes until it ends, and return the last KEPT_CHARACTERS of it."""
    source = terminal if terminal is not None else process.stdout.fileno() if process.stdout else -1
    kept = ""
    while True:
        try:
            piece = os.read(source, 65536)
        except OSError:  # EIO: the other end of a terminal has closed (Linux, pty(7))
            piece = b""
        if not piece:
            break
        text = piece.decode(errors="replace")
        sys.stderr.write(text)
        sys.stderr.flush()
        kept = (kept + text)[-KEPT_CHARACTERS:]
    process.wait()
    if terminal is not None:
        os.close(terminal)
    return ESCAPES.sub("", kept)


def _own_terminal() -> tuple[int, int] | None:
    """Return both ends of a new terminal as large as stderr's, where that is one: Docker draws its progress there."""
    if os.name == "nt" or not sys.stderr.isatty():
        return None
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    size = fcntl.ioctl(sys.stderr.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    return ours, theirs


def _wait(
    started: _Started, terminal: int | None, *, keep: bool, timeout_s: float | None, came: Sequence[int]
) -> Finished:
    """Wait for a process; pass a signal on once, and leave nothing of it running."""
    process = started.process
    argv = tuple(map(str, process.args))  # type: ignore[arg-type]
    try:
        for number in came[:1]:  # while it was being started
            signal.raise_signal(number)
        stdout, stderr = ("", _shown(process, terminal)) if keep else process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as err:
        started.stop(KILL)
        raise HostError(
            f"`{shlex.join(argv)}` gave no answer within {timeout_s:g} s",
            fix="see whether the engine hangs: docker info",
            code=ExitCode.TRY_AGAIN,
        ) from err
    except KeyboardInterrupt:
        started.stop(signal.SIGINT)
        raise
    except BaseException:  # SIGTERM or SIGHUP, see task.task; nobody reads what is shown
        started.stop(signal.SIGTERM)
        raise
    finally:
        started.watcher.dismiss()
    return Finished(argv, process.returncode, stdout or "", stderr or "")


@contextlib.contextmanager
def _undisturbed() -> Iterator[list[int]]:
    """Let no signal of ENDING leave a process behind amid its start or its end; yield the numbers of those that come.

    Only a main thread gets any, and one that is ignored, or ends this process at once, stays so.
    """
    came: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for each in filter(lambda each: callable(signal.getsignal(each)), ENDING):
            before[each] = signal.signal(each, lambda number, _: came.append(number))
    try:
        yield came
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def as_root(*argv: str) -> list[str]:
    """Return a command that runs as root: through sudo where the caller is not, which may ask on a terminal."""
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        return list(argv)
    proxies = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "no_proxy")]
    unasked = [] if sys.stdin.isatty() else ["--non-interactive"]
    return ["sudo", *unasked, *(f"--preserve-env={name}" for name in proxies), *argv]
