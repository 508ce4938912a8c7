"""What the extras workers and slurm both know of Dask: how many workers, and whether the environment has it."""

from __future__ import annotations

import re

from host_tasks.kit.paths import ENVIRONMENT_YML
from host_tasks.kit.words import ExitCode, HostError, path_word, task_command
from host_tasks.loop import Finding, Seen, fail, ok
from host_tasks.subjects import environment

PACKAGES = ("distributed", "bokeh", "jupyter-server-proxy")  # Dask; its dashboard; the way there through JupyterLab

# judge


def is_number(text: str) -> bool:
    """Return whether a text is a number of workers."""
    return re.fullmatch(r"[1-9][0-9]{0,2}", text) is not None


def number(text: str, task: str) -> str | None:
    """Return the number of workers that a task was given; None for 0.

    Raises:
        HostError: it is no such number (64).
    """
    if text != "0" and not is_number(text):
        problem = f"--workers {text} is not between 0 and 999"
        raise HostError(problem, fix=task_command(f"{task} --workers 2"), code=ExitCode.USAGE)
    return None if text == "0" else text


def there(seen: Seen, workers: str, again: str) -> Finding:
    """Return whether the environment has Dask for so many workers; `again` is the command once it is added."""
    if re.search(r"\b(dask|distributed)\b", environment.asked_packages(seen)):
        return ok(f"{workers} are asked for")
    cause = f"{workers} Dask workers are asked for, and neither environment.yml nor requirements.txt names Dask"
    return fail(cause, f"add {', '.join(PACKAGES)} to {path_word(ENVIRONMENT_YML)}, then: {again}")
