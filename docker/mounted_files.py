"""What is mounted, which changes of it would lose something, and how JupyterLab's files are named and written.

Jupyter's own manager of files and its checkpoints share what is here; mounted_contents.py and mounted_checkpoints.py
are the two.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from jupyter_server.services.contents.fileio import AsyncFileManagerMixin
from tornado.web import HTTPError
from whole_files import copied, written

PROJECT = Path(os.environ["PROJECT_DIR"])
SETTINGS = Path.home() / ".jupyter"
TRASH = f".Trash-{os.getuid()}"


@dataclass(frozen=True)
class Mount:
    """A place where the container's own files end and others begin."""

    point: Path
    kind: str  # of file system

    @property
    def keeps(self) -> bool:
        """Whether a person's files that are written there outlive the container; Jupyter's settings are none."""
        others = self.point == Path("/") or self.point.is_relative_to(SETTINGS) or self.kind == "tmpfs"
        return self.point.is_relative_to(PROJECT) or not others


def mounts() -> list[Mount]:
    """Return what is mounted, as the kernel tells it; os.path.ismount misses mounts of the same device (proc(5))."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4]
        for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(escaped, plain)
        found.append(Mount(Path(point), right.split(" ")[0]))
    return found


def mount_of(folder: Path) -> Mount:
    """Return the mount that holds a folder, which is a resolved path."""
    # Of two mounts on one point the later one is seen.
    return max(reversed(mounts()), key=lambda each: len(each.point.parts) if folder.is_relative_to(each.point) else 0)


def refuse_where_lost(folder: Path, path: str) -> None:
    """Answer 403 where a change in a folder would be lost with the container, or cannot be made."""
    path = path.strip("/") or "~/app"
    if not mount_of(folder).keeps:
        raise HTTPError(403, f"{path} is outside your folders, and would be lost with the container: use notebooks.")
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise HTTPError(403, f"{path} is in a folder that you may only read.")


def refuse_mounted(entry: Path, path: str) -> None:
    """Answer 403 where a file or folder is a mount, or has one somewhere in it."""
    path = path.strip("/") or "~/app"
    points = [each.point for each in mounts() if each.point.is_relative_to(entry)]
    if entry in points:
        raise HTTPError(403, f"{path} is mounted from your computer and stays; what is in it can be deleted or moved.")
    if points:
        raise HTTPError(403, f"{path} stays, for {points[0].relative_to(entry)} in it is mounted from your computer.")


def put_in_trash(entry: Path, *, stay: bool = False) -> None:
    """Move a file or folder, or copy what is to stay, to its mount's trash: .Trash-<uid>/<time>/<its path there>.

    Raises:
        OSError: the trash cannot take it.
    """
    point = mount_of(entry.parent).point
    target = point / TRASH / datetime.now().astimezone().strftime("%Y-%m-%dT%H.%M.%S.%f") / entry.relative_to(point)
    if (point / TRASH).is_symlink():  # which could lead out of what stays
        raise NotADirectoryError(errno.ENOTDIR, "it is a link", str(point / TRASH))
    (point / TRASH).mkdir(mode=0o700, exist_ok=True)
    target.parent.mkdir(parents=True)
    if stay:
        copied(entry, target, by=entry.parent)  # what is left there, of a kill, is removed
    else:
        entry.rename(target)  # on one file system, so it is done wholly or not at all


# A name that is not UTF-8 has bytes that no browser can send back: os.listdir shows them as U+DC80 to U+DCFF (PEP 383),
# and people get U+EF80 to U+EFFF, as MirBSD has it (OPTU), which belong to nobody.
SHOWN = {0xDC00 + byte: 0xEF00 + byte for byte in range(0x80, 0x100)}
ON_DISK = {shown: on_disk for on_disk, shown in SHOWN.items()}


class WholeFiles(AsyncFileManagerMixin):
    """Files that are written wholly or not at all, and found by the names that people are shown."""

    def _get_os_path(self, path: str) -> str:
        """Return where a file or folder is, or would be."""
        place: str = super()._get_os_path(path)
        other: str = super()._get_os_path(path.translate(ON_DISK))
        found = [(os.path.lexists(each), os.path.lexists(Path(each).parent)) for each in (place, other)]
        return other if found[1] > found[0] else place

    @contextlib.contextmanager
    def atomic_writing(
        self,
        os_path: str,
        text: bool = True,  # noqa: FBT001, FBT002 # it is called by Jupyter
        encoding: str = "utf-8",
        **options: Any,
    ) -> Iterator[Any]:
        """Open the new content of a file; Jupyter calls it as it saves."""
        if text:
            options = {"encoding": encoding, "newline": "\n", **options}
        with self.perm_to_403(os_path), written(Path(os_path), "w" if text else "wb", **options) as file:
            yield file

    async def _copy(self, src: str, dest: str) -> None:
        """Copy a file to the place of another."""
        await run_sync(copied, Path(src).resolve(), Path(dest))
