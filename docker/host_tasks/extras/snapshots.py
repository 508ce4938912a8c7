"""A way back: the six folders as they were, in docker/.snapshots, which no container reaches.

What runs is paused meanwhile, so that a snapshot is of one moment, and no program in a container can lead the copying
astray by a link. A file that has not changed since the snapshot before is one file with that one's, by a hard link; the
folders' own files are copies, or share their blocks where the file system can (reflink).
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from host_tasks.kit import files, report, runner
from host_tasks.kit.client import asking, client
from host_tasks.kit.paths import DOCKER_DIR, ROOT, YOURS, shown
from host_tasks.kit.task import DRY_RUN, task
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Ended, Finding, Rule, Seen, Step, achieve, fact, fail, once, rule
from host_tasks.subjects import clone, containers

if TYPE_CHECKING:
    from invoke.context import Context

FOLDER = DOCKER_DIR / ".snapshots"
MAKING = FOLDER / ".making"
STATES = "states.json"  # of the files as they were when they were copied
NAME = "%Y%m%dT%H%M%SZ"  # ISO 8601, basic format
FORM = re.compile(r"\d{8}T\d{6}Z(-replaced)?")
PAUSE_S = 10.0  # for a container to be frozen
POLL_S = 0.2
REPLACED = "-replaced"  # the end of a snapshot's name that `restore` has made
# GNU coreutils 9, "cp invocation"; macOS, cp(1). Both copy links as links, and what is no file as what it is.
COPY = ["cp", "-a", "-c"] if sys.platform == "darwin" else ["cp", "--archive", "--reflink=auto"]
ADD = COPY if sys.platform == "darwin" else [*COPY, "--update"]  # passes over what is there and not older
States = Mapping[
    str, Sequence[int]
]  # of each file: inode, moment of its last change in ns, bytes on the disk (inode(7))

# look


@fact
def taken(seen: Seen) -> tuple[str, ...]:
    """Return the names of the snapshots, the oldest first."""
    return tuple(sorted(path.name for path in FOLDER.glob("*Z*") if FORM.fullmatch(path.name)))


@fact
def now(seen: Seen) -> States:
    """Return the states of the files in the six folders. No program in a container can set the moment of a change."""
    return _states()


@fact
def last(seen: Seen) -> States:
    """Return the states of the files in the newest snapshot."""
    return _written(taken(seen)[-1]) if taken(seen) else {}


def _folders() -> list[Path]:
    """Return those of the six folders that are here, and no links: what a link leads to is not this clone's."""
    return [ROOT / name for name in YOURS if (ROOT / name).is_dir() and not (ROOT / name).is_symlink()]


def _states() -> dict[str, list[int]]:
    """Return the states of the files in the six folders as they are at this moment."""
    found: dict[str, list[int]] = {}
    for folder in _folders():
        for at, inner, names in os.walk(folder):
            for path in (os.path.join(at, name) for name in (*inner, *names)):  # noqa: PTH118 # 200,000 of them
                with contextlib.suppress(OSError):  # gone meanwhile
                    status = os.lstat(path)
                    if not stat.S_ISDIR(status.st_mode):
                        found[os.path.relpath(path, ROOT)] = [status.st_ino, status.st_ctime_ns, status.st_blocks * 512]
    return found


def _written(name: str) -> States:
    """Return the states that a snapshot has written down."""
    read: dict[str, list[int]] = json.loads((FOLDER / name / STATES).read_text(encoding="ascii"))
    return read


def _bytes(states: States, but: States = MappingProxyType({})) -> int:
    """Return how many bytes files have, without those of the same state."""
    return sum(state[2] for path, state in states.items() if but.get(path) != state)


def _running(seen: Seen) -> list[containers.Container]:
    """Return the containers that a program may run in, those of `invoke run` too."""
    return [container for container in containers.ours(seen) if container.status == "running"]


def _size(count: int) -> str:
    """Return a number of bytes as a person reads it."""
    return f"{count / 10**6:,.1f} MB"


# judge


@rule("room")
def room(seen: Seen) -> Iterator[Finding]:
    """Ask for room for what is to be copied, as if no block could be shared."""
    needed, free = _bytes(now(seen), last(seen)), shutil.disk_usage(DOCKER_DIR).free
    if needed > free and not seen.tried:
        cause = f"a snapshot needs {_size(needed)}, and {_size(free)} are free in {shown(DOCKER_DIR)}"
        yield fail(cause, task_command("snapshot --list"), ExitCode.IO)


@rule("replaced")
def kept(seen: Seen) -> Iterator[Finding]:
    """Ask for a snapshot of what is there now, before it is replaced."""
    step = _take_step(seen, end=REPLACED)
    ended = seen.tried.get(step.name)
    if ended and not ended.ok:
        yield _in_vain(seen, ended)
    elif not ended and now(seen) != last(seen):
        yield fail("what is there now is in no snapshot", task_command("snapshot"), step=step)


def _known(at: str) -> Rule:
    """Return the rule that a snapshot is there."""

    def known(seen: Seen) -> Iterator[Finding]:
        if at not in taken(seen.first):
            cause = f"there is no snapshot {at}" if at else "there is no snapshot yet"
            yield fail(cause, task_command("snapshot --list" if at else "snapshot"), ExitCode.USAGE)

    return Rule("snapshot", known)


def _in_vain(seen: Seen, ended: Ended) -> Finding:
    """Return why a step was in vain, in the words of cp."""
    said = ended.said.strip().splitlines()
    cause = f"not everything was copied: {said[-1] if said else 'see above'}"
    return fail(cause, task_command("snapshot --list"), ExitCode.IO)


def _take_step(seen: Seen, *, end: str = "") -> Step:
    """Return the step that takes a snapshot."""
    changed = sum(last(seen).get(path) != state for path, state in now(seen).items())
    what = f"copy the six folders, {_size(_bytes(now(seen), last(seen)))} in {changed} of {len(now(seen))} files"
    links = [f"{name} is a link: what it leads to is not kept" for name in YOURS if (ROOT / name).is_symlink()]
    paused = [f"{container.name} is paused meanwhile" for container in _running(seen)]
    do = functools.partial(take, end=end)
    return Step(do, what, shown(FOLDER), key="take", further=[*paused, *links])


def _put_step(seen: Seen, *, at: str, names: Sequence[str]) -> Step:
    """Return the step that puts folders back."""
    do = functools.partial(put_back, at=at, names=names)
    return Step(do, f"put back what was there at {at}", f"all that is in {', '.join(names)}")


# repair


@contextlib.contextmanager
def _paused(seen: Seen) -> Iterator[None]:
    """Have nothing run in this clone's containers."""
    held = _running(seen)
    try:
        for container in held:
            _pause(container.id)
        yield
    finally:
        for container in held:
            with contextlib.suppress(HostError), asking():
                client().containers.get(container.id).unpause()


def _pause(container: str) -> None:
    """Pause a container. One with a process amid a write is not frozen at once (runc 1.1, cgroup v1: not at all)."""
    deadline = time.monotonic() + PAUSE_S
    while True:
        try:
            with asking():
                return client().containers.get(container).pause()
        except HostError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)


def take(seen: Seen, *, end: str = "") -> Ended:
    """Take a snapshot; one that is killed amid it leaves none."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    removed(MAKING)
    MAKING.mkdir()
    before = FOLDER / taken(seen)[-1] if taken(seen) else None
    with _paused(seen):
        moment, states = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0), _states()
        for path in (path for path, state in states.items() if before and last(seen).get(path) == state):
            (MAKING / path).parent.mkdir(parents=True, exist_ok=True)
            os.link(before / path, MAKING / path, follow_symlinks=False)  # type: ignore[operator]
        copied = runner.run([*ADD, *map(str, _folders()), str(MAKING)], cwd=ROOT, keep=True)
    if not copied.ok:
        removed(MAKING)
        return Ended(ok=False, said=copied.stderr)
    files.write(MAKING / STATES, json.dumps(states).encode())
    while any(FOLDER.glob(f"{moment:{NAME}}*")):
        moment += datetime.timedelta(seconds=1)
    MAKING.rename(FOLDER / f"{moment:{NAME}}{end}")
    return Ended()


def put_back(seen: Seen, *, at: str, names: Sequence[str]) -> Ended:
    """Put folders back as they were: what is in them goes, and all that the snapshot has is copied."""
    with _paused(seen):
        for name in names:
            folder = ROOT / name
            folder.mkdir(exist_ok=True)
            for entry in os.scandir(folder):
                removed(Path(entry.path))
            done = runner.run([*COPY, f"{FOLDER / at / name}/.", str(folder)], cwd=ROOT, keep=True)
            if not done.ok:
                return Ended(ok=False, said=done.stderr)
    return Ended()


def removed(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, also what a program has closed."""
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        for at, names, _ in os.walk(path):
            for inner in (Path(at, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def forget(seen: Seen, *, at: str) -> None:
    """Delete a snapshot; the files that others share with it stay in those."""
    removed(FOLDER / at)


# tasks


@task(
    help={"list": "Print what there is instead.", "remove": "Delete this one instead.", "dry-run": DRY_RUN},
)
def snapshot(c: Context, *, list: bool = False, remove: str = "", dry_run: bool = False) -> None:  # noqa: A002
    """Keep the six folders as they are now.

    In docker/.snapshots, which no container reaches; files that have not changed since the last one take no room.
    """
    if list:
        rows = [(name, str(len(states := _written(name))), _size(_bytes(states))) for name in taken(Seen())]
        return report.lines(report.table(("snapshot", "files", "size"), rows))
    if remove:
        what = Step(functools.partial(forget, at=remove), f"delete the snapshot {remove}", shown(FOLDER / remove))
        rules = (_known(remove), once("snapshot", lambda seen: what, task_command("snapshot"), _in_vain))
        achieve(rules, dry_run=dry_run)
        return None
    achieve((clone.path, room, once("snapshot", _take_step, task_command("snapshot"), _in_vain)), dry_run=dry_run)
    return None if dry_run else report.result(taken(Seen())[-1])


@task(
    help={
        "at": "A name of `snapshot --list`; default: the last that `snapshot` took.",
        "folders": "Which of the six, with commas between them; default all.",
        "dry-run": DRY_RUN,
    }
)
def restore(c: Context, *, at: str = "", folders: str = "", dry_run: bool = False) -> None:
    """Put the six folders back as they were at a snapshot.

    What is there now is kept as a snapshot first. Kernels go on, and do not see that their files have changed.
    """
    names = [name.strip() for name in folders.split(",") if name.strip()]
    if unknown := [name for name in names if name not in YOURS]:
        problem = f"{unknown[0]} is none of {', '.join(YOURS)}"
        raise HostError(problem, fix=task_command("restore --folders data"), code=ExitCode.USAGE)
    at = at or next((name for name in reversed(taken(Seen())) if not name.endswith(REPLACED)), "")
    there = [name for name in names or YOURS if (FOLDER / at / name).is_dir() and not (ROOT / name).is_symlink()]
    put = functools.partial(_put_step, at=at, names=there)
    rules = (clone.path, _known(at), room, kept, once("restore", put, task_command("restore"), _in_vain))
    seen = achieve(rules, dry_run=dry_run)
    if not dry_run and (new := [name for name in taken(Seen()) if name not in taken(seen.first)]):
        report.note(f"What was there is back with: {task_command(f'restore --at {new[-1]}')}")


TASKS = (snapshot, restore)
