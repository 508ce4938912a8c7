"""The one way a command is run: an argument list, a directory, an environment, and signals passed on once."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from host_tasks.ground import report
from host_tasks.ground.errors import ExitCode, HostError

GRACE_S = 10.0
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows ends a process at once by either
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
) -> Finished:
    """Run a command to its end and return how it ended.

    Captured output is text; output that is not captured goes to stderr, so that stdout stays for results.
    Output that is kept does both: it is shown, and its end is returned as stderr.
    An interactive command keeps the terminal and its signals; any other runs in a session of its own and
    gets SIGINT or SIGTERM exactly once, however often the terminal or the caller repeats it.

    Raises:
        HostError: the command is not on the PATH (69), or did not end within timeout_s (75).
    """
    if announce:
        report.command(shlex.join(argv))
    terminal = _own_terminal() if keep else None
    out: int | IO[str] | None = subprocess.PIPE if capture or keep else (None if interactive else sys.stderr)
    try:
        with _undisturbed() as came:
            process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=None if env is None else dict(env),
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=terminal[1] if terminal else out,
                stderr=subprocess.PIPE if capture else subprocess.STDOUT if keep else None,
                text=True,
                errors="replace",
                start_new_session=not interactive,
                preexec_fn=None if interactive else _end_with_us(),
            )
    except FileNotFoundError as err:
        raise HostError(
            f"{argv[0]} is not on the PATH", fix=f"install {argv[0]}, then try again", code=ExitCode.UNAVAILABLE
        ) from err
    finally:
        if terminal:
            os.close(terminal[1])
    shown = (lambda: _shown(process, terminal[0] if terminal else None)) if keep else None
    return _wait(process, tuple(argv), timeout_s=timeout_s, interactive=interactive, shown=shown, came=came)


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


def _end_with_us() -> Callable[[], None] | None:
    """Return what makes a new process get SIGTERM when this one is killed; None elsewhere than on Linux.

    Without it a build would go on without the lock. It is one system call, so safe between fork and exec.
    """
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, int(signal.SIGTERM))  # 1: PR_SET_PDEATHSIG


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
    process: "subprocess.Popen[str]",
    argv: tuple[str, ...],
    *,
    timeout_s: float | None,
    interactive: bool,
    shown: Callable[[], str] | None,
    came: Sequence[int],
) -> Finished:
    """Wait for a process; pass a signal on once, and leave nothing of it running."""
    try:
        for number in came[:1]:  # while it was being started
            signal.raise_signal(number)
        stdout, stderr = ("", shown()) if shown else process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as err:
        _stop(process, KILL, interactive=interactive)
        raise HostError(
            f"`{shlex.join(argv)}` gave no answer within {timeout_s:g} s",
            fix="see whether the engine hangs: docker info",
            code=ExitCode.TRY_AGAIN,
        ) from err
    except KeyboardInterrupt:
        _stop(process, signal.SIGINT, interactive=interactive)
        raise
    except SystemExit:  # SIGTERM, see tasks.task
        _stop(process, signal.SIGTERM, interactive=interactive)
        raise
    return Finished(argv, process.returncode, stdout or "", stderr or "")


def _stop(process: "subprocess.Popen[str]", how: signal.Signals, *, interactive: bool) -> None:
    """Send one signal to the process's group, then SIGKILL to what of it is there after GRACE_S, or after its end."""
    with _undisturbed():
        for each in (how, KILL):
            # Ended already, or another user's: sudo's, which the terminal has told.
            with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
                if interactive or os.name == "nt":
                    process.send_signal(each)
                else:
                    os.killpg(process.pid, each)
                process.wait(timeout=GRACE_S)


@contextlib.contextmanager
def _undisturbed() -> Iterator[list[int]]:
    """Let no SIGINT or SIGTERM leave a process behind amid its start or its end; yield the numbers of those that come.

    Only a main thread gets any, and one that is ignored, or ends this process at once, stays so.
    """
    came: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for each in filter(lambda each: callable(signal.getsignal(each)), (signal.SIGINT, signal.SIGTERM)):
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
