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
    *, bind: str = "", hardened: bool = False, no_hardened: bool = False, workers: str = "", from_: str = ""
) -> dict[str, str | None]:
    """Return what is asked of docker/.env by the options of `up`; None = the key is to go.

    Raises:
        HostError: they contradict each other, or one is not what it has to be (64).
    """
    if hardened and no_hardened:
        problem = "--hardened and --no-hardened contradict each other"
        raise HostError(problem, fix=task_command("up --hardened"), code=ExitCode.USAGE)
    found: dict[str, str | None] = {"JUPYTER_BIND": _address(bind)} if bind else {}
    if hardened or no_hardened:
        found["HARDENED"] = "yes" if hardened else None
    return {**found, **wished_workers(workers), **wished_environment(from_)}


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
