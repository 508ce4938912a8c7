"""What the tests share: waiting, processes, another user, programs that stand in for others."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

from host_tasks.setup.basics import CALLED_AS

Answer = TypeVar("Answer")
PATIENCE = 10  # a machine at load takes that many times as long; a bound is for what hangs, and no test passes by it


@pytest.fixture(autouse=True)
def called_as_invoke(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name commands as `invoke up`, however these tests were called themselves."""
    monkeypatch.setenv(CALLED_AS, "invoke")


def wait_until(predicate: Callable[[], object], *, timeout_s: float = 20, what: str = "what is waited for") -> None:
    """Return as soon as the predicate holds; fail after timeout_s of a quiet machine, naming what was waited for."""
    deadline = time.monotonic() + PATIENCE * timeout_s
    while not predicate():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE * timeout_s:g} s"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def number_in(path: Path) -> int:
    """Return the process id that a process writes to a file, once it is there."""
    wait_until(lambda: path.exists() and path.read_text(encoding="utf-8").endswith("\n"), what=str(path))
    return int(path.read_text(encoding="utf-8"))


def end_all(started: "Iterable[subprocess.Popen[str]]", folder: Path) -> None:
    """End processes, and before them those whose ids stand in *.pid files of a folder: they hold the pipes open."""
    for left in folder.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number_in(left), signal.SIGKILL)
    for each in started:
        each.kill()
        each.communicate(timeout=600)


def executable(path: Path, body: str, *, interpreter: str = "/bin/sh") -> Path:
    """Write a program, which stands in for another; its folder is made too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{interpreter}\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def as_person(body: Callable[[Path], Answer], path: Path) -> Answer:
    """Return what body returns in a child process that is not root (uid 1234 where the tests run as root)."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()

    def child() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(1234)
            os.setuid(1234)
        theirs.send(body(path))

    process = fork.Process(target=child)
    process.start()
    theirs.close()
    process.join()
    answer: Answer = ours.recv()
    return answer
