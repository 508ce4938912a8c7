"""Tasks of the person's own: those of tasks_local.py at the top, which `upgrade` never touches."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from host_tasks.kit import report
from host_tasks.kit.paths import ROOT
from host_tasks.setup.basics import error_text

if TYPE_CHECKING:
    from invoke.tasks import Task

FILE = ROOT / "tasks_local.py"


def _tasks() -> Iterator[Task[Any]]:
    """Yield the tasks of the file; where it cannot be loaded, one error says why, and all other tasks are there."""
    from invoke.tasks import Task

    spec = importlib.util.spec_from_file_location(FILE.stem, FILE)
    if not FILE.is_file() or not spec or not spec.loader:
        return
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as err:
        lines = [frame.lineno for frame in traceback.extract_tb(err.__traceback__) if frame.filename == str(FILE)]
        number = err.lineno if isinstance(err, SyntaxError) and err.filename == str(FILE) else lines[-1] if lines else 1
        why = " ".join(f"{type(err).__name__}: {err}".split())
        report.note(error_text(f"{FILE.name}:{number}: {why}", fix=f"correct line {number} of {FILE.name}"))
        return
    sys.modules[spec.name] = module
    yield from (task for task in vars(module).values() if isinstance(task, Task))


TASKS = tuple(_tasks())
