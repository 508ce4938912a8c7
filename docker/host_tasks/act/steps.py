"""Each action of a plan, by its name."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from host_tasks.act import group, mounts
from host_tasks.act.aftermath import remove, require_built, require_engine
from host_tasks.decide.plan import Step
from host_tasks.decide.services import outlived
from host_tasks.ground import envfile, files, report, runner
from host_tasks.ground.commands import path_word
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import (
    BUILT_FILE,
    CA_BUNDLE,
    INSTALL_ENGINE,
    PIP_CONFIG,
    PROXY_CONFIG,
    ROOT,
    SECRETS_DIR,
    shown,
)
from host_tasks.observe import compose
from host_tasks.observe.client import asking, client
from host_tasks.observe.compose import SERVICE
from host_tasks.observe.images import Built
from host_tasks.observe.observation import Observation

WAIT_S = 180.0  # for the services to be healthy; a first start on a slow disk takes 20
POLL_S = 0.1


def done(step: Step, seen: Observation) -> str:
    """Do a step and return what Compose wrote, "" where it was not asked.

    Raises:
        HostError: it could not be done.
    """
    return ACTIONS[step.action](step, seen) or ""


def install(step: Step, seen: Observation) -> None:
    """Run docker/install-engine.sh as root; through bash, for a zip archive keeps no run bits."""
    finished = runner.run(runner.as_root("bash", str(INSTALL_ENGINE)), cwd=ROOT, interactive=True)
    if not finished.ok:
        raise HostError(
            f"{shown(INSTALL_ENGINE)} ended with {finished.returncode}",
            fix=f"sudo bash {path_word(INSTALL_ENGINE)}",
            code=ExitCode.UNAVAILABLE,
        )


def join(step: Step, seen: Observation) -> None:
    """Become the same command with the group docker; where that cannot be, the next round says so."""
    group.run_again()


def write_settings(step: Step, seen: Observation) -> None:
    """Write docker/.env as it is to be, with what the step chooses, and the files that it names."""
    _write_beside(seen)
    plan = seen.settings.with_choices(step.values)
    if plan.changed:
        envfile.write(plan)
        report.note(str(plan))


def _write_beside(seen: Observation) -> None:
    """Write pip's configuration and the proxies, which may hold a password, and the certificates: for one user only.

    A shell that names no index leaves the file of an earlier one alone, for docker/.env still names it.
    """
    for path, text in seen.settings.beside.items():
        # A running container has this very file mounted, where there is one.
        (files.write_in_place if path.is_file() else files.write)(path, text.encode())
    if seen.is_root:  # the container has them mounted, and its pip refuses what it cannot read
        for path in filter(Path.is_file, (PIP_CONFIG, PROXY_CONFIG, CA_BUNDLE)):
            os.chown(path, seen.settings.identity.uid, seen.settings.identity.gid)


def close(step: Step, seen: Observation) -> None:
    """Let nobody but their owner read files that may hold a secret; root gives those in docker/secrets to their reader.

    What cannot be changed is left to the next round.
    """
    for path in seen.exposed_files:
        with contextlib.suppress(OSError):
            path.chmod(path.stat().st_mode & 0o700)
            if seen.is_root and SECRETS_DIR in path.parents:
                os.chown(path, seen.settings.identity.uid, seen.settings.identity.gid)


def pull(step: Step, seen: Observation) -> None:
    """Pull an image; the next round sees whether it came."""
    runner.run(["docker", "pull", str(step.values["image"])], cwd=ROOT)


def make_stand_in(step: Step, seen: Observation) -> None:
    """Make the stand-in where the engine has none of that name, and choose it as the base image."""
    from host_tasks.act import stand_in  # late, as what follows a failed build: most tasks need none of it

    image = str(step.values["image"])
    if not stand_in.is_here(image):
        stand_in.make(image, seen.settings.values)
    write_settings(Step("choose", "", "", values={"BASE_IMAGE": image}), seen)


def write_lock(step: Step, seen: Observation) -> None:
    """Write environment.lock.

    Raises:
        HostError: there is no solution, or a channel or an index cannot be reached (70).
    """
    from host_tasks.act import environment_lock  # late: few projects have one

    require_built(environment_lock.write(step, seen), seen)


def record(step: Step, seen: Observation) -> None:
    """Add what was installed by hand to the files that the environment is made from."""
    from host_tasks.act import recording

    recording.record(seen)


def build(step: Step, seen: Observation) -> None:
    """Build the image, and write down what it was made from.

    Raises:
        HostError: a step of the build failed (70), or the disk is full (74).
    """
    options = ["--no-cache"] if step.values.get("cache") == "no" else []
    if on := step.values.get("on"):  # FROM ${FLAVOR} takes an image as well as a stage
        options = ["--build-arg", f"FLAVOR={on}"]
    finished = compose.call(seen.settings.values, "build", *options, SERVICE, keep=True)
    require_built(finished, seen)
    fresh = seen.after(step.key, "")
    if fresh.image:
        _write_down(Built(fresh.image.id, dict(seen.inputs)))  # what was read before the build, not since


def _write_down(built: Built) -> None:
    """Write docker/.built.json."""
    files.write(BUILT_FILE, (json.dumps(asdict(built), indent=1) + "\n").encode())


def share(step: Step, seen: Observation) -> None:
    """Build, take or push the environment as an image of its own."""
    from host_tasks.act import share  # late: few ask for it

    share.ACTIONS[step.action](step, seen)


def start(step: Step, seen: Observation) -> str:
    """Start what Compose declares, wait until its health is known, and return what Compose wrote.

    Not by its --wait, which looks every 500 ms even where all is healthy.
    """
    for each in seen.services:
        # What never ran, or cannot, has a name that is in the way of the next.
        if each.status in ("created", "dead") or outlived(each, seen):
            remove(each)
        if each.status == "paused":
            report.note(f"{each.name} is paused: it goes on.")
            with asking():
                client().containers.get(each.id).unpause()
    others = [name for name, each in seen.model["services"].items() if each.get("build") and name != SERVICE]
    words = ("up", *(["--build"] if others else []), "--detach", "--remove-orphans")
    finished = compose.call(seen.settings.values, *words, keep=True)
    if not finished.ok:
        require_engine()
    deadline = time.monotonic() + WAIT_S
    while finished.ok and time.monotonic() < deadline:
        if all(each.settled for each in seen.after(step.key, "").services):
            break
        time.sleep(POLL_S)
    if seen.built.image and seen.built.services != seen.hashes:
        _write_down(replace(seen.built, services=dict(seen.hashes)))
    return finished.stderr


def restart(step: Step, seen: Observation) -> None:
    """Restart the server in its container; the next round sees whether it came back."""
    compose.call(seen.settings.values, "restart", SERVICE)


def take_upgrade(step: Step, seen: Observation) -> None:
    """Take what a newer starter brings."""
    from host_tasks.act import upgrade  # late, as few tasks need it

    upgrade.take(seen)


ACTIONS: Mapping[str, Callable[[Step, Observation], str | None]] = {
    "install": install,
    "join": join,
    "env": write_settings,
    "choose": write_settings,
    "close": close,
    "pull": pull,
    "stand-in": make_stand_in,
    "folders": mounts.make,
    "give": mounts.give,
    "lock": write_lock,
    "build": build,
    "environment": share,
    "take": share,
    "push": share,
    "start": start,
    "restart": restart,
    "record": record,
    "upgrade": take_upgrade,
}
