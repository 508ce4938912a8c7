"""Run a command in the environment: in the running server, or in a container of its own that is removed afterwards."""

import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from host_tasks.act.run import achieve
from host_tasks.decide import goals
from host_tasks.ground import inside, runner
from host_tasks.observe import compose
from host_tasks.observe.compose import SERVICE
from host_tasks.observe.observation import Observation


def run_inside(words: Sequence[str], *, yes: bool) -> runner.Finished:
    """Run a command in the running server, else beside it, and return how it ended."""
    seen = Observation()
    if not (seen.server and seen.server.status == "running"):
        return run_beside(words, yes=yes)
    # exec passes by the entrypoint, so it is named: it activates the environment.
    mark = inside.mark()
    call = ("exec", "--env", mark, *_terminal(), SERVICE, "entrypoint.sh", *words)
    stop = inside.stop(seen.server.id, mark)
    return compose.call(seen.settings.values, *call, interactive=True, also_stop=stop)


def run_beside(words: Sequence[str], *, yes: bool, mounts: Mapping[Path, str] | None = None) -> runner.Finished:
    """Run a command in a container of its own, with further folders mounted read-only in ~/app; return how it ended."""
    seen = achieve(goals.RUNNABLE, yes=yes)
    home = f"/home/{seen.settings.identity.user}/app"
    more = [f"--volume={source}:{home}/{name}:ro" for source, name in (mounts or {}).items()]
    name = f"{seen.project}-run-{uuid.uuid4().hex[:8]}"
    call = ("run", "--rm", "--no-deps", "--name", name, *more, *_terminal(), SERVICE, *words)
    return compose.call(seen.settings.values, *call, interactive=True, also_stop=["docker", "stop", name])


def _terminal() -> tuple[str, ...]:
    """Return the option without which Compose asks for a terminal that is not there."""
    return () if sys.stdin.isatty() and sys.stdout.isatty() else ("--no-TTY",)
