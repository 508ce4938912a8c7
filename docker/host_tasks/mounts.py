"""The bind mounts, declared against real, judged on both sides: what is saved inside must be the caller's outside."""

import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tasks.compose import Mount
from host_tasks.ground import report
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import ROOT, shown
from host_tasks.identity import Identity

USERS = 100  # the group `users`, of which docker/create-user.sh makes everybody a member (Debian base-passwd)
# For each target: whether a probe could be written inside, and what the probe written outside says.
PROBE_SCRIPT = """
name=$1; shift
for target; do
    if printf %s "$name" >"$target/$name.inside"; then wrote=yes; else wrote=no; fi
    echo "$wrote $(cat "$target/$name.outside")"
done 2>/dev/null
"""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a mount, and the command that repairs it."""

    problem: str
    fix: str
    code: ExitCode = ExitCode.CONFIG


@dataclass(frozen=True)
class Check:
    """One mount as it was found; fault None = nothing is wrong with it."""

    source: Path
    target: str
    owner: str  # uid:gid of the source; "-" where it is missing
    outside: str  # "ok", or what is wrong on the host
    inside: str  # "ok", "not running", or what is wrong between container and host
    fault: Fault | None


def check(
    mounts: Sequence[Mount], identity: Identity, container: Any = None, *, platform: str = sys.platform
) -> list[Check]:
    """Return what each mount is like, on the host and, where a running container is given, through it."""
    outside = [_outside(mount, identity) for mount in mounts]
    usable = [mount for mount, fault in zip(mounts, outside, strict=True) if fault is None]
    inside = dict(zip(usable, _inside(usable, identity, container, platform), strict=True)) if container else {}
    checks = []
    for mount, fault in zip(mounts, outside, strict=True):
        crossing = inside.get(mount)
        through = "not running" if container is None else (crossing.problem if crossing else "ok" if not fault else "-")
        checks.append(
            Check(
                mount.source,
                mount.target,
                _owner(mount.source),
                fault.problem if fault else "ok",
                through,
                fault or crossing,
            )
        )
    return checks


def raise_first(checks: Iterable[Check]) -> None:
    """Raise for the first mount that has a fault.

    Raises:
        HostError: a source is missing, not a directory or outside the project (78), or not the caller's (77).
    """
    for each in checks:
        if each.fault:
            raise HostError(f"{shown(each.source)} {each.fault.problem}", fix=each.fault.fix, code=each.fault.code)


def table(checks: Iterable[Check]) -> str:
    """Return the checks as people read them."""
    rows = [(shown(each.source), each.target, each.owner, each.outside, each.inside) for each in checks]
    return report.table(("SOURCE", "TARGET", "OWNER", "OUTSIDE", "INSIDE"), rows)


def repairs(mounts: Sequence[Mount], identity: Identity) -> list[str]:
    """Return what `repair` would do, a line each; nothing is changed."""
    return list(_repairs(mounts, identity, apply=False))


def repair(mounts: Sequence[Mount], identity: Identity) -> None:
    """Make missing folders, and give what is root's in them to the identity where the caller is root; say each.

    Raises:
        HostError: a folder cannot be made (73).
    """
    for line in _repairs(mounts, identity, apply=True):
        report.note(line)


def _repairs(mounts: Sequence[Mount], identity: Identity, *, apply: bool) -> Iterator[str]:
    """Yield each repair as a line, doing it on the way where `apply` says so; links are never followed."""
    for mount in mounts:
        if ROOT not in mount.source.resolve().parents:
            continue  # what a person mounts from elsewhere, or by a link, is not ours to change
        if not os.path.lexists(mount.source):
            if apply:
                _make(mount.source)
            yield f"{shown(mount.source)}: made, since it was missing"
        if not mount.source.is_symlink() and mount.source.is_dir() and _is_root():
            count = _give(mount.source, identity, apply=apply)
            if count:
                who = f"{identity.user} ({identity.uid}:{identity.gid})"
                yield f"{shown(mount.source)}: {count} of root's made writable for {who}"


def _make(folder: Path) -> None:
    """Make a folder as the caller; the engine would make it as root."""
    try:
        folder.mkdir(parents=True)
    except OSError as err:
        raise HostError(
            f"{shown(folder)} is missing and cannot be made: {err.strerror}",
            fix=f"make {shown(folder.parent)} writable for you, then: mkdir {shown(folder)}",
            code=ExitCode.CANNOT_CREATE,
        ) from err


def _give(folder: Path, identity: Identity, *, apply: bool) -> int:
    """Give root's files and folders below a folder to the identity and return how many.

    Links stay as they are, and so do files of more than one name, which may be a file elsewhere.
    """
    count = 0
    for _, folders, files, descriptor in os.fwalk(folder, follow_symlinks=False):
        for name in (".", *folders, *files):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            single = stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1)
            if status.st_uid == 0 and single and (name != "." or count == 0):
                count += 1
                if apply:
                    os.chown(name, identity.uid, identity.gid, dir_fd=descriptor, follow_symlinks=False)
    return count


def _outside(mount: Mount, identity: Identity) -> Fault | None:
    """Return what is wrong with a source on the host, or None."""
    source = mount.source
    name = shown(source)
    if not os.path.lexists(source):
        return Fault("is missing", "invoke mounts --fix")
    if source.is_symlink() and not source.exists():
        return Fault(f"is a link to {source.readlink()}, which does not exist", f"rm {name} && mkdir {name}")
    if not _belongs(source):
        return Fault(
            f"is a link out of the project, to {source.resolve()}",
            f"replace the link by a folder, and mount {source.resolve()} in docker/docker-compose.override.yml",
        )
    if not source.is_dir():
        return Fault("is a file, not a folder", f"mv {name} {name}.file && mkdir {name}")
    # Windows has no statvfs.
    if hasattr(os, "statvfs") and os.statvfs(source).f_flag & os.ST_RDONLY and not mount.read_only:
        return Fault("is on a read-only file system", f"mount it read-write, or move {name}", ExitCode.PERMISSION)
    status = source.stat()
    if (
        not mount.read_only
        and not writable(status, identity)
        and not (_is_caller(identity) and os.access(source, os.W_OK))
    ):
        return Fault(
            f"is owned by {status.st_uid}:{status.st_gid} with mode {stat.S_IMODE(status.st_mode):04o}, "
            f"so {identity.user} ({identity.uid}:{identity.gid}) cannot write there",
            f"sudo chown -R {identity.uid}:{identity.gid} {name}",
            ExitCode.PERMISSION,
        )
    return None


def writable(status: os.stat_result, identity: Identity) -> bool:
    """Return whether the permission bits let an identity make files in a folder (POSIX.1-2017, 4.5 File Access)."""
    shift = 6 if status.st_uid == identity.uid else 3 if status.st_gid in (identity.gid, USERS) else 0
    return (status.st_mode >> shift) & 0o3 == 0o3


def _belongs(source: Path) -> bool:
    """Return whether a source is not a link out of the project; a path the person declared elsewhere is theirs."""
    return not source.is_relative_to(ROOT) or source.resolve().is_relative_to(ROOT)


def _owner(source: Path) -> str:
    """Return uid:gid of a source, "-" where there is none."""
    try:
        status = source.stat()
    except OSError:
        return "-"
    return f"{status.st_uid}:{status.st_gid}"


def _inside(mounts: Sequence[Mount], identity: Identity, container: Any, platform: str) -> list[Fault | None]:
    """Return what is wrong between container and host for each mount; the probes are always removed."""
    name = f".probe-{secrets.token_hex(8)}"
    sources = {each["Destination"]: each["Source"] for each in container.attrs["Mounts"] if each["Type"] == "bind"}
    targets = [mount.target for mount in mounts]
    try:
        for mount in mounts:
            _write_probe(mount.source / f"{name}.outside", name)
        answer = container.exec_run(["sh", "-c", PROBE_SCRIPT, "sh", name, *targets]).output.decode().splitlines()
        answer += [""] * (len(mounts) - len(answer))
        return [
            _crossing(mount, name, line, sources.get(mount.target), identity, platform)
            for mount, line in zip(mounts, answer, strict=True)
        ]
    finally:
        removed = [_removed(mount.source / f"{name}.{side}") for mount in mounts for side in ("outside", "inside")]
        if not all(removed):
            container.exec_run(["rm", "-f", *(f"{target}/{name}.inside" for target in targets)])


def _crossing(
    mount: Mount, name: str, line: str, real_source: str | None, identity: Identity, platform: str
) -> Fault | None:
    """Return what is wrong with one mount by what its probes say, or None."""
    again = "invoke down, then invoke up"
    if real_source is None:
        return Fault("is not mounted in the container", again)
    if not real_source.endswith(str(mount.source)):  # Docker Desktop puts its own prefix before a path of the host
        return Fault(f"is not what the container has at {mount.target}: that is {real_source}", again)
    wrote, _, seen = line.partition(" ")
    if seen != name:
        return Fault("has a file from outside that cannot be read inside", again)
    if mount.read_only:
        return None
    probe = mount.source / f"{name}.inside"
    if wrote != "yes":
        return Fault(
            "cannot be written inside",
            f"sudo chown -R {identity.uid}:{identity.gid} {shown(mount.source)}",
            ExitCode.PERMISSION,
        )
    if not probe.is_file():
        return Fault("does not show outside what is written inside", again)
    status = probe.stat()
    # macOS shows every file of a shared folder as the caller's: there, that both sides can read is the proof.
    if platform == "linux" and (status.st_uid, status.st_gid) != (identity.uid, identity.gid):
        return Fault(
            f"shows a file from inside as {status.st_uid}:{status.st_gid}, but you are {identity.uid}:{identity.gid}",
            again,
            ExitCode.PERMISSION,
        )
    return None


def _write_probe(path: Path, text: str) -> None:
    """Write a probe that anyone may read; a folder that the caller cannot write to goes without."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except PermissionError:
        return
    except OSError as err:
        fix = f"make room there: df {shown(path.parent)}"
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


def _is_root() -> bool:
    """Return whether the caller is root."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _is_caller(identity: Identity) -> bool:
    """Return whether the container's identity is the caller's own."""
    return hasattr(os, "getuid") and os.getuid() == identity.uid
