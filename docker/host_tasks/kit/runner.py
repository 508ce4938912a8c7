"""The one way a command is run: an argument list, a directory, an environment, and signals passed on once."""

from __future__ import annotations

import codecs
import contextlib
import functools
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
from typing import Any, TextIO

from host_tasks.kit import report
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.setup.basics import visible

GRACE_S = 10.0
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows ends a process at once by either
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
KEPT_CHARACTERS = 64_000
COLOURS = r"\r*\n|\t|\x1b\[[0-9;:]{0,30}m"  # what stays of a container's lines (ECMA-48, 8.3.117: SGR)
DRAWN = r"[\r\n\t]|\x1b\[[0-9;:?]{0,30}[A-DGKhlm]"  # by Docker on a terminal: moves, lines, the cursor, colours
ESCAPES = re.compile(r"\x1b\[[0-9;:?]*[A-Za-z]|\r")  # ECMA-48, 5.4: control sequences
BEGUN = re.compile(r"(\r+|\x1b(\[[0-9;:?]{0,30})?)\Z")  # what may end in the next piece

# A watcher's stdin: what to end, and later a line where there is nothing to end. $1: tenths of a second until the last
# signal. What has ended counts until process 1 takes notice of it, which may be seconds: so it waits in no folder of
# ours.
WATCH = """
left=$1; shift
read -r target || exit
read -r _ && exit
"$@"
cd /
kill -s TERM -- "$target"
while kill -s 0 -- "$target" && [ "$left" -gt 0 ]; do sleep 0.1; left=$((left - 1)); done
kill -s KILL -- "$target"
"""


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
    logs: bool = False,
    interactive: bool = False,
    announce: bool = True,
    watched: bool = True,
    also_stop: Sequence[str] = (),
) -> Finished:
    """Run a command to its end and return how it ended; where this process ends first, so does the command.

    Output goes to stderr unless captured; kept output does both, and its end is returned as stderr.
    What is shown of `logs` are a container's lines: they go to stdout, with their colours and nothing else.
    An interactive command keeps the terminal and its signals; any other gets each signal once, in its own session.
    A command that ends by itself at once needs no watcher; a captured one has none. also_stop is a second command, for
    what the first has started elsewhere; it runs where the first must end early.

    Raises:
        HostError: the command is not on the PATH (69), or did not end within timeout_s (75).
    """
    if announce:
        report.command(shlex.join(argv))
    shown = sys.stdout if logs else sys.stderr
    terminal, theirs = (_own_terminal(shown) if keep or logs else None) or (None, subprocess.PIPE)
    options: dict[str, Any] = {
        "cwd": cwd,
        "env": env,
        "stdin": None if interactive else subprocess.DEVNULL,
        "stdout": theirs if capture or keep or logs else None if interactive else sys.stderr,
        "stderr": subprocess.PIPE if capture else subprocess.STDOUT if keep else None,
        "start_new_session": not interactive,
        "encoding": "utf-8",
        "errors": "replace",
    }
    with _undisturbed() as came:
        watcher = _watcher(also_stop) if watched and not capture and os.name != "nt" else None
        try:
            process = subprocess.Popen(list(argv), **options)
        except FileNotFoundError as err:
            if watcher:
                watcher.communicate()
            problem, fix = f"{argv[0]} is not on the PATH", f"install {argv[0]}, then try again"
            raise HostError(problem, fix=fix, code=ExitCode.UNAVAILABLE) from err
        finally:
            if terminal is not None:
                os.close(theirs)
        if watcher:
            _watch(watcher, process.pid if interactive else -process.pid)
        started = _Started(process, also_stop, watcher, interactive)
    show = functools.partial(_shown, process, terminal, shown, COLOURS if logs or terminal is None else DRAWN)
    return _wait(started, show if keep or logs else None, timeout_s=timeout_s, came=came)


def _watcher(also_stop: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start what ends a command where this process is killed: the pipe closes then.

    It comes before the command, in a session of its own, so that there is no moment without it; else a build would go
    on without the lock, and end in a start that nobody expects.
    """
    argv, pipe, null = (
        ["sh", "-c", WATCH, "sh", str(round(GRACE_S * 10)), *also_stop],
        subprocess.PIPE,
        subprocess.DEVNULL,
    )
    return subprocess.Popen(argv, stdin=pipe, stdout=null, stderr=null, bufsize=0, start_new_session=True)


def _watch(watcher: subprocess.Popen[bytes], target: int) -> None:
    """Say what to end, as kill(2) takes it: a process, or the negative number of its group."""
    with contextlib.suppress(BrokenPipeError):  # killed by somebody else
        watcher.stdin.write(f"{target}\n".encode())  # type: ignore[union-attr]


@dataclass(frozen=True)
class _Started:
    """A command that runs, and how it is stopped."""

    process: subprocess.Popen[str]
    also_stop: Sequence[str]
    watcher: subprocess.Popen[bytes] | None
    interactive: bool

    def stop(self, how: signal.Signals) -> None:
        """Send one signal, then SIGKILL to what is there after GRACE_S, or of the group after the command's end."""
        with _undisturbed():
            if self.also_stop:
                with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                    subprocess.run(self.also_stop, capture_output=True, timeout=2 * GRACE_S, check=False)
            for number in (how, KILL):
                # Ended already, or another user's: sudo's, which the terminal has told.
                with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
                    if not self.interactive and os.name != "nt":
                        os.killpg(self.process.pid, number)
                    elif (os.name, number) != ("nt", signal.SIGINT):  # Windows tells all of a console of Ctrl-C
                        self.process.send_signal(number)
                    self.process.wait(timeout=GRACE_S)


def _wait(
    started: _Started, show: Callable[[], str] | None, *, timeout_s: float | None, came: Sequence[int]
) -> Finished:
    """Wait for a process; pass a signal on once, and leave nothing of it running."""
    process = started.process
    argv = tuple(map(str, process.args))  # type: ignore[arg-type]
    try:
        for number in came[:1]:  # while it was being started
            signal.raise_signal(number)
        stdout, stderr = ("", show()) if show else process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as err:
        started.stop(KILL)
        problem = f"`{shlex.join(argv)}` gave no answer within {timeout_s:g} s"
        raise HostError(problem, fix="see whether the engine hangs: docker info", code=ExitCode.TRY_AGAIN) from err
    except KeyboardInterrupt:
        started.stop(signal.SIGINT)
        raise
    except BaseException:  # SIGTERM or SIGHUP, see task.task; nobody reads what is shown
        started.stop(signal.SIGTERM)
        raise
    finally:
        if started.watcher:
            started.watcher.communicate(b"done\n")
    return Finished(argv, process.returncode, stdout or "", stderr or "")


def _shown(process: subprocess.Popen[str], terminal: int | None, stream: TextIO, staying: str) -> str:
    """Show a process's output as it comes until it ends, and return the last KEPT_CHARACTERS of it.

    Of what a terminal obeys only what fits the pattern stays: BuildKit passes on what a step writes (tried: 0.13,
    each line of plain progress, and on a terminal the last lines of a step that failed).
    """
    source = terminal if terminal is not None else process.stdout.fileno() if process.stdout else -1
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a character may come in two pieces
    kept, begun, piece = "", "", b"?"
    while piece:
        try:
            piece = os.read(source, 65536)
        except OSError:  # EIO: the other end of a terminal has closed (Linux, pty(7))
            piece = b""
        text = begun + decoder.decode(piece, final=not piece)
        begun = found[0] if piece and (found := BEGUN.search(text)) else ""
        text = text.removesuffix(begun)
        stream.write(visible(text, but=staying))
        stream.flush()
        kept = (kept + text)[-KEPT_CHARACTERS:]
    process.wait()
    if terminal is not None:
        os.close(terminal)
    return ESCAPES.sub("", kept)


def _own_terminal(stream: TextIO) -> tuple[int, int] | None:
    """Return both ends of a new terminal as large as a stream's, where that is one: Docker draws and colours there."""
    if os.name == "nt" or not stream.isatty():
        return None
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    size = fcntl.ioctl(stream.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    return ours, theirs


@contextlib.contextmanager
def _undisturbed() -> Iterator[list[int]]:
    """Let no signal of ENDING leave a process behind amid its start or its end; yield the numbers of those that come.

    Only a main thread gets any, and one that is ignored, or ends this process at once, stays so.
    """
    came: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in filter(lambda number: callable(signal.getsignal(number)), ENDING):
            before[number] = signal.signal(number, lambda caught, _: came.append(caught))
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def as_root(*argv: str) -> list[str]:
    """Return a command that runs as root: through sudo where the caller is not, which may ask on a terminal."""
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        return list(argv)
    proxies = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "no_proxy")]
    unasked = [] if sys.stdin.isatty() else ["--non-interactive"]
    return ["sudo", *unasked, *(f"--preserve-env={name}" for name in proxies), *argv]
