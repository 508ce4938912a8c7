"""The ports of this machine: which are free, and who holds one."""

import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from host_tasks.observe.containers import Container

LOOPBACK = "127.0.0.1"
INSIDE_PORT = 8888  # docker/jupyter_server_config.py
FIRST_PORT = 8888
LISTEN = "0A"  # of the kernel's TCP states (Linux, include/net/tcp_states.h)


def own_port(values: Mapping[str, str]) -> int:
    """Return the port that this clone's Compose file publishes by docker/.env; the first one for no number."""
    text = values.get("JUPYTER_PORT", "")
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else FIRST_PORT


def own_address(values: Mapping[str, str]) -> str:
    """Return the address of this machine on which this clone is published by docker/.env."""
    return values.get("JUPYTER_BIND") or LOOPBACK


def is_free(number: int, address: str = LOOPBACK) -> bool:
    """Return whether a port of an address of this machine can be taken now; 0 = any port, so whether it is one."""
    import socket  # late: most tasks need none

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address.strip("[]"), number))
        except OSError:
            return False
    return True


def holder(number: int, containers: tuple[Container, ...]) -> str:
    """Return who holds a port: a container of this engine, a process as far as the caller may see it, or somebody."""
    for each in containers:
        if any(binding.port == number for binding in each.bindings):
            return f"container {each.name}"
    return _process(number) or "another program"


def _process(number: int) -> str:
    """Return the process that listens on a port, "" where it cannot be told (proc(5), /proc/net/tcp; Linux only)."""
    if sys.platform != "linux":
        return ""
    with contextlib.suppress(OSError, ValueError, IndexError):
        rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
        sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == LISTEN and int(row[1].split(":")[1], 16) == number}
        for entry in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if sockets and str(entry.readlink()) in sockets:
                    pid = entry.parts[2]
                    return f"{Path('/proc', pid, 'comm').read_text(encoding='utf-8').strip()} (process {pid})"
    return ""
