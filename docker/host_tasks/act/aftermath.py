"""What is done where a build or a start failed: why is said, and what never served is removed again."""

import contextlib

from host_tasks.decide.engine import judge
from host_tasks.decide.plan import OK
from host_tasks.decide.services import START, at_work, culprit
from host_tasks.ground import report, runner
from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.masking import masked
from host_tasks.observe import compose, containers, engine
from host_tasks.observe.client import UnreachableError, asking, client
from host_tasks.observe.network import PROXIES
from host_tasks.observe.observation import Observation


def require_engine() -> None:
    """Return where the engine is still there after a step that failed.

    Raises:
        HostError: it went away amid the step, which blames something else.
    """
    found = judge(engine.look())
    if found.state != OK:
        raise found.error()


def build_failed(said: str, seen: Observation) -> HostError:
    """Return the error of a failed build: the line that it is about, and the proxy where no address was reached."""
    from host_tasks.decide.build_failure import cause_of_failed_build, is_full_disk, is_network, said_by_step
    from host_tasks.decide.build_place import Files, places, readable
    from host_tasks.decide.environment import read_environment

    if is_full_disk(said):
        return HostError("the disk is full", fix="docker system df", code=ExitCode.IO)
    cause, values = cause_of_failed_build(said), seen.settings.values
    files = Files(read_environment(seen.environment_yml or ""), seen.requirement_texts)
    lines = [f"{name}:{line}" for name, line in places(cause, said_by_step(said), files)]
    fix = f"correct {' and '.join(lines[:2]) or 'what the lines above name'}, then: {task_command('up')}"
    cause = readable(cause, files)
    if is_network(cause) and (
        proxies := [f"{name}={masked(name, values[name])}" for name in PROXIES if name in values]
    ):
        cause += f" (the build goes through {', '.join(proxies)} of docker/.env)"
    return HostError(": ".join([*lines[:1], cause]), fix=fix, code=ExitCode.SOFTWARE)


def require_built(finished: runner.Finished, seen: Observation) -> None:
    """Return where a build has ended well.

    Raises:
        HostError: a step of it failed (70), the disk is full (74), or the engine went away.
    """
    if not finished.ok:
        require_engine()
        raise build_failed(finished.stderr, seen)


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
