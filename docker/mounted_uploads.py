"""Uploads, which JupyterLab sends in parts: the file is in its place with the last one, and not before."""

import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

from whole_files import claimed, put, remove

SILENT_S = 3600  # of an upload of which no more will come: its browser was closed, say


@dataclass
class Upload:
    """A file of which the last part has not come yet."""

    target: Path
    part: Path
    lock: int
    expected: int = 1
    last_s: float = 0

    def add(self, data: bytes) -> None:
        """Add what has come."""
        with open(os.dup(self.lock), "ab") as file:  # noqa: PTH123 # by its descriptor
            file.write(data)
        self.expected, self.last_s = self.expected + 1, time.monotonic()

    def drop(self) -> None:
        """Let what has come so far be gone."""
        remove(self.part)
        os.close(self.lock)


uploads: dict[Path, Upload] = {}  # by where they go; with the server they end, and their parts are unlocked


def drop_silent() -> None:
    """Drop each upload of which nothing has come for long."""
    for upload in list(uploads.values()):
        if upload.last_s < time.monotonic() - SILENT_S and uploads.pop(upload.target, None) is upload:
            upload.drop()


def gather(target: Path, data: bytes, chunk: int) -> None:
    """Add a part of an upload to those that are there, numbered from 1; with the last, -1, the file is in its place.

    While a part is added its upload is nowhere else: of two that go to one file at once, one is refused.

    Raises:
        FileNotFoundError: the parts before this one are not there.
    """
    drop_silent()
    upload, gone = uploads.pop(target, None), FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target))
    if upload and chunk not in (upload.expected, -1):
        upload.drop()
        upload = None
    if chunk == 1:
        upload = Upload(target, *claimed(target.parent))
    if upload is None:
        raise gone
    try:
        upload.add(data)
        if chunk == -1:
            os.fsync(upload.lock)
            put(upload.part, target)
        elif uploads.setdefault(target, upload) is upload:
            return
        else:
            raise gone
    except BaseException:
        upload.drop()
        raise
    upload.drop()
