"""What lies in the mounted folders and is run, or read as settings, by tools that a person starts in or below them.

The container can write it there. A repository's own settings and hooks are run by `git status` alone; git looks for a
repository from the working directory upwards (git 2.43, git-config(1), githooks(5)).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from host_tasks.kit.paths import shown
from host_tasks.kit.words import path_word
from host_tasks.loop import Finding, Seen, fact, ok, rule, warn
from host_tasks.subjects import compose, mounts

SHOWN = 10  # are told at most
ENTRIES = 20_000  # of a folder that are looked at: a warning must not take minutes where data are many
DEPTH = 4
READ_BYTES = 65_536
# Tools that run code of the folder that they are started in, or opened on, by names of files.
TOOLS = {".envrc": "direnv", ".vscode": "VS Code", "mypy.ini": "mypy", "noxfile.py": "nox"}
TOOLS |= {"conftest.py": "pytest", "pytest.ini": "pytest", "invoke.yaml": "invoke", "tasks.py": "invoke"}
# Settings whose values git runs, or reads further settings from: section, then name (git 2.43, git-config(1)).
RUN = re.compile(
    r"core\.(?:fsmonitor|hookspath|sshcommand|pager|editor|gitproxy|askpass|alternaterefscommand|worktree)"
    r"|(?:alias|pager|include|includeif|credential|gpg|filter|difftool|mergetool|interactive|sendemail|protocol)\..*"
    r"|diff\..*(?:external|command|textconv)|merge\..*driver|sequence\.editor|submodule\..*update"
    r"|remote\..*(?:vcs|uploadpack|receivepack)",
)
NO_PROGRAM = ("", "true", "false", "yes", "no", "on", "off", "0", "1")


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
            if path.name in TOOLS:
                yield path, f"is run or read by {TOOLS[path.name]}"
            elif path.name == ".git" or (path.name == "HEAD" and (here / "objects").is_dir()):
                yield from _of_repository(path if path.name == ".git" else here)
        left -= len(folders) + len(names)
        deep = len(here.relative_to(folder).parts) >= DEPTH or left < 0
        folders[:] = [] if deep else [name for name in folders if name != ".git"]


def _of_repository(repository: Path) -> Iterator[tuple[Path, str]]:
    """Yield the settings and hooks of a repository that git would run; a file that leads to another is one of them."""
    if not repository.is_dir():
        if "/.git/modules/" not in _text(repository).replace("\\", "/"):  # a submodule's is the clone's own
            yield repository, "leads git to a repository elsewhere"
        return
    for name in ("config", "config.worktree"):
        if keys := sorted(set(_run_by(_text(repository / name)))):
            yield repository / name, f"has git run or read what {', '.join(keys)} say"
    if (repository / "commondir").exists():
        yield repository / "commondir", "leads git to a repository elsewhere"
    with contextlib.suppress(OSError):
        for hook in sorted((repository / "hooks").iterdir()):
            if hook.suffix != ".sample" and os.access(hook, os.X_OK):
                yield hook, "is run by git"


def _run_by(text: str) -> Iterator[str]:
    """Yield the git settings whose values git runs, by `section.name` or `section.subsection.name`."""
    section = ""
    for line in text.splitlines():
        header = re.match(r"\s*\[\s*([\w.-]+)(?:\s+\"((?:[^\"\\]|\\.)*)\")?\s*\]", line)
        if header:
            section = ".".join(filter(None, [header[1].lower(), header[2]]))
        if pair := re.match(r"\s*([A-Za-z][\w-]*)\s*(?:=\s*(.*?))?\s*$", line[header.end() :] if header else line):
            key, value = f"{section}.{pair[1].lower()}", pair[2] or "true"
            if RUN.fullmatch(key) and value.strip('" ').lower() not in NO_PROGRAM:
                yield key


def _text(path: Path) -> str:
    """Return the beginning of a regular file, "" for anything else: a pipe would be waited for without end."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as stream:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return stream.read(READ_BYTES).decode(errors="replace")
    return ""


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
