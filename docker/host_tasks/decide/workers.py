"""Rules about Dask workers: how many, and whether the environment has Dask."""

import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from host_tasks.decide.plan import Finding, fail, ok
from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import ENV_FILE, ENVIRONMENT_YML

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

CODE = "workers"
KEY = "DASK_WORKERS"
PACKAGES = ("distributed", "bokeh", "jupyter-server-proxy")  # Dask; its dashboard; the way there through JupyterLab


def wished_workers(text: str, task: str = "up") -> dict[str, str | None]:
    """Return what is asked of docker/.env for a number of workers; nothing for an empty text, the key gone for 0.

    Raises:
        HostError: it is no such number (64).
    """
    if not text:
        return {}
    if text != "0" and not _is_number(text):
        raise HostError(
            f"--workers {text} is not between 0 and 999", fix=task_command(f"{task} --workers 2"), code=ExitCode.USAGE
        )
    return {KEY: None if text == "0" else text}


def workers(seen: "Observation") -> Iterator[Finding]:
    """Ask for Dask in the environment where workers are asked for, before anything is started."""
    number = seen.settings.values.get(KEY)
    if not number:
        return
    if not _is_number(number):
        cause = f"docker/.env says {KEY}={number}, which is not between 1 and 999"
        yield fail(CODE, cause, f"sed -i '/^{KEY}=/d' {path_word(ENV_FILE)}")
    else:
        yield dask(seen, number, task_command(f"up --workers {number}"))


def dask(seen: "Observation", number: str, again: str) -> Finding:
    """Return whether the environment has Dask for so many workers; `again` is the command once it is to have it."""
    if re.search(r"\b(dask|distributed)\b", seen.asked_packages):
        return ok(CODE, f"{number} are asked for")
    cause = f"{number} Dask workers are asked for, and neither environment.yml nor requirements.txt names Dask"
    return fail(CODE, cause, f"{_added(seen.environment_yml or '')} && {again}")


def _is_number(text: str) -> bool:
    """Return whether a text is a number of workers."""
    return re.fullmatch(r"[1-9][0-9]{0,2}", text) is not None


def _added(environment_yml: str) -> str:
    """Return the command that adds Dask's packages to environment.yml, indented as the list there is."""
    indent = re.search(r"^dependencies:[^\n]*\n(?:\s*#[^\n]*\n)*( *)- ", environment_yml, re.MULTILINE)
    lines = [f"{indent[1] if indent else '  '}- {name}" for name in PACKAGES]
    script = "/^dependencies:/a \\" + "\\n".join(lines)
    return f"sed -i {shlex.quote(script)} {path_word(ENVIRONMENT_YML)}"
