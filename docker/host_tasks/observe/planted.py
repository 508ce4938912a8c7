"""What lies in the mounted folders and is run, or read as settings, by tools that a person starts in or below them.

The container can write it there. A repository's own settings and hooks are run by `git status` alone; git looks for a
repository from the working directory upwards (git 2.43, git-config(1), githooks(5)).
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

ENTRIES = 20_000  # of a folder that are looked at: a warning must not take minutes where data are many
DEPTH = 4
READ_BYTES = 65_536

# Tools that run code of the folder that they are started in, or opened on, by names of files.
TOOLS = {
    ".envrc": "direnv",
    ".vscode": "VS Code",
    "conftest.py": "pytest",
    "invoke.yaml": "invoke",
    "mypy.ini": "mypy",
    "noxfile.py": "nox",
    "pytest.ini": "pytest",
    "tasks.py": "invoke",
}
# Settings whose values git runs, or reads further settings from: section, then name (git 2.43, git-config(1)).
RUN = re.compile(
    r"core\.(?:fsmonitor|hookspath|sshcommand|pager|editor|gitproxy|askpass|alternaterefscommand|worktree)"
    r"|(?:alias|pager|include|includeif|credential|gpg|filter|difftool|mergetool|interactive|sendemail|protocol)\..*"
    r"|diff\..*(?:external|command|textconv)|merge\..*driver|sequence\.editor|submodule\..*update|remote\..*(?:vcs|uploadpack"
    r"|receivepack)",
)
NO_PROGRAM = ("", "true", "false", "yes", "no", "on", "off", "0", "1")


def planted(folders: Iterable[Path]) -> dict[Path, str]:
    """Return what was found in folders, and which tool it tells what to do."""
    found: dict[Path, str] = {}
    for folder in folders:
        for path in _entries(folder):
            if path.name in TOOLS:
                found[path] = f"is run or read by {TOOLS[path.name]}"
            elif path.name == ".git" or (path.name == "HEAD" and (path.parent / "objects").is_dir()):
                where = path if path.name == ".git" else path.parent
                found |= {each: why for each, why in _of_repository(where) if each not in found}
    return found


def _entries(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder and not far below it, without following links."""
    left = ENTRIES
    for at, folders, files in os.walk(folder, followlinks=False):
        here = Path(at)
        yield from (here / name for name in (*folders, *files))
        left -= len(folders) + len(files)
        deep = len(here.relative_to(folder).parts) >= DEPTH or left < 0
        folders[:] = [] if deep else [name for name in folders if name != ".git"]


def _of_repository(repository: Path) -> Iterator[tuple[Path, str]]:
    """Yield the settings and hooks of a repository that git would run; a file that leads to another is one of them."""
    if not repository.is_dir():
        if "/.git/modules/" not in _text(repository).replace("\\", "/"):  # a submodule's is the clone's own
            yield repository, "leads git to a repository elsewhere"
        return
    for name in ("config", "config.worktree"):
        keys = sorted({key for key, value in _settings(_text(repository / name)) if _runs(key, value)})
        if keys:
            yield repository / name, f"has git run or read what {', '.join(keys)} say"
    if (repository / "commondir").exists():
        yield repository / "commondir", "leads git to a repository elsewhere"
    with contextlib.suppress(OSError):
        for hook in sorted((repository / "hooks").iterdir()):
            if hook.suffix != ".sample" and os.access(hook, os.X_OK):
                yield hook, "is run by git"


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of git settings; a name is `section.name`, or `section.subsection.name`."""
    section = ""
    for line in text.splitlines():
        header = re.match(r"\s*\[\s*([\w.-]+)(?:\s+\"((?:[^\"\\]|\\.)*)\")?\s*\]", line)
        if header:
            section = ".".join(filter(None, [header[1].lower(), header[2]]))
        rest = line[header.end() :] if header else line
        if pair := re.match(r"\s*([A-Za-z][\w-]*)\s*(?:=\s*(.*?))?\s*$", rest):
            yield f"{section}.{pair[1].lower()}", pair[2] or "true"


def _runs(key: str, value: str) -> bool:
    """Return whether git runs, or reads further settings from, what a setting says."""
    return RUN.fullmatch(key) is not None and value.strip('" ').lower() not in NO_PROGRAM


def _text(path: Path) -> str:
    """Return the beginning of a regular file, "" for anything else: a pipe would be waited for without end."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as stream:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return stream.read(READ_BYTES).decode(errors="replace")
    return ""
