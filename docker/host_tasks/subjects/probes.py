"""What a running server has of the mounts: by the inodes that it holds, and by probes.

A probe is a file that is made on one side of a running container, read on the other, and removed again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from host_tasks.kit import files
from host_tasks.kit.paths import shown
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import Seen, fact
from host_tasks.setup.basics import try_lock
from host_tasks.subjects import containers, mounts

PROBE = re.compile(r"\.probe-[0-9a-f]{16}\.(inside|outside)")
# For each target: whether a probe could be written inside, and what the probe written outside says.
PROBE_SCRIPT = """
name=$1; shift
for target; do
    if printf %s "$name" >"$target/$name.inside"; then wrote=yes; else wrote=no; fi
    echo "$wrote $(head -c 100 "$target/$name.outside")"
done 2>/dev/null
"""


# look


@dataclass(frozen=True)
class Held:
    """What the running server has at a path, beside what this machine has there now."""

    target: str  # of the mount
    source: Path
    same: bool
    is_there: bool = True  # whether this machine has anything there
    is_deleted: bool = False  # whether what the server has is nowhere else
    read_only: bool = False
    below: bool = False  # whether it is no mount, but what was mounted below its source on this machine


@dataclass(frozen=True)
class Crossing:
    """What the probes of one mount said."""

    source: str | None  # what the container was started with at the target; None = nothing
    read: bool = True  # whether the file from outside could be read inside
    wrote: bool = True  # whether a file could be written inside
    owner: tuple[int, int] | None = None  # uid and gid of the file from inside, seen outside; None = not seen


def mount_points() -> frozenset[str]:
    """Return where something is mounted in this process's sight (proc(5), mountinfo; empty elsewhere than on Linux)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return frozenset()
    return frozenset(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split(" ")[4]) for line in lines)


@fact
def held(seen: Seen) -> tuple[Held, ...]:
    """Return what the running server has of each mounted folder; nothing where that cannot be compared."""
    server = containers.server(seen)
    if server is None or server.status != "running":
        return ()
    paths = {target: (target, Path(source)) for target, source in sorted(server.binds.items())}
    edges, found = [Path(edge) for edge in sorted(mount_points())], []
    for target, source in list(paths.values()):
        real = Path(os.path.realpath(source))
        for edge in (edge for edge in edges if real in edge.parents):
            paths.setdefault(f"{target}/{edge.relative_to(real)}", (target, edge))
    for path, status in containers.status_inside(server, paths).items():
        target, source = paths[path]
        with contextlib.suppress(PermissionError):  # one that is not to be looked at (FUSE of another user)
            here = source.stat() if source.exists() else None
            if stat.S_ISDIR(status.st_mode) and (here or path == target):
                same, is_deleted = here is not None and os.path.samestat(here, status), status.st_nlink == 0
                read_only, below = target in server.read_only, path != target
                found.append(Held(target, source, same, here is not None, is_deleted, read_only, below))
    return tuple(found)


@fact
def crossings(seen: Seen) -> tuple[Crossing, ...]:
    """Return what probes through the server, which runs, say of each mount, in the order of `places`.

    A probe is locked until all have crossed, so those of a run that was killed are told from those of another run.

    Raises:
        HostError: a probe cannot be written for another reason than permission (74).
    """
    import secrets

    server, name = containers.server(seen), f".probe-{secrets.token_hex(8)}"
    probed = [place for place in mounts.places(seen) if place.kind == mounts.FOLDER]
    if server is None or server.status != "running":
        return ()
    targets = [place.mount.target for place in probed]
    try:
        with contextlib.ExitStack() as locks:
            for source in {place.real: place.mount.source for place in probed}.values():  # one may be mounted twice
                _write_probe(source / f"{name}.outside", name, locks)
            answer = containers.run_in(server, ["/bin/sh", "-c", PROBE_SCRIPT, "sh", name, *targets]) if probed else b""
        lines = [*answer.decode(errors="replace").splitlines(), *([""] * len(probed))]
        told = dict(zip(targets, lines, strict=False))
        return tuple(_crossing(place, name, told.get(place.mount.target), server) for place in mounts.places(seen))
    finally:
        sides = [place.mount.source / f"{name}.{side}" for place in probed for side in ("inside", "outside")]
        if len(list(filter(_removed, sides))) < len(sides):  # its owner alone may remove one in some folders
            containers.run_in(server, ["/bin/rm", "-f", *(f"{target}/{name}.inside" for target in targets)])


def _crossing(place: mounts.Place, name: str, line: str | None, container: containers.Container) -> Crossing:
    """Return what crosses one mount; line None = it is no folder, and only its source is looked at."""
    source, owner = container.binds.get(place.mount.target), None
    if line is None:
        return Crossing(source)
    with contextlib.suppress(OSError):
        status = os.lstat(place.mount.source / f"{name}.inside")
        owner = (status.st_uid, status.st_gid)
    wrote, _, read = line.partition(" ")
    return Crossing(source, read=read == name, wrote=wrote == "yes", owner=owner)


def _write_probe(path: Path, text: str, locks: contextlib.ExitStack) -> None:
    """Write a probe that anyone may read, and lock it; a folder that the caller cannot write to goes without."""
    try:
        file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8")  # noqa: SIM115, PTH123
        with contextlib.suppress(OSError):  # a file system without locks
            try_lock(locks.enter_context(file).fileno())
        if os.name != "nt":
            with files.where_modes_are():  # against the umask
                os.fchmod(file.fileno(), 0o644)
        file.write(text)
        file.flush()
    except OSError as err:
        if isinstance(err, PermissionError) or err.errno == errno.EROFS:
            return
        fix = f"df {shown(path.parent)}"
        raise HostError(f"{shown(path.parent)} cannot be written: {err.strerror}", fix=fix, code=ExitCode.IO) from err


def sweep(folder: Path) -> None:
    """Remove the probes of a run that was killed: files of that form with their own name in them, and not locked."""
    for path in [path for path in folder.glob(".probe-*side") if PROBE.fullmatch(path.name)]:
        marker = path.with_suffix(".outside")
        with contextlib.suppress(OSError):
            flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            descriptor = os.open(marker if marker.exists() else path, flags)
            try:
                is_left = os.read(descriptor, 100) == path.stem.encode() and try_lock(descriptor)
            finally:
                os.close(descriptor)
            if is_left:
                path.unlink()


def _removed(path: Path) -> bool:
    """Return whether a file is gone after this."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        return True
    return False
