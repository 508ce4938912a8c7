"""The rule of `invoke upgrade`: the starter's own files are those of its newest version, with the changes made here."""

import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from host_tasks.decide.plan import Finding, Step, fail, ok
from host_tasks.ground.commands import task_command
from host_tasks.ground.paths import STARTERS_SETTINGS, shown
from host_tasks.observe.starter import Change, Starter

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

CODE = "starter"
ACTION = "upgrade"
KINDS = {"A": "new", "D": "deleted"}  # every other kind is a change


def newest(seen: "Observation") -> Iterator[Finding]:
    """Ask for the newest version of the starter, on top of a commit that holds all that is here."""
    changed, clashes = seen.unfinished
    if clashes:
        names = shlex.join(clashes)
        fix = f"edit where <<<<<<< stands, then: git add {names} && git commit"
        yield fail(CODE, f"changed on both sides, and not merged yet: {names}", fix)
    elif any(key.startswith(ACTION) for key in seen.tried):
        yield ok(CODE, "the starter was upgraded")
    else:
        yield _compared(seen.starter, changed)


def taken(found: Starter) -> tuple[Change, ...]:
    """Return the changes to what is still here or is new.

    What was deleted here stays deleted, and so does a folder of which nothing is here any more, with its new files;
    what was changed here is not deleted.
    """
    older, tracked = _folders(found.older), _folders(found.tracked)

    def kept(change: Change) -> bool:
        if change.name in found.tracked:
            return change.kind == "D" and change.name in found.edited
        parents = map(str, PurePosixPath(change.name).parents)
        return change.name in found.older or next(each for each in parents if each in older) not in tracked

    return tuple(each for each in found.changes if not kept(each))


def _compared(found: Starter, changed: tuple[str, ...]) -> Finding:
    """Return whether there is a newer starter, and what keeps it from being taken."""
    if not found.known:
        settings = shown(STARTERS_SETTINGS)
        problem = f"{settings} says {found.here}, and {found.source} has no such version, but {found.newest or 'none'}"
        return fail(CODE, problem, f"correct version and Repository in {settings}, then: {task_command('upgrade')}")
    if not found.behind:
        return ok(CODE, f"the starter is {found.here}, the newest")
    if changed:
        fix = "git commit --all --message 'Before the upgrade'"
        return fail(CODE, f"changed since the last commit: {', '.join(changed)}", fix)
    if found.untracked:
        name = min(found.untracked)
        fix = f"mv {shlex.quote(name)} {shlex.quote(name + '.mine')}"
        return fail(CODE, f"{found.newest} brings a file {name}, and git does not know the one that is here", fix)
    cause = f"the starter here is {found.here}, and {found.source} has {found.newest}"
    return fail(CODE, cause, task_command("upgrade"), step=_step(found))


def _step(found: Starter) -> Step:
    """Return the step that takes the changes."""
    changes = taken(found)
    lines = [f"{KINDS.get(each.kind, 'changed')}: {each.name}" for each in changes]
    left_out = [each for each in found.changes if each not in changes]
    lines += [
        f"left out, since it was {'changed' if each.name in found.tracked else 'deleted'} here: {each.name}"
        for each in left_out
    ]
    what = f"apply what {found.newest} changes in the starter's own files, with a mark where you changed the same lines"
    return Step(ACTION, what, "\n      ".join([f"{len(changes)} files, which git can give back", *lines]))


def _folders(names: frozenset[str]) -> set[str]:
    """Return all folders of files."""
    return {str(parent) for name in names for parent in PurePosixPath(name).parents}
