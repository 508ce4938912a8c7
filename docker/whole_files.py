"""Changes of files that happen wholly or not at all: made beside, on the disk, and then put in place by one rename.

A write that is killed on the way, or finds the disk full, leaves the old file as it was, and at most a hidden `.part-`
file, which the next change in that folder removes when it is a day old.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PART = ".part-"  # and 16 hexadecimal digits
OLD_S = 24 * 3600


def beside(target: Path) -> Path:
    """Return a new name in the folder of a file; parts that nobody has changed for a day are removed there."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(target.parent):
            changed_s = entry.stat(follow_symlinks=False).st_ctime  # a copy has the other time of its source
            if re.fullmatch(rf"{re.escape(PART)}[0-9a-f]{{16}}", entry.name) and changed_s < time.time() - OLD_S:
                remove(Path(entry.path))
    return target.with_name(f"{PART}{secrets.token_hex(8)}")


def remove(entry: Path) -> None:
    """Remove a file, a link or a folder."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def on_disk(folder: Path) -> None:
    """Return when the names in a folder are on the disk, where its file system can tell."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with contextlib.suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


def put(part: Path, target: Path) -> None:
    """Put what was made beside in the place of a file, with the mode of that file.

    Raises:
        PermissionError: that file may not be written.
    """
    if target.exists():
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
        shutil.copymode(target, part)
    try:
        part.replace(target)
    except OSError as err:
        # A file that is mounted by itself cannot be replaced, and a second name of it is nowhere: it is written over.
        if err.errno != errno.EBUSY:
            raise
        shutil.copyfile(part, target)
        part.unlink()
    on_disk(target.parent)


@contextlib.contextmanager
def written(path: Path, mode: str, **options: Any) -> Iterator[IO[Any]]:
    """Open the new content of a file; a link stays, and what it leads to is the file."""
    target = path.resolve()
    part = beside(target)
    try:
        with part.open(mode.replace("w", "x"), **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        put(part, target)
    except BaseException:
        remove(part)
        raise


def gathered(target: Path) -> Path:
    """Return where the parts of an upload are until the last one has come."""
    return target.with_name(f"{PART}{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}")


def gather(target: Path, data: bytes, *, first: bool, last: bool) -> None:
    """Add a part of an upload to those that are there; with the last one the file is in its place.

    Raises:
        FileNotFoundError: the parts before this one are not there.
    """
    part = gathered(target)
    if first:
        beside(target)
        remove(part)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_APPEND | (os.O_CREAT if first else 0), 0o666), "ab") as file:
            file.write(data)
            if last:
                file.flush()
                os.fsync(file.fileno())
        if last:
            put(part, target)
    except OSError:
        remove(part)
        raise


def synced(entry: Path) -> None:
    """Return when the content of a file, or of all files in a folder, is on the disk."""
    for file in [entry, *entry.rglob("*")] if entry.is_dir() else [entry]:
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def copied(source: Path, target: Path) -> None:
    """Copy a file or a folder to a name that is free, or the place of a file; links in a folder stay links."""
    part = beside(target)
    try:
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, part, symlinks=True)
        else:
            shutil.copy2(source, part, follow_symlinks=False)
        synced(part)
        if target.is_file():
            put(part, target)
        else:
            part.rename(target)
            on_disk(target.parent)
    except BaseException:
        remove(part)
        raise


def moved(source: Path, target: Path) -> None:
    """Move a file, a link or a folder to a name that is free, also to another file system."""
    try:
        source.rename(target)
    except OSError as err:
        if err.errno != errno.EXDEV:
            raise
        copied(source, target)
        remove(source)
