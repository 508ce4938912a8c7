"""What a person chooses with options of `up`: each is kept in docker/.env until it is chosen otherwise."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from host_tasks.decide.plan import Finding, ok
from host_tasks.decide.share import wished_environment
from host_tasks.decide.workers import wished_workers
from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.observe.ports import LOOPBACK

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

COST = "no `pip install` at run time, and one processor where CPU_LIMIT of docker/.env says nothing else"


def choices(
    *,
    bind: str = "",
    gpu: bool = False,
    no_gpu: bool = False,
    hardened: bool = False,
    no_hardened: bool = False,
    workers: str = "",
    from_: str = "",
    on: str = "",
) -> dict[str, str | None]:
    """Return what is asked of docker/.env by the options of `up`; None = the key is to go.

    Raises:
        HostError: they contradict each other or --on, or one is not what it has to be (64).
    """
    found: dict[str, str | None] = {
        **({"JUPYTER_BIND": _address(bind)} if bind else {}),
        **_switch("gpu", {"GPUS": "all"}, on=gpu, off=no_gpu),
        **_switch("hardened", {"HARDENED": "yes"}, on=hardened, off=no_hardened),
        **wished_workers(workers),
        **wished_environment(from_),
    }
    if on and found:
        problem = f"what is kept in docker/.env is chosen where the server runs, and with --on that is {on}"
        raise HostError(problem, fix=task_command(f"up --on {on}"), code=ExitCode.USAGE)
    return found


def _switch(option: str, values: dict[str, str], *, on: bool, off: bool) -> dict[str, str | None]:
    """Return what an option and its opposite ask for."""
    if on and off:
        problem = f"--{option} and --no-{option} contradict each other"
        raise HostError(problem, fix=task_command(f"up --{option}"), code=ExitCode.USAGE)
    return {**values} if on else dict.fromkeys(values) if off else {}


def _address(text: str) -> str | None:
    """Return an address of this machine as Compose reads it; None = the one on which JupyterLab is published anyway."""
    import ipaddress  # late: few choose one

    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError as err:
        problem = f"--bind {text} is not an address in digits, as 192.0.2.1"
        raise HostError(problem, fix=task_command(f"up --bind {LOOPBACK}"), code=ExitCode.USAGE) from err
    return None if str(address) == LOOPBACK else f"[{address}]" if address.version == 6 else str(address)


def hardened(seen: "Observation") -> Iterator[Finding]:
    """Tell what a hardened container costs."""
    if seen.settings.values.get("HARDENED"):
        yield ok("hardened", f"nothing of the container's own can be written, which costs: {COST}")
