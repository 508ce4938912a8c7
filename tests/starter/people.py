"""Another user to run a part of a test as."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path


def as_person(body: Callable[[Path], tuple[int, str, str]], path: Path) -> tuple[int, str, str]:
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
    answer: tuple[int, str, str] = ours.recv()
    return answer
