"""Changes of files that happen wholly or not at all: made beside, on the disk, and then put in place by one rename.

A write that finds the disk full leaves the old file as it was, and nothing else. One that is killed on the way leaves
a hidden `.part-` file too, which the next change in that folder removes: its maker had it locked, and is gone.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PART = ".part-"  # and 16 hexadecimal digits
CHECKPOINTS = ".ipynb_checkpoints"  # a folder beside files, with parts of its own
OLD_S = 24 * 3600  # of a part whose lock nobody can ask for: some file systems have none


def remove(entry: Path) -> None:
    """Remove a file, a link or a folder, also one that may only be read."""
    with contextlib.suppress(OSError):
        if not entry.is_dir() or entry.is_symlink():
            entry.unlink()
            return
        entry.chmod(0o700)
        for folder, names, _ in os.walk(entry):
            for name in names:
                if not Path(folder, name).is_symlink():
                    Path(folder, name).chmod(0o700)
        shutil.rmtree(entry)


def sweep(folder: Path) -> None:
    """Remove what is left in a folder, and in that of its checkpoints, of changes that were killed."""
    for place in (folder, folder / CHECKPOINTS):
        with contextlib.suppress(OSError):
            for entry in os.scandir(place) if not place.is_symlink() else ():
                if re.fullmatch(rf"{re.escape(PART)}[0-9a-f]{{16}}", entry.name):
                    remove_left(Path(entry.path))


def remove_left(part: Path) -> None:
    """Remove a part that nobody has locked; where that cannot be told, one that has not changed for a day."""
    with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
        kind = os.O_RDONLY if part.is_dir() else os.O_RDWR
        old = part.lstat().st_ctime < time.time() - OLD_S  # st_mtime of a copy is that of its source
        try:
            lock = os.open(part, kind | os.O_NOFOLLOW | os.O_NONBLOCK)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            if not old:
                return
        remove(part)


def claimed(folder: Path, *, as_folder: bool = False) -> tuple[Path, int]:
    """Return a new file or folder in a folder, and a descriptor that locks it."""
    sweep(folder)
    while True:
        part = folder / f"{PART}{secrets.token_hex(8)}"
        if as_folder:
            part.mkdir()
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY if as_folder else os.O_RDWR | os.O_CREAT | os.O_EXCL
            lock = os.open(part, flags, 0o666)
        except FileNotFoundError:
            if not as_folder:
                raise
            continue
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            # Before it was locked, a sweep of another process may have taken it for one that is left.
            if os.path.samestat(part.lstat(), os.fstat(lock)):
                return part, lock
        os.close(lock)


@contextlib.contextmanager
def part_in(folder: Path, *, as_folder: bool = False) -> Iterator[tuple[Path, int]]:
    """Make a part in a folder, and remove it in the end if it has that name still."""
    part, lock = claimed(folder, as_folder=as_folder)
    try:
        yield part, lock
    finally:
        remove(part)
        os.close(lock)


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
    with part_in(target.parent) as (part, lock):
        with open(os.dup(lock), mode, **options) as file:  # noqa: PTH123 # by its descriptor
            yield file
            file.flush()
            os.fsync(file.fileno())
        put(part, target)


def synced(entry: Path) -> None:
    """Return when the content of a file, or of all files in a folder, is on the disk."""
    for file in [entry, *entry.rglob("*")] if entry.is_dir() else [entry]:
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def copied(source: Path, target: Path, *, by: Path | None = None) -> None:
    """Copy a file or a folder to a name that is free, or the place of a file; links in a folder stay links.

    It is made in the folder of its place, or in another of the same file system.

    Raises:
        FileExistsError: a folder or a link has that name.
    """
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    with part_in(by or target.parent, as_folder=source.is_dir()) as (part, _):
        if source.is_dir():
            shutil.copytree(source, part, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(source, part)
        synced(part)
        if target.is_file():
            put(part, target)
            return
        refuse_taken(target)
        part.rename(target)
        on_disk(target.parent)


def refuse_taken(target: Path) -> None:
    """Raise FileExistsError where a name is not free; a link counts, wherever it leads."""
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def moved(source: Path, target: Path) -> None:
    """Move a file, a link or a folder to a name that is free, also to another file system."""
    # On some file systems another case of the letters is the same name.
    if not os.path.lexists(target) or not os.path.samestat(source.lstat(), target.lstat()):
        refuse_taken(target)
    try:
        source.rename(target)
        return
    except OSError as err:
        if err.errno != errno.EXDEV:
            raise
    copied(source, target)
    gone = source.with_name(f"{PART}{secrets.token_hex(8)}")
    try:
        source.rename(gone)
    except OSError:
        remove(target)
        raise
    remove(gone)
