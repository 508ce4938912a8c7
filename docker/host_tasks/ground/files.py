"""Write a file at once: whoever reads it, and whatever is killed, finds the old content or the new one."""

import contextlib
import errno
import os
import stat
from pathlib import Path

from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import shown


def write(path: Path, content: bytes | None) -> None:
    """Replace a file, following a link to it; None only clears away what a killed writer left.

    Mode, and the owner where root writes, are kept; a new file is its owner's only. The caller holds the lock.

    Raises:
        HostError: the folder is not writable (73), or its disk is full (74); the file is as it was.
    """
    target = path.resolve()
    temporary = target.with_name(f"{target.name}.invoke-tmp")
    try:
        if temporary.exists():
            temporary.unlink()
        if content is not None:
            _replace(target, content, temporary)
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            code, fix = ExitCode.IO, f"make room there: df {shown(target.parent)}"
        else:
            code, fix = ExitCode.CANNOT_CREATE, f"make {shown(target.parent)} writable for you"
        raise HostError(f"{shown(path)} cannot be written: {err.strerror}", fix=fix, code=code) from err


def hand_over(descriptor: int) -> None:
    """Give a file that root made under sudo to the person behind it (SUDO_UID and SUDO_GID, sudo(8))."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.name == "nt" or os.geteuid() != 0 or os.fstat(descriptor).st_uid != 0:
        return
    if uid.isdecimal() and gid.isdecimal():
        os.fchown(descriptor, int(uid), int(gid))


def _replace(target: Path, content: bytes, temporary: Path) -> None:
    """Write a new file and put it in the target's place; nothing of it stays where that fails."""
    old = target.stat() if target.exists() else None
    try:
        descriptor, named = _new_file(temporary)
        with os.fdopen(descriptor, "wb") as stream:
            if old is None:
                hand_over(descriptor)
            elif os.name != "nt":
                if os.geteuid() == 0:
                    os.fchown(descriptor, old.st_uid, old.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
            if not named:  # a src_dir_fd makes os.link call linkat, which follows the link in /proc
                os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=descriptor)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _new_file(path: Path) -> tuple[int, bool]:
    """Return an open new file, and whether it has its name yet: one without (Linux, open(2)) dies with its process."""
    if hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").is_dir():
        with contextlib.suppress(OSError):  # this file system has no such files
            return os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o600), False
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), True
