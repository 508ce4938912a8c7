"""JupyterLab's file browser, made to lose nothing: every change is judged before anything is touched.

Jupyter's own manager moves first and asks later: it empties a mounted folder before it finds that the folder itself
cannot go, and moves files to where they end with the container. Hooks do not see these calls, so this is a manager.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from tornado.web import HTTPError

PROJECT = Path(os.environ["PROJECT_DIR"])
TRASH = f".Trash-{os.getuid()}"


@dataclass(frozen=True)
class Mount:
    """A place where the container's own files end and others begin."""

    point: Path
    kind: str  # of file system

    @property
    def keeps(self) -> bool:
        """Whether what is written there outlives the container."""
        return self.point.is_relative_to(PROJECT) or (self.point != Path("/") and self.kind != "tmpfs")


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


def put_in_trash(entry: Path) -> None:
    """Move a file or folder to the trash of its own mount: .Trash-<uid>/<time>/<its path in the mount>."""
    point = mount_of(entry.parent).point
    target = point / TRASH / datetime.now().astimezone().strftime("%Y-%m-%dT%H.%M.%S.%f") / entry.relative_to(point)
    (point / TRASH).mkdir(mode=0o700, exist_ok=True)
    target.parent.mkdir(parents=True)
    entry.rename(target)  # on one file system, so it is done wholly or not at all


class MountedContents(AsyncLargeFileManager):
    """The files of the mounts: nothing leaves them, no mount is moved, what is deleted is kept beside what stays."""

    def entry(self, path: str) -> Path:
        """Return where a file or folder is; a link is the link itself, the folders on the way are resolved."""
        place = Path(self._get_os_path(path))
        return place.parent.resolve() / place.name

    async def save(self, model: Mapping[str, Any], path: str = "") -> Any:
        """Save a file, a part of one, or a new folder, and return its model; through a link, where it leads."""
        refuse_where_lost(self.entry(path).resolve().parent, path)
        return await super().save(model, path)

    async def delete_file(self, path: str) -> None:
        """Put a file or folder in the trash, or delete it where a person has turned the trash off."""
        entry = self.entry(path)
        refuse_mounted(entry, path)
        refuse_where_lost(entry.parent, path)
        if not self.delete_to_trash:
            await super().delete_file(path)
            return
        if not os.path.lexists(entry):
            raise HTTPError(404, f"{path} does not exist.")
        try:
            put_in_trash(entry)
        except OSError as err:
            raise HTTPError(403, f"{path} stays, since its folder's {TRASH} cannot take it: {err.strerror}.") from err

    async def rename_file(self, old_path: str, new_path: str) -> None:
        """Rename or move a file or folder."""
        old, new = self.entry(old_path), self.entry(new_path)
        refuse_mounted(old, old_path)
        refuse_where_lost(old.parent, old_path)
        refuse_where_lost(new.parent, new_path)
        await super().rename_file(old_path, new_path)

    async def copy(self, from_path: str, to_path: str | None = None) -> Any:
        """Copy a file or folder into a folder, by default its own, or to a new name, and return the copy's model."""
        source = self.entry(from_path)
        target = source.parent if to_path is None else self.entry(to_path).resolve()
        folder = target if target.is_dir() else target.parent
        refuse_where_lost(folder, to_path or from_path)
        if to_path is not None and source.is_dir() and folder.is_relative_to(source.resolve()):
            raise HTTPError(403, f"{from_path} cannot be copied into itself.")
        return await super().copy(from_path, to_path)
