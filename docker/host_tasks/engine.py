"""The engine as the tasks see it: whether one can be used, what would repair it, and the SDK's client of it."""

import contextlib
import functools
import json
import os
import platform
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host_tasks import group
from host_tasks.ground import runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import INSTALL_ENGINE, ROOT, shown

if TYPE_CHECKING:
    import docker

NEEDED_COMPOSE = (2, 26)
DEFAULT_HOST = "npipe:////./pipe/docker_engine" if os.name == "nt" else "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class Problem:
    """Why the engine cannot be used, and what repairs it."""

    problem: str
    fix: str
    code: ExitCode
    installable: bool = False  # whether docker/install-engine.sh repairs it, on a system that it knows

    def error(self) -> HostError:
        """Return the same as the error that a person sees."""
        return HostError(self.problem, fix=self.fix, code=self.code)


@dataclass(frozen=True)
class Endpoint:
    """Where docker's command looks for the engine."""

    host: str  # empty where the context cannot be resolved
    named_by: str = ""  # "DOCKER_HOST=tcp://..."; empty for the default socket
    back: str = ""  # the command that returns to the default socket

    @property
    def local(self) -> bool:
        """Whether the engine sees this machine's files, as far as its address tells."""
        return bool(re.match(r"(unix|npipe|fd)://|tcp://(localhost|127\.|\[::1\])", self.host))


def diagnose(*, timeout_s: float = 8.0) -> Problem | None:
    """Return what keeps the engine from being used, or None: it answers, with Compose and buildx.

    No answer is waited for longer than timeout_s; with the default a whole task still ends within 10 s.
    """
    if shutil.which("docker") is None:
        return _installable("docker is not on the PATH")
    where = endpoint()
    with ThreadPoolExecutor(max_workers=1) as pool:
        version = pool.submit(_answer, "docker", "compose", "version", "--short", timeout_s=timeout_s)
        info = _answer("docker", "info", "--format", "{{json .}}", timeout_s=timeout_s)
    compose = version.result()
    if compose is None or info is None:
        return _silent(where, timeout_s)
    return _judge_compose(compose, where) or _judge_engine(info, where)


@functools.cache
def client() -> "docker.DockerClient":
    """Return the SDK's client of the engine that docker's command uses; HostError where it does not answer."""
    import docker

    if not hasattr(docker, "from_env"):  # the folder docker/ as an empty namespace package
        fix = "run: python3 tasks.py --list"
        raise HostError("the Python package docker is missing", fix=fix, code=ExitCode.UNAVAILABLE)
    where = endpoint()
    if not where.host:  # the SDK would take the default socket instead
        raise _unreachable(where, "").error()
    try:
        return docker.from_env(timeout=10, environment={**os.environ, "DOCKER_HOST": where.host})
    except docker.errors.DockerException as err:
        raise (diagnose() or _unreachable(where, str(err))).error() from err


def endpoint(environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Return where docker's command looks: DOCKER_HOST, DOCKER_CONTEXT, its config.json, the default socket.

    The order is that of resolveContextName in docker/cli 28, cli/command/cli.go; the SDK knows no contexts.
    """
    if host := environ.get("DOCKER_HOST"):
        return Endpoint(host, f"DOCKER_HOST={host}", "unset DOCKER_HOST")
    home = environ.get("HOME") or environ.get("USERPROFILE") or "/"
    config = Path(environ.get("DOCKER_CONFIG") or f"{home}/.docker") / "config.json"
    context = environ.get("DOCKER_CONTEXT", "")
    named_by, back = f"DOCKER_CONTEXT={context}", "unset DOCKER_CONTEXT"
    if not context:
        # The command ignores an unreadable file too, with a warning.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            context = json.loads(config.read_text(encoding="utf-8")).get("currentContext", "")
        named_by, back = f"the context {context} of {config}", "docker context use default"
    if context in ("", "default"):
        return Endpoint(DEFAULT_HOST)
    found = _answer("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}", context, timeout_s=8.0)
    return Endpoint(found.stdout.strip() if found and found.ok else "", named_by, back)


def classify(returncode: int, stderr: str, where: Endpoint) -> Problem | None:
    """Return what a failed docker command says about the engine, or None: it says nothing about it.

    The texts are those of docker 20.10 to 28 and Compose 2.26 to 2.40.
    """
    text = stderr.lower()
    if returncode == 0:
        return None
    if re.search(r"unknown (shorthand )?flag|unknown command: docker compose|'compose' is not a docker command", text):
        return _installable("Docker Compose v2 not found")
    if re.search(r"unknown command: docker buildx|'buildx' is not a docker command|buildx component is missing", text):
        return _installable("Docker buildx not found")
    if "permission denied while trying to connect" in text:
        return _not_permitted(where)
    if re.search(r"code = unavailable|error reading from server|transport is closing", text):
        return Problem("the engine went away", "see: docker info, then try again", ExitCode.TRY_AGAIN)
    if re.search(r"cannot connect to the docker|error during connect|unable to resolve docker endpoint", text):
        return _unreachable(where, stderr)
    return None


def _judge_compose(version: runner.Finished, where: Endpoint) -> Problem | None:
    """Return what is wrong with Compose, by the answer of `docker compose version --short`, e.g. 2.26.1-4."""
    number = re.match(r"v?(\d+)\.(\d+)", version.stdout.strip())
    if not version.ok or number is None:
        known = classify(version.returncode, version.stderr, where)
        return known or _installable(f"Docker Compose v2 not found: {version.last_line}")
    if (int(number[1]), int(number[2])) >= NEEDED_COMPOSE:
        return None
    needed, found = ".".join(map(str, NEEDED_COMPOSE)), version.stdout.strip()
    fix = "upgrade it, see docs.docker.com/compose/install"
    return Problem(f"Docker Compose is too old: needed {needed}, found {found}", fix, ExitCode.UNAVAILABLE)


def _judge_engine(finished: runner.Finished, where: Endpoint) -> Problem | None:
    """Return what is wrong with the engine, by the answer of `docker info`.

    A missing server ends it with 1 (docker 28), or with 0 and ServerErrors (docker 26).
    """
    try:
        info: dict[str, Any] = dict(json.loads(finished.stdout))
    except (TypeError, ValueError):
        info = {}
    if not info.get("ServerVersion"):
        complaint = "\n".join(info.get("ServerErrors") or [finished.stderr])
        return classify(1, complaint, where) or _unreachable(where, complaint)
    plugins = (info.get("ClientInfo") or {}).get("Plugins") or []
    if not any(plugin.get("Name") == "buildx" and plugin.get("Version") for plugin in plugins):
        return _installable("Docker buildx not found")
    return _unsupported(info, where)


def _unsupported(info: Mapping[str, Any], where: Endpoint) -> Problem | None:
    """Return why an engine that answers is one that this project cannot use, or None."""
    options = " ".join(info.get("SecurityOptions") or [])
    fix = f"run: {where.back}" if where.back else "use an engine that runs as root on this machine"
    if not where.local:
        problem = f"{where.named_by} is another machine: containers there would see its files, not yours"
    elif info.get("OSType") == "windows":
        problem, fix = "the engine runs Windows containers", "switch Docker Desktop to Linux containers"
    elif "name=rootless" in options:
        problem = f"rootless engine at {where.host}: container ids are mapped, so files cannot belong to you"
    elif "name=userns" in options:
        problem = "engine with userns-remap: container ids are mapped, so files cannot belong to you"
        fix = "take userns-remap out of /etc/docker/daemon.json and restart the engine"
    else:
        return None
    return Problem(f"{problem}; this is not supported yet", fix, ExitCode.CONFIG)


def _installable(problem: str) -> Problem:
    """Return a problem that docker/install-engine.sh repairs, with the fix for this system."""
    fix = "start Docker, or install it, see docs.docker.com"
    if script_knows_this_system():
        fix = f"run: python3 tasks.py up --yes, or: sudo {shown(INSTALL_ENGINE)}"
    return Problem(problem, fix, ExitCode.UNAVAILABLE, installable=True)


def _unreachable(where: Endpoint, complaint: str) -> Problem:
    """Return that no engine answers at an endpoint, which the person may have named."""
    if not where.named_by:
        return _installable(f"the engine is not reachable at {where.host}")
    problem = f"the engine is not reachable at {where.host} ({where.named_by})"
    if not where.host:
        problem = f"docker knows no such context ({where.named_by})"
    elif "cannot connect to the docker" not in complaint.lower():
        problem += ": " + " ".join(complaint.split())
    return Problem(problem, f"correct it, or run: {where.back}", ExitCode.UNAVAILABLE)


def _silent(where: Endpoint, timeout_s: float) -> Problem:
    """Return that the engine does not answer in time: a hung one here, an unreachable one elsewhere."""
    if where.named_by and not where.local:
        return _unreachable(where, f"no answer within {timeout_s:g} s")
    fix = "restart the engine: sudo service docker restart, or Docker Desktop"
    return Problem(f"the engine at {where.host} gave no answer within {timeout_s:g} s", fix, ExitCode.TRY_AGAIN)


def _not_permitted(where: Endpoint) -> Problem:
    """Return that the socket refuses this user: not in its group, or not yet in this login."""
    why, fix = "you are not in group docker", f"run: sudo usermod -aG docker {group.user()}, then log out and in again"
    if group.waits():
        why, fix = "this login is older than your membership in group docker", "log out and in again"
    return Problem(f"you may not use the engine at {where.host}: {why}", fix, ExitCode.PERMISSION)


def _answer(*argv: str, timeout_s: float) -> runner.Finished | None:
    """Run a command of docker's that only asks; None where it gave no answer in time."""
    try:
        return runner.run(argv, cwd=ROOT, timeout_s=timeout_s, capture=True, announce=False)
    except HostError as err:
        if err.code == ExitCode.TRY_AGAIN:
            return None
        raise


def script_knows_this_system() -> bool:
    """Return whether docker/install-engine.sh may work here; it looks closer, at the version."""
    try:
        return platform.freedesktop_os_release().get("ID") in ("debian", "ubuntu")
    except OSError:
        return False
