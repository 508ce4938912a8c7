"""The starter that this clone came from: take what its newest version changes, on top of what was changed here."""

from __future__ import annotations

import functools
import os
import re
import runpy
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from host_tasks.kit import git, report, runner
from host_tasks.kit.paths import DOCKER_DIR, ROOT, STARTER_FILES, STARTER_SETTINGS, shown
from host_tasks.kit.task import task
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Ended, Finding, Seen, Step, achieve, fact, fail, ok, rule

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from invoke.context import Context

REFS = "refs/starter/"  # the starter's tags and its newest commit, where they meet none of the person's own
NEWEST = f"{REFS}newest"
KEPT = "starter.repository"  # of the clone's own settings of git: where the starter came from
# Where else it may be said, in this order; a copy of somebody's has its own repository as origin.
REMOTES = ("remote.starter.url", "remote.upstream.url", "remote.origin.url")
VERSION = r'(?m)^version = "([^"\n]+)"'
READY = DOCKER_DIR / ".upgrade"  # all that an upgrade changes, once nothing of it is missing: tasks.py looks for it
SWAP = READY / "swap.py"
DIFFERENCE = ("diff-tree", "-r", "--no-renames")  # plumbing: no setting of a person's own changes what it prints
CLASHES = ("DD", "AU", "UD", "UA", "DU", "AA", "UU")  # git-status(1), "Short Format"
TAKING = "upgrade"  # the key of the step
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
    commits: tuple[str, str] = ("", "")  # there: of the version that is here, "" = it is not there, and of the newest
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
    here, where = version(STARTER_SETTINGS.read_text(encoding="utf-8")), source(seen)
    there, prefix = fetched(where).name, _prefix()
    known = versions(there)
    newest = max(known, key=number, default="")
    starter = Starter(where, here, newest, (known.get(here, ""), known.get(newest, "")))
    if here not in known or number(newest) <= number(here):
        return starter
    (old, new), tracked = starter.commits, frozenset(_names("ls-files"))
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


@fact
def source(seen: Seen) -> str:
    """Return where the starter came from: as it is said now, was said once, or as a remote of this clone says.

    Raises:
        HostError: nothing says so (78), or this is no repository (69).
    """
    _prefix()
    ways = (
        seen.asked.get(KEPT),
        *(git.run("config", "--get", key, capture=True).stdout.strip() for key in (KEPT, *REMOTES)),
    )
    if said := next(filter(None, ways), ""):
        return said
    fix = task_command("upgrade --from <the address of its repository>")
    raise HostError("nothing says where the starter came from", fix=fix, code=ExitCode.CONFIG)


@functools.cache
def fetched(source: str) -> TemporaryDirectory[str]:
    """Return a repository with the starter's versions and nothing else, which ends with this process."""
    from tempfile import TemporaryDirectory

    folder = TemporaryDirectory(ignore_cleanup_errors=True)  # a helper of git's may outlive git for a moment
    _told("init", "--quiet", "--bare", folder.name)
    which = (f"+refs/tags/v*:{REFS}v*", f"+HEAD:{NEWEST}")
    _told(f"--git-dir={folder.name}", "fetch", "--quiet", "--no-tags", "--", source, *which)
    return folder


def versions(there: str) -> Mapping[str, str]:
    """Return the commit of each version: that of its tag, else the first one whose settings say so."""
    words = ("log", "--format=%H", "-G", '^version = "', NEWEST, "--", *at_top(shown(STARTER_SETTINGS)))
    commits = [("", commit) for commit in _told("-C", there, *words).split()]  # the newest first
    tags = _told("-C", there, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", f"{REFS}v*").splitlines()
    found = {}
    for tag, commit in (*commits, *(tuple(line.split()) for line in tags)):
        said = version(git.run("-C", there, "show", f"{commit}:{shown(STARTER_SETTINGS)}", capture=True).stdout)
        if number(said) and tag in ("", said):
            found[said] = commit
    return found


@fact
def unfinished(seen: Seen) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the files of the last commit that have changed since, and those of them that clash."""
    options = ("--porcelain", "--no-renames", "--untracked-files=no", "--ignore-submodules=all")
    lines, prefix = _names("status", *options, "."), _prefix()
    changed = {line[3:].removeprefix(prefix): line[:2] for line in lines}
    return tuple(changed), tuple(name for name, how in changed.items() if how in CLASHES)


def version(settings: str) -> str:
    """Return the version that docker/pyproject.toml says; Python 3.10 has no reader for it."""
    line = re.search(VERSION, settings)
    return f"v{line[1]}" if line else ""


def number(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; () where a tag names none."""
    parts = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", version)
    return tuple(map(int, parts.groups())) if parts else ()


def _told(*words: str, seeing: str = "", staged: Path | None = None) -> str:
    """Return what a git command prints, without its last line end.

    Args:
        words: the command.
        seeing: another repository whose objects it may see too.
        staged: a folder in which it works, with an index of its own, instead of in the clone.

    Raises:
        HostError: it failed (69); one that fetches, which may ask for a password, says itself why.
    """
    fetches = "fetch" in words
    how: dict[str, Any] = {"capture": not fetches, "interactive": fetches, "announce": fetches}
    finished = _git_in(*words, seeing=seeing, staged=staged, timeout_s=300.0 if fetches else 60.0, **how)
    if finished.ok:
        return finished.stdout.removesuffix("\n")
    if fetches:
        where = words[words.index("--") + 1]
        problem, fix = f"the starter cannot be fetched from {where}", f"git ls-remote {shlex.quote(where)}"
        raise HostError(problem, fix=fix, code=ExitCode.UNAVAILABLE)
    raise git.refused(words[0], finished.last_line)


def _git_in(*words: str, seeing: str = "", staged: Path | None = None, **how: Any) -> runner.Finished:
    """Run a git command, with more or other than the clone's own repository in sight."""
    environ = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(Path(seeing, "objects"))} if seeing else {}
    if staged:
        environ = {"GIT_DIR": _told("rev-parse", "--absolute-git-dir"), "GIT_WORK_TREE": str(staged)}
        environ["GIT_INDEX_FILE"] = f"{staged}-index"
    return git.run(*words, environ=environ, cwd=staged or ROOT, **how)


def _prefix() -> str:
    """Return the clone's folder from the top of its repository, of which it may be a part; "" where it is the top."""
    return _told("rev-parse", "--show-prefix")


def at_top(*names: str) -> list[str]:
    """Return names from the starter's root as git takes them in whatever folder of a repository the project is."""
    return [f":(top,literal){name}" for name in names]


def _names(command: str, *words: str, **where: Any) -> list[str]:
    """Return what a git command prints with NUL behind each name."""
    return [name for name in _told(command, "-z", *words, **where).split("\0") if name]


# judge


@rule("starter-source")
def kept(seen: Seen) -> Iterator[Finding]:
    """Ask for what is said of the starter's place to be kept, until another is said."""
    where = source(seen)
    if seen.asked.get(KEPT) and git.run("config", "--get", KEPT, capture=True).stdout.strip() != where:
        step = Step(keep, f"keep {where} as the place of the starter", f"{KEPT} of this repository's git config")
        yield fail("another place was asked for", task_command("upgrade"), step=step)
    else:
        yield ok(f"the starter comes from {where}")


@rule("starter")
def newest(seen: Seen) -> Iterator[Finding]:
    """Ask for the newest version of the starter, on top of a commit that holds all that is here."""
    changed, clashes = unfinished(seen)
    ended = seen.tried.get(TAKING)
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
    there = starter.newest or "none"
    if not starter.commits[0]:
        problem = (
            f"{shown(STARTER_SETTINGS)} says {starter.here}, and {starter.source} has no such version, but {there}"
        )
        return fail(problem, task_command("upgrade --from <the address of the starter's repository>"))
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
    return fail(cause, task_command("upgrade"), step=Step(take, what, lines[0], key=TAKING, further=lines[1:]))


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


def keep(seen: Seen) -> None:
    """Write down where the starter comes from."""
    _told("config", "--local", KEPT, source(seen))


def take(seen: Seen) -> Ended:
    """Apply the difference of the two versions as `git apply --3way` does, and leave it to be committed.

    It is made ready in a folder of its own, of which nothing counts until it is whole, and then put in its place.
    Both versions come into this repository, for git merges by their files. The next round sees what clashes.
    """
    starter, prefix = state(seen), _prefix()
    _told("fetch", "--quiet", "--no-tags", "--prune", "--", fetched(starter.source).name, f"+{REFS}*:{REFS}*")
    fresh = READY.with_name(f"{READY.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    tree, patch = fresh / "tree", fresh / "patch"
    tree.mkdir(parents=True)
    changes = taken(starter)
    names = at_top(*(change.name for change in changes))
    _told(*DIFFERENCE, "--binary", "--full-index", "--patch", f"--output={patch}", *starter.commits, "--", *names)
    _told("read-tree", "HEAD", staged=tree)
    here = [prefix + change.name for change in changes if change.name in starter.tracked]
    _told("checkout-index", "--index", "--", *here, staged=tree)
    words = ("apply", "--3way", "--whitespace=nowarn", f"--directory={prefix}", str(patch))
    finished = _git_in(*words, staged=tree, keep=True, announce=True)
    changed = _names("diff-index", "--cached", "--name-only", "HEAD", staged=tree)
    if not changed:
        return Ended(ok=False, said=finished.last_line)
    nothing = "0" * len(starter.commits[1])
    stages = [line for line in _names("ls-files", "--stage", staged=tree) if line.partition("\t")[2] in changed]
    entries = [*(f"0 {nothing}\t{name}" for name in changed), *stages]  # git-update-index(1), "Using --index-info"
    deleted = [name.removeprefix(prefix) for name in changed if not os.path.lexists(tree / name)]
    (fresh / "index").write_text("".join(f"{entry}\0" for entry in entries), encoding="utf-8")
    (fresh / "deleted").write_text("\0".join(deleted), encoding="utf-8")
    (tree / prefix).mkdir(parents=True, exist_ok=True)
    (tree / prefix).rename(fresh / "files")
    shutil.copy(Path(__file__).with_name("_swap.py"), fresh / SWAP.name)
    fresh.rename(READY)
    runpy.run_path(str(SWAP))
    if finished.ok:
        report.note(f"What {starter.newest} brings is staged: git diff --staged, then: git commit")
    return Ended(finished.ok, finished.last_line)


# tasks


@task(
    name="upgrade",
    help={
        "from": "Where the starter comes from, as git takes it; kept. Default: a remote of this clone.",
        "dry-run": "Print which files would change, and how; change none.",
    },
)
def upgrade_task(c: Context, *, from_: str = "", dry_run: bool = False) -> None:
    """Take what a newer version of the starter brings.

    Changes the starter's own files only, and commits nothing; a clash is marked. Safe to repeat.
    """
    if from_.startswith("-") or not from_.isprintable():
        raise HostError(f"--from {from_!r} is no address", fix=task_command("--help upgrade"), code=ExitCode.USAGE)
    seen = achieve([kept, newest], asked={KEPT: from_} if from_ else {}, dry_run=dry_run)
    if not dry_run:
        report.note(f"The starter is up to date with {source(seen)}.")


TASKS = (upgrade_task,)
