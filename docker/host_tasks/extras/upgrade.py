"""The starter that this clone came from: take what its newest version changes, on top of what was changed here."""

from __future__ import annotations

import functools
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from host_tasks.kit import git as safe_git, report, runner
from host_tasks.kit.paths import ROOT, STARTER_FILES, STARTER_SETTINGS, shown
from host_tasks.kit.task import task
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Ended, Finding, Seen, Step, achieve, fact, fail, ok, rule

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from invoke.context import Context

REFS = "refs/starter/"  # the starter's tags, where they meet no tag of the person's own
DIFFERENCE = ("diff-tree", "-r", "--no-renames")  # plumbing: no setting of a person's own changes what it prints
CLASHES = ("DD", "AU", "UD", "UA", "DU", "AA", "UU")  # git-status(1), "Short Format"
KINDS = {"A": "new", "D": "deleted"}  # every other kind is a change

# look


class Change(NamedTuple):
    """What the newest starter does to one of its files."""

    kind: str  # A added, M changed, D deleted, T another type, as git names them
    name: str  # from the clone's root


class Starter(NamedTuple):
    """The starter here and there."""

    source: str  # where it comes from, as git takes it
    here: str  # its version
    newest: str = ""  # there; "" where it has no version
    known: bool = False  # whether the version that is here is there too
    changes: tuple[Change, ...] = ()  # from the version here to the newest, in what is the starter's
    older: frozenset[str] = frozenset()  # all files of the version that is here
    tracked: frozenset[str] = frozenset()  # the files that are here by git
    edited: frozenset[str] = frozenset()  # the files that were changed, deleted or added here
    untracked: frozenset[str] = frozenset()  # files that are new there, and here already but unknown to git


@fact
def state(seen: Seen) -> Starter:
    """Return what the starter's repository has for this clone.

    Raises:
        HostError: git cannot be asked here, or cannot reach the starter's repository (69).
    """
    here, source, prefix = f"v{entry('version')}", entry("urls.Repository"), _prefix()
    there = fetched(source).name
    lines = git("-C", there, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", REFS).splitlines()
    versions = dict(line.split() for line in lines)
    newest = max(filter(number, versions), key=number, default="")
    starter = Starter(source, here, newest, known=here in versions)
    if not starter.known or number(newest) <= number(here):
        return starter
    old, new, tracked = versions[here], versions[newest], frozenset(_names("ls-files"))
    words = _names(*DIFFERENCE, "--name-status", old, new, "--", *at_top(*STARTER_FILES), seeing=there)
    changes = tuple(map(Change, words[::2], words[1::2]))
    added = {change.name for change in changes if change.kind == "A" and os.path.lexists(ROOT / change.name)}
    return starter._replace(
        changes=changes,
        older=frozenset(_names("ls-tree", "-r", "--full-tree", "--name-only", old, seeing=there)),
        tracked=tracked,
        edited=frozenset(_names(*DIFFERENCE, "--name-only", old, f"HEAD:{prefix}", seeing=there)),
        untracked=frozenset(added - tracked),
    )


@functools.cache
def fetched(source: str) -> TemporaryDirectory[str]:
    """Return a repository with the starter's versions and nothing else, which ends with this process."""
    from tempfile import TemporaryDirectory

    folder = TemporaryDirectory()
    git("init", "--quiet", "--bare", folder.name)
    git("-C", folder.name, "fetch", "--quiet", "--no-tags", "--", source, f"+refs/tags/v*:{REFS}v*")
    return folder


@fact
def unfinished(seen: Seen) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the files of the last commit that have changed since, and those of them that clash."""
    lines, prefix = _names("status", "--porcelain", "--no-renames", "--untracked-files=no", "."), _prefix()
    changed = {line[3:].removeprefix(prefix): line[:2] for line in lines}
    return tuple(changed), tuple(name for name, how in changed.items() if how in CLASHES)


def entry(key: str) -> str:
    """Return a text that docker/pyproject.toml sets; Python 3.10 has no reader for it."""
    line = re.search(rf'^{key} = "([^"\n]+)"', STARTER_SETTINGS.read_text(encoding="utf-8"), re.MULTILINE)
    return line[1] if line else ""


def number(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; () where a tag names none."""
    parts = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", version)
    return tuple(map(int, parts.groups())) if parts else ()


def git(*words: str, seeing: str = "") -> str:
    """Return what a git command prints, without its last line end; it may also see the objects of another repository.

    Raises:
        HostError: it failed (69); one that fetches, which may ask for a password, says itself why.
    """
    fetches = "fetch" in words
    how: dict[str, Any] = {"capture": not fetches, "interactive": fetches, "announce": fetches}
    finished = _git(*words, seeing=seeing, timeout_s=300.0 if fetches else 60.0, **how)
    if finished.ok:
        return finished.stdout.removesuffix("\n")
    problem, fix = f"git {words[0]} failed: {finished.last_line}", "git status"
    if not any((folder / ".git").exists() for folder in (ROOT, *ROOT.parents)):
        problem, fix = f"{ROOT} is no git repository", "git init && git add --all && git commit --message 'Begin'"
    elif fetches:
        problem = f"the starter cannot be fetched from {words[-2]}, which {shown(STARTER_SETTINGS)} names"
        fix = f"git ls-remote --tags {words[-2]}"
    raise HostError(problem, fix=fix, code=ExitCode.UNAVAILABLE)


def _git(*words: str, seeing: str = "", **how: Any) -> runner.Finished:
    """Run a git command, which finds the repository by the folder in which it runs."""
    environ = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(Path(seeing, "objects"))} if seeing else {}
    return safe_git.run(*words, cwd=ROOT, environ=environ, **how)


def _prefix() -> str:
    """Return the clone's folder from the top of its repository, of which it may be a part; "" where it is the top."""
    return git("rev-parse", "--show-prefix")


def at_top(*names: str) -> list[str]:
    """Return names from the starter's root as git takes them in whatever folder of a repository the project is."""
    return [f":(top,literal){name}" for name in names]


def _names(command: str, *words: str, seeing: str = "") -> list[str]:
    """Return what a git command prints with NUL behind each name."""
    return [name for name in git(command, "-z", *words, seeing=seeing).split("\0") if name]


# judge


@rule("starter")
def newest(seen: Seen) -> Iterator[Finding]:
    """Ask for the newest version of the starter, on top of a commit that holds all that is here."""
    changed, clashes = unfinished(seen)
    ended = next(iter(seen.tried.values()), None)
    if clashes:
        names = shlex.join(clashes)
        fix = f"edit where <<<<<<< stands, then: git add {names} && git commit"
        yield fail(f"changed on both sides, and not merged yet: {names}", fix)
    elif ended and changed:
        yield ok("what the newest starter brings is here, and not committed yet")
    elif ended:
        yield fail(f"nothing of the starter can be applied: {ended.said}", "git status", ExitCode.CANNOT_CREATE)
    else:
        yield _compared(state(seen), changed)


def _compared(starter: Starter, changed: tuple[str, ...]) -> Finding:
    """Return whether there is a newer starter, and what keeps it from being taken."""
    there, settings = starter.newest or "none", shown(STARTER_SETTINGS)
    if not starter.known:
        problem = f"{settings} says {starter.here}, and {starter.source} has no such version, but {there}"
        return fail(problem, f"correct version and Repository in {settings}, then: {task_command('upgrade')}")
    if number(starter.newest) <= number(starter.here):
        return ok(f"the starter is {starter.here}, the newest")
    if changed:
        fix = "git commit --all --message 'Before the upgrade'"
        return fail(f"changed since the last commit: {', '.join(changed)}", fix)
    if starter.untracked:
        name = min(starter.untracked)
        fix = f"mv {shlex.quote(name)} {shlex.quote(name + '.mine')}"
        return fail(f"{there} brings a file {name}, and git does not know the one that is here", fix)
    changes = taken(starter)
    lines = [f"{len(changes)} files, which git can give back; {REFS}"]
    lines += [f"{KINDS.get(change.kind, 'changed')}: {change.name}" for change in changes]
    for change in starter.changes:
        if change not in changes:
            how = "changed" if change.name in starter.tracked else "deleted"
            lines.append(f"left out, since it was {how} here: {change.name}")
    what = f"apply what {there} changes in the starter's files, with a mark where you changed the same lines"
    cause = f"the starter here is {starter.here}, and {starter.source} has {there}"
    return fail(cause, task_command("upgrade"), step=Step(take, what, "\n      ".join(lines)))


def taken(starter: Starter) -> tuple[Change, ...]:
    """Return the changes to what is still here or is new.

    What was deleted here stays deleted, and so does a folder of which nothing is left here, with its new files; what
    was changed here is not deleted.
    """
    both = (starter.older, starter.tracked)
    older, tracked = ({str(folder) for name in names for folder in PurePosixPath(name).parents} for names in both)

    def kept(change: Change) -> bool:
        if change.name in starter.tracked:
            return change.kind == "D" and change.name in starter.edited
        parents = map(str, PurePosixPath(change.name).parents)
        return change.name in starter.older or next(folder for folder in parents if folder in older) not in tracked

    return tuple(change for change in starter.changes if not kept(change))


# repair


def take(seen: Seen) -> Ended:
    """Apply the difference of the two versions as `git apply --3way` does, and leave it to be committed.

    Both versions come into this repository, for git merges by their files. The next round sees what clashes.
    """
    starter = state(seen)
    there, both = fetched(starter.source).name, (REFS + starter.here, REFS + starter.newest)
    git("fetch", "--quiet", "--no-tags", "--prune", "--", there, f"+{REFS}*:{REFS}*")
    patch = Path(there, "patch")
    names = at_top(*(change.name for change in taken(starter)))
    git(*DIFFERENCE, "--binary", "--full-index", "--patch", f"--output={patch}", *both, "--", *names)
    top = git("rev-parse", "--show-toplevel")  # from which git reads a patch
    words = ("-C", top, "apply", "--3way", "--whitespace=nowarn", f"--directory={_prefix()}", str(patch))
    finished = _git(*words, keep=True)
    if finished.ok:
        report.note(f"What {starter.newest} brings is staged: git diff --staged, then: git commit")
    return Ended(finished.ok, finished.last_line)


# tasks


@task(name="upgrade", help={"dry-run": "Print which files would change, and how; change none."})
def upgrade_task(c: Context, *, dry_run: bool = False) -> None:
    """Take what a newer version of the starter brings.

    Changes the starter's own files only, and commits nothing; a clash is marked. Safe to repeat.
    """
    achieve([newest], dry_run=dry_run)
    if not dry_run:
        report.note("The starter is up to date.")


TASKS = (upgrade_task,)
