"""The code behind the tasks; most modules of it are loaded when an attribute of theirs is first used."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

# Where the reader of a person's files is, which the build uses too.
sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "environment"))  # noqa: PTH118, PTH120
LAZY = ("host_tasks.subjects.", "host_tasks.extras.", "host_tasks.goals", "person_files")


class _Lazy:
    """Finds the modules of LAZY, to be loaded later (Python 3.14 documentation, importlib.util.LazyLoader)."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return where a module is, for those of LAZY."""
        spec = PathFinder.find_spec(name, path) if name.startswith(LAZY) else None  # type: ignore[arg-type]
        if spec and spec.loader and spec.origin:  # a folder of modules has no loader to wait with
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


sys.meta_path.insert(0, _Lazy)
