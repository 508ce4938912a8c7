"""Rules about docker/.env: it can be read, and says what is true of this machine and this person."""

import re
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from host_tasks.decide.plan import Finding, Step, fail, ok, warn
from host_tasks.ground import envfile
from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.masking import masked
from host_tasks.ground.paths import ENV_FILE, shown
from host_tasks.observe.settings import ENV

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

LOWEST_PORT, HIGHEST_PORT = 1024, 65535  # those below are root's (ip(7), ip_unprivileged_port_start)


def env_file(seen: "Observation") -> Iterator[Finding]:
    """Ask for docker/.env to say who this is."""
    found, name = seen.settings, shown(ENV_FILE)
    port = found.kept.get("JUPYTER_PORT", "")
    if port and not is_port(port):
        line = ENV.line_numbers()["JUPYTER_PORT"]
        problem = f"{name}:{line}: JUPYTER_PORT={port} is not between {LOWEST_PORT} and {HIGHEST_PORT}"
        yield fail("env-file", problem, f"correct or remove line {line}, then: {task_command('env')}")
    elif found.plan.changed:
        yield fail("env-file", reason(found.plan, seen.asked), task_command("env"), step=write_step(found.plan))
    elif found.beside:
        names = " and ".join(map(shown, found.beside))
        step = Step("env", f"write {names}", names)
        yield fail("env-file", f"{names} does not hold what this machine says now", task_command("env"), step=step)
    else:
        yield ok("env-file", f"{name} is up to date: {found.identity.user} {found.identity.uid}:{found.identity.gid}")


def private_files(seen: "Observation") -> Iterator[Finding]:
    """Ask for what may hold a secret to be its owner's only, and what is in docker/secrets to be the container's."""
    if not seen.exposed_files:
        yield ok("private-files", "what may hold a secret is readable by its owner only")
        return
    cause = "; ".join(f"{shown(path)} {why}" for path, why in seen.exposed_files.items())
    step = Step("close", "let nobody but their owner read files that may hold a secret", "their owners and modes")
    if step.key in seen.tried:  # another user's, or a file system without modes
        fix = f"sudo chmod go= {' '.join(path_word(path) for path in seen.exposed_files)}"
        yield warn("private-files", cause, fix)
    else:
        yield fail("private-files", cause, task_command("env"), step=step)


def compose_files(seen: "Observation") -> Iterator[Finding]:
    """Ask for files that Compose can read; reading them says why it cannot."""
    if seen.has_compose:
        yield ok("compose-files", f"they declare {', '.join(seen.model['services'])}")


def reason(plan: envfile.Plan, asked: Container[str] = ()) -> str:
    """Return why docker/.env has to be written, with both values where there are two."""
    if plan.before is None:
        return f"there is no {shown(ENV_FILE)} yet"
    said = [
        f"says {change.key}={masked(change.key, change.old)}, but {_truth(change, asked)}"
        for change in plan.changes
        if change.old is not None
    ]
    said += [
        f"does not say {change.key}={masked(change.key, change.new or '')}"
        for change in plan.changes
        if change.old is None
    ]
    return f"{shown(ENV_FILE)} {'; it '.join(said)}"


def _truth(change: envfile.Change, asked: Container[str]) -> str:
    """Return what is true of a key, or was asked for."""
    new = None if change.new is None else masked(change.key, change.new)
    return f"{new or 'none'} is asked for" if change.key in asked else f"it is {new or 'gone'}"


def write_step(plan: envfile.Plan) -> Step:
    """Return the step that writes what the plan says."""
    keys = ", ".join(change.key for change in plan.changes)
    return Step("env", f"write {shown(ENV_FILE)}", f"{keys} in {shown(ENV_FILE)}; every other line stays")


def is_port(text: str) -> bool:
    """Return whether a text is a port that a user may take."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and LOWEST_PORT <= int(text) <= HIGHEST_PORT
