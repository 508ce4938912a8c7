"""JupyterLab's file browser, made to lose nothing: every change is judged before anything is touched.

Jupyter's own manager moves first and asks later: it empties a mounted folder before it finds that the folder itself
cannot go, and moves files to where they end with the container. Hooks do not see these calls, so this is a manager.
"""

import base64
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from jupyter_core.paths import is_hidden
from jupyter_server.base.handlers import AuthenticatedFileHandler
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from mounted_checkpoints import MountedCheckpoints
from mounted_files import ON_DISK, SHOWN, TRASH, WholeFiles, put_in_trash, refuse_mounted, refuse_where_lost
from mounted_uploads import gather
from tornado.web import HTTPError
from traitlets import default
from whole_files import copied, moved


def decoded(model: Mapping[str, Any]) -> bytes:
    """Return what a part of an upload holds.

    Raises:
        HTTPError: it is no part of a file (400).
    """
    try:
        if model["type"] == "file" and model["format"] in ("text", "base64"):
            return model["content"].encode() if model["format"] == "text" else base64.b64decode(model["content"])
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise HTTPError(400, "A part of a file has the type `file`, the format `text` or `base64`, and a content of it.")


class ShownFiles(AuthenticatedFileHandler):
    """The files as they are, to look at and to download, by the names that people are shown."""

    @classmethod
    def get_absolute_path(cls, root: str, path: str) -> str:
        """Return where a file is, or would be."""
        shown: str = super().get_absolute_path(root, path)
        on_disk: str = super().get_absolute_path(root, path.translate(ON_DISK))
        return on_disk if os.path.lexists(on_disk) and not os.path.lexists(shown) else shown


class MountedContents(WholeFiles, AsyncLargeFileManager):
    """The files of the mounts: nothing leaves them, no mount is moved, what is deleted is kept beside what stays."""

    @default("checkpoints_class")  # type: ignore[untyped-decorator]
    def _checkpoints_class_default(self) -> type:
        return MountedCheckpoints

    @default("files_handler_class")  # type: ignore[untyped-decorator]
    def _files_handler_class_default(self) -> type:
        return ShownFiles

    def _base_model(self, path: str) -> dict[str, Any]:
        """Return what Jupyter tells of a file or folder, by a name that a browser can send back."""
        model: dict[str, Any] = super()._base_model(path)
        return {**model, **{key: model[key].translate(SHOWN) for key in ("name", "path")}}

    def entry(self, path: str) -> Path:
        """Return where a file or folder is; a link is the link itself, the folders on the way are resolved."""
        place = Path(self._get_os_path(path))
        return place.parent.resolve() / place.name

    async def save(self, model: Mapping[str, Any], path: str = "") -> Any:
        """Save a file, a part of one, or a new folder, and return its model; through a link, where it leads."""
        target = self.entry(path).resolve()
        refuse_where_lost(target.parent, path)
        if model.get("chunk") is None:
            return await super().save(model, path)
        return await self.save_part(model, path.strip("/"), target)

    async def save_part(self, model: Mapping[str, Any], path: str, target: Path) -> Any:
        """Keep a part of an upload, numbered from 1; with the last one, -1, the file is there, and not before."""
        chunk, data = model["chunk"], decoded(model)
        if chunk == 1:
            self.run_pre_save_hooks(model=model, path=path)
        with self.perm_to_403(str(target)):
            try:
                await run_sync(gather, target, data, chunk)
            except FileNotFoundError as err:
                raise HTTPError(409, f"{path} has to be uploaded again: what came before this part is gone.") from err
        if chunk != -1:
            now = datetime.now(timezone.utc)
            told = {"name": path.rpartition("/")[2], "path": path, "type": "file", "writable": True, "size": None}
            nothing = dict.fromkeys(("content", "format", "mimetype"))
            return {**told, **nothing, "created": now, "last_modified": now}
        saved = await self.get(path, content=False)
        self.run_post_save_hooks(model=saved, os_path=str(target))
        self.emit(data={"action": "save", "path": path})
        return saved

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
        if not self.allow_hidden and any(is_hidden(str(each), self.root_dir) for each in (old, new)):
            raise HTTPError(400, f"{old_path} cannot be renamed to {new_path}: it is, or would be, hidden.")
        if not os.path.lexists(old):
            raise HTTPError(404, f"{old_path} does not exist.")
        # A link counts, wherever it leads; on some file systems another case of the letters is the same name.
        if os.path.lexists(new) and not os.path.samestat(old.lstat(), new.lstat()):
            raise HTTPError(409, f"{new_path} exists already.")
        with self.perm_to_403(str(old)):
            await run_sync(moved, old, new)

    async def copy(self, from_path: str, to_path: str | None = None) -> Any:
        """Copy a file or folder into a folder, by default its own, or to a new name, and return the copy's model."""
        source = self.entry(from_path)
        target = source.parent if to_path is None else self.entry(to_path).resolve()
        folder = target if target.is_dir() else target.parent
        refuse_where_lost(folder, to_path or from_path)
        if to_path is not None and source.is_dir() and folder.is_relative_to(source.resolve()):
            raise HTTPError(403, f"{from_path} cannot be copied into itself.")
        if to_path is None and source.is_dir():
            to_path = from_path.strip("/").rpartition("/")[0]  # jupyter_server 2.21 takes None for a folder's name
        return await super().copy(from_path, to_path)

    async def _copy_dir(self, from_path: str, to_path_original: str, to_name: str, to_path: str) -> Any:
        """Copy a folder; its links stay links, so that one to itself ends."""
        try:
            target = Path(self._get_os_path(to_path_original.strip("/")), to_name)
            await run_sync(copied, Path(self._get_os_path(from_path)).resolve(), target)
        except OSError as err:
            raise HTTPError(400, f"{from_path} cannot be copied to {to_path}: {err}") from err
        return await self.get(to_path, content=False)
