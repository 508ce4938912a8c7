"""The one table of what a person may choose for a clone: options of `up` that docker/.env keeps.

From a row come the option and its help, the key of docker/.env, the Compose file that comes along, and a row of the
manual's table.
"""

from __future__ import annotations

import functools
import inspect
import keyword
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from host_tasks import extras
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.subjects import images, ports


@dataclass(frozen=True)
class Choice:
    """What a person may choose for a clone, until it is chosen otherwise."""

    option: str  # of `up`
    key: str  # of docker/.env
    help: str
    value: Callable[[str], str | None]  # what docker/.env is to hold for a word given; None = the key goes
    file: str = ""  # the Compose file, beside docker-compose.yml, that comes along while the key has a value
    switch: bool = False  # --option and --no-option, without a word
    not_podman: str = ""  # why it cannot be had with Podman; "" = it can

    @property
    def parameters(self) -> Mapping[str, str | bool]:
        """The parameters of a task that offers it, with their defaults; Invoke takes `from_` for --from."""
        name = self.option.replace("-", "_") + "_" * keyword.iskeyword(self.option)
        return {name: False, f"no_{name}": False} if self.switch else {name: ""}


def address(text: str) -> str | None:
    """Return an address of this machine as Compose reads it; None = the one on which JupyterLab is published anyway.

    Raises:
        HostError: it is none (64).
    """
    import ipaddress

    try:
        found = ipaddress.ip_address(text.strip("[]"))
    except ValueError as err:
        problem = f"--bind {text} is not an address in digits, as 192.0.2.1"
        raise HostError(problem, fix=task_command(f"up --bind {ports.LOOPBACK}"), code=ExitCode.USAGE) from err
    return None if str(found) == ports.LOOPBACK else f"[{found}]" if found.version == 6 else str(found)


@functools.cache
def table() -> tuple[Choice, ...]:
    """Return every choice that there is here."""
    return (
        Choice(
            "port",
            "JUPYTER_PORT",
            "Port of 127.0.0.1, 1024 to 65535. Default: 8888, or the first free one.",
            lambda text: ports.value(text),
        ),
        Choice(
            "bind",
            "JUPYTER_BIND",
            "Address of this machine to publish on instead of 127.0.0.1, which opens the server to others.",
            address,
        ),
        Choice(
            "from",
            "ENVIRONMENT_FROM",
            "Take the environment from this REGISTRY/NAME where it is there.",
            lambda text: images.repository(text, "--from"),
        ),
        *extras.choices(),
    )


def keys() -> tuple[str, ...]:
    """Return the keys of docker/.env that are chosen."""
    return tuple(choice.key for choice in table())


def asked(given: Mapping[str, Any]) -> dict[str, str | None]:
    """Return what the options of a task ask of docker/.env: key and value, None = the key is to go.

    Raises:
        HostError: two contradict each other, or a word is not what it has to be (64).
    """
    found: dict[str, str | None] = {}
    for choice in table():
        words = [given.get(name) for name in choice.parameters]
        if choice.switch and all(words):
            problem = f"--{choice.option} and --no-{choice.option} contradict each other"
            raise HostError(problem, fix=task_command(f"up --{choice.option}"), code=ExitCode.USAGE)
        if any(words):
            found[choice.key] = choice.value(("yes" if words[0] else "") if choice.switch else str(words[0]))
    return found


def helps() -> dict[str, str]:
    """Return the help text of each option, as Invoke takes them."""
    found = {}
    for choice in table():
        first, *off = (name.rstrip("_").replace("_", "-") for name in choice.parameters)
        found[first] = f"{choice.help.rstrip('.')}; kept in docker/.env."
        found.update(dict.fromkeys(off, "Go back to the usual."))
    return found


def offered(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a task, whose last parameter is `**chosen`, an option for each choice."""
    *own, _ = inspect.signature(body).parameters.values()
    more = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
        for choice in table()
        for name, default in choice.parameters.items()
    ]
    body.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    return body


def files(values: Mapping[str, str | None]) -> Iterable[str]:
    """Yield the Compose files that come along for these values of docker/.env, in the order of the table."""
    return (choice.file for choice in table() if choice.file and values.get(choice.key))
