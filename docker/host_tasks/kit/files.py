"""Read a file without being led elsewhere or held up, and write one at once.

Readers find the old content or the new one, also where the writer is killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from host_tasks.kit.paths import ROOT, YOURS, shown
from host_tasks.kit.words import ExitCode, HostError, path_word
from host_tasks.setup.basics import fix_access, rightful_owner

LARGEST_BYTES = 2**20  # of a file that the container can write


def refusal(path: Path, what: str, err: OSError, *, place: Path | None = None) -> HostError:
    """Return that a file cannot be written, or what else was wanted; `place` is what the caller needs access to."""
    if err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        code, fix = ExitCode.IO, f"make room there: df -h {path_word(path.resolve().parent)}"
    else:
        code, fix = ExitCode.CANNOT_CREATE, fix_access(str(place or path))
    return HostError(f"{shown(path)} cannot be {what}: {err.strerror}", fix=fix, code=code)


def read(path: Path, *, below: Path, most: int = LARGEST_BYTES) -> bytes:
    """Return what a file holds that the container may have put there.

    No link below the given folder is followed, no pipe is waited for, and no endless file is read.

    Raises:
        OSError: it cannot be read; strerror says why.
    """
    descriptor = _opened(path, below)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            found = stream.read(most + 1)
    finally:
        os.close(descriptor)
    if len(found) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes")
    return found


def _opened(path: Path, below: Path) -> int:
    """Return a descriptor of a file, opened folder by folder, so that no link can be put in the way meanwhile."""
    parts, flags = path.relative_to(below).parts, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    if os.open not in os.supports_dir_fd:  # Windows
        if below.resolve().joinpath(*parts) != path.resolve():
            raise OSError(errno.ELOOP, "it is a link, or behind one")
        return os.open(path, flags | getattr(os, "O_BINARY", 0))
    folder = os.open(below, os.O_RDONLY | getattr(os, "O_PATH", 0))
    for part in parts:
        on_the_way = getattr(os, "O_PATH", 0) if part is not parts[-1] else 0
        try:
            if stat.S_ISLNK(os.lstat(part, dir_fd=folder).st_mode):
                raise OSError(errno.ELOOP, "it is a link, or behind one")
            inner = os.open(part, flags | on_the_way | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def content(path: Path) -> bytes:
    """Return what a file holds; nothing where it cannot be read, which a rule of its own says."""
    try:
        of_a_container = any(path.is_relative_to(ROOT / name) for name in YOURS)
        return read(path, below=ROOT) if of_a_container else path.read_bytes()
    except OSError:
        return b""


def digest(content: bytes) -> str:
    """Return a short digest, by which it is told whether something was made from what is here now."""
    import hashlib

    return hashlib.sha256(content).hexdigest()[:12]  # enough to tell a file from its own earlier contents


@contextlib.contextmanager
def where_modes_are() -> Iterator[None]:
    """Go on where a file system has no modes and owners to change: exFAT and vfat answer EPERM (chmod(2), mount(8))."""
    try:
        yield
    except OSError as err:
        if err.errno not in (errno.EPERM, errno.ENOTSUP):
            raise


def write(path: Path, content: bytes, *, private: bool = True) -> None:
    """Replace a file, following a link to it.

    What may hold a secret is its owner's only; what is not private keeps its mode. Where root writes, the owner is
    kept, and a file that is new, or root's, is given to its rightful owner. The caller holds the lock.

    Raises:
        HostError: the folder is not writable (73), or its disk is full (74); the file is as it was.
    """
    target = path.resolve()
    temporary = target.with_name(f"{target.name}.invoke-tmp")
    try:
        temporary.unlink(missing_ok=True)  # a killed writer's
        _replace(target, content, temporary, mask=0o700 if private else 0o777)
    except OSError as err:
        raise refusal(path, "written", err, place=target.parent) from err


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
                with where_modes_are():
                    os.fchmod(descriptor, 0o600)
    except OSError as err:
        raise refusal(path, "written", err) from err


def _replace(target: Path, content: bytes, temporary: Path, *, mask: int) -> None:
    """Write a new file and put it in the target's place, with at most the bits of the mask, or not at all."""
    old = target.stat() if target.exists() else None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as stream:
            if os.name != "nt":
                if os.geteuid() == 0:
                    kept = (old.st_uid, old.st_gid) if old and old.st_uid else None
                    with where_modes_are():
                        os.fchown(stream.fileno(), *(kept or rightful_owner(str(target.parent))))
                with where_modes_are():
                    os.fchmod(stream.fileno(), (stat.S_IMODE(old.st_mode) if old else 0o644) & mask)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
