"""The containers of a Compose project, as the engine describes them, and the few questions to one that runs."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from host_tasks.kit import report, runner
from host_tasks.kit.client import UnreachableError, asking, client
from host_tasks.kit.words import task_command
from host_tasks.loop import FAIL, Seen, fact
from host_tasks.subjects import clone, compose, engine

PROJECT_LABEL = "com.docker.compose.project"
ONEOFF_LABEL = "com.docker.compose.oneoff"
LOG_LINES = 20
RUN_S = 10  # for a short command in a container
RUN_BYTES = 65_536  # of its output, at most
ROOTS_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # folders of an image that its user cannot write to
ENDING_S = 60  # from the signal to the end of a container, at most; Compose gives it 10
OOM_KILLS = "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control"  # cgroup v2, v1
TOKEN = re.compile(r"[A-Za-z0-9_.~-]{1,256}")  # RFC 3986, 2.3: what a link carries as it is
TOKEN_ARCHIVE_BYTES = 16_384  # a tar archive of one small file is 10,240 bytes; what comes after is not read
# $0 is the mark. A command that saves its work at Ctrl-C is given the time for it.
STOP = r"""
for signal in INT TERM KILL; do
    for try in $(seq 50); do
        found=$(grep --files-with-matches --no-messages --null-data --line-regexp --fixed-strings -- "$0" \
            /proc/[0-9]*/environ | cut -d / -f 3)
        [ "$found" ] || exit 0
        [ "$try" != 1 ] || kill -s "$signal" $found
        sleep 0.1
    done
done
"""


@dataclass(frozen=True)
class Binding:
    """A port of a container that is published on this machine."""

    inside: int
    host_ip: str
    port: int


@dataclass(frozen=True)
class Container:
    """One container, by the engine's answer (Engine API 1.45, ContainerInspect)."""

    id: str
    name: str = ""
    project: str = ""
    service: str = ""
    folder: str = ""  # from which Compose started it
    oneoff: bool = False  # made by `docker compose run`
    started: str = ""  # when it was started last, RFC 3339
    status: str = "running"  # created, running, ending, paused, restarting, removing, exited or dead
    health: str = "none"  # none, starting, healthy or unhealthy
    last_check: str = ""  # what the last health check said
    exit_code: int = 0
    restarts: int = 0  # how often the engine started it again
    out_of_memory: bool = False
    error: str = ""  # why the engine could not start it
    image: str = ""  # its id
    config_hash: str = ""  # Compose's, of the service that it was made from
    network_mode: str = ""
    log_driver: str = ""
    shm_bytes: int = 0  # of /dev/shm, where the engine sizes it; 0 = it does not
    bindings: tuple[Binding, ...] = ()
    pid: int = 0  # of its first process, as the engine's machine numbers it
    binds: Mapping[str, str] = field(default_factory=dict)  # of its bind mounts: target to source
    read_only: frozenset[str] = frozenset()  # targets of bind mounts
    is_fixed: bool = False  # nothing of its own can be written
    environ: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()

    @property
    def serves(self) -> bool:
        """Whether it runs and is not ill; a health check that is not there, or turned off, says nothing."""
        return self.status == "running" and self.health in ("healthy", "none")

    @property
    def ended_well(self) -> bool:
        """Whether it is a job that has done its work."""
        return self.status == "exited" and self.exit_code == 0 and not self.error

    @property
    def failed(self) -> bool:
        """Whether it broke down, and was not only stopped: SIGINT and SIGTERM end it with 130 and 143."""
        ended_ill = self.status == "exited" and self.exit_code not in (0, 130, 143)
        ill = ended_ill or self.status in ("dead", "restarting") or self.health == "unhealthy"
        return bool(ill or self.out_of_memory or self.error)

    @property
    def settled(self) -> bool:
        """Whether waiting would tell nothing new."""
        return not (self.status == "running" and self.health == "starting")


# look


@fact
def ours(seen: Seen) -> tuple[Container, ...]:
    """Return the containers of this clone, in whatever state; none where no engine answers."""
    with contextlib.suppress(UnreachableError):
        found = of_project(clone.project(seen))
        told = _told_to_end(clone.project(seen)) if any(container.status == "running" for container in found) else {}
        ends = [each.status == "running" and each.started < told.get(each.id, "") for each in found]
        return tuple(replace(each, status="ending") if end else each for each, end in zip(found, ends, strict=True))
    return ()


def known(seen: Seen) -> tuple[Container, ...]:
    """Return the containers of this clone, of an engine that answers.

    Raises:
        HostError: it does not, and why.
    """
    try:
        return ours(seen) or of_project(clone.project(seen))
    except UnreachableError as err:
        finding = engine.judge(engine.state(seen))
        raise finding.error() if finding.state == FAIL else err from err


def any_runs(seen: Seen) -> bool:
    """Return whether something of this clone runs: then the engine and Compose need no other proof."""
    return any(container.status == "running" for container in ours(seen))


def services(seen: Seen) -> tuple[Container, ...]:
    """Return the containers of services, without those of `invoke run`."""
    return tuple(container for container in ours(seen) if not container.oneoff)


def server(seen: Seen) -> Container | None:
    """Return the newest container of the server, in whatever state; None where there is none."""
    return next((container for container in services(seen) if container.service == compose.SERVICE), None)


def of_project(project: str) -> tuple[Container, ...]:
    """Return all containers of a Compose project, in whatever state, newest first."""
    # A container of `docker run` has the image's labels, the project's among them, but not this one.
    return _listed(all=True, filters={"label": [f"{PROJECT_LABEL}={project}", ONEOFF_LABEL]})


def publishing() -> tuple[Container, ...]:
    """Return the running containers of this engine; any of them may hold a port."""
    return _listed(filters={})


def _told_to_end(project: str) -> dict[str, str]:
    """Return when containers were told to end that may still run, RFC 3339: by a `down` that was killed, say.

    The engine keeps what happened last (Engine API 1.45, SystemEvents).
    """
    filters, now = {"label": f"{PROJECT_LABEL}={project}", "event": "kill"}, time.time()
    period: Any = {"since": f"{now - ENDING_S:.9f}", "until": f"{now:.9f}"}
    events, told = [], {}
    with contextlib.suppress(UnreachableError), asking():  # one that tells nothing of it (a proxy before its socket)
        events = list(client().api.events(**period, filters=filters, decode=True))
    for event in events:
        if event["Actor"]["Attributes"].get("signal") in ("9", "15"):
            then = datetime.datetime.fromtimestamp(event["time"], datetime.timezone.utc)
            told[event["Actor"]["ID"]] = f"{then:%Y-%m-%dT%H:%M:%S}.{event['timeNano'] % 10**9:09}"
    return told


def _listed(**which: Any) -> tuple[Container, ...]:
    """Return the containers that the engine lists; one that goes meanwhile is left out."""
    with asking():
        listed = client().containers.list(ignore_removed=True, **which)
    return tuple(parsed(container.attrs) for container in listed)


def parsed(attrs: Mapping[str, Any]) -> Container:
    """Return a container from what the engine says of it; what is missing or null there counts as empty."""
    config, state, host = (attrs.get(part) or {} for part in ("Config", "State", "HostConfig"))
    labels, health = config.get("Labels") or {}, state.get("Health") or {}
    checks, mounts = health.get("Log") or [], attrs.get("Mounts") or []
    ports = ((attrs.get("NetworkSettings") or {}).get("Ports") or {}).items()  # "8888/tcp" and where it is published
    of_compose = {name.removeprefix("com.docker.compose."): value for name, value in labels.items()}
    # A pause makes it unhealthy until the next check, though none failed (moby 26, health.go, stopHealthchecks).
    paused_once = health.get("Status") == "unhealthy" and health.get("FailingStreak") == 0
    return Container(
        id=attrs["Id"],
        name=str(attrs.get("Name", "")).removeprefix("/"),
        project=of_compose.get("project", ""),
        service=of_compose.get("service", ""),
        folder=of_compose.get("project.working_dir", ""),
        oneoff=of_compose.get("oneoff") == "True",
        started=state.get("StartedAt", ""),
        status=state.get("Status", ""),
        health="healthy" if paused_once else str(health.get("Status") or "none"),
        last_check=" ".join(str(checks[-1].get("Output", "")).split())[-200:] if checks else "",
        exit_code=int(state.get("ExitCode") or 0),
        restarts=int(attrs.get("RestartCount") or 0),
        out_of_memory=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        image=attrs.get("Image", ""),
        config_hash=of_compose.get("config-hash", ""),
        network_mode=str(host.get("NetworkMode", "")),
        log_driver=str((host.get("LogConfig") or {}).get("Type", "")),
        shm_bytes=0 if "/dev/shm" in (host.get("Tmpfs") or {}) else int(host.get("ShmSize") or 0),  # noqa: S108
        bindings=tuple(
            Binding(int(name.removesuffix("/tcp")), place.get("HostIp", ""), int(place["HostPort"]))
            for name, places in ports
            for place in places or ()
            if name.endswith("/tcp") and place.get("HostPort")
        ),
        pid=int(state.get("Pid") or 0),
        binds={mount["Destination"]: mount["Source"] for mount in mounts if mount.get("Type") == "bind"},
        read_only=frozenset(mount["Destination"] for mount in mounts if not mount.get("RW", True)),
        is_fixed=bool(host.get("ReadonlyRootfs")),
        environ={name: value for name, _, value in (line.partition("=") for line in config.get("Env") or [])},
        command=tuple(config.get("Cmd") or ()),
    )


def last_lines(container: Container) -> str:
    """Return the last lines of a container's log; "" where its log cannot be read (a `logging` driver of its own)."""
    with contextlib.suppress(Exception), asking():
        text: bytes = client().containers.get(container.id).logs(tail=LOG_LINES)
        return text.decode(errors="replace").strip()
    return ""


def memory(container: Container) -> tuple[int, int]:
    """Return what a running container uses and may use, in bytes, without the cache of files that can be given back."""
    with asking():
        told = client().api.stats(container.id, stream=False, one_shot=True).get("memory_stats") or {}
    parts = told.get("stats") or {}
    given_back = int(parts.get("inactive_file") or parts.get("total_inactive_file") or 0)
    return max(int(told.get("usage") or 0) - given_back, 0), int(told.get("limit") or 0)


@fact
def processes(seen: Seen) -> tuple[int, int]:
    """Return how many processes and threads the server runs and may run, 0 = it does not, or may run any number."""
    import docker.errors

    container = server(seen)
    if container is None or container.status != "running":
        return 0, 0
    with contextlib.suppress(docker.errors.NotFound, UnreachableError), asking():
        told = client().api.stats(container.id, stream=False, one_shot=True).get("pids_stats") or {}
        return int(told.get("current") or 0), int(told.get("limit") or 0)
    return 0, 0


@fact
def killed_for_memory(seen: Seen) -> int:
    """Return how many processes of the running server the kernel has killed because its memory ran out."""
    container = server(seen)
    if container is None or container.status != "running":
        return 0
    said = run_in(container, ["/bin/sh", "-c", OOM_KILLS]).decode(errors="replace")
    return sum(int(count) for count in re.findall(r"^oom_kill (\d{1,9})$", said, re.MULTILINE))


def status_inside(container: Container, paths: Iterable[str]) -> dict[str, os.stat_result]:
    """Return what paths lead to in a running container, by its own process; nothing where that cannot be seen."""
    process, found = Path(f"/proc/{container.pid}"), {}
    with contextlib.suppress(OSError):
        # The engine mounts files of a folder of the container's id: it is no process of another machine's number.
        mounted = (process / "mountinfo").read_text(encoding="utf-8", errors="replace")
        for path in paths if container.id in mounted else ():
            with contextlib.suppress(OSError):
                found[path] = Path(f"{process}/root{path}").stat()
    return found


def run_in(container: Container, argv: Sequence[str]) -> bytes:
    """Return the output of a short command in a container, as far as RUN_BYTES; the engine ends it with the answer.

    Programs are root's: those of the environment, which is first on the container's own PATH, can be anybody's. The
    SDK waits for output without end (docker-py 7.1, utils/socket.py, read), so the command is ended in there.
    """
    bounded = ["/usr/bin/timeout", str(RUN_S), *argv]
    with asking():
        opened = client().containers.get(container.id)
        output: Any = opened.exec_run(bounded, stream=True, environment={"PATH": ROOTS_PATH}).output
        return _first_bytes(output, RUN_BYTES)


def token(container: Container) -> str:
    """Return the token that Jupyter reads from its file, or "": read by the engine, without a process inside.

    The engine copies nothing out of a tmpfs, where a hardened container keeps it: there a program reads it.
    What comes out of a container is not trusted: only a small regular file with the characters of a token counts.
    """
    import docker.errors

    path = container.environ.get("JUPYTER_TOKEN_FILE", "/nonexistent")
    try:
        with asking():
            pieces, _ = client().containers.get(container.id).get_archive(path)
            archive = _first_bytes(pieces, TOKEN_ARCHIVE_BYTES)
        text = _only_file(archive)
    except docker.errors.NotFound:
        reader = ("/usr/bin/head", "--bytes=257", path)
        text = run_in(container, reader).decode("ascii", errors="replace").strip()
    return text if TOKEN.fullmatch(text) else ""


def _first_bytes(pieces: Iterable[bytes], count: int) -> bytes:
    """Return the first bytes of a stream, without reading on behind them."""
    kept = b""
    for piece in pieces:
        kept += piece
        if len(kept) >= count:
            break
    return kept[:count]


def _only_file(archive: bytes) -> str:
    """Return the text of the regular file that an archive begins with, "" where that is anything else."""
    import io
    import tarfile

    with contextlib.suppress(tarfile.TarError), tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        first = opened.next()
        file = opened.extractfile(first) if first and first.isreg() and first.size <= 1024 else None
        return file.read().decode("ascii", errors="replace").strip() if file else ""
    return ""


def mark() -> str:
    """Return a new mark, as `NAME=value` for the environment: `docker exec --env <mark> ...`.

    `docker exec` without a terminal passes no signal on, and the command goes on when its client is gone (moby,
    exec.go; engine 26.1, tried). Its children inherit the mark, by which `stop` finds them all.
    """
    return f"HOST_TASKS_RUN={uuid.uuid4().hex}"


def stop(container: str, mark: str) -> list[str]:
    """Return the command that ends all with the mark in a container, by name or id, within 15 s: see runner.run."""
    return ["docker", "exec", "--env", f"PATH={ROOTS_PATH}", container, "/bin/sh", "-c", STOP, mark]


# show


def logs(seen: Seen, *, follow: bool, tail: str) -> runner.Finished:
    """Print the log of the server, and of what runs beside it, and return how that ended."""
    if not known(seen):
        report.note(f"Nothing runs here yet, so there is no log. To see what a build says: {task_command('build')}")
    words = ["logs", "--tail", tail, *(["--follow"] if follow else [])]
    return compose.call_by_name(clone.project(seen), *words, logs=True)
