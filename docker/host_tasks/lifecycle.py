"""A run: observe, plan, act, observe again. Everything here holds the clone's lock while it changes something."""

from typing import Any

from host_tasks import compose, engine, envfile, lock, mounts, report, server, settings, stand_in
from host_tasks.errors import ExitCode, HostError
from host_tasks.settings import Settings

WAIT_S = 180  # for the server to be healthy; a first start on a slow disk takes 20
PORT_TRIES = 5  # a port that was free may be taken until the engine publishes it


def prepare(*, port: int | None = None, yes: bool) -> Settings:
    """Return settings that a build can use: the engine answers, the base image is here, docker/.env says so.

    Raises:
        HostError: the engine, the base image or docker/.env cannot be used.
    """
    engine.ensure(yes=yes)
    found = settings.observe(port=port)
    base = stand_in.ensure_base(found, yes=yes)
    ready = settings.observe(port=port, base_image=base)
    settings.write(ready)
    return ready


def build(*, yes: bool, no_cache: bool = False) -> None:
    """Build the image.

    Raises:
        HostError: a step of the build failed (70).
    """
    with lock.held():
        ready = prepare(yes=yes)
        finished = compose.call(ready, "build", *(["--no-cache"] if no_cache else []), keep=True)
        if not finished.ok:
            raise _build_failed(finished.stderr)


def up(*, asked: int | None, yes: bool) -> str:
    """Build, start and check the server, and return its link.

    Raises:
        HostError: one of the steps failed; what ran before still runs.
    """
    with lock.held():
        ready = prepare(yes=yes)
        ready = _with_port(ready, asked)
        declared = compose.declared_mounts(compose.model(ready))
        mounts.repair(declared, ready.identity)
        mounts.raise_first(mounts.check(declared, ready.identity))
        container = _start(ready, asked)
        mounts.raise_first(mounts.check(declared, ready.identity, container))
        return server.link(container)


def down() -> None:
    """Stop and remove the containers and the network of this clone; files, images and Lab's settings stay."""
    with lock.held():
        finished = compose.call(settings.observe(), "down", "--remove-orphans", timeout_s=120)
        if not finished.ok:
            raise HostError("the containers could not be removed", fix="see why: docker info", code=ExitCode.UNAVAILABLE)


def _with_port(ready: Settings, asked: int | None) -> Settings:
    """Return the settings with a port that can be published, written to docker/.env."""
    running = server.containers(ready.project)
    ours = server.port(running[0]) if running else None
    kept = int(ready.values.get("JUPYTER_PORT") or 0) or None
    chosen = server.choose_port(asked, kept, ours, ready.project)
    if chosen == kept or (kept is None and chosen == server.FIRST_PORT):
        return ready
    if asked is None and chosen != ours:
        taken = kept or server.FIRST_PORT
        report.note(f"Port {taken} is held by {server.holder(taken)}: this clone takes {chosen}.")
    return _rewritten(ready, chosen)


def _rewritten(ready: Settings, port: int) -> Settings:
    """Return the settings with another port, written to docker/.env."""
    changed = settings.observe(port=port)
    envfile.write(changed.plan)
    return changed


def _start(ready: Settings, asked: int | None) -> Any:
    """Start the server and return its container, once it is healthy."""
    for _ in range(PORT_TRIES):
        finished = compose.call(
            ready, "up", "--build", "--detach", "--wait", "--wait-timeout", str(WAIT_S), "--remove-orphans", keep=True
        )
        if finished.ok:
            return server.container(ready.project)
        port = int(ready.values.get("JUPYTER_PORT", server.FIRST_PORT))
        if asked is not None or "port is already allocated" not in finished.stderr and "address already in use" not in finished.stderr:
            break
        ready = _rewritten(ready, server.choose_port(None, None, None, ready.project))
        report.note(f"Port {port} was taken meanwhile: this clone takes {ready.values['JUPYTER_PORT']}.")
    raise _start_failed(ready, finished.stderr)


def _start_failed(ready: Settings, said: str) -> HostError:
    """Return why the server did not start, by the state that it left; a container that never ran is removed."""
    left = server.containers(ready.project, running=False)
    state = left[0].attrs["State"] if left else {}
    if state.get("Status") == "created":
        compose.call(ready, "down", capture=True, announce=False, timeout_s=120)
    if not left or state.get("Status") == "created":
        return _build_failed(said)
    report.note(server.last_lines(left[0]))
    cause = "ran out of memory" if state.get("OOMKilled") else f"is {state.get('Status')} with exit code {state.get('ExitCode')}"
    if state.get("Status") == "running":
        cause = f"is not healthy after {WAIT_S} s"
    return HostError(f"the server {cause}; its last lines are above", fix="invoke logs", code=ExitCode.SOFTWARE)


def _build_failed(said: str) -> HostError:
    """Return the error of a build or start that Compose gave up, by the last thing it said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else "Compose said nothing"
    if "no space left on device" in said:
        return HostError("the disk is full", fix="see what uses it: docker system df", code=ExitCode.IO)
    return HostError(last, fix="mend what the lines above name, then: invoke up", code=ExitCode.SOFTWARE)
