"""The one way git is called: nothing that a repository in a mounted folder says is run.

git status runs what such a repository's settings name: core.fsmonitor, hooks, and in submodules the same (git 2.39 to
2.43, git-config(1)).
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from host_tasks.kit import runner
from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import ExitCode, HostError, path_word

RETARGETING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")  # set where a hook of git's calls us
SETTINGS = {"core.fsmonitor": "false", "core.hooksPath": os.devnull, "fetch.recurseSubmodules": "false"}
# What goes into a submodule, or runs a program of a setting, unless these words stand behind it.
SAFE = {"status": ("--ignore-submodules=all",), "diff-tree": ("--no-ext-diff", "--no-textconv")}


def run(
    *words: str, cwd: Path | None = None, environ: Mapping[str, str] = MappingProxyType({}), **how: Any
) -> runner.Finished:
    """Run a git command, unannounced, which finds the repository by the folder in which it runs, the clone's.

    `how` is that of runner.run.
    """
    settings = [word for key, value in SETTINGS.items() for word in ("-c", f"{key}={value}")]
    at = 2 if words[0] == "-C" else 0
    argv = ["git", *settings, *words[: at + 1], *SAFE.get(words[at], ()), *words[at + 1 :]]
    own = {name: value for name, value in os.environ.items() if name not in RETARGETING}
    asks = {} if how.get("interactive") else {"GIT_TERMINAL_PROMPT": "0"}
    env = {**own, "GIT_OPTIONAL_LOCKS": "0", **asks, **environ}
    return runner.run(argv, cwd=cwd or ROOT, env=env, **{"announce": False, **how})


def refused(word: str, said: str) -> HostError:
    """Return why git did not do as it was told: there is no repository, or another user's, or what it says."""
    problem, fix = f"git {word} failed: {said}", "git status"
    top = next((folder for folder in (ROOT, *ROOT.parents) if (folder / ".git").exists()), None)
    if top is None:
        problem = f"{ROOT} is no git repository"
        fix = f"cd {path_word(ROOT)} && git init && git add --all && git commit --message 'Begin'"
    elif hasattr(os, "geteuid") and (top / ".git").stat().st_uid != os.geteuid():  # git-config(1), safe.directory
        problem = f"{top} belongs to another user, uid {(top / '.git').stat().st_uid}, so git does not read it"
        fix = f"git config --global --add safe.directory {shlex.quote(str(top))}"
    return HostError(problem, fix=fix, code=ExitCode.UNAVAILABLE)


def settings_in(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the settings that git reads in a file, without what that includes: `section.subsection.name` and value."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "config")
        copy.write_bytes(content)
        finished = run("config", "--file", str(copy), "--no-includes", "--null", "--list", capture=True)
    for line in finished.stdout.split("\0") if finished.ok else ():
        key, _, value = line.partition("\n")
        if key:
            yield key, value or "true"
