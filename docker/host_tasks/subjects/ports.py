"""The port on which JupyterLab is published: which one it is, whether it is free, who holds it and who reaches it."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Finding, Seen, Step, fact, fail, ok, rule, warn
from host_tasks.subjects import clone, compose, containers, services, settings

KEY = "JUPYTER_PORT"  # of docker/.env
LOOPBACK = "127.0.0.1"
INSIDE_PORT = 8888  # docker/jupyter_server_config.py
FIRST_PORT = 8888
LOWEST_PORT, HIGHEST_PORT = 1024, 65535  # those below are root's (ip(7), ip_unprivileged_port_start)
# What engines say of a taken port (26 to 28), and Windows also of one that it keeps for itself (Docker Desktop 4).
TAKEN = re.compile(
    r":(\d+)\b(?=.*(?:already allocated|address already in use|only one usage of|access permissions))", re.IGNORECASE
)
OWN_PORTS = 1000  # how many a clone may choose from
OPENED = (
    "anyone who reaches that address and has the link has a shell in the container and your six folders; "
    "the link crosses the network in plain text, and the firewall of this machine does not see it"
)


# look


def is_port(text: str) -> bool:
    """Return whether a text is a port that a user may take."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and LOWEST_PORT <= int(text) <= HIGHEST_PORT


def value(text: str) -> str:
    """Return a port that a person asks for, as docker/.env holds it.

    Raises:
        HostError: a user may not take it, or it is none (64).
    """
    if not is_port(text):
        problem = f"--port {text} is not between {LOWEST_PORT} and {HIGHEST_PORT}"
        raise HostError(problem, fix=task_command("up"), code=ExitCode.USAGE)
    return str(int(text))


def published(seen: Seen) -> int:
    """Return the port that docker/.env names; the first one where it names none, or cannot be read."""
    try:
        text = settings.now(seen).values.get(KEY, "")
    except HostError:
        text = ""
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else FIRST_PORT


@fact
def free(seen: Seen) -> Callable[[int], bool]:
    """Tell whether a port of the address that docker/.env names can be taken now; 0 = whether it is an address here."""
    return functools.partial(is_free, address=_address(seen))


@fact
def holders(seen: Seen) -> Callable[[int], str]:
    """Tell who holds a port, as far as the caller may see it."""
    try:
        running = containers.publishing()
    except HostError:
        running = ()
    return lambda number: holder(number, running)


def is_free(number: int, address: str = LOOPBACK) -> bool:
    """Return whether a port of an address of this machine can be taken now; 0 = any port, so whether it is one."""
    import socket

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as listener:
        # By SO_REUSEADDR Windows takes a port from its holder.
        option = "SO_EXCLUSIVEADDRUSE" if os.name == "nt" else "SO_REUSEADDR"
        listener.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
        try:
            listener.bind((address.strip("[]"), number))
        except OSError:
            return False
    return True


def next_free(taken: int, project: str, is_free: Callable[[int], bool]) -> int:
    """Return a port instead of a taken one: 8888, else the next from a place of this clone's own.

    Clones that start at once seldom meet that way.
    """
    start = FIRST_PORT + 1 + int(project[-8:], 16) % OWN_PORTS
    candidates: tuple[int, ...] = (FIRST_PORT, *range(start, start + OWN_PORTS))
    return next(number for number in candidates if number != taken and is_free(number))


def holder(number: int, running: tuple[containers.Container, ...]) -> str:
    """Return who holds a port: a container of this engine, a process that the caller may see, or another program."""
    for container in running:
        if any(binding.port == number for binding in container.bindings):
            return f"container {container.name}"
    with contextlib.suppress(OSError, ValueError, IndexError):  # proc(5), /proc/net/tcp; there is none but on Linux
        rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
        listening = [row for row in rows if row[3] == "0A"]  # Linux, include/net/tcp_states.h
        sockets = {f"socket:[{row[9]}]" for row in listening if int(row[1].split(":")[1], 16) == number}
        for entry in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
            with contextlib.suppress(OSError):
                if str(entry.readlink()) in sockets:
                    pid = entry.parts[2]
                    return f"{Path('/proc', pid, 'comm').read_text(encoding='utf-8').strip()} (process {pid})"
    return "another program"


def refused(seen: Seen) -> set[int]:
    """Return our port where the engine could not publish it, by the reason that it keeps for the server.

    It keeps none where Docker Desktop's own proxy before it has refused: Compose has told that.
    """
    server, now = containers.server(seen), published(seen)
    if not server or server.status != "created":
        return set()
    ended = seen.tried.get(f"{services.START}{now}")
    said = server.error or (ended.said if ended else "")
    return {now} & {int(taken[1]) for taken in TAKEN.finditer(said)}


def _address(seen: Seen) -> str:
    """Return the address of this machine on which docker/.env publishes this clone."""
    return settings.now(seen).values.get("JUPYTER_BIND") or LOOPBACK


def _bindings(seen: Seen) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what the Compose files publish: each service with a port of it, as Compose's model has it."""
    services = compose.model(seen)["services"].items()
    return [(name, binding) for name, service in services for binding in service.get("ports") or []]


# judge


@rule("port", upon=("env-file", "engine", "compose-files"))
def port(seen: Seen) -> Iterator[Finding]:
    """Ask for a port that is free or already ours: another one than is taken, unless this call asks for it."""
    if not compose.is_there(seen):
        return
    now, address, can_take = published(seen), _address(seen), free(seen)
    of_server = [binding for name, binding in _bindings(seen) if name == compose.SERVICE]
    managed = any(port.get("target") == INSIDE_PORT and str(port.get("published")) == str(now) for port in of_server)
    at_work = [container for container in containers.services(seen) if container.status in ("running", "paused")]
    held = {binding.port for container in at_work for binding in container.bindings}
    if compose.model(seen)["services"][compose.SERVICE].get("network_mode") == "host":  # Compose discards the ports
        cause = f"network_mode: host puts the server on port {INSIDE_PORT} of every address of this machine"
        yield warn(cause, "take it out of docker/docker-compose.override.yml, and publish ports")
    elif not managed:
        yield ok("the Compose files publish JupyterLab their own way")
    elif address != LOOPBACK and not can_take(0):
        cause = f"JUPYTER_BIND={address} is no address of this machine"
        yield fail(cause, task_command(f"up --bind {LOOPBACK}"))
    elif now not in held and (now in refused(seen) or not can_take(now)):
        step = None if seen.asked.get(KEY) else _publish(next_free(now, clone.project(seen), can_take))
        cause = f"port {now} is held by {holders(seen)(now)}"
        # Where a start lost the race for it, what that made is removed.
        yield fail(cause, task_command("up"), ExitCode.TRY_AGAIN, step=step, parting=services.give_up)
    else:
        yield ok(f"{address}:{now}")


@rule("reach", upon=("env-file", "engine", "compose-files"))
def reach(seen: Seen) -> Iterator[Finding]:
    """Warn of what other machines reach, by docker/.env or by Compose files of the person's own."""
    opened = False
    for name, binding in _bindings(seen) if compose.is_there(seen) else ():
        address = str(binding.get("host_ip") or "0.0.0.0").strip("[]")  # noqa: S104 (Compose's default; read, not bound)
        if binding.get("published") and not (address.startswith("127.") or address == "::1"):
            opened = True
            where = f"{name} on {address}:{binding['published']}"
            yield warn(f"{where} is open to other machines: {OPENED}", task_command(f"up --bind {LOOPBACK}"))
    if not opened:
        yield ok("only this machine reaches what is published")


def _publish(number: int) -> Step:
    """Return the step that writes a port down."""
    write = functools.partial(settings.write, JUPYTER_PORT=str(number))
    return Step(write, f"publish on port {number}", f"{KEY} in docker/.env")
