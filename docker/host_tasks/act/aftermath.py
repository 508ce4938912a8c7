"""What is done where a start failed: its last lines are shown, and what never served is removed again."""

import contextlib

from host_tasks.decide.services import START, at_work, culprit
from host_tasks.ground import report
from host_tasks.observe import compose, containers
from host_tasks.observe.client import UnreachableError, asking, client
from host_tasks.observe.observation import Observation


def give_up(seen: Observation) -> None:
    """Show why, and remove what the start made and that does not serve; what ran before may hold a person's kernels."""
    if not any(key.startswith(START) for key in seen.tried):
        return
    first = culprit(seen)
    if first and (lines := containers.last_lines(first)):
        report.note(lines)
    ill = [each for each in seen.services if not at_work(each, seen)]
    for each in ill:
        if each.id not in seen.before:
            remove(each)
    if not seen.before and len(ill) == len(seen.services):  # only the network is left of this start
        compose.call_by_name(seen.project, "down", capture=True, announce=False, timeout_s=compose.REMOVE_S)


def remove(container: containers.Container) -> None:
    """Remove a container, running or not."""
    import docker.errors

    # Gone already, or the engine does not answer any more: what failed before is the news.
    with contextlib.suppress(docker.errors.NotFound, UnreachableError), asking():
        client().containers.get(container.id).remove(force=True)
