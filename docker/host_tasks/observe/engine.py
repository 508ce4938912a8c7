"""The engine as docker's command sees it: where it is, and what it and Compose say of themselves."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_tasks.ground import runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import ROOT
from host_tasks.observe import account

DEFAULT_HOST = "npipe:////./pipe/docker_engine" if os.name == "nt" else "unix:///var/run/docker.sock"
# Where installers put docker's command, and where a cron job or an editor may not look: Linux, snap, Docker Desktop.
PLACES = (
    *("/usr/bin", "/usr/local/bin", "/snap/bin", "/opt/homebrew/bin"),
    *(os.path.expanduser("~/.docker/bin"), "/Applications/Docker.app/Contents/Resources/bin"),  # noqa: PTH111
)
ANSWER_S = 7.5  # for docker's own commands; after the SDK's GREETING_S a whole task still ends within 10 s


@dataclass(frozen=True)
class Endpoint:
    """Where docker's command looks for the engine."""

    host: str  # empty where the context cannot be resolved
    named_by: str = ""  # "DOCKER_HOST=tcp://..."; empty for the default socket
    back: str = ""  # the command that returns to the default socket
    builder: str = "default"  # the builder that is this engine itself: buildx names it after the context

    @property
    def local(self) -> bool:
        """Whether the engine sees this machine's files, as far as its address tells."""
        return bool(re.match(r"(unix|npipe|fd)://|tcp://(localhost|127\.|\[::1\])", self.host))


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
    user: str = ""  # the caller's name
    waits_for_group: bool = False  # whether the caller is a member of group docker since after this login
    timeout_s: float = ANSWER_S


def look(*, timeout_s: float = ANSWER_S) -> Engine:
    """Return what is there; no answer is waited for longer than timeout_s."""
    from concurrent.futures import ThreadPoolExecutor  # late: most tasks need none

    where, known = endpoint(), _known_system()
    if shutil.which("docker") is None:
        found = shutil.which("docker", path=os.pathsep.join(PLACES))
        elsewhere = str(Path(found).parent) if found else ""
        return Engine(where, on_path=False, elsewhere=elsewhere, script_knows_this_system=known)
    with ThreadPoolExecutor(max_workers=1) as pool:
        version = pool.submit(_answer, "docker", "compose", "version", "--short", timeout_s=timeout_s)
        told = _answer("docker", "info", "--format", "{{json .}}", timeout_s=timeout_s)
    compose = version.result()
    info = None if told is None else _parsed(told.stdout)
    complaint = "\n".join((info or {}).get("ServerErrors") or [told.stderr if told else ""])
    return Engine(
        where,
        sdk=_has_sdk(),
        compose=None if compose is None else compose.stdout.strip() if compose.ok else "",
        compose_said="" if compose is None or compose.ok else compose.stderr.strip() or compose.last_line,
        info=info,
        said=complaint,
        script_knows_this_system=known,
        user=account.user(),
        waits_for_group=account.waits_for_group(),
        timeout_s=timeout_s,
    )


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
    found = None
    with contextlib.suppress(HostError):  # no docker command: `look` says so
        argv = ("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}", context)
        found = _answer(*argv, timeout_s=ANSWER_S)
    return Endpoint(found.stdout.strip() if found and found.ok else "", named_by, back, context)


def _known_system() -> bool:
    """Return whether this system is of a kind that docker/install-engine.sh knows."""
    import platform

    try:
        return platform.freedesktop_os_release().get("ID") in ("debian", "ubuntu")
    except OSError:
        return False


def _has_sdk() -> bool:
    """Return whether `import docker` gives the SDK; without it, it gives the folder docker/ as an empty package."""
    import docker

    return hasattr(docker, "from_env")


def _answer(*argv: str, timeout_s: float) -> runner.Finished | None:
    """Run a command of docker's that only asks; None where it gave no answer in time."""
    try:
        return runner.run(argv, cwd=ROOT, timeout_s=timeout_s, capture=True, announce=False)
    except HostError as err:
        if err.code == ExitCode.TRY_AGAIN:
            return None
        raise


def _parsed(text: str) -> dict[str, Any]:
    """Return a JSON object, an empty one for anything else."""
    with contextlib.suppress(ValueError, TypeError):
        return dict(json.loads(text))
    return {}
