"""Rules about the port on which JupyterLab is published, and which one to take."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from host_tasks.decide.plan import Finding, Rule, Step, fail, ok, warn
from host_tasks.decide.settings import HIGHEST_PORT, LOWEST_PORT, is_port
from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.observe.compose import SERVICE
from host_tasks.observe.ports import FIRST_PORT, INSIDE_PORT, LOOPBACK, own_address, own_port

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

CODE = "port"
OWN_PORTS = 1000  # how many there are to choose from
OPENED = (
    "whoever reaches that address and has the link has a shell in the container and your six folders; the link "
    "crosses the network in plain text, and the firewall of this machine is passed by"
)


def wished_port(text: str) -> int | None:
    """Return the port that a person asks for, None for an empty text.

    Raises:
        HostError: it is no port that a user may take (64).
    """
    if not text:
        return None
    if not is_port(text):
        raise HostError(
            f"--port {text} is not between {LOWEST_PORT} and {HIGHEST_PORT}",
            fix=task_command("up"),
            code=ExitCode.USAGE,
        )
    return int(text)


def port(asked: int | None) -> Rule:
    """Return the rule for a port that was asked for, or None."""

    def port(seen: "Observation") -> Iterator[Finding]:
        """Ask for a port that is free, or already ours."""
        if seen.has_compose:
            yield _judge(seen, asked)

    return port


def _judge(seen: "Observation", asked: int | None) -> Finding:
    """Return what is wrong with the port."""
    now, address = own_port(seen.settings.values), own_address(seen.settings.values)
    if seen.model["services"][SERVICE].get("network_mode") == "host":  # Compose discards the published ports
        cause = f"network_mode: host puts the server on port {INSIDE_PORT} of every address of this machine"
        return warn(CODE, cause, "take it out of docker/docker-compose.override.yml, and publish ports")
    if not is_managed(seen.model, now):
        return ok(CODE, "the Compose files publish JupyterLab their own way")
    if address != LOOPBACK and not seen.port_is_free(0):
        cause = f"docker/.env says JUPYTER_BIND={address}, which is no address of this machine"
        return fail(CODE, cause, task_command(f"up --bind {LOOPBACK}"))
    if asked is not None and asked != now:
        return _other(asked, f"port {asked} was asked for, and docker/.env says {now}", seen)
    if now in held(seen) or (now not in refused(seen) and seen.port_is_free(now)):
        return ok(CODE, f"{address}:{now}")
    who = f"port {now} is held by {seen.port_holder(now)}"
    if asked is not None:
        return fail(CODE, who, task_command("up"), ExitCode.TRY_AGAIN)
    return fail(
        CODE, who, task_command("up"), ExitCode.TRY_AGAIN, step=_step(next_free(now, seen.project, seen.port_is_free))
    )


def _other(asked: int, why: str, seen: "Observation") -> Finding:
    """Return that another port was asked for: taken by somebody, or to be written down."""
    if asked not in held(seen) and not seen.port_is_free(asked):
        problem = f"port {asked} is held by {seen.port_holder(asked)}"
        return fail(CODE, problem, task_command("up"), ExitCode.TRY_AGAIN)
    return fail(CODE, why, task_command(f"up --port {asked}"), step=_step(asked))


def _step(number: int) -> Step:
    """Return the step that writes a port down."""
    return Step(
        "choose", f"publish on port {number}", "JUPYTER_PORT in docker/.env", values={"JUPYTER_PORT": str(number)}
    )


def reach(seen: "Observation") -> Iterator[Finding]:
    """Warn of what other machines reach, by docker/.env or by Compose files of the person's own."""
    opened = list(_opened(seen.model)) if seen.has_compose else []
    for where in opened:
        yield warn("reach", f"{where} is open to other machines: {OPENED}", task_command(f"up --bind {LOOPBACK}"))
    if not opened:
        yield ok("reach", "only this machine reaches what is published")


def _opened(model: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is published elsewhere than on the loopback: service and address; Compose's default is everywhere."""
    for name, service in model["services"].items():
        for each in service.get("ports") or []:
            address = str(each.get("host_ip") or "0.0.0.0").strip("[]")  # noqa: S104 (read, not bound)
            if each.get("published") and not (address.startswith("127.") or address == "::1"):
                yield f"{name} on {address}:{each['published']}"


def is_managed(model: Mapping[str, Any], number: int) -> bool:
    """Return whether the server is published by JUPYTER_PORT, and not only as a person's Compose file says."""
    published = model["services"][SERVICE].get("ports") or []
    return any(each.get("target") == INSIDE_PORT and str(each.get("published")) == str(number) for each in published)


def held(seen: "Observation") -> set[int]:
    """Return the ports that this clone's containers hold."""
    return {binding.port for each in seen.services if each.status in ("running", "paused") for binding in each.bindings}


def refused(seen: "Observation") -> set[int]:
    """Return the port of ours that the engine could not publish, by the reason that it keeps for the server."""
    error = seen.server.error if seen.server and seen.server.status == "created" else ""
    now = own_port(seen.settings.values)
    return (
        {now} if f":{now}" in error and ("already allocated" in error or "address already in use" in error) else set()
    )


def next_free(taken: int, project: str, is_free: Callable[[int], bool]) -> int:
    """Return a port instead of a taken one: 8888, else the next from a place of this clone's own.

    Clones that start at once seldom meet that way.
    """
    start = FIRST_PORT + 1 + int(project[-8:], 16) % OWN_PORTS
    candidates: tuple[int, ...] = (FIRST_PORT, *range(start, start + OWN_PORTS))
    return next(each for each in candidates if each != taken and is_free(each))
