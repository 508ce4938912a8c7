"""Write a file at once: whoever reads it, and whatever is killed, finds the old content or the new one."""

import errno
import os
import stat
from pathlib import Path

from host_tasks.ground.commands import path_word
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import shown
from host_tasks.setup.basics import fix_access, rightful_owner


def write(path: Path, content: bytes | None, *, private: bool = True) -> None:
    """Replace a file, following a link to it; None only tidies up: what a killed writer left, and a mode too wide.

    What may hold a secret is its owner's only; what is not private keeps its mode. Where root writes, the owner is
    kept, and a file that is new, or root's, is given to whose it is to be. The caller holds the lock.

    Raises:
        HostError: the folder is not writable (73), or its disk is full (74); the file is as it was.
    """
    target = path.resolve()
    temporary = target.with_name(f"{target.name}.invoke-tmp")
    try:
        if temporary.exists():
            temporary.unlink()
        if content is not None:
            _replace(target, content, temporary, mask=0o700 if private else 0o777)
        elif not path.is_symlink() and target.exists() and target.stat().st_mode & 0o077 and owned(target):
            target.chmod(target.stat().st_mode & 0o700)
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            code, fix = ExitCode.IO, f"make room there: df -h {path_word(target.parent)}"
        else:
            code, fix = ExitCode.CANNOT_CREATE, fix_access(str(target.parent))
        raise HostError(f"{shown(path)} cannot be written: {err.strerror}", fix=fix, code=code) from err


def write_in_place(path: Path, content: bytes) -> None:
    """Replace the content of a file that others hold open or mounted; it is at no moment empty.

    One write(2) puts the new content there, with line breaks up to the old length, which are then cut off.

    Raises:
        HostError: the file cannot be written (73).
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "wb", buffering=0) as stream:
            stream.write(content.ljust(os.fstat(descriptor).st_size, b"\n"))
            stream.truncate(len(content))
            if os.name != "nt":
                os.fchmod(descriptor, 0o600)
    except OSError as err:
        problem = f"{shown(path)} cannot be written: {err.strerror}"
        raise HostError(problem, fix=fix_access(str(path)), code=ExitCode.CANNOT_CREATE) from err


def owned(path: Path) -> bool:
    """Return whether this caller may change a file's mode."""
    return os.name != "nt" and os.geteuid() in (0, path.stat().st_uid)


def _replace(target: Path, content: bytes, temporary: Path, *, mask: int) -> None:
    """Write a new file and put it in the target's place, with at most the bits of the mask, or not at all."""
    old = target.stat() if target.exists() else None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as stream:
            if os.name != "nt":
                if os.geteuid() == 0:
                    kept = (old.st_uid, old.st_gid) if old and old.st_uid else None
                    os.fchown(stream.fileno(), *(kept or rightful_owner(str(target.parent))))
                os.fchmod(stream.fileno(), (stat.S_IMODE(old.st_mode) if old else 0o644) & mask)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
