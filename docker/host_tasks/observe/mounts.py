"""The bind mounts as they are: each source on this machine, and what a probe file says of the way through.

A probe is the one look that needs a file of its own. It is made on both sides, read on the other, and removed again.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import ROOT, shown
from host_tasks.observe.compose import Mount
from host_tasks.observe.containers import Container, run_in

FOLDER, FILE, OTHER, DANGLING, MISSING = "folder", "file", "other", "dangling", "missing"
# For each target: whether a probe could be written inside, and what the probe written outside says.
PROBE_SCRIPT = """
name=$1; shift
for target; do
    if printf %s "$name" >"$target/$name.inside"; then wrote=yes; else wrote=no; fi
    echo "$wrote $(head -c 100 "$target/$name.outside")"
done 2>/dev/null
"""


@dataclass(frozen=True)
class Place:
    """The source of a mount, on this machine; links are followed but where they are named."""

    mount: Mount
    kind: str  # FOLDER, FILE, OTHER (a socket, a device), DANGLING (a link to nothing) or MISSING
    real: Path  # where it leads
    link: Path | None = None  # what it says where it is a link itself
    uid: int = -1
    gid: int = -1
    mode: int = 0  # permission bits
    writable: bool = True  # for this process, access control lists and all groups counted
    readable: bool = True
    read_only_disk: bool = False
    of_root: int = 0  # how many entries in it are root's, where this process is root

    @property
    def shown(self) -> str:
        """The source as a person would write it."""
        return shown(self.mount.source)

    @property
    def ours(self) -> bool:
        """Whether it is a folder of this clone, and no link: what is made and given away unasked."""
        return self.link is None and ROOT in self.mount.source.parents and ROOT in self.real.parents


@dataclass(frozen=True)
class Crossing:
    """What the probes of one mount said."""

    source: str | None  # what the container really has at the target; None = nothing
    read: bool = True  # whether the file from outside could be read inside
    wrote: bool = True  # whether a file could be written inside
    owner: tuple[int, int] | None = None  # uid and gid of the file from inside, seen outside; None = not seen
    hidden: tuple[Path, ...] = ()  # what is mounted below the source on this machine, and not in the container


def place(mount: Mount, *, count_roots: bool) -> Place:
    """Return what a source is like."""
    source = mount.source
    link = source.readlink() if source.is_symlink() else None
    try:
        status = source.stat()
    except OSError:
        kind = DANGLING if link is not None else MISSING
        return Place(mount, kind, Path(os.path.realpath(source)), link)
    folder = stat.S_ISDIR(status.st_mode)
    return Place(
        mount,
        FOLDER if folder else FILE if stat.S_ISREG(status.st_mode) else OTHER,
        source.resolve(),
        link,
        status.st_uid,
        status.st_gid,
        stat.S_IMODE(status.st_mode),
        writable=os.access(source, os.W_OK | (os.X_OK if folder else 0)),
        readable=os.access(source, os.R_OK),
        # Windows has no statvfs.
        read_only_disk=hasattr(os, "statvfs") and bool(os.statvfs(source).f_flag & os.ST_RDONLY),
        of_root=len(roots(source)) if count_roots and folder and link is None and not mount.read_only else 0,
    )


def roots(folder: Path) -> list[tuple[str, int, int]]:
    """Return what root owns in a folder, as (path, device, inode), without going where it may not be changed.

    That is: behind links, files of more than one name (one may be outside), and what is mounted below the folder.
    """
    found: list[tuple[str, int, int]] = []
    edges = mount_points()
    for at, folders, files in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if os.path.join(at, name) not in edges]  # noqa: PTH118 (bytes of speed)
        for path in (*([at] if at == str(folder) else []), *(f"{at}/{name}" for name in (*folders, *files))):
            with contextlib.suppress(OSError):  # gone meanwhile
                status = os.lstat(path)
                single = stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1)
                if status.st_uid == 0 and single and path not in edges - {str(folder)}:
                    found.append((path, status.st_dev, status.st_ino))
    return found


def mount_points() -> frozenset[str]:
    """Return where something is mounted in this process's sight (proc(5), mountinfo; empty elsewhere than on Linux)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return frozenset()
    return frozenset(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split(" ")[4]) for line in lines)


def cross(places: Sequence[Place], container: Container) -> tuple[Crossing, ...]:
    """Return what crosses each mount, by probes through a running container; they are always removed.

    Raises:
        HostError: a probe cannot be written for another reason than permission (74).
        UnreachableError: the engine gives no answer.
    """
    import secrets

    name = f".probe-{secrets.token_hex(8)}"
    probed = [each for each in places if each.kind == FOLDER]
    targets = [each.mount.target for each in probed]
    try:
        for each in probed:
            _write_probe(each.mount.source / f"{name}.outside", name)
        answer = run_in(container, ["/bin/sh", "-c", PROBE_SCRIPT, "sh", name, *targets]) if probed else b""
        lines = [*answer.decode(errors="replace").splitlines(), *([""] * len(probed))]
        told = dict(zip(targets, lines, strict=False))
        hidden = _hidden(probed, container)
        return tuple(_crossing(each, name, told.get(each.mount.target), hidden, container) for each in places)
    finally:
        removed = [_removed(each.mount.source / f"{name}.{side}") for each in probed for side in ("outside", "inside")]
        if not all(removed):
            run_in(container, ["/bin/rm", "-f", *(f"{target}/{name}.inside" for target in targets)])


def _hidden(places: Sequence[Place], container: Container) -> dict[Place, tuple[Path, ...]]:
    """Return what the container does not see of what is mounted below the sources: it is another inode there."""
    below = [
        (place, Path(edge)) for place in places for edge in sorted(mount_points()) if place.real in Path(edge).parents
    ]
    inside = [f"{place.mount.target}/{edge.relative_to(place.real)}" for place, edge in below]
    said = run_in(container, ["/bin/stat", "--format=%i", "--", *inside]).decode(errors="replace") if below else ""
    inodes = [*said.split(), *([""] * len(below))]
    missed = [pair for pair, inode in zip(below, inodes, strict=False) if _inode(pair[1]) not in ("", inode)]
    return {place: tuple(edge for owner, edge in missed if owner is place) for place in places}


def _inode(path: Path) -> str:
    """Return the inode of what is mounted at a path; "" where it is not to be looked at (FUSE of another user)."""
    try:
        return str(path.stat().st_ino)
    except OSError:
        return ""


def _crossing(
    place: Place, name: str, line: str | None, hidden: dict[Place, tuple[Path, ...]], container: Container
) -> Crossing:
    """Return what crosses one mount; line None = it is no folder, and only its source is looked at."""
    source = container.binds.get(place.mount.target)
    if line is None:
        return Crossing(source)
    wrote, _, seen = line.partition(" ")
    owner = None
    with contextlib.suppress(OSError):
        status = os.lstat(place.mount.source / f"{name}.inside")
        owner = (status.st_uid, status.st_gid)
    return Crossing(source, read=seen == name, wrote=wrote == "yes", owner=owner, hidden=hidden[place])


def _write_probe(path: Path, text: str) -> None:
    """Write a probe that anyone may read; a folder that the caller cannot write to goes without."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except PermissionError:
        return
    except OSError as err:
        if err.errno == errno.EROFS:
            return
        fix = f"df {shown(path.parent)}"
        raise HostError(f"{shown(path.parent)} cannot be written: {err.strerror}", fix=fix, code=ExitCode.IO) from err
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o644)
        file.write(text)


def _removed(path: Path) -> bool:
    """Return whether a file is gone after this."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
