"""The engine: where docker's command looks for it, and the one client of its SDK, whose errors are caught only here."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from host_tasks.kit import runner
from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import ExitCode, HostError, task_command, unset

if TYPE_CHECKING:
    import docker

DEFAULT_HOST = "npipe:////./pipe/docker_engine" if os.name == "nt" else "unix:///var/run/docker.sock"
GREETING_S = 2  # for the SDK's first answer: with docker's own commands after it, a hung engine is told within 10 s
ANSWER_S = 10  # for every later one
COMMAND_S = 7.5  # for a command of docker's that only asks


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


class UnreachableError(HostError):
    """The engine gave no answer that can be used; the rule of subjects/engine.py tells why."""

    def __init__(self, said: str) -> None:
        problem = f"the engine gave no answer that can be used: {said}"
        super().__init__(problem, fix=task_command("doctor"), code=ExitCode.TRY_AGAIN)


def endpoint(environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Return where docker's command looks: DOCKER_HOST, DOCKER_CONTEXT, its config.json, the default socket.

    The order is that of resolveContextName in docker/cli 28, cli/command/cli.go; the SDK knows no contexts.
    """
    if host := environ.get("DOCKER_HOST"):
        return Endpoint(host, f"DOCKER_HOST={host}", unset("DOCKER_HOST"))
    context = environ.get("DOCKER_CONTEXT", "")
    named_by, back = f"DOCKER_CONTEXT={context}", unset("DOCKER_CONTEXT")
    if not context:
        context = configured(environ, "currentContext") or ""
        named_by, back = f"the context {context} of {_config_file(environ)}", "docker context use default"
    if context in ("", "default"):
        return Endpoint(DEFAULT_HOST)
    with contextlib.suppress(HostError):  # no docker command, or no answer in time: the engine's rule says so
        argv = ("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}", context)
        finished = runner.run(argv, cwd=ROOT, timeout_s=COMMAND_S, capture=True, announce=False)
        host = finished.stdout.strip() if finished.ok else ""
    return Endpoint(host or "", named_by, back, context)


def configured(environ: Mapping[str, str], *keys: str) -> str | None:
    """Return what the command's config.json says; the command ignores an unreadable one too, with a warning."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        told = json.loads(_config_file(environ).read_text(encoding="utf-8"))
        for key in keys:
            told = told.get(key)
        return told if isinstance(told, str) else None
    return None


def _config_file(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME") or environ.get("USERPROFILE") or "/"
    return Path(environ.get("DOCKER_CONFIG") or f"{home}/.docker") / "config.json"


@functools.cache
def client() -> docker.DockerClient:
    """Return the SDK's client of the engine that docker's command uses.

    Raises:
        UnreachableError: no engine answers, or the SDK is missing (75).
    """
    import docker

    if not hasattr(docker, "from_env"):
        raise UnreachableError("the Python package docker is missing")
    where = endpoint()
    if not where.host:  # the SDK would take the default socket instead
        raise UnreachableError(f"no such context ({where.named_by})")
    with asking():
        made = docker.from_env(timeout=GREETING_S, environment={**os.environ, "DOCKER_HOST": where.host})
    made.api.timeout = ANSWER_S
    return made


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """Turn every error of the SDK, and of what it stands on, into one of ours; NotFound passes, it is an answer."""
    import docker.errors
    import requests.exceptions

    try:
        yield
    except docker.errors.NotFound:
        raise
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as err:
        raise UnreachableError(" ".join(str(err).split())[:300]) from err
