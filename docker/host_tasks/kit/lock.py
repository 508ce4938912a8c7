"""The one lock of a clone: held while .env, containers or folders change, freed by the kernel when its holder dies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from host_tasks.kit import files
from host_tasks.kit.paths import LOCK_FILE, shown
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.setup.basics import LOCK_TIMEOUT_S, open_lock, wait_for_lock

WAITING = "Another task is at work in this clone: waiting for it to end."


@contextlib.contextmanager
def held(path: Path = LOCK_FILE, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold the lock, waiting for another holder and saying so once.

    Raises:
        HostError: the lock file cannot be made (73), or another task held it for timeout_s (75).
    """
    try:
        descriptor = open_lock(str(path))
    except OSError as err:
        raise files.refusal(path, "made", err) from err
    try:
        try:
            taken = wait_for_lock(descriptor, WAITING, timeout_s)
        except OSError as err:
            problem = f"this file system has no locks: {err.strerror}"
            raise HostError(problem, fix="move the clone to a local disk", code=ExitCode.UNAVAILABLE) from err
        if not taken:
            problem = f"another task has held {shown(path)} for {timeout_s:g} s"
            raise HostError(problem, fix="end that task, then try again", code=ExitCode.TRY_AGAIN)
        yield
    finally:
        os.close(descriptor)
