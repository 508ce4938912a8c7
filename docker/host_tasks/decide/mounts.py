"""Rules about the bind mounts: what is saved inside must be the caller's outside.

Before the start they judge what can be told from outside; what is saved through a running container is judged by
probes. Permission bits say no where an access control list or a further group says yes, so the probe has the last word.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host_tasks.decide.plan import Finding, Step, afterwards, fail, ok, warn
from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.errors import ExitCode
from host_tasks.ground.paths import DOCKER_DIR, ROOT, TASKS_PY, YOURS, shown
from host_tasks.observe.compose import SERVICE
from host_tasks.observe.identity import Identity
from host_tasks.observe.mounts import DANGLING, FOLDER, MISSING, Crossing, Place

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

CODE = "mounts"
GIVE = "give"  # the action, which is also its key
PLANTED_SHOWN = 10  # of them are told at most
USERS = 100  # the group `users`, of which docker/create-user.sh makes everybody a member (Debian base-passwd)


def mounts_outside(seen: "Observation") -> Iterator[Finding]:
    """Ask for sources that are there, are what they seem, and can be written by the identity."""
    if seen.has_compose:
        wrong = [finding for finding in outside(seen) if finding]
        yield from wrong or [ok(CODE, f"{len(seen.places)} of {len(seen.places)} are good on this machine")]


def planted(seen: "Observation") -> Iterator[Finding]:
    """Warn of what tools would run that a person starts in the mounted folders: the container may have put it there."""
    found = seen.planted if seen.has_compose else {}
    for path, why in list(found.items())[:PLANTED_SHOWN]:
        cause = f"{shown(path)} {why}, and the container can write it: start that tool elsewhere, or read it first"
        yield warn("planted", cause, f"mv {path_word(path)} {path_word(path.with_name(path.name + '.off'))}")
    if not found:
        yield ok("planted", "nothing in the mounted folders is run by git or another tool on this machine")


@afterwards
def mounts_inside(seen: "Observation") -> Iterator[Finding]:
    """Ask for a way through each mount, both ways, of a server that runs."""
    if seen.server and seen.server.status == "running":
        wrong = [finding for finding in inside(seen) if finding]
        yield from wrong or [ok(CODE, f"{len(seen.places)} of {len(seen.places)} carry files both ways")]


def folders_of_another(seen: "Observation") -> Iterator[Finding]:
    """Refuse to replace a server whose folders only have the names of ours: its clone was moved, and lives on."""
    # One that ends again and again may end amid the probes.
    if not (seen.has_compose and seen.server and seen.server.serves):
        return
    for place, crossing in zip(seen.places, seen.crossings, strict=True):
        ours = crossing.source is not None and _same(crossing.source, place.mount.source)
        if ours and place.kind == FOLDER and place.writable and crossing.wrote and not crossing.read:
            cause = f"{seen.server.name} has another folder than {place.shown}: its clone was moved away from here"
            yield fail(CODE, cause, task_command("down") + " && " + task_command("up"))
            return


def outside(seen: "Observation") -> list[Finding | None]:
    """Return what is wrong with each source on this machine; None = nothing."""
    who, groups, given = seen.settings.identity, groups_of(seen.model), GIVE in seen.tried
    return [_outside(place, who, groups, given=given) for place in seen.places]


def inside(seen: "Observation") -> list[Finding | None]:
    """Return what is wrong with the way through each mount; None = nothing."""
    who = seen.settings.identity
    return [crossed(*pair, who) for pair in zip(seen.places, seen.crossings, strict=True)]


def groups_of(model: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the ids of the groups that the user has inside, beside its own; a name there is not known here."""
    named = (str(each) for each in model["services"][SERVICE].get("group_add") or [])
    return (USERS, *(int(each) for each in named if each.isdecimal()))


def _outside(place: Place, who: Identity, groups: tuple[int, ...], *, given: bool) -> Finding | None:
    """Return what is wrong with a source on the host, or None; what could not be given away is left to the probe."""
    if place.kind == MISSING:
        return _missing(place)
    if place.kind == DANGLING:
        path = path_word(place.mount.source)
        return fail(
            CODE, f"{place.shown} is a link to {place.link}, which does not exist", f"rm {path} && mkdir {path}"
        )
    if wrong := _misled(place):
        return wrong
    if place.kind != FOLDER:
        return _not_a_folder(place)
    if place.mount.read_only:
        return None
    if place.read_only_disk:
        cause = f"{place.shown} is on a read-only file system"
        return fail(CODE, cause, f"mount -o remount,rw {path_word(place.real)}", ExitCode.PERMISSION)
    if place.of_root and place.ours and not given:
        return _of_root(place, who)
    if not (bits_allow(place, who, groups) or place.writable):
        return _not_writable(place, who)
    return None


def _missing(place: Place) -> Finding:
    """Return that a source is missing: made where it is a folder of this clone, named elsewhere."""
    cause = f"{place.shown} is missing"
    if not place.ours:
        return fail(CODE, cause, f"mkdir {path_word(place.mount.source)}")
    return fail(CODE, cause, task_command("mounts --fix"), step=Step("folders", "make missing folders", place.shown))


def _misled(place: Place) -> Finding | None:
    """Return that a link on the way of a source leads where the container must not write, or out of the clone."""
    source, real = place.mount.source, place.real
    if source.is_relative_to(ROOT) and not real.is_relative_to(ROOT):
        cause = f"{place.shown} is a link out of the project, to {real}"
        return fail(CODE, cause, f"rm {path_word(source)} && mkdir {path_word(source)}" if place.link else _unmount())
    code = (DOCKER_DIR, TASKS_PY, ROOT / ".venv", ROOT / ".git", ROOT / "tests" / "starter")
    target = next((each for each in code if real == each or real in each.parents or each in real.parents), None)
    if target and not place.mount.read_only:
        cause = (
            f"{place.shown} leads to {shown(real)}, whose code runs on this machine: the container must not write it"
        )
        return fail(CODE, cause, f"rm {path_word(source)} && mkdir {path_word(source)}" if place.link else _unmount())
    inside = next((name for name in YOURS if any(part == ROOT / name for part in real.parents)), None)
    if inside and source != real:
        cause = f"{place.shown} goes through a link in {inside}/, which the container can point elsewhere"
        return fail(CODE, cause, _unmount(f"correct {source} to {real}"))
    return None


def _unmount(how: str = "correct that mount") -> str:
    """Return the fix of a mount that a person has to declare in another way."""
    return f"{how} in docker/docker-compose.override.yml"


def _not_a_folder(place: Place) -> Finding | None:
    """Return what is wrong with a source that is a file or a socket: a folder of ours must be one."""
    source = place.mount.source
    if source in [ROOT / name for name in YOURS]:
        path = path_word(source)
        return fail(CODE, f"{place.shown} is a file, not a folder", f"mv {path} {path}.file && mkdir {path}")
    if not place.readable:
        fix = f"sudo chmod o+r {path_word(source)}"
        return fail(CODE, f"{place.shown} cannot be read by you", fix, ExitCode.PERMISSION)
    return None


def _of_root(place: Place, who: Identity) -> Finding:
    """Return that root owns what the container's user could not change."""
    whom = f"{who.user} ({who.uid}:{who.gid})"
    step = Step(GIVE, f"give {whom} what is root's in the mounted folders", place.shown)
    cause = f"{place.of_root} in {place.shown} belong to root"
    return fail(CODE, cause, task_command("mounts --fix"), ExitCode.PERMISSION, step=step)


def _not_writable(place: Place, who: Identity) -> Finding:
    """Return that the identity cannot write in a folder."""
    cause = (
        f"{place.shown} is owned by {place.uid}:{place.gid} with mode {place.mode:04o}, "
        f"so {who.user} ({who.uid}:{who.gid}) cannot write there"
    )
    return fail(CODE, cause, permit(place, who), ExitCode.PERMISSION)


def permit(place: Place, who: Identity) -> str:
    """Return the command that lets the identity write: a folder of this clone is the caller's, another is shared."""
    if place.ours:
        return f"sudo chown -R {who.uid}:{who.gid} {path_word(place.mount.source)}"
    if place.gid not in (0, USERS) and place.mode & 0o30 == 0o30:
        override = path_word(DOCKER_DIR / "docker-compose.override.yml")
        return f'add to {SERVICE} in {override}: group_add: ["{place.gid}"], then: {task_command("up")}'
    return f"ask its owner for: sudo setfacl -m u:{who.uid}:rwx {path_word(place.mount.source)}"


def bits_allow(place: Place, who: Identity, groups: tuple[int, ...]) -> bool:
    """Return whether the permission bits let an identity make files in a folder (POSIX.1-2017, 4.5 File Access)."""
    shift = 6 if place.uid == who.uid else 3 if place.gid in (who.gid, *groups) else 0
    return (place.mode >> shift) & 0o3 == 0o3


def crossed(place: Place, crossing: Crossing, who: Identity, platform: str = sys.platform) -> Finding | None:
    """Return what is wrong between container and host, or None."""
    mount, name = place.mount, place.shown
    again = task_command("down") + " && " + task_command("up")
    if crossing.source is None:
        return fail(CODE, f"{name} is not mounted in the container", again)
    if not _same(crossing.source, mount.source):
        cause = f"{name} is not what the container has at {mount.target}: that is {crossing.source}"
        return fail(CODE, cause, again)
    if place.kind != FOLDER:
        return None
    if crossing.hidden:
        cause = (
            f"{shown(crossing.hidden[0])} was mounted below {name} since the start, and the container does not see it"
        )
        return fail(CODE, cause, again)
    if not crossing.read and place.writable and not place.read_only_disk:
        return fail(CODE, f"{name} has a file from outside that cannot be read inside", again)
    if mount.read_only:
        return None
    if not crossing.wrote:
        return fail(CODE, f"{name} cannot be written inside", permit(place, who), ExitCode.PERMISSION)
    return _owned(place, crossing.owner, who, again, platform)


def _owned(place: Place, owner: tuple[int, int] | None, who: Identity, again: str, platform: str) -> Finding | None:
    """Return what is wrong with the owner of what was written inside, or None."""
    if owner is None:
        return fail(CODE, f"{place.shown} does not show outside what is written inside", again)
    uid, gid = owner
    # A folder with the setgid bit gives its group to what is made in it (inode(7)). macOS shows every file of a
    # shared folder as the caller's: there, that both sides can read is the proof.
    fitting = (who.gid, place.gid) if place.mode & 0o2000 else (who.gid,)
    if platform != "linux" or (uid == who.uid and gid in fitting):
        return None
    cause = f"{place.shown} shows a file from inside as {uid}:{gid}, but you are {who.uid}:{who.gid}"
    return fail(CODE, cause, again, ExitCode.PERMISSION)


def _same(real: str, source: Path) -> bool:
    """Return whether the engine's path of a source is this one; Docker Desktop puts its own prefix before it."""
    return real.endswith(str(source)) or Path(real).resolve() == source.resolve()
