"""What lies in the mounted folders and is run, or read as settings, by tools that a person starts in or below them.

The container can write it there. A repository's own settings and hooks are run by `git status` alone; git looks for a
repository from the working directory upwards (git 2.43, git-config(1), githooks(5)).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from host_tasks.kit import files, git
from host_tasks.kit.paths import ROOT, shown
from host_tasks.kit.words import HostError, path_word
from host_tasks.loop import Finding, Seen, fact, ok, rule, warn
from host_tasks.subjects import compose, mounts

SHOWN = 10  # are told at most
ENTRIES = 20_000  # of a folder that are looked at: a warning must not take minutes where data are many
DEPTH = 4
# Tools that run code of the folder that they are started in, or opened on, by names of files.
TOOLS = {".envrc": "direnv", ".vscode": "VS Code", "mypy.ini": "mypy", "noxfile.py": "nox"}
TOOLS |= {"conftest.py": "pytest", "pytest.ini": "pytest", "invoke.yaml": "invoke", "tasks.py": "invoke"}
# Files of many tools: the tables by which pytest and mypy take them, and with them plugins (pytest 8, mypy 1.18).
SHARED = re.compile(rb"^\s*\[\s*(?:tool\s*[.:]\s*['\"]?)?(pytest|mypy)\b", re.MULTILINE)
SHARED_NAMES = ("pyproject.toml", "setup.cfg", "tox.ini")
# Settings whose values git runs, or reads further settings from: section, then name (git 2.43, git-config(1)).
RUN = re.compile(
    r"core\.(?:fsmonitor|hookspath|sshcommand|pager|editor|gitproxy|askpass|alternaterefscommand|worktree)"
    r"|(?:alias|pager|include|includeif|credential|gpg|filter|difftool|mergetool|interactive|sendemail|protocol)\..*"
    r"|diff\..*(?:external|command|textconv)|merge\..*driver|sequence\.editor|submodule\..*update"
    r"|remote\..*(?:vcs|uploadpack|receivepack)",
)
NO_PROGRAM = ("", "true", "false", "yes", "no", "on", "off", "0", "1")
ELSEWHERE = "leads git to a repository elsewhere"


# look


@fact
def found(seen: Seen) -> Mapping[Path, str]:
    """Return what such tools would run in the mounted folders that the container can write, and which tool."""
    folders = [place.real for place in mounts.places(seen) if place.kind == mounts.FOLDER and not place.mount.read_only]
    return {path: why for folder in folders for path, why in in_folder(folder)}


def in_folder(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield what is in a folder and not far below it, without following links, and which tool it tells what to do."""
    left = ENTRIES
    for at, folders, names in os.walk(folder, followlinks=False):
        here = Path(at)
        for path in (here / name for name in (*folders, *names)):
            tool = "invoke" if path.parts[-2:] == ("tasks", "__init__.py") else TOOLS.get(path.name)
            if path.name in SHARED_NAMES and (table := SHARED.search(_read(path, folder)[0])):
                tool = table[1].decode()
            if tool:
                yield path, f"is run or read by {tool}"
            elif path.name == ".git" or (path.name == "HEAD" and (here / "objects").is_dir()):
                yield from _of_repository(path if path.name == ".git" else here, folder)
        left -= len(folders) + len(names)
        deep = len(here.relative_to(folder).parts) >= DEPTH or left < 0
        folders[:] = [] if deep else [name for name in folders if name != ".git"]


def _of_repository(repository: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the settings and hooks of a repository that git would run; a file that leads to another is one of them."""
    if repository.is_symlink() or not repository.is_dir():
        named = _read(repository, folder)[0].decode(errors="replace").strip().removeprefix("gitdir:").strip()
        if not Path(os.path.realpath(repository.parent / named)).is_relative_to(ROOT / ".git" / "modules"):
            yield repository, ELSEWHERE  # a submodule's is the clone's own
        return
    for name in ("config", "config.worktree"):
        content, why = _read(repository / name, folder)
        if why:
            yield repository / name, f"cannot be looked into, for {why}; git would read it"
        elif keys := sorted(set(_run_by(content))):
            yield repository / name, f"has git run or read what {', '.join(keys)} say"
    if (repository / "commondir").exists():
        yield repository / "commondir", ELSEWHERE
    with contextlib.suppress(OSError):
        for hook in sorted((repository / "hooks").iterdir()):
            if hook.suffix != ".sample" and os.access(hook, os.X_OK):
                yield hook, "is run by git"


def _run_by(content: bytes) -> Iterator[str]:
    """Yield the git settings whose values git runs; none where this machine has no git to run them."""
    with contextlib.suppress(HostError):
        for key, value in git.settings_in(content):
            if RUN.fullmatch(key) and value.strip().lower() not in NO_PROGRAM:
                yield key


def _read(path: Path, folder: Path) -> tuple[bytes, str]:
    """Return what a file holds, or why it cannot be read; neither where there is none."""
    try:
        return files.read(path, below=folder), ""
    except FileNotFoundError:
        return b"", ""
    except OSError as err:
        return b"", str(err.strerror)


# judge


@rule("planted", upon=("env-file", "compose-files", "mounts"))
def planted(seen: Seen) -> Iterator[Finding]:
    """Warn of what tools would run that a person starts in the mounted folders: the container may have put it there."""
    dangers = found(seen) if compose.is_there(seen) else {}
    for path, why in list(dangers.items())[:SHOWN]:
        cause = f"{shown(path)} {why}, and the container can write it: start that tool elsewhere, or read it first"
        yield warn(cause, f"mv {path_word(path)} {path_word(path.with_name(path.name + '.off'))}")
    if not dangers:
        yield ok("nothing in the mounted folders is run by git or another tool on this machine")
