"""The engine through its SDK: the one client, and the one place where the SDK's errors are caught."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.observe.engine import endpoint

if TYPE_CHECKING:
    import docker

GREETING_S = 2  # for the first answer of an engine: with `look` after it, a hung one is told within 10 s
ANSWER_S = 10  # for every later one


class UnreachableError(HostError):
    """The engine gave no answer that can be used; host_tasks.decide.engine tells why."""

    def __init__(self, said: str) -> None:
        super().__init__(
            f"the engine gave no answer that can be used: {said}",
            fix=task_command("doctor"),
            code=ExitCode.TRY_AGAIN,
        )


@functools.cache
def client() -> "docker.DockerClient":
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
