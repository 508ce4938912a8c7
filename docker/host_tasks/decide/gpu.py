"""The rule about GPUs, which are asked for by a key of docker/.env."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from host_tasks.decide.plan import Finding, fail, ok
from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

CODE = "gpu"
KEY = "GPUS"
BACK = "up --no-gpu"


def gpu(seen: "Observation") -> Iterator[Finding]:
    """Ask for GPUs where they are asked for, before anything is started."""
    wanted = seen.settings.values.get(KEY)
    if not wanted:
        return
    if not re.fullmatch(r"all|[1-9][0-9]?", wanted):
        yield fail(CODE, f"docker/.env says {KEY}={wanted}, which is neither all nor a number", task_command(BACK))
    elif seen.lacking_for_gpu:
        cause = f"a GPU is asked for, and {seen.lacking_for_gpu}"
        yield fail(CODE, cause, task_command(BACK), ExitCode.UNAVAILABLE)
    else:
        yield ok(CODE, f"asked for: {wanted}")
