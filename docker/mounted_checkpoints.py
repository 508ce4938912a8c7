"""Jupyter's checkpoints, made to lose nothing: each is whole, stays in the folders, and ends no newer text."""

import errno
import filecmp
import os
from pathlib import Path
from typing import Any

from jupyter_server.services.contents.filecheckpoints import AsyncFileCheckpoints
from mounted_files import PROJECT, WholeFiles, mount_of, put_in_trash, refuse_where_lost
from tornado.web import HTTPError


class MountedCheckpoints(WholeFiles, AsyncFileCheckpoints):
    """Checkpoints in the folder of their file; where that may only be read there are none, and none can be made."""

    def checkpoint_path(self, checkpoint_id: str, path: str) -> str:
        """Return where a checkpoint of a file is, or would be; Jupyter's own makes the folder as it looks."""
        parent, _, name = path.strip("/").rpartition("/")
        stem, extension = os.path.splitext(name)  # noqa: PTH122 # as Jupyter does: pathlib takes another view of `a.`
        return str(self.folder(parent) / f"{stem}-{checkpoint_id}{extension}")

    def folder(self, parent: str) -> Path:
        """Return the folder of the checkpoints beside files."""
        return Path(self._get_os_path(parent)).resolve() / str(self.checkpoint_dir)

    def make_room(self, path: str) -> None:
        """Make the folder of a file's checkpoints; what would lead one out of the folders goes to the trash first."""
        folder = self.folder(path.strip("/").rpartition("/")[0])
        refuse_where_lost(folder.parent, path)
        there = mount_of(folder.resolve()).point
        inside = there.is_relative_to(PROJECT) or there == mount_of(folder.parent).point
        if os.path.lexists(folder) and not (folder.is_dir() and inside):
            put_in_trash(folder)
        folder.mkdir(exist_ok=True)
        made = Path(self.checkpoint_path("checkpoint", path))  # FileCheckpoints has no other
        if made.is_symlink():
            put_in_trash(made)

    async def create_checkpoint(self, contents_mgr: Any, path: str) -> Any:
        """Make a checkpoint of a file as it is."""
        with self.perm_to_403():
            self.make_room(path)
            return await super().create_checkpoint(contents_mgr, path)

    async def restore_checkpoint(self, contents_mgr: Any, checkpoint_id: str, path: str) -> None:
        """Put a checkpoint in the place of its file, which is kept in the trash where it has another content."""
        kept = Path(self.checkpoint_path(checkpoint_id, path))
        target = Path(contents_mgr._get_os_path(path)).resolve()
        if not kept.is_file():
            self.no_such_checkpoint(path, checkpoint_id)
        refuse_where_lost(target.parent, path)
        with self.perm_to_403():
            if target.is_file() and not filecmp.cmp(kept, target, shallow=False):
                try:
                    put_in_trash(target, stay=True)
                except OSError as err:
                    raise HTTPError(403, f"{path.strip('/')} stays, since its folder's trash cannot take it.") from err
            await self._copy(str(kept), str(target))

    async def rename_checkpoint(self, checkpoint_id: str, old_path: str, new_path: str) -> None:
        """Take a checkpoint along with its file."""
        old, new = (Path(self.checkpoint_path(checkpoint_id, path)) for path in (old_path, new_path))
        if old.is_file():
            with self.perm_to_403():
                self.make_room(new_path)
                try:
                    old.replace(new)
                except OSError as err:
                    if err.errno != errno.EXDEV:
                        raise
                    await self._copy(str(old), str(new))
                    old.unlink()
