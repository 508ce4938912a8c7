"""The engine and Compose: what they say of themselves, whether this project can use them, and what repairs them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from host_tasks import extras
from host_tasks.kit import report, runner
from host_tasks.kit.client import COMMAND_S, Endpoint, endpoint
from host_tasks.kit.paths import INSTALL_ENGINE, ROOT, shown
from host_tasks.kit.words import ExitCode, HostError, path_word, task_command
from host_tasks.loop import ANEW, FAIL, Ended, Finding, Seen, Step, fail, lasting, ok, rule
from host_tasks.subjects import compose, containers

# Where installers put docker's command, and where a cron job or an editor may not look: Linux, snap, Docker Desktop.
PLACES = (
    *("/usr/bin", "/usr/local/bin", "/snap/bin", "/opt/homebrew/bin"),
    *(os.path.expanduser("~/.docker/bin"), "/Applications/Docker.app/Contents/Resources/bin"),  # noqa: PTH111
)
NEEDED_COMPOSE = (2, 26)
NEEDED_ENGINE = (25, 0)  # the first that knows the start interval of a health check (Dockerfile reference)
IN_GROUP_MARK = "HOST_TASKS_IN_GROUP_DOCKER"  # set while a command runs again with the group: never twice


@dataclass(frozen=True)
class Engine:
    """What docker's command, Compose and the engine said when they were asked."""

    where: Endpoint
    on_path: bool = True  # whether there is a docker command at all
    elsewhere: str = ""  # the folder where there is one that is not on the PATH
    sdk: bool = True  # whether the Python package docker is there
    compose: str | None = None  # Compose's version, e.g. 2.26.1-4; "" = it named none, None = no answer in time
    compose_said: str = ""  # where it named no version
    info: Mapping[str, Any] | None = field(default_factory=dict)  # `docker info`; None = no answer in time
    said: str = ""  # what docker's command or the engine complained of
    script_knows_this_system: bool = False  # whether docker/install-engine.sh may work here; it looks closer
    waits_for_group: bool = False  # whether the caller became a member of group docker after this login


# look


def folder(seen: Seen) -> Path | None:
    """Return where the engine keeps its images; None where that is no folder of this machine."""
    named = str((state(seen).info or {}).get("DockerRootDir") or "")
    return Path(named) if named and state(seen).where.local and Path(named).is_dir() else None


@lasting
def state(seen: Seen) -> Engine:
    """Return what docker's command, Compose and the engine say of themselves within COMMAND_S."""
    import platform
    from concurrent.futures import ThreadPoolExecutor

    where, known, info = endpoint(), False, None
    with contextlib.suppress(OSError):
        known = platform.freedesktop_os_release().get("ID") in ("debian", "ubuntu")
    if shutil.which("docker") is None:
        command = shutil.which("docker", path=os.pathsep.join(PLACES))
        elsewhere = str(Path(command).parent) if command else ""
        return Engine(where, on_path=False, elsewhere=elsewhere, script_knows_this_system=known)
    with ThreadPoolExecutor(max_workers=1) as pool:
        version = pool.submit(_answer, "docker", "compose", "version", "--short")
        told = _answer("docker", "info", "--format", "{{json .}}")
    if told:
        info = {}
        with contextlib.suppress(ValueError, TypeError):
            info = dict(json.loads(told.stdout))
    import docker

    compose = version.result()
    return Engine(
        where,
        sdk=hasattr(docker, "from_env"),  # without the SDK this is the folder docker/, as an empty package
        compose=None if compose is None else compose.stdout.strip() if compose.ok else "",
        compose_said="" if compose is None or compose.ok else compose.stderr.strip() or compose.last_line,
        info=info,
        said="\n".join((info or {}).get("ServerErrors") or [told.stderr if told else ""]),
        script_knows_this_system=known,
        waits_for_group=waits_for_group(),
    )


def _answer(*argv: str) -> runner.Finished | None:
    """Run a command of docker's that only asks; None where it gave no answer in time."""
    try:
        return runner.run(argv, cwd=ROOT, timeout_s=COMMAND_S, capture=True, announce=False)
    except HostError as err:
        if err.code == ExitCode.TRY_AGAIN:
            return None
        raise


def waits_for_group() -> bool:
    """Return whether the group database names this user in group docker, and this process is not in it."""
    with contextlib.suppress(ImportError, KeyError):  # Windows; a uid without a name; no such group
        import grp
        import pwd

        docker, name = grp.getgrnam("docker"), pwd.getpwuid(os.getuid()).pw_name
        return name in docker.gr_mem and docker.gr_gid not in (os.getgid(), *os.getgroups())
    return False


# judge


@rule("engine")
def engine(seen: Seen) -> Iterator[Finding]:
    """Ask for an engine with Compose and buildx that can run this project."""
    yield _judged(seen)


@rule("engine")
def engine_as_it_is(seen: Seen) -> Iterator[Finding]:
    """Ask the same for a task that installs nothing."""
    finding = _judged(seen)
    yield replace(finding, step=None) if finding.step and finding.step.key == ANEW else finding


@rule("engine")
def engine_closely(seen: Seen) -> Iterator[Finding]:
    """Ask the same with the versions of everything, whatever runs."""
    yield judge(state(seen))


def _judged(seen: Seen) -> Finding:
    """Return what is wrong with the engine; a server that runs has proved it, and Compose."""
    if containers.any_runs(seen) and compose.is_there(seen):
        return ok("the engine answers")
    finding, installed = judge(state(seen)), seen.tried.get(ANEW)
    if finding.state == FAIL and installed and not installed.ok:
        return _lacking(installed.said, f"sudo bash {path_word(INSTALL_ENGINE)}")
    answered = ((seen.first.facts.get(state) or Engine(endpoint())).info or {}).get("ServerVersion")
    # One that went away amid the steps is told, and not installed: it may come back, and a build was begun with it.
    return replace(finding, step=None) if finding.step and answered and seen.tried else finding


def judge(told: Engine) -> Finding:
    """Return what is wrong with the engine, or which versions there are."""
    version = (told.info or {}).get("ServerVersion")
    return next(_faults(told), None) or ok(f"engine {version}, Compose {told.compose}, at {told.where.host}")


def _faults(told: Engine) -> Iterator[Finding]:
    """Yield what is wrong with docker's command and what it reaches; each may be the cause of those after it."""
    where, said = told.where, f"no answer within {COMMAND_S:g} s"
    if told.elsewhere:
        yield _lacking(f"docker is not on the PATH, but in {told.elsewhere}", f'export PATH="$PATH:{told.elsewhere}"')
    elif not told.on_path:
        yield _installable(told, "docker is not on the PATH")
    elif not told.sdk:
        yield _lacking("the Python package docker is missing in .venv", "rm -r .venv && python3 tasks.py --list")
    elif told.compose is not None and told.info is not None:
        yield from _faults_of_answers(told, told.compose, told.info)
    elif where.named_by and not where.local:
        yield _unreachable(told, said)
    else:
        problem = f"the engine at {where.host} gave {said}" + (f" ({where.named_by})" if where.named_by else "")
        yield fail(problem, _revived(where) or "sudo service docker restart", ExitCode.TRY_AGAIN)


def _faults_of_answers(told: Engine, compose: str, info: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong by the answers of Compose and of `docker info`.

    Podman's command prints an info of its own form. Behind docker's command Podman calls itself an engine of its own
    version (podman 4.3.1, pkg/api/handlers/compat/info.go), and Docker's went from 1.13 to 17.03. A missing server ends
    `docker info` with 1 (docker 28), or with 0 and ServerErrors (docker 26).
    """
    server = str(info.get("ServerVersion") or "")
    if "host" in info and "version" in info:
        fix = "install Docker's own, see docs.docker.com/engine/install"
        yield fail("docker is Podman's command here, and this project needs Docker's", fix)
    if (1, 14) < (numbers(server) or (0, 0)) < (17, 0):
        fix = told.where.back or "use Docker's own engine"
        yield fail(f"{told.where.host} is Podman's socket, and this project needs Docker's", fix)
    if not numbers(compose):
        said = told.compose_said or f"its version is {compose!r}"
        yield from _by_complaint(said, told)
        yield _installable(told, f"Docker Compose v2 not found: {said.splitlines()[-1]}")
    if not server:
        yield from _by_complaint(told.said, told)
        yield _unreachable(told, told.said)
    plugins = (info.get("ClientInfo") or {}).get("Plugins") or []
    if not any(plugin.get("Name") == "buildx" and plugin.get("Version") for plugin in plugins):
        yield _installable(told, "Docker buildx not found")
    for name, needed, version in (("Docker Compose", NEEDED_COMPOSE, compose), ("the engine", NEEDED_ENGINE, server)):
        if (numbers(version) or needed) < needed:
            fix = f"upgrade it, see docs.docker.com/{name.split()[-1].lower()}/install"
            yield _lacking(f"{name} is too old: needed {needed[0]}.{needed[1]}, found {version}", fix)
    yield from _unsupported(told.where, info)


def numbers(version: str) -> tuple[int, int] | None:
    """Return the first two numbers of a version, None where it has none."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else None


def _unsupported(where: Endpoint, info: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield why an engine that answers is one that this project cannot use."""
    if not where.local:
        problem = f"{where.named_by} is another machine: containers there would see its files, not yours"
        there = where.host if where.host.startswith("ssh://") else urlsplit(where.host).hostname
        words = f"up --on {there}" if extras.elsewhere() else "up"
        yield fail(problem, f"{where.back} && {task_command(words)}")
    if info.get("OSType") == "windows":
        cause = "the engine runs Windows containers; this is not supported yet"
        yield fail(cause, "switch Docker Desktop to Linux containers")
    if "name=userns" in str(info.get("SecurityOptions")):
        cause = "engine with userns-remap: ids are mapped, so files cannot belong to you; this is not supported yet"
        yield fail(cause, "take userns-remap out of /etc/docker/daemon.json and restart the engine")


def _by_complaint(said: str, told: Engine) -> Iterator[Finding]:
    """Yield what a complaint of docker's command says about the engine, as far as it is known.

    The texts are those of docker 20.10 to 28 and Compose 2.26 to 2.40; nothing else tells these cases apart.
    """
    text = said.lower()
    if "permission denied while trying to connect" in text:
        why, fix, step = "you are not in group docker", "sudo usermod -aG docker $(id -un) && newgrp docker", None
        if told.waits_for_group:
            why, fix = "this login is older than your membership in group docker", "newgrp docker"
            step = Step(join, "run again as a member of group docker", "nothing: this process only")
        cause = f"you may not use the engine at {told.where.host}: {why}"
        yield fail(cause, fix, ExitCode.PERMISSION, step=step)
    if re.search(r"cannot connect to the docker|error during connect|unable to resolve docker endpoint", text):
        yield _unreachable(told, said)


def _unreachable(told: Engine, complaint: str) -> Finding:
    """Return that no engine answers at an endpoint, which the person may have named."""
    where, problem = told.where, f"the engine is not reachable at {told.where.host}"
    if not where.named_by:
        return _installable(told, problem)
    if not where.host:
        return _lacking(f"docker knows no such context ({where.named_by})", where.back)
    more = "" if "cannot connect to the docker" in complaint.lower() else ": " + " ".join(complaint.split())
    return _lacking(f"{problem} ({where.named_by}){more}", _revived(where))


def _revived(where: Endpoint) -> str:
    """Return what brings an engine back that does not answer; Docker Desktop has contexts of its own name."""
    desktop = where.builder.startswith("desktop-") or (not where.named_by and sys.platform in ("darwin", "win32"))
    return "start Docker Desktop, or restart it" if desktop else where.back


def _installable(told: Engine, problem: str) -> Finding:
    """Return a problem that docker/install-engine.sh repairs, with the fix for this system."""
    script = shown(INSTALL_ENGINE)
    if not told.script_knows_this_system:
        return _lacking(problem, "start Docker, or install it, see docs.docker.com")
    what = f"install and start a Docker engine, by {script}"
    touches = f"this machine's packages and services; {script} --dry-run lists them"
    question = f"{problem}. {script} can repair that; {script} --dry-run shows what it changes. Run it now?"
    step = Step(install, what, touches, question=question, key=ANEW)
    return _lacking(problem, task_command("up --yes"), step)


def _lacking(problem: str, fix: str, step: Step | None = None) -> Finding:
    return fail(problem, fix, ExitCode.UNAVAILABLE, step=step)


# repair


def install(seen: Seen) -> Ended:
    """Run docker/install-engine.sh as root; through bash, for a zip archive keeps no run bits."""
    finished = runner.run(runner.as_root("bash", str(INSTALL_ENGINE)), cwd=ROOT, interactive=True)
    return Ended(finished.ok, f"{shown(INSTALL_ENGINE)} ended with {finished.returncode}")


def join(seen: Seen) -> None:
    """Become the same command line with the group docker; returns only where that cannot be.

    sg(1) makes its group the primary one and keeps the others: the second sg brings the primary group back,
    which decides whose the files are.
    """
    import grp

    primary = ""
    with contextlib.suppress(KeyError):  # a gid without a name
        primary = grp.getgrgid(os.getgid()).gr_name
    if os.environ.get(IN_GROUP_MARK) or shutil.which("sg") is None or not primary:
        return
    report.note("Running again as a member of group docker; log out and in again to use docker by hand.")
    os.environ[IN_GROUP_MARK] = "1"
    again = shlex.join(["sg", primary, "-c", "exec " + shlex.join([sys.executable, *sys.orig_argv[1:]])])
    sys.stdout.flush()
    os.execvp("sg", ["sg", "docker", "-c", f"exec {again}"])  # noqa: S606 (to become it is the point)
