"""Rules about what runs: every service that Compose declares, started from what is declared now, and well."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from host_tasks.decide.plan import Finding, Step, fail, ok
from host_tasks.decide.ports import refused
from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode
from host_tasks.observe.compose import SERVICE
from host_tasks.observe.containers import Container
from host_tasks.observe.ports import own_port

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

CODE = "server"
START = "start"  # the action, and how its keys begin


def services(seen: "Observation") -> Iterator[Finding]:
    """Ask for every declared service to run, from what its files say now; `up` starts them."""
    if not seen.has_compose:
        yield fail(CODE, f"{SERVICE} is not started", task_command("up"), step=start_step(seen))
        return
    cause = _missing(seen)
    if cause is None:
        yield ok(CODE, f"{SERVICE} runs" + (f" with {len(seen.hashes) - 1} more" if len(seen.hashes) > 1 else ""))
    elif start_step(seen).key not in seen.tried:
        broken = any(each.failed for each in seen.services)
        exit_code = ExitCode.SOFTWARE if broken else ExitCode.CONFIG
        yield fail(CODE, cause, task_command("up"), exit_code, step=start_step(seen))
    elif not refused(seen):  # else another port is the cure, and the port's rule has told it
        yield _failed(seen)


def restart(seen: "Observation") -> Iterator[Finding]:
    """Ask for a running server to be started anew, once; one that does not run is started by `services`."""
    step = Step("restart", f"restart {SERVICE}", "what runs in it ends; its files and its link stay")
    if step.key in seen.tried or seen.server is None or seen.server.status != "running":
        yield ok("restart", f"{SERVICE} needs no restart")
    else:
        yield fail("restart", "a restart was asked for", task_command("restart"), step=step)


def start_step(seen: "Observation") -> Step:
    """Return the step that starts what is declared; with another port it is another try."""
    what = f"start {SERVICE}, wait until it is healthy, and send a probe file through each mount both ways"
    port = {"port": str(own_port(seen.settings.values))}
    return Step(START, what, f"the containers and the network of {seen.project}", values=port)


def _missing(seen: "Observation") -> str | None:
    """Return why Compose has something to start, or None: all that is declared runs as it is declared."""
    for name in seen.hashes:
        if (cause := _not_running(name, seen)) or (cause := _outdated(name, seen)):
            return cause
    if start_step(seen).key in seen.tried:
        return None
    if strangers := sorted({each.service for each in seen.services} - set(seen.hashes)):
        return f"{', '.join(strangers)} is declared no more"
    built = [name for name, each in seen.model["services"].items() if each.get("build") and name != SERVICE]
    if built:
        return f"{', '.join(built)} is built by a Dockerfile of its own, and only a build tells whether it changed"
    return None


def _not_running(name: str, seen: "Observation") -> str | None:
    """Return why a service does not do its work, or None."""
    found, wanted = [each for each in seen.services if each.service == name], _wanted(_declared(name, seen))
    if not found and wanted:
        return f"{name} is not started"
    for each in found:
        if not at_work(each, seen):
            return f"{name} {described(each)}"
    return f"{name} runs {len(found)} times, and is wanted {wanted} times" if len(found) != wanted else None


def _declared(name: str, seen: "Observation") -> Mapping[str, Any]:
    """Return what Compose's model says of a service; nothing of one that is declared no more."""
    return seen.model["services"].get(name) or {}


def _wanted(declared: Mapping[str, Any]) -> int:
    """Return how many containers of a service are declared (Compose specification, `scale` and `deploy.replicas`)."""
    return int(declared.get("scale", (declared.get("deploy") or {}).get("replicas", 1)))


def at_work(container: Container, seen: "Observation") -> bool:
    """Return whether a container does what it is for: it serves, or is a job that is done.

    The server is no job, and no service whose health is to be checked is one.
    """
    is_job = container.service != SERVICE and not _declared(container.service, seen).get("healthcheck")
    return container.serves or (container.ended_well and is_job)


def outlived(container: Container, seen: "Observation") -> Container | None:
    """Return what a container hangs on, if that has ended or was started since: then it has to be made anew.

    It hangs on a service that it `depends_on` with `restart: true`, which Compose adds for one whose network it shares
    (compose-go 2, normalize.go): it stays in the network of before.
    """
    needed = _declared(container.service, seen).get("depends_on") or {}
    on = {name for name, how in needed.items() if how.get("restart")}
    others = (each for each in seen.services if each.service in on)
    return next(
        (each for each in others if each.status not in ("running", "paused") or each.started > container.started), None
    )


def _outdated(name: str, seen: "Observation") -> str | None:
    """Return why a service has to be started anew, or None."""
    if start_step(seen).key in seen.tried:
        return None
    for each in seen.services:
        if each.service == name == SERVICE and seen.image and each.image != seen.image.id:
            return f"{name} runs on an older image than this clone's"
        if each.service == name and (other := outlived(each, seen)):
            return f"{name} was started before {other.service}, on which it hangs"
        if each.service == name and _hash_at_start(each, seen) != seen.hashes[name]:
            return f"the Compose files or docker/.env say something else of {name} than when it was started"
    return None


def _hash_at_start(container: Container, seen: "Observation") -> str:
    """Return Compose's hash of what a container was started from.

    One that shares what another container has carries a hash in which that one's id stands (docker/compose 2.26,
    convergence.go, resolveServiceReferences): there it is what the tasks wrote down.
    """
    declared = _declared(container.service, seen)
    shares = declared.get("volumes_from") or any(
        str(declared.get(key)).startswith("service:") for key in ("network_mode", "ipc", "pid")
    )
    return seen.built.services.get(container.service, "") if shares else container.config_hash


def described(container: Container) -> str:
    """Return the state of a container, as the end of a sentence that its name begins."""
    if container.out_of_memory:
        return "ran out of memory"
    if container.error:
        return f"could not be started: {_plain(container.error)}"
    if container.status == "exited" and container.exit_code == 137:
        # 128 + SIGKILL, which nobody else sends; not every engine hears of it
        return "was killed with exit code 137, as it is where memory runs out"
    if container.status in ("exited", "dead"):
        return f"ended with exit code {container.exit_code}"
    if container.status == "restarting" or (container.restarts and container.health == "starting"):
        return f"ends again and again, {container.restarts} times until now"
    if container.status == "running" and container.health != "none":
        said = f" ({container.last_check})" if container.last_check else ""
        known = {"starting": "is still starting", "healthy": "is healthy"}
        return known.get(container.health, f"is not healthy{said}")
    return {"running": "runs", "created": "was made, but not started"}.get(container.status, f"is {container.status}")


def _plain(error: str) -> str:
    """Return an error of the engine without its long ids."""
    return " ".join(re.sub(r"\s*\([0-9a-f]{64}\)", "", error).split()).rstrip(".")


def culprit(seen: "Observation") -> Container | None:
    """Return the container that keeps the services from running, and not one that only waits for it; None for none."""
    ill = [each for each in seen.services if not at_work(each, seen)]
    return next((each for each in ill if each.status != "created" or each.error), ill[0] if ill else None)


def _failed(seen: "Observation") -> Finding:
    """Return what keeps the services from running, after they were started."""
    first = culprit(seen)
    from host_tasks.decide.build_failure import cause_of_failed_build, is_full_disk  # late: its patterns take a while

    if is_full_disk(seen.said):
        return fail(CODE, "the disk is full", "docker system df", ExitCode.IO)
    if first is None and (lacking := seen.lacking_images):
        name, image = next(iter(lacking.items()))
        cause = f"{name} needs the image {image}, which is neither on this engine nor can it be pulled"
        fix = f"correct the image of {name} in your Compose files, then: {task_command('up')}"
        return fail(CODE, cause, fix, ExitCode.UNAVAILABLE)
    if first is None or "failed to solve" in seen.said:  # Compose went no further: only its words tell why
        fix = f"correct what the lines above name, then: {task_command('up')}"
        return fail(CODE, cause_of_failed_build(seen.said), fix, ExitCode.SOFTWARE)
    silent = first.error or first.status == "created" or first.log_driver == "none"
    lines = "" if silent else "; its last lines are above"
    cause = f"{first.service} {described(first)}{_held_by(first, seen)}{lines}"
    if first.id in seen.before:
        return fail(CODE, cause, task_command("logs"), ExitCode.SOFTWARE)
    return fail(
        CODE, cause, f"correct {first.service} in your Compose files, then: {task_command('up')}", ExitCode.SOFTWARE
    )


def _held_by(container: Container, seen: "Observation") -> str:
    """Return who holds the port that a container could not publish, as the end of a sentence; "" for another error."""
    number = re.search(r":(\d+)\b(?=.*(?:already allocated|address already in use))", container.error)
    return f", held by {seen.port_holder(int(number[1]))}" if number else ""
