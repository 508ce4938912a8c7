"""How the extras upgrade and ssh call git: nothing that a setting of the repository names is run by it."""

from __future__ import annotations

import os
import shlex
from typing import Any

from host_tasks.kit import runner
from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import ExitCode, HostError, path_word

QUIET = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
RETARGETING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")  # set where a hook of git's calls us


def run(*words: str, env: dict[str, str] | None = None, **how: Any) -> runner.Finished:
    """Run a git command, which finds the repository by the folder in which it runs."""
    environ = {name: value for name, value in os.environ.items() if name not in RETARGETING}
    options = {"cwd": ROOT, "announce": False, **how}
    return runner.run(["git", *QUIET, *words], env={**environ, **(env or {})}, **options)


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
