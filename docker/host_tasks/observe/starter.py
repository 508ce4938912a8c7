"""The starter that this clone came from: the version here, the newest one there, and what lies between the two.

Looking brings the starter's tags to refs/starter/ of this repository, where they meet no tag of the person's own.
"""

import os
import re
from dataclasses import dataclass, replace
from typing import Any

from host_tasks.ground import runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import ROOT, STARTERS, STARTERS_SETTINGS, shown

REFS = "refs/starter/"
FETCH_S = 300.0
READ_S = 60.0
DIFFERENCE = ("diff-tree", "-r", "--no-renames")  # plumbing: no setting of a person's own changes what it prints
CLASHES = ("DD", "AU", "UD", "UA", "DU", "AA", "UU")  # git-status(1), "Short Format"
RETARGETING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")  # set where a hook of git's calls us


@dataclass(frozen=True)
class Change:
    """What the newest starter does to one of its files."""

    kind: str  # A added, M changed, D deleted, T another type, as git names them
    name: str  # from the clone's root


@dataclass(frozen=True)
class Starter:
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

    @property
    def behind(self) -> bool:
        """Whether there is a newer one."""
        return number(self.newest) > number(self.here)


def look() -> Starter:
    """Return what the starter's repository has for this clone.

    Raises:
        HostError: git cannot be asked here, or cannot reach the starter's repository (69).
    """
    here, source = f"v{entry('version')}", entry("urls.Repository")
    git("fetch", "--quiet", "--no-tags", "--prune", "--", source, f"+refs/tags/v*:{REFS}v*")
    there = git("for-each-ref", "--format=%(refname:lstrip=2)", REFS).split()
    newest = max(filter(number, there), key=number, default="")
    found = Starter(source, here, newest, known=here in there)
    return _with_changes(found) if found.known and found.behind else found


def entry(key: str) -> str:
    """Return a text that docker/pyproject.toml sets; Python 3.10 has no reader for it."""
    found = re.search(rf'^{key} = "([^"\n]+)"', STARTERS_SETTINGS.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def number(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; () where a tag names none."""
    found = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else ()


def unfinished() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the files of the last commit that have changed since, and those of them that clash."""
    entries = _names("status", "--porcelain", "--no-renames", "--untracked-files=no", ".")
    prefix = git("rev-parse", "--show-prefix").strip()
    changed = {each[3:].removeprefix(prefix): each[:2] for each in entries}
    return tuple(changed), tuple(name for name, how in changed.items() if how in CLASHES)


def git(*words: str) -> str:
    """Return what a git command prints. One that fetches may ask for a password, and says itself why it failed.

    Raises:
        HostError: it failed (69).
    """
    fetch = words[0] == "fetch"
    options: dict[str, Any] = {"interactive": fetch, "announce": fetch, "capture": not fetch}
    timeout_s = FETCH_S if fetch else READ_S
    finished = runner.run(["git", *words], cwd=ROOT, env=environment(), timeout_s=timeout_s, **options)
    if finished.ok:
        return finished.stdout
    problem, fix = f"git {words[0]} failed: {finished.last_line}", "git status"
    if not any((each / ".git").exists() for each in (ROOT, *ROOT.parents)):
        problem, fix = f"{ROOT} is no git repository", "git init && git add --all && git commit --message 'Begin'"
    elif fetch:
        problem = f"the starter cannot be fetched from {words[-2]}, which {shown(STARTERS_SETTINGS)} names"
        fix = f"git ls-remote --tags {words[-2]}"
    raise HostError(problem, fix=fix, code=ExitCode.UNAVAILABLE)


def environment() -> dict[str, str]:
    """Return the environment of a git call, which finds the repository by this folder."""
    return {name: value for name, value in os.environ.items() if name not in RETARGETING}


def _with_changes(found: Starter) -> Starter:
    """Return the starter with what lies between the two versions."""
    both = (REFS + found.here, REFS + found.newest)
    words = _names(*DIFFERENCE, "--name-status", *both, "--", *at_top(*STARTERS))
    changes = tuple(Change(kind, name) for kind, name in zip(words[::2], words[1::2], strict=True))
    tracked = frozenset(_names("ls-files"))
    here = {each.name for each in changes if each.kind == "A" and os.path.lexists(ROOT / each.name)}
    older = frozenset(_names("ls-tree", "-r", "--full-tree", "--name-only", both[0]))
    edited = frozenset(_names(*DIFFERENCE, "--name-only", both[0], f"HEAD:{git('rev-parse', '--show-prefix').strip()}"))
    untracked = frozenset(here - tracked)
    return replace(found, changes=changes, older=older, tracked=tracked, edited=edited, untracked=untracked)


def at_top(*names: str) -> list[str]:
    """Return names from the starter's root as git takes them in whatever folder of a repository the project is."""
    return [f":(top,literal){name}" for name in names]


def _names(command: str, *words: str) -> list[str]:
    """Return what a git command prints with NUL behind each name."""
    return [each for each in git(command, "-z", *words).split("\0") if each]
