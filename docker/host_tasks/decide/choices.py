"""What a person chooses with options of `up`: each is kept in docker/.env until it is chosen otherwise."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from host_tasks.decide.plan import Finding, Rule, Step, fail, ok
from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import HARDENED_FILE, shown
from host_tasks.observe.ports import LOOPBACK
from host_tasks.observe.settings import Settings, compose_files

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

COST = (
    "no `pip install` at run time, and one processor and 4 GiB of memory where CPU_LIMIT and MEMORY_LIMIT "
    "of docker/.env say nothing else"
)
OPENED = (
    "whoever reaches that address and has the link has a shell in the container and your six folders; the link "
    "crosses the network in plain text, and the firewall of this machine is passed by"
)


@dataclass(frozen=True)
class Choice:
    """A key of docker/.env, and what it is to be."""

    option: str  # as it was asked for
    key: str
    wanted: Callable[[Settings], str | None]  # None = the key is removed
    means: str


def choices(*, bind: str, hardened: bool, no_hardened: bool) -> list[Choice]:
    """Return what the options of `up` choose.

    Raises:
        HostError: they contradict each other, or --bind names no address in digits (64).
    """
    if hardened and no_hardened:
        problem = "--hardened and --no-hardened contradict each other"
        raise HostError(problem, fix=task_command("up --hardened"), code=ExitCode.USAGE)
    found = [_published_on(bind)] if bind else []
    return [*found, _hardened(wanted=hardened)] if hardened or no_hardened else found


def _hardened(*, wanted: bool) -> Choice:
    """Return the choice of a container in which nothing of its own can be written, or of the usual one."""
    means = f"{shown(HARDENED_FILE)} is used, which costs: {COST}" if wanted else f"{shown(HARDENED_FILE)} is not used"
    return Choice(
        "--hardened" if wanted else "--no-hardened",
        "COMPOSE_FILE",
        lambda settings: compose_files(settings.kept.get("COMPOSE_FILE"), hardened=wanted),
        means,
    )


def _published_on(text: str) -> Choice:
    """Return the choice of an address of this machine on which JupyterLab is published."""
    import ipaddress  # late: few choose one

    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError as err:
        problem = f"--bind {text} is not an address in digits, as 192.0.2.1"
        raise HostError(problem, fix=task_command(f"up --bind {LOOPBACK}"), code=ExitCode.USAGE) from err
    written = f"[{address}]" if address.version == 6 else str(address)
    means = "only this machine reaches it" if address.is_loopback else OPENED
    return Choice(f"--bind {text}", "JUPYTER_BIND", lambda _: None if written == LOOPBACK else written, means)


def chosen(choices: Iterable[Choice]) -> Rule:
    """Return the rule for what was asked for."""

    def choice(seen: "Observation") -> Iterator[Finding]:
        """Ask for docker/.env to say what was chosen."""
        for each in choices:
            value = each.wanted(seen.settings)
            if seen.settings.kept.get(each.key) == value:
                yield ok("choice", f"{each.option} is kept in docker/.env")
                continue
            step = Step("choose", f"keep {each.option}", f"{each.key} in docker/.env", values={each.key: value})
            yield fail("choice", f"{each.option} was asked for: {each.means}", task_command("up"), step=step)

    return choice
