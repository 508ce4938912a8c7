"""Run a command in the environment: in the running server, else in a container of its own."""

import sys
from collections.abc import Sequence

from host_tasks.act.run import achieve
from host_tasks.decide import goals
from host_tasks.ground import runner
from host_tasks.observe import compose
from host_tasks.observe.compose import SERVICE
from host_tasks.observe.observation import Observation


def run_inside(words: Sequence[str], *, yes: bool) -> runner.Finished:
    """Run a command in the environment and return how it ended."""
    terminal = [] if sys.stdin.isatty() and sys.stdout.isatty() else ["--no-TTY"]
    seen = Observation()
    if seen.server and seen.server.status == "running":
        # exec passes by the entrypoint, so it is named: it activates the environment.
        inside = ["exec", *terminal, SERVICE, "entrypoint.sh"]
    else:
        seen = achieve(goals.RUNNABLE, yes=yes)
        inside = ["run", "--rm", *terminal, SERVICE]
    return compose.call(seen.settings.values, *inside, *words, interactive=True)
