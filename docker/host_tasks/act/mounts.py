"""Repairs of mount sources: a missing folder is made, and what is root's is given to who works in the container."""

import contextlib
import os
from pathlib import Path

from host_tasks.decide.plan import Step
from host_tasks.ground import report
from host_tasks.ground.commands import path_word
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import shown
from host_tasks.observe.mounts import MISSING, roots
from host_tasks.observe.observation import Observation


def make(step: Step, seen: Observation) -> None:
    """Make the missing folders of the clone as the caller; the engine would make them as root.

    Raises:
        HostError: one cannot be made (73).
    """
    for place in seen.places:
        if place.kind == MISSING and place.ours:
            _make(place.mount.source)
            report.note(f"{place.shown}: made, since it was missing")


def _make(folder: Path) -> None:
    """Make a folder.

    Raises:
        HostError: it cannot be made (73).
    """
    try:
        folder.mkdir(parents=True)
    except OSError as err:
        raise HostError(
            f"{shown(folder)} is missing and cannot be made: {err.strerror}",
            fix=f"sudo install -d -o {os.getuid()} -g {os.getgid()} {path_word(folder)}",
            code=ExitCode.CANNOT_CREATE,
        ) from err


def give(step: Step, seen: Observation) -> None:
    """Give what is root's in the clone's folders to the identity, and say how many entries that were.

    Each is opened without following a link, looked at again, and changed through its descriptor: whatever the
    container puts in its place meanwhile is another file. An entry that vanishes, or that cannot change its owner
    (immutable, NFS), is left to the probe.
    """
    who = seen.settings.identity
    for place in seen.places:
        if place.of_root and place.ours:
            given = sum(_given(*entry, who.uid, who.gid) for entry in roots(place.mount.source))
            report.note(f"{place.shown}: {given} of root's given to {who.user} ({who.uid}:{who.gid})")


def _given(path: str, device: int, inode: int, uid: int, gid: int) -> bool:
    """Return whether the very entry that was seen has changed its owner."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)  # Linux, open(2)
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino, status.st_uid) == (device, inode, 0):
                os.chown(f"/proc/self/fd/{descriptor}", uid, gid)  # what the descriptor holds, by no path (proc(5))
                return True
        finally:
            os.close(descriptor)
    return False
