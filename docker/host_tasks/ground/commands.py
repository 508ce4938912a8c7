"""Commands as a person can paste them here: in the form they used, from the folder they are in."""

import os
import shlex
from pathlib import Path

from host_tasks.ground.paths import ROOT, TASKS_PY
from host_tasks.setup.basics import CALLED_AS as CALLED_AS


def task_command(words: str) -> str:
    """Return the command line of a task: `python3 ../tasks.py up`, or `invoke up` for who used that."""
    return f"{os.environ.get(CALLED_AS) or 'python3 ' + path_word(TASKS_PY)} {words}"


def path_word(path: Path) -> str:
    """Return a path as one shell word: relative to the working directory inside the clone, absolute elsewhere."""
    inside = path.is_relative_to(ROOT) and Path.cwd().is_relative_to(ROOT)
    return shlex.quote(os.path.relpath(path) if inside else str(path))
