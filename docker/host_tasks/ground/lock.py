"""The one lock of a clone: held while .env, containers or folders change, freed by the kernel when its holder dies."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from host_tasks.ground import report
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import LOCK_FILE, shown
from host_tasks.setup import basics

POLL_S = 0.1


@contextlib.contextmanager
def held(path: Path = LOCK_FILE, *, timeout_s: float = 1800.0) -> Iterator[None]:
    """Hold the lock, waiting for another holder and saying so once; the wait is longer than any build.

    Raises:
        HostError: the lock file cannot be made (73), or another task held it for timeout_s (75).
    """
    try:
        descriptor = basics.open_lock(str(path))
    except OSError as err:
        raise HostError(
            f"{shown(path)} cannot be made: {err.strerror}",
            fix=basics.fix_access(str(path)),
            code=ExitCode.CANNOT_CREATE,
        ) from err
    try:
        _acquire(descriptor, path, timeout_s)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, timeout_s: float) -> None:
    """Take the lock or wait for it, up to timeout_s."""
    deadline = time.monotonic() + timeout_s
    announced = False
    while not _taken(descriptor):
        if not announced:
            report.note("Another task is at work in this clone: waiting for it to end.")
            announced = True
        if time.monotonic() >= deadline:
            raise HostError(
                f"another task has held {shown(path)} for {timeout_s:g} s",
                fix="end that task, then try again",
                code=ExitCode.TRY_AGAIN,
            )
        time.sleep(POLL_S)


def _taken(descriptor: int) -> bool:
    """Return whether the lock is ours now."""
    try:
        return basics.try_lock(descriptor)
    except OSError as err:
        raise HostError(
            f"this file system has no locks: {err.strerror}",
            fix="move the clone to a local disk",
            code=ExitCode.UNAVAILABLE,
        ) from err
