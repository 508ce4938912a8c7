"""Repairs of mount sources: a missing folder is made, and what is root's is given to who works in the container."""

import contextlib
import os
from pathlib import Path

from host_tasks.decide.plan import Step
from host_tasks.ground import report
from host_tasks.ground.commands import path_word
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import shown
from host_tasks.observe.mounts import roots
from host_tasks.observe.observation import Observation


def make(step: Step, seen: Observation) -> None:
    """Make a folder as the caller; the engine would make it as root.

    Raises:
        HostError: it cannot be made (73).
    """
    folder = Path(str(step.values["folder"]))
    try:
        folder.mkdir(parents=True)
    except OSError as err:
        raise HostError(
            f"{shown(folder)} is missing and cannot be made: {err.strerror}",
            fix=f"sudo install -d -o {os.getuid()} -g {os.getgid()} {path_word(folder)}",
            code=ExitCode.CANNOT_CREATE,
        ) from err
    report.note(f"{shown(folder)}: made, since it was missing")


def give(step: Step, seen: Observation) -> None:
    """Give what is root's in a folder to the identity, and say how many entries that were.

    Each is opened without following a link, looked at again, and changed through its descriptor: whatever the
    container puts in its place meanwhile is another file. An entry that vanishes, or that cannot change its owner
    (immutable, NFS), is left to the probe.
    """
    folder, who = Path(str(step.values["folder"])), seen.settings.identity
    given = sum(_given(path, device, inode, who.uid, who.gid) for path, device, inode in roots(folder))
    report.note(f"{shown(folder)}: {given} of root's given to {who.user} ({who.uid}:{who.gid})")


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
