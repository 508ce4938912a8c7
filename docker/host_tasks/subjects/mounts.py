"""The bind mounts: what is saved inside must be the caller's outside.

Before the start the sources are judged from outside. Permission bits say no where an access control list or a further
group says yes, so probes (probes.py) have the last word.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from host_tasks.kit import report
from host_tasks.kit.paths import DOCKER_DIR, ROOT, TASKS_PY, YOURS, shown
from host_tasks.kit.words import ExitCode, HostError, path_word, task_command
from host_tasks.loop import WARN, Finding, Seen, Step, examined, fact, fail, ok, rule
from host_tasks.subjects import clone, compose, containers, identity, links, planted, probes, settings

FOLDER, FILE, OTHER, DANGLING, MISSING = "folder", "file", "other", "dangling", "missing"
GIVE = "give"  # the key of the step that gives away what is root's
USERS = 100  # the group `users`, of which docker/create-user.sh makes everybody a member (Debian base-passwd)


# look


@dataclass(frozen=True)
class Place:
    """The source of a mount, on this machine; links are followed but where they are named."""

    mount: compose.Mount
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


@fact
def places(seen: Seen) -> tuple[Place, ...]:
    """Return the sources of the declared mounts on this machine."""
    declared = compose.declared_mounts(compose.model(seen))
    for mount in declared:
        probes.sweep(mount.source)  # or root's own would be counted as what is to be given away
    return tuple(place(mount, count_roots=clone.is_root(seen)) for mount in declared)


def place(mount: compose.Mount, *, count_roots: bool) -> Place:
    """Return what a source is like."""
    source = mount.source
    link = source.readlink() if source.is_symlink() else None
    try:
        status = source.stat()
    except OSError:
        return Place(mount, MISSING if link is None else DANGLING, Path(os.path.realpath(source)), link)
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
    edges = probes.mount_points() - {str(folder)}
    for at, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if f"{at}/{name}" not in edges]
        for path in (*([at] if at == str(folder) else []), *(f"{at}/{name}" for name in (*folders, *names))):
            with contextlib.suppress(OSError):  # gone meanwhile
                status = os.lstat(path)
                single = stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1)
                if status.st_uid == 0 and single and path not in edges:
                    found.append((path, status.st_dev, status.st_ino))
    return found


# judge


@rule("mounts", upon=("env-file", "compose-files"))
def mounts_outside(seen: Seen) -> Iterator[Finding]:
    """Ask for sources that are there, are what they seem, and can be written by the identity."""
    if compose.is_there(seen):
        good = ok(f"{len(places(seen))} of {len(places(seen))} are good on this machine")
        yield from [finding for finding in outside(seen) if finding] or [good]


@rule("mounts", upon=("env-file", "engine", "compose-files", "server"), afterwards=True)
def mounts_inside(seen: Seen) -> Iterator[Finding]:
    """Ask for a way through each mount, both ways, of a server that runs."""
    if through := inside(seen):
        good = ok(f"{len(through)} of {len(through)} carry files both ways")
        yield from [finding for finding in through if finding] or [good]


@rule("mounts")
def in_place(seen: Seen) -> Iterator[Finding]:
    """Ask for a running server that has the folders that are here now, and no old ones."""
    yield from parted(seen).values()


@rule("mounts")
def folders_of_another(seen: Seen) -> Iterator[Finding]:
    """Refuse to replace the server of a clone that was moved away from here, and lives on."""
    if _is_of_another(seen):
        yield next(iter(parted(seen).values()))


def parted(seen: Seen) -> dict[str, Finding]:
    """Return why the running server has another folder at a target than there is now, by that target."""
    findings: dict[str, Finding] = {}
    for folder in probes.held(seen):
        name, goes = shown(folder.source), "nowhere" if folder.is_deleted else "to the old one"
        if folder.same:
            continue
        if _is_elsewhere(seen):
            cause = f"the engine has another folder at {folder.source} than this machine"
            fix = f"run the tasks where the engine's files are, then: {task_command('up')}"
        elif _is_of_another(seen):
            cause, fix = f"the server has another folder than {name}: its clone was moved away from here", _again()
        elif folder.below:
            cause = f"{name} was mounted while the server runs, which does not see it"
            fix = task_command("restart")
        else:
            gone = "removed" if folder.is_deleted else "moved away"
            what = "it still has the old one" if folder.read_only else f"what is saved there goes {goes}"
            cause = f"{name} was {'replaced' if folder.is_there else gone} while the server runs: {what}"
            fix = task_command("up")
        findings.setdefault(folder.target, fail(cause, fix))
    return findings


def replaced(seen: Seen) -> str:
    """Return why the server has to be restarted, which gives it the folders that are here now; "" where it has them."""
    old = {folder.target for folder in probes.held(seen) if not (folder.same or folder.below)}
    return next((finding.cause for target, finding in parted(seen).items() if target in old), "")


def _is_elsewhere(seen: Seen) -> bool:
    """Return whether the server was started by this very call: then nothing was replaced since."""
    server = containers.server(seen)
    before = [container.started for container in seen.first.facts.get(containers.ours, ())]
    return bool(seen.tried) and server is not None and server.started not in before


def _is_of_another(seen: Seen) -> bool:
    """Return whether all that the server has of this clone is elsewhere: docker/secrets, too, which nobody moves."""
    own = [folder for folder in probes.held(seen) if ROOT in folder.source.parents and not folder.below]
    return bool(own) and not any(folder.same or folder.is_deleted for folder in own)


def outside(seen: Seen) -> list[Finding | None]:
    """Return what is wrong with each source on this machine; None = nothing."""
    who, groups = settings.now(seen).identity, compose.model(seen)["services"][compose.SERVICE].get("group_add") or []
    known = (USERS, *(int(group) for group in map(str, groups) if group.isdecimal()))  # a name there is unknown here
    given = GIVE in seen.tried  # what could not be given away is left to the probe
    return [_misplaced(place) or _unwritable(place, who, known, given=given) for place in places(seen)]


def inside(seen: Seen) -> list[Finding | None]:
    """Return what is wrong with the way through each mount, None = nothing; [] where the server does not run."""
    through, who = probes.crossings(seen), settings.now(seen).identity
    pairs, old = zip(places(seen) if through else (), through, strict=True), parted(seen)
    return [old.get(place.mount.target) or crossed(place, crossing, who) for place, crossing in pairs]


def _again() -> str:
    """Return the command that makes the container anew."""
    return f"{task_command('down')} && {task_command('up')}"


def _misplaced(place: Place) -> Finding | None:
    """Return that a source is not there, or not what it seems, or cannot be read."""
    name, source = place.shown, path_word(place.mount.source)
    if place.kind == MISSING:
        step = Step(make, "make missing folders", name) if place.ours else None
        return fail(f"{name} is missing", task_command("mounts --fix") if step else f"mkdir {source}", step=step)
    if place.kind == DANGLING:
        # Outside it may be a disk that is not mounted now: neither the link goes, nor is a folder made in its place.
        cure = f"mount the disk of {path_word(place.real)}, then: {task_command('up')}"
        fix = f"rm {source} && mkdir {source}" if place.real.is_relative_to(ROOT) else cure
        return fail(f"{name} is a link to {place.link}, which does not exist", fix)
    if wrong := _misled(place):
        return wrong
    if place.kind != FOLDER and place.mount.source in [ROOT / folder for folder in YOURS]:
        return fail(f"{name} is a file, not a folder", f"mv {source} {source}.file && mkdir {source}")
    if place.kind != FOLDER and not place.readable:
        return fail(f"{name} cannot be read by you", f"sudo chmod o+r {source}", ExitCode.PERMISSION)
    return None


def _unwritable(place: Place, who: identity.Identity, groups: tuple[int, ...], *, given: bool) -> Finding | None:
    """Return why the identity cannot write in a folder that is mounted for it to write in."""
    name, whom = place.shown, f"{who.user} ({who.uid}:{who.gid})"
    if place.kind != FOLDER or place.mount.read_only:
        return None
    if place.read_only_disk:
        fix = f"mount -o remount,rw {path_word(place.real)}"
        return fail(f"{name} is on a read-only file system", fix, ExitCode.PERMISSION)
    if place.of_root and place.ours and not given:
        step = Step(give, f"give {whom} what is root's in the mounted folders", name, key=GIVE)
        cause = f"{place.of_root} in {name} belong to root"
        return fail(cause, task_command("mounts --fix"), ExitCode.PERMISSION, step=step)
    if bits_allow(place, who, groups) or place.writable:
        return None
    owned = f"{name} is owned by {place.uid}:{place.gid} with mode {place.mode:04o}"
    return fail(f"{owned}, so {whom} cannot write there", _permit(place, who), ExitCode.PERMISSION)


def _misled(place: Place) -> Finding | None:
    """Return that a link on the way of a source leads where the container must not write, or out of the clone."""
    name, source, real = place.shown, place.mount.source, place.real
    correct = "correct that mount in docker/docker-compose.override.yml"
    fix = f"rm {path_word(source)} && mkdir {path_word(source)}" if place.link else correct
    if source.is_relative_to(ROOT) and not real.is_relative_to(ROOT):
        if place.link and place.kind == FOLDER:
            fix = links.mount_of(str(real), place.mount.target, "data-disk.yml")
        return fail(f"{name} is a link out of the project, to {real}", fix)
    code = (DOCKER_DIR, TASKS_PY, ROOT / ".venv", ROOT / ".git", ROOT / "tests" / "starter")
    if not place.mount.read_only and any(real == path or real in path.parents or path in real.parents for path in code):
        cause = f"{name} leads to {shown(real)}, whose code runs on this machine: the container must not write it"
        return fail(cause, fix)
    folder = next((folder for folder in YOURS if ROOT / folder in real.parents), None)
    if folder and source != real:
        cause = f"{name} goes through a link in {folder}/, which the container can point elsewhere"
        return fail(cause, f"correct {source} to {real} in docker/docker-compose.override.yml")
    return None


def _permit(place: Place, who: identity.Identity) -> str:
    """Return the command that lets the identity write: a folder of this clone is the caller's, another is shared."""
    if place.ours:
        return f"sudo chown -R {who.uid}:{who.gid} {path_word(place.mount.source)}"
    if not who.rootless and place.gid not in (0, USERS) and place.mode & 0o30 == 0o30:
        override = path_word(DOCKER_DIR / "docker-compose.override.yml")
        return f'add to {compose.SERVICE} in {override}: group_add: ["{place.gid}"], then: {task_command("up")}'
    return f"ask its owner for: sudo setfacl -m u:{who.uid}:rwx {path_word(place.mount.source)}"


def bits_allow(place: Place, who: identity.Identity, groups: tuple[int, ...]) -> bool:
    """Return whether the permission bits let an identity make files in a folder (POSIX.1-2017, 4.5 File Access)."""
    shift = 6 if place.uid == who.uid else 3 if place.gid in (who.gid, *groups) else 0
    return (place.mode >> shift) & 0o3 == 0o3


def crossed(
    place: Place, crossing: probes.Crossing, who: identity.Identity, platform: str = sys.platform
) -> Finding | None:
    """Return what is wrong between container and host, or None."""
    mount, name, again = place.mount, place.shown, _again()
    if crossing.source is None:
        return fail(f"{name} is not mounted in the container", again)
    if place.kind != FOLDER:
        gone = place.kind in (MISSING, DANGLING)
        return fail(f"{name} was removed while the server runs", task_command("restart")) if gone else None
    if not crossing.read and place.writable and not place.read_only_disk:
        # A path alone tells nothing: Docker Desktop's are of its own machine (/host_mnt, /run/desktop, a hash in WSL).
        if Path(crossing.source) != mount.source:
            cause = f"{name} is not what the container has at {mount.target}, which the engine calls {crossing.source}"
            return fail(cause, again)
        return fail(f"{name} has a file from outside that cannot be read inside", task_command("restart"))
    if mount.read_only:
        return None
    if not crossing.wrote:
        return fail(f"{name} cannot be written inside", _permit(place, who), ExitCode.PERMISSION)
    if crossing.owner is None:
        return fail(f"{name} does not show outside what is written inside", task_command("restart"))
    uid, gid = crossing.owner
    # A folder with the setgid bit gives its group to what is made in it (inode(7)). macOS shows every file of a
    # shared folder as the caller's: there, that both sides can read is the proof.
    groups = (who.gid, place.gid) if place.mode & 0o2000 else (who.gid,)
    if platform != "linux" or (uid == who.uid and gid in groups):
        return None
    cause = f"{name} shows a file from inside as {uid}:{gid}, but you are {who.uid}:{who.gid}"
    return fail(cause, again, ExitCode.PERMISSION)


# repair


def make(seen: Seen) -> None:
    """Make the missing folders of the clone as the caller; the engine would make them as root.

    Raises:
        HostError: one cannot be made (73).
    """
    who = settings.now(seen).identity
    for place in places(seen):
        if place.kind == MISSING and place.ours:
            try:
                place.mount.source.mkdir(parents=True)
            except OSError as err:
                problem = f"{place.shown} is missing and cannot be made: {err.strerror}"
                fix = f"sudo install -d -o {who.uid} -g {who.gid} {path_word(place.mount.source)}"
                raise HostError(problem, fix=fix, code=ExitCode.CANNOT_CREATE) from err
            report.note(f"{place.shown}: made, since it was missing")


def give(seen: Seen) -> None:
    """Give what is root's in the clone's folders to the identity, and say how many entries that were.

    Each is opened without following a link, looked at again, and changed through its descriptor: whatever the
    container puts in its place meanwhile is another file. An entry that vanishes, or that cannot change its owner
    (immutable, NFS), is left to the probe.
    """
    who = settings.now(seen).identity
    for place in places(seen):
        if place.of_root and place.ours:
            given = sum(_given(*entry, who) for entry in roots(place.mount.source))
            report.note(f"{place.shown}: {given} of root's given to {who.user} ({who.uid}:{who.gid})")


def _given(path: str, device: int, inode: int, who: identity.Identity) -> bool:
    """Return whether the very entry that was seen has changed its owner."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, getattr(os, "O_PATH", 0) | os.O_NOFOLLOW)  # Linux, open(2)
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino, status.st_uid) == (device, inode, 0):
                # What the descriptor holds, by no path (proc(5)).
                os.chown(f"/proc/self/fd/{descriptor}", who.uid, who.gid)
                return True
        finally:
            os.close(descriptor)
    return False


# show


def rows(seen: Seen) -> list[dict[str, str]]:
    """Return each declared mount, judged on both sides; its owner is uid:gid, "-" where the source is missing."""

    def told(finding: Finding | None, name: str) -> str:
        return finding.cause.removeprefix(f"{name} ") if finding else "ok"

    through = inside(seen)
    return [
        {
            "source": place.shown,
            "target": place.mount.target,
            "owner": f"{place.uid}:{place.gid}" if place.uid >= 0 else "-",
            "outside": told(here, place.shown),
            "inside": told(there, place.shown) if through else "not running",
            "fix": (here or there or ok("")).fix,
        }
        for place, here, there in zip(places(seen), outside(seen), through or [None] * len(places(seen)), strict=True)
    ]


def print_mounts(seen: Seen, *, json: bool) -> None:
    """Print the mounts, and what lies in them that tools of this machine would run.

    Raises:
        HostError: the first one that has a fault (77 or 78).
    """
    found = rows(seen)
    table = report.table(("SOURCE", "TARGET", "OWNER", "OUTSIDE", "INSIDE"), [list(row.values())[:-1] for row in found])
    report.as_json(found) if json else report.lines(table)
    for finding in examined(seen, (planted.planted,)):
        if finding.state == WARN:
            report.note(f"warning: {finding.cause}.")
    for wrong in filter(None, [*outside(seen), *inside(seen)]):
        raise wrong.error()
