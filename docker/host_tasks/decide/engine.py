"""Whether the engine can be used, and what repairs it where it cannot."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from host_tasks.decide.plan import Finding, Step, fail, ok
from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode
from host_tasks.ground.paths import INSTALL_ENGINE, shown
from host_tasks.observe.engine import Engine

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

NEEDED_COMPOSE = (2, 26)
NEEDED_ENGINE = (25, 0)  # the first that knows the start interval of a health check (Dockerfile reference)
CODE = "engine"


def engine(seen: "Observation") -> Iterator[Finding]:
    """Ask for an engine with Compose and buildx that can run this project."""
    if seen.any_runs and seen.has_compose:  # a server that runs has proved the engine and Compose
        yield ok(CODE, "the engine answers")
        return
    yield judge(seen.engine)


def engine_closely(seen: "Observation") -> Iterator[Finding]:
    """Ask the same with the versions of everything, whatever runs."""
    yield judge(seen.engine)


def judge(found: Engine) -> Finding:
    """Return what is wrong with the engine, or which versions there are."""
    if not found.on_path and found.elsewhere:
        problem, fix = f"docker is not on the PATH, but in {found.elsewhere}", f'export PATH="$PATH:{found.elsewhere}"'
        return fail(CODE, problem, fix, ExitCode.UNAVAILABLE)
    if not found.on_path:
        return _installable(found, "docker is not on the PATH")
    if not found.sdk:
        problem = "the Python package docker is missing in .venv"
        return fail(CODE, problem, "rm -r .venv && python3 tasks.py --list", ExitCode.UNAVAILABLE)
    if found.compose is None or found.info is None:
        return _silent(found)
    if wrong := _judge_podman(found) or _judge_compose(found) or _judge_server(found):
        return wrong
    return ok(CODE, f"engine {found.info['ServerVersion']}, Compose {found.compose}, at {found.where.host}")


def _judge_podman(found: Engine) -> Finding | None:
    """Return that what answers is Podman, which has no Compose and no buildx of its own; or None.

    Its command prints a `podman info` of its own form. Behind docker's command it calls itself an engine of Podman's
    own version (podman 4.3.1, pkg/api/handlers/compat/info.go), and Docker's went from 1.13 to 17.03.
    """
    info = found.info or {}
    version = re.match(r"\d+", str(info.get("ServerVersion") or ""))
    if "host" in info and "version" in info:
        cause, fix = "docker is Podman's command here", "install Docker's own, see docs.docker.com/engine/install"
    elif version and 1 < int(version[0]) < 17:
        cause, fix = f"{found.where.host} is Podman's socket", found.where.back or "use Docker's own engine"
    else:
        return None
    return fail(CODE, f"{cause}, and this project needs Docker's", fix)


def _judge_compose(found: Engine) -> Finding | None:
    """Return what is wrong with Compose."""
    number = compose_version(found)
    if number is None:
        said = found.compose_said or f"its version is {found.compose!r}"
        return _by_complaint(said, found) or _installable(
            found, f"Docker Compose v2 not found: {said.splitlines()[-1]}"
        )
    if number >= NEEDED_COMPOSE:
        return None
    return _too_old("Docker Compose", NEEDED_COMPOSE, found.compose or "", "docs.docker.com/compose/install")


def compose_version(found: Engine) -> tuple[int, int] | None:
    """Return the first two numbers of Compose's version, None where it named none."""
    number = re.match(r"v?(\d+)\.(\d+)", found.compose or "")
    return (int(number[1]), int(number[2])) if number else None


def _judge_server(found: Engine) -> Finding | None:
    """Return what is wrong with the engine, by the answer of `docker info`.

    A missing server ends it with 1 (docker 28), or with 0 and ServerErrors (docker 26).
    """
    info = found.info or {}
    version = str(info.get("ServerVersion") or "")
    if not version:
        return _by_complaint(found.said, found) or _unreachable(found, found.said)
    plugins = (info.get("ClientInfo") or {}).get("Plugins") or []
    if not any(plugin.get("Name") == "buildx" and plugin.get("Version") for plugin in plugins):
        return _installable(found, "Docker buildx not found")
    number = re.match(r"(\d+)\.(\d+)", version)
    if number and (int(number[1]), int(number[2])) < NEEDED_ENGINE:
        return _too_old("the engine", NEEDED_ENGINE, version, "docs.docker.com/engine/install")
    return _unsupported(found)


def _by_complaint(said: str, found: Engine) -> Finding | None:
    """Return what a complaint of docker's command says about the engine, or None: nothing that is known.

    The texts are those of docker 20.10 to 28 and Compose 2.26 to 2.40; nothing else tells these cases apart.
    """
    text = said.lower()
    if re.search(r"unknown (shorthand )?flag|unknown command: docker compose|'compose' is not a docker command", text):
        return _installable(found, "Docker Compose v2 not found")
    if re.search(r"unknown command: docker buildx|'buildx' is not a docker command|buildx component is missing", text):
        return _installable(found, "Docker buildx not found")
    if "permission denied while trying to connect" in text:
        return _not_permitted(found)
    if re.search(r"cannot connect to the docker|error during connect|unable to resolve docker endpoint", text):
        return _unreachable(found, said)
    return None


def _unsupported(found: Engine) -> Finding | None:
    """Return why an engine that answers is one that this project cannot use, or None."""
    info, where = found.info or {}, found.where
    options = " ".join(info.get("SecurityOptions") or [])
    fix = where.back or "use an engine that runs as root on this machine"
    if not where.local:
        problem = f"{where.named_by} is another machine: containers there would see its files, not yours"
        there = where.host if where.host.startswith("ssh://") else urlsplit(where.host).hostname
        return fail(CODE, problem, f"{where.back} && {task_command(f'up --on {there}')}")
    if info.get("OSType") == "windows":
        problem, fix = "the engine runs Windows containers", "switch Docker Desktop to Linux containers"
    elif "name=rootless" in options:
        problem = f"rootless engine at {where.host}: container ids are mapped, so files cannot belong to you"
    elif "name=userns" in options:
        problem = "engine with userns-remap: container ids are mapped, so files cannot belong to you"
        fix = "take userns-remap out of /etc/docker/daemon.json and restart the engine"
    else:
        return None
    return fail(CODE, f"{problem}; this is not supported yet", fix)


def _too_old(what: str, needed: tuple[int, int], found: str, page: str) -> Finding:
    """Return that a version is below the needed one."""
    problem = f"{what} is too old: needed {needed[0]}.{needed[1]}, found {found}"
    return fail(CODE, problem, f"upgrade it, see {page}", ExitCode.UNAVAILABLE)


def _installable(found: Engine, problem: str) -> Finding:
    """Return a problem that docker/install-engine.sh repairs, with the fix for this system."""
    script = shown(INSTALL_ENGINE)
    if not found.script_knows_this_system:
        return fail(CODE, problem, "start Docker, or install it, see docs.docker.com", ExitCode.UNAVAILABLE)
    step = Step(
        "install",
        f"install and start a Docker engine, by {script}",
        f"this machine's packages and services; {script} --dry-run lists them",
        question=f"{problem}. {script} can repair that; {script} --dry-run shows what it changes. Run it now?",
    )
    return fail(CODE, problem, task_command("up --yes"), ExitCode.UNAVAILABLE, step=step)


def _unreachable(found: Engine, complaint: str) -> Finding:
    """Return that no engine answers at an endpoint, which the person may have named."""
    where = found.where
    if not where.named_by:
        return _installable(found, f"the engine is not reachable at {where.host}")
    problem = f"the engine is not reachable at {where.host} ({where.named_by})"
    if not where.host:
        problem = f"docker knows no such context ({where.named_by})"
    elif "cannot connect to the docker" not in complaint.lower():
        problem += ": " + " ".join(complaint.split())
    return fail(CODE, problem, where.back, ExitCode.UNAVAILABLE)


def _silent(found: Engine) -> Finding:
    """Return that the engine does not answer in time: a hung one here, an unreachable one elsewhere."""
    where = found.where
    if where.named_by and not where.local:
        return _unreachable(found, f"no answer within {found.timeout_s:g} s")
    named = f" ({where.named_by})" if where.named_by else ""
    problem = f"the engine at {where.host} gave no answer within {found.timeout_s:g} s{named}"
    return fail(CODE, problem, where.back or "sudo service docker restart", ExitCode.TRY_AGAIN)


def _not_permitted(found: Engine) -> Finding:
    """Return that the socket refuses this user: not in its group, or not yet in this login."""
    why = "you are not in group docker"
    fix = f"sudo usermod -aG docker {found.user} && newgrp docker"
    step = None
    if found.waits_for_group:
        why, fix = "this login is older than your membership in group docker", "newgrp docker"
        step = Step("join", "run again as a member of group docker", "nothing: this process only")
    return fail(CODE, f"you may not use the engine at {found.where.host}: {why}", fix, ExitCode.PERMISSION, step=step)
