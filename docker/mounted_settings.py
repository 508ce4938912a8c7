"""JupyterLab's settings and layouts, which outlive the container, written wholly or not at all as people's files are.

jupyterlab_server 2.28 has no setting for how it writes them: settings_utils.py calls `open`, workspaces_handler.py
`Path.write_text`. Each gets one that writes beside.
"""

import contextlib
from pathlib import Path, PosixPath
from typing import Any

from jupyterlab_server import settings_utils, workspaces_handler
from whole_files import written


class WholePath(PosixPath):
    """A path whose text is written wholly or not at all."""

    def write_text(self, data: str, *args: Any, **options: Any) -> int:
        """Write a text."""
        with written(self, "w", **dict(zip(("encoding", "errors", "newline"), args, strict=False)), **options) as file:
            return int(file.write(data))


def open_whole(path: str, mode: str = "r", **options: Any) -> contextlib.AbstractContextManager[Any]:
    """Open a file; what is written to it is in its place at the end."""
    return written(Path(path), mode, **options) if mode == "w" else Path(path).open(mode, **options)


def write_settings_whole() -> None:
    """Have JupyterLab's handlers write so."""
    settings_utils.open = open_whole
    workspaces_handler.Path = WholePath
