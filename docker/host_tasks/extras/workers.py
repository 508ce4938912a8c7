"""Dask workers beside JupyterLab."""

from __future__ import annotations

from collections.abc import Iterator

from host_tasks.choices import Choice
from host_tasks.extras import _dask
from host_tasks.kit.words import task_command
from host_tasks.loop import Finding, Seen, fail, rule
from host_tasks.subjects import settings

KEY = "DASK_WORKERS"

# judge


@rule("workers")
def workers(seen: Seen) -> Iterator[Finding]:
    """Ask for Dask in the environment where workers are asked for, before anything is started."""
    number = settings.now(seen).values.get(KEY)
    if number and not _dask.is_number(number):
        cause = f"docker/.env says {KEY}={number}, which is not between 1 and 999"
        yield fail(cause, task_command("up --workers 0"))
    elif number:
        yield _dask.there(seen, number, task_command(f"up --workers {number}"))


RULES = ((workers, "mounts", ("up",)), (workers, "server", ("doctor",)))
CHOICES = (
    Choice(
        "workers",
        KEY,
        "How many Dask workers beside JupyterLab; 0 for none.",
        lambda said: _dask.number(said, "up"),
        file="docker-compose.workers.yml",
    ),
)
