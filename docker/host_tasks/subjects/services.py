"""What runs: every service that Compose declares, at work, and started from what is declared now."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from host_tasks.kit import report, runner
from host_tasks.kit.client import asking, client
from host_tasks.kit.paths import OVERRIDE_FILES, ROOT, shown
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Ended, Finding, Rule, Seen, Step, fail, ok, rule, warn
from host_tasks.subjects import (
    build_failure,
    clone,
    compose,
    containers,
    idmap,
    images,
    mounts,
    ports,
    settings,
    volumes,
)

START = "start on port "  # how the key of a start begins: with another port it is another try
BUILD = "build the other services"  # the key
WAIT_S = 180.0  # for the services to be healthy; a first start on a slow disk takes 20
POLL_S = 0.1
LOOKING = 3  # processes that it takes to look inside: timeout, sh, head

# judge


@rule("server", upon=("env-file", "engine", "compose-files"))
def others_built(seen: Seen) -> Iterator[Finding]:
    """Ask for the images of services beside the server that have a Dockerfile of their own."""
    names, ended = ", ".join(_others(seen)), seen.tried.get(BUILD)
    if names and not ended:
        what = f"build {names}, from the cache where nothing changed, and start anew what has"
        cause = f"only a build tells whether the Dockerfile of {names} has changed"
        touches = f"the images of {names}, and containers of them"
        yield fail(cause, task_command("up"), step=Step(build_others, what, touches, key=BUILD))
    elif ended and not ended.ok:
        yield _in_its_words(ended, f"correct what the lines above name, then: {task_command('up')}")


@rule("server", upon=("env-file", "engine", "compose-files"))
def services(seen: Seen) -> Iterator[Finding]:
    """Ask for every declared service to run, from what its files say now; `up` starts them."""
    what = f"start {compose.SERVICE}, wait until it is healthy, and send a probe file through each mount both ways"
    key = f"{START}{ports.published(seen)}"
    ended = seen.tried.get(key)
    cause = next(_causes(seen, started=ended is not None), "")
    if cause and not ended:
        broken = any(container.failed for container in containers.services(seen))
        server = containers.server(seen)
        ends = "; kernels and terminals end" if server and server.serves and _outdated(server, seen) else ""
        step = Step(start, what, f"the containers and the network of {clone.project(seen)}{ends}", key=key)
        yield fail(cause, task_command("up"), ExitCode.SOFTWARE if broken else ExitCode.CONFIG, step=step)
    elif not ended or (ended.ok and not cause):
        more = len(compose.hashes(seen)) - 1
        yield ok(f"{compose.SERVICE} runs" + (f" with {more} more" if more else ""))
    elif not ports.refused(seen):  # else another port is the cure, and the port's rule has told it
        yield replace(_failed(seen, cause, ended), parting=give_up)


@rule("restart")
def restarted(seen: Seen) -> Iterator[Finding]:
    """Ask for a server that ran to be started anew, once, where no other rule has done so."""
    step = Step(restart, f"restart {compose.SERVICE}", "what runs in it ends; its files and its link stay")
    server, before, ended = containers.server(seen), containers.server(seen.first), seen.tried.get(step.name)
    ran = server is not None and server.status == "running" and before is not None
    if not ran or (before and server and before.started != server.started) or (ended and ended.ok):
        yield ok(f"{compose.SERVICE} needs no restart")
    elif ended:
        cause = f"{compose.SERVICE} was not restarted: {build_failure.cause_of_failed_build(ended.said)}"
        yield fail(cause, task_command("logs"), ExitCode.SOFTWARE)
    else:
        yield fail("it was asked for", task_command("restart"), step=step)


@rule("server", upon=("env-file", "engine"), afterwards=True)
def processes(seen: Seen) -> Iterator[Finding]:
    """Ask for room for a further process in the server, without which nothing there can be looked at."""
    used, limit = containers.processes(seen)
    if limit and used + LOOKING > limit:
        cause = (
            f"no further process can be started in {compose.SERVICE}: pids limit {limit} (PIDS_LIMIT in docker/.env)"
        )
        yield fail(cause, task_command("restart"), ExitCode.UNAVAILABLE)


@rule("memory", upon=("env-file", "engine", "server"))
def memory(seen: Seen) -> Iterator[Finding]:
    """Warn of kernels, and other processes of the server, that were killed because its memory ran out."""
    if count := containers.killed_for_memory(seen):
        limit = settings.now(seen).values.get("MEMORY_LIMIT", "none")
        cause = f"memory ran out in {compose.SERVICE}, and {count} of its processes ended: MEMORY_LIMIT={limit}"
        yield warn(cause, f"set MEMORY_LIMIT in docker/.env, then: {task_command('up')}")


def sound() -> tuple[Rule, ...]:
    """Return what is to be true of a server that answers, and is asked where there is no time for probes."""
    return (processes, mounts.in_place)


@rule("mounts", upon=("server",), afterwards=True)
def proved(seen: Seen) -> Iterator[Finding]:
    """Ask for a way through each mount; a server that was started without one does not stay."""
    found = [*mounts.inside(seen), *volumes.refused(seen)]
    yield from (replace(finding, parting=give_up) for finding in found if finding)


def _causes(seen: Seen, *, started: bool) -> Iterator[str]:
    """Yield why Compose has something to start; after a start, what still does not run."""
    if not compose.is_there(seen):
        yield f"{compose.SERVICE} is not started"
        return
    running, hashes = containers.services(seen), compose.hashes(seen)
    for name in hashes:
        mine, declared = [container for container in running if container.service == name], _declared(name, seen)
        # Compose specification, `scale` and `deploy.replicas`.
        wanted = int(declared.get("scale", (declared.get("deploy") or {}).get("replicas", 1)))
        if wanted and not mine:
            yield f"{name} is not started"
        yield from (f"{name} {described(container)}" for container in mine if not _at_work(container, seen))
        if len(mine) != wanted:
            yield f"{name} runs {len(mine)} times, and is wanted {wanted} times"
    if started:
        return
    yield from (cause for container in running if (cause := _outdated(container, seen)))
    if strangers := sorted({container.service for container in running} - set(hashes)):
        yield f"the Compose files no longer declare {', '.join(strangers)}"
    if BUILD in seen.tried:
        yield f"a build was done of {', '.join(_others(seen))}"


def _outdated(container: containers.Container, seen: Seen) -> str:
    """Return why a container has to be made anew, or ""."""
    name, hashes = container.service, compose.hashes(seen)
    image = images.own(seen) if name == compose.SERVICE else None
    if image and container.image != image.id:
        return f"{name} runs on an older image than this clone's"
    if other := _outlived(container, seen):
        return f"{name} was started before {other.service}, which it depends on"
    # One that shares what another container has carries a hash in which that one's id stands (docker/compose 2.26,
    # convergence.go, resolveServiceReferences): there it is what the tasks wrote down.
    declared, then = _declared(name, seen), container.config_hash
    shared = (str(declared.get(key)) for key in ("network_mode", "ipc", "pid"))
    if declared.get("volumes_from") or any(value.startswith("service:") for value in shared):
        then = images.last_build(seen).services.get(name, "")
    if then != hashes.get(name, then):
        return f"the Compose files or docker/.env say something else of {name} than when it was started"
    return mounts.replaced(seen) if name == compose.SERVICE else ""


def _outlived(container: containers.Container, seen: Seen) -> containers.Container | None:
    """Return what a container depends on, if that has ended or was started since.

    That is a service that it `depends_on` with `restart: true`, which Compose adds for one whose network it shares
    (compose-go 2, normalize.go): it stays in the old network.
    """
    needed = _declared(container.service, seen).get("depends_on") or {}
    for other in containers.services(seen):
        gone = other.status not in ("running", "paused") or other.started > container.started
        if gone and (needed.get(other.service) or {}).get("restart"):
            return other
    return None


def _at_work(container: containers.Container, seen: Seen) -> bool:
    """Return whether a container serves, or is a job that is done; no job is the server, or what has a health check."""
    is_job = container.service != compose.SERVICE and not _declared(container.service, seen).get("healthcheck")
    return container.serves or (is_job and container.ended_well)


def _declared(name: str, seen: Seen) -> Mapping[str, Any]:
    """Return what Compose's model says of a service; nothing of one that is no longer declared."""
    return compose.model(seen)["services"].get(name) or {}


def _others(seen: Seen) -> list[str]:
    """Return the services beside the server that have a Dockerfile of their own."""
    declared = compose.model(seen)["services"] if compose.is_there(seen) else {}
    return [name for name, service in declared.items() if service.get("build") and name != compose.SERVICE]


def _ill(seen: Seen) -> list[containers.Container]:
    """Return the containers that are not at work; first those that keep others from it, which only wait."""
    ill = [container for container in containers.services(seen) if not _at_work(container, seen)]
    return sorted(ill, key=lambda container: container.status == "created" and not container.error)


def _before(seen: Seen) -> set[str]:
    """Return the ids of the containers that were there before the first step."""
    return {container.id for container in seen.first.facts.get(containers.ours, ())}


def _failed(seen: Seen, cause: str, ended: Ended) -> Finding:
    """Return what keeps the services from running, after they were started."""
    before, up = _before(seen), task_command("up")
    # What was there before, and only starts still, is not what a start failed of.
    blamed = (each for each in _ill(seen) if ended.ok or each.id not in before or each.health != "starting")
    first = next(blamed, None)
    full = not ended.ok and build_failure.is_full_disk(ended.said)
    if first is None and not ended.ok and not full and (lacking := images.lacking(seen)):
        name, image = next(iter(lacking.items()))
        cause = f"{name} needs the image {image}, which is neither on this engine nor can it be pulled"
        return fail(cause, f"correct the image of {name} in your Compose files, then: {up}", ExitCode.UNAVAILABLE)
    silent = first is None or (first.status == "created" and not first.error)  # then only Compose's words tell why
    if full or (silent and not ended.ok):
        server = containers.server(seen)
        goes_on = server is not None and server.status == "running" and server.id in before
        own = " or ".join(shown(path) for path in compose.files(settings.now(seen).values) if path in OVERRIDE_FILES)
        fix = f"correct {own}, then: {up}" if own else build_failure.UNKNOWN.format(task_command("doctor"))
        return _in_its_words(ended, fix, f"; the old {compose.SERVICE} goes on" if goes_on else "")
    if first is None:
        return fail(cause, f"correct it in your Compose files, then: {up}", ExitCode.SOFTWARE)
    port = ports.TAKEN.search(first.error)
    held = f", held by {ports.holders(seen)(int(port[1]))}" if port else ""
    without_log = first.error or silent or first.log_driver == "none"
    cause = f"{first.service} {described(first)}{held}" + ("" if without_log else "; its last lines are above")
    own = f"correct {first.service} in your Compose files, then: {up}"
    return fail(cause, task_command("logs") if first.id in before else own, ExitCode.SOFTWARE)


def _in_its_words(ended: Ended, fix: str, more: str = "") -> Finding:
    """Return what Compose said of a build or a start that failed; the fix is for what nobody knows."""
    if known := build_failure.known_cause(ended.said):
        return replace(known, cause=known.cause + more)
    return fail(build_failure.cause_of_failed_build(ended.said) + more, fix, ExitCode.SOFTWARE)


# repair


def build_others(seen: Seen) -> Ended:
    """Build the services beside the server, by name: the server's build takes what only its own step knows."""
    finished = images.build_services(seen, *_others(seen))
    return Ended(finished.ok, finished.stderr)


def start(seen: Seen) -> Ended:
    """Start what Compose declares, and wait until its health is known.

    Not by its --wait, which looks every 500 ms even where all is healthy.
    """
    for container in containers.services(seen):
        # What never ran, or cannot, has a name that is in the way of the next. What is no longer declared is no orphan
        # for Compose where a file still names it in a profile, as docker-compose.hardened.yml names Dask's services.
        useless = container.status in ("created", "dead", "ending", "removing")
        if useless or container.service not in compose.hashes(seen) or _outlived(container, seen):
            _removed(container)
        elif container.status == "paused":
            report.note(f"{container.name} is paused: it goes on.")
            with asking():
                client().containers.get(container.id).unpause()
    # The engine looks for the folders again where a container starts again; what was installed in it stays.
    # One that is made anew for another reason has nothing to find again: what it mounted may be gone.
    server, old = containers.server(seen), mounts.replaced(seen)
    if server and old and _outdated(server, seen) == old and not (ended := restart(seen)).ok:
        return ended
    words = ("up", "--no-build", "--detach", "--remove-orphans")
    finished = compose.call(settings.now(seen).values, *words, keep=True)
    deadline = time.monotonic() + WAIT_S
    while finished.ok and time.monotonic() < deadline:
        waiting = [container for container in containers.services(Seen()) if not container.settled]
        if not waiting:
            break
        for container in waiting if idmap.podman(seen) else ():  # its timers are systemd's, and slow
            containers.look_after(container)
        time.sleep(POLL_S)
    built = images.last_build(seen)
    if finished.ok and built.image and built.model != compose.model_digest(seen):
        images.write_down(replace(built, services=dict(compose.hashes(seen)), model=compose.model_digest(seen)))
    return Ended(finished.ok, finished.stderr)


def restart(seen: Seen) -> Ended:
    """Restart the server in its container."""
    finished = compose.call(settings.now(seen).values, "restart", compose.SERVICE, keep=True)
    return Ended(finished.ok, finished.stderr)


def give_up(seen: Seen) -> None:
    """Show why, and remove what a start made and does not serve; what ran before may hold a person's kernels.

    Where all are at work it is their mounts that are not proved: what is saved there would not get here.
    """
    if not any(name.startswith(START) for name in seen.tried):
        return
    ill, before = _ill(seen), _before(seen)
    for line in containers.last_lines(ill[0]).splitlines() if ill else ():
        report.note(f"{ill[0].service} | {line}")
    useless = ill or containers.services(seen)
    for container in useless:
        if container.id not in before:
            _removed(container)
    if not before and len(useless) == len(containers.services(seen)):  # only the network is left of this start
        compose.call_by_name(clone.project(seen), "down", capture=True, announce=False, timeout_s=compose.REMOVE_S)


def _removed(container: containers.Container) -> None:
    """Have the engine remove a container, and wait until it has: Compose would meet one that is half removed."""
    import docker.errors

    # An engine that no longer answers is not the news: what failed before is.
    with contextlib.suppress(HostError, docker.errors.NotFound):
        argv = ["docker", "rm", "--force", container.id]
        runner.run(argv, cwd=ROOT, capture=True, announce=False, timeout_s=compose.REMOVE_S)
        with asking():  # somebody else may be removing it, which the command does not wait for
            client().api.wait(container.id, timeout=int(compose.REMOVE_S), condition="removed")


# show


def described(container: containers.Container) -> str:
    """Return the state of a container, as the end of a sentence that its name begins."""
    if container.out_of_memory:
        return "ran out of memory"
    if container.error:  # without its long ids
        plain = re.sub(r"\s*\([0-9a-f]{64}\)", "", container.error)
        return f"could not be started: {' '.join(plain.split()).rstrip('.')}"
    if container.status == "exited" and container.exit_code == 137:
        # 128 + SIGKILL, which nobody else sends; not every engine hears of it
        return "was killed with exit code 137, as it is where memory runs out"
    if container.status in ("exited", "dead"):
        return f"ended with exit code {container.exit_code}"
    if container.status == "restarting" or (container.restarts and container.health == "starting"):
        return f"keeps restarting, {container.restarts} times until now"
    if container.status == "running" and container.health != "none":
        said = f" ({container.last_check})" if container.last_check else ""
        known = {"starting": "is still starting", "healthy": "is healthy"}
        return known.get(container.health, f"is not healthy{said}")
    return {"running": "runs", "created": "was made, but not started"}.get(container.status, f"is {container.status}")
