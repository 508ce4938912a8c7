"""Tasks that run beside a test, and the processes of this machine."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from conftest import PROGRAM, Clone, wait_until


@dataclass(frozen=True)
class Started:
    """A task that runs beside this test, in a session of its own."""

    pid: int
    log: Path  # stdout and stderr
    terminal: int | None = None  # the other end of its terminal

    def said(self) -> str:
        """Return what it has said so far."""
        if self.terminal is not None:
            self._drain()
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ended(self, *, timeout_s: float = 120) -> int:
        """Wait for its end and return its exit code, negative for a signal."""
        codes: list[int] = []

        def over() -> bool:
            self.said()  # a terminal that nobody reads would block it
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            codes.extend([os.waitstatus_to_exitcode(status)] if pid else [])
            return bool(pid)

        wait_until(over, timeout_s=timeout_s, what=f"the end of the task, which said {self.said()[-2000:]}")
        return codes[0]

    def _drain(self) -> None:
        """Move what the terminal holds to the log."""
        assert self.terminal is not None
        with self.log.open("ab") as log, suppress(BlockingIOError, OSError):
            while piece := os.read(self.terminal, 65536):
                log.write(piece)


def start(clone: Clone, *words: str, terminal: bool = False) -> Started:
    """Start `invoke <words>` in the clone, on a terminal of its own or on none."""
    argv = [sys.executable, "-I", str(clone.root / PROGRAM), *words]
    log = clone.root.parent / f"log-{len(list(clone.root.parent.glob('log-*')))}"
    log.touch()
    if not terminal:
        with log.open("wb") as out:
            process = subprocess.Popen(
                argv, cwd=clone.root, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        process.returncode = 0  # it is waited for by its pid
        return Started(process.pid, log)
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(clone.root)
        os.execv(argv[0], argv)  # noqa: S606 - it becomes the task
    os.set_blocking(descriptor, False)
    return Started(pid, log, descriptor)


def processes() -> list[Path]:
    """Return the folders of all processes of this machine in /proc."""
    return [each for each in Path("/proc").iterdir() if each.name.isdecimal()]


def commands(among: Iterable[Path] | None = None) -> list[str]:
    """Return the command lines of processes, or of all of this machine."""
    found = []
    for each in processes() if among is None else among:
        with suppress(OSError):
            found.append((each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip())
    return found


def at_work(clone: Clone) -> list[str]:
    """Return the command lines of the processes that work in a folder of the clone."""
    found = []
    for each in processes():
        with suppress(OSError):
            if (each / "cwd").readlink().is_relative_to(clone.root):
                found.append(each)
    return commands(found)


def ctrl_c(task: Started) -> None:
    """Type Ctrl-C at the task's terminal."""
    assert task.terminal is not None
    os.write(task.terminal, b"\x03")


def close_window(task: Started) -> None:
    """Close the terminal window of a task: its terminal hangs up."""
    assert task.terminal is not None
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), task.terminal)
