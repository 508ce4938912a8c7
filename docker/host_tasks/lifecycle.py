"""A run: observe, plan, act, observe again. Everything here holds the clone's lock while it changes something."""

import re
import sys
from collections.abc import Sequence, Set
from dataclasses import asdict
from typing import Any

from host_tasks import compose, install, mounts, server, settings, stand_in
from host_tasks.ground import envfile, lock, report, runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.settings import Settings

WAIT_S = 180  # for the server to be healthy; a first start on a slow disk takes 20
# What a step of the build prints itself, behind BuildKit's "#10 28.52 "; BuildKit's own line names only the command.
STEP_ERROR = re.compile(r"(?:#\d+ )?(?:\d+\.\d+ )?\w*error: (?!process |failed to )(.+)", re.IGNORECASE)
PORT_TRIES = 5  # a port that was free may be taken until the engine publishes it


def prepare(*, port: int | None = None, yes: bool) -> Settings:
    """Return settings that a build can use: the engine answers, the base image is here, docker/.env says so.

    Raises:
        HostError: the engine, the base image or docker/.env cannot be used.
    """
    found = settings.observe(port=port)
    if not server.runs(found.project):  # a server that runs has proved the engine and Compose
        install.ensure(yes=yes)
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
        _built(prepare(yes=yes), *(["--no-cache"] if no_cache else []))


def up(*, asked: int | None, yes: bool) -> str:
    """Build, start and check the server, and return its link.

    Raises:
        HostError: one of the steps failed; what ran before still runs.
    """
    with lock.held():
        ready = _with_port(prepare(yes=yes), asked)
        declared = _repaired_mounts(ready)
        before = {each.id for each in server.containers(ready.project)}
        container = _start(ready, asked, before)
        mounts.raise_first(mounts.check(declared, ready.identity, container))
        return server.link(container)


def down() -> None:
    """Stop and remove the containers and the network of this clone; files, images and Lab's settings stay.

    Raises:
        HostError: the engine could not (69), or they have the name that the clone had before it was moved (78).
    """
    with lock.held():
        found = settings.observe()
        settings.refuse_moved(found.plan)
        finished = compose.call(found, "down", "--remove-orphans", timeout_s=120)
        if not finished.ok:
            raise HostError(
                "the containers could not be removed", fix="see why: docker info", code=ExitCode.UNAVAILABLE
            )


def run_inside(words: Sequence[str], *, yes: bool) -> runner.Finished:
    """Run a command in the environment and return how it ended: in the running container, else in one of its own."""
    terminal = [] if sys.stdin.isatty() and sys.stdout.isatty() else ["--no-TTY"]
    install.ensure(yes=yes)
    found = settings.observe()
    if server.containers(found.project):
        # exec passes by the entrypoint, so it is named: it activates the environment.
        inside = ["exec", *terminal, compose.SERVICE, "entrypoint.sh"]
    else:
        with lock.held():
            found = prepare(yes=yes)
            _repaired_mounts(found)
            _built(found)
        inside = ["run", "--rm", *terminal, compose.SERVICE]
    return compose.call(found, *inside, *words, interactive=True)


def check_mounts(*, fix: bool, dry_run: bool, json: bool) -> None:
    """Check the mounts, repairing them first where asked to, and print a table or JSON.

    Raises:
        HostError: a mount has a fault (77 or 78).
    """
    install.require()
    found = settings.current()
    declared = compose.declared_mounts(compose.model(found))
    if fix and dry_run:
        report.result("\n".join(mounts.repairs(declared, found.identity)) or "nothing to repair")
        return
    if fix:
        with lock.held():
            mounts.repair(declared, found.identity)
    running = server.containers(found.project)
    checks = mounts.check(declared, found.identity, running[0] if running else None)
    if json:
        report.as_json([asdict(each) for each in checks])
    else:
        report.result(mounts.table(checks))
    mounts.raise_first(checks)


def print_status(*, json: bool) -> None:
    """Print what runs, on which image, as whom, and where."""
    install.require()
    found = settings.observe()
    seen = server.containers(found.project, running=False)
    state = seen[0].attrs["State"] if seen else {}
    base = found.values.get("BASE_IMAGE")
    facts = {
        "project": found.project,
        "server": state.get("Health", {}).get("Status") or state.get("Status") or "not started",
        "link": server.link(seen[0]) if state.get("Status") == "running" else "",
        "identity": f"{found.identity.user} {found.identity.uid}:{found.identity.gid} ({found.identity.reason})",
        "base image": f"{base} (a stand-in made here)"
        if base and stand_in.is_stand_in(base)
        else base or stand_in.published(),
        "docker/.env": "out of date; invoke env" if found.plan.changed else "up to date",
    }
    if json:
        report.as_json(facts)
    else:
        report.result(report.table(("", ""), facts.items()).lstrip())


def clean(*, dry_run: bool) -> None:
    """Delete the containers, the image and the volumes of this clone."""
    install.require()
    found = settings.observe()
    words = ["down", "--rmi", "local", "--volumes", "--remove-orphans"]
    if dry_run:
        report.result(f"would delete the containers, network, image and JupyterLab settings of {found.project}")
        return
    with lock.held():
        compose.call(found, *words, timeout_s=120)


def _built(ready: Settings, *options: str) -> None:
    """Build the image, or raise what kept it from being built."""
    finished = compose.call(ready, "build", *options, keep=True)
    if not finished.ok:
        raise _build_failed(finished.stderr)


def _repaired_mounts(ready: Settings) -> list[compose.Mount]:
    """Return the declared mounts, made and given to the identity where that was missing, and good on the host."""
    declared = compose.declared_mounts(compose.model(ready))
    mounts.repair(declared, ready.identity)
    mounts.raise_first(mounts.check(declared, ready.identity))
    return declared


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


def _start(ready: Settings, asked: int | None, before: Set[str]) -> Any:
    """Start the server and return its container, once it is healthy; before: the ids of what ran until now."""
    for _ in range(PORT_TRIES):
        # Not --wait: it looks every 500 ms even where all is healthy, and ends alike for a build and for a server.
        finished = compose.call(ready, "up", "--build", "--detach", "--remove-orphans", keep=True)
        if finished.ok:
            container = server.settled(ready.project, timeout_s=WAIT_S)
            if container and server.is_ready(container):
                return container
            break
        port = int(ready.values.get("JUPYTER_PORT") or server.FIRST_PORT)
        if asked is not None or (
            "port is already allocated" not in finished.stderr and "address already in use" not in finished.stderr
        ):
            break
        ready = _rewritten(ready, server.choose_port(None, None, None, ready.project))
        report.note(f"Port {port} was taken meanwhile: this clone takes {ready.values['JUPYTER_PORT']}.")
    raise _start_failed(ready, finished.stderr, before)


def _start_failed(ready: Settings, said: str, before: Set[str]) -> HostError:
    """Return why the server did not start, by the state that it left; a new container is removed, for it never served.

    One that ran before may have the person's kernels in it, so it stays.
    """
    if "failed to solve" in said:  # BuildKit, client/solve.go: the build failed, and what ran before is as it was
        return _build_failed(said)
    left = server.containers(ready.project, running=False)
    state = left[0].attrs["State"] if left else {}
    lines = server.last_lines(left[0]) if left else ""
    new = not left or left[0].id not in before
    if new:
        compose.call(ready, "down", capture=True, announce=False, timeout_s=120)
    if state.get("Status") in (None, "created"):
        return _build_failed(said)
    report.note(lines)
    if state.get("OOMKilled"):
        cause = "ran out of memory"
    elif state.get("ExitCode") == 137:  # 128 + SIGKILL, which nobody else sends; not every engine hears of it
        cause = "was killed with exit code 137, as it is where memory runs out"
    elif state.get("Status") == "running":
        checks = state.get("Health", {}).get("Log") or [{"Output": "no check has ended"}]
        cause = f"is not healthy ({' '.join(checks[-1]['Output'].split())[-200:]})"
    else:
        cause = f"is {state.get('Status')} with exit code {state.get('ExitCode')}"
    fix = "mend what they name, then: invoke up" if new else "invoke logs"
    return HostError(f"the server {cause}; its last lines are above", fix=fix, code=ExitCode.SOFTWARE)


def _build_failed(said: str) -> HostError:
    """Return the error of a build or start that Compose gave up, by the last error of a step, else its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    causes = [match[1] for match in map(STEP_ERROR.match, lines) if match]
    last = (causes or lines or ["Compose said nothing"])[-1]
    if "no space left on device" in said.lower():  # libc spells it with a capital, Go without
        return HostError("the disk is full", fix="see what uses it: docker system df", code=ExitCode.IO)
    return HostError(last, fix="mend what the lines above name, then: invoke up", code=ExitCode.SOFTWARE)
