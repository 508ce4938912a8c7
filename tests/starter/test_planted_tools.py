"""What is found in mounted folders that tools of this machine would run, on real repositories."""

import os
import subprocess
from pathlib import Path

import pytest

from host_tasks.subjects import planted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A mounted folder with a repository in it, as `git init` makes it."""
    made = tmp_path / "notebooks"
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", "init", "--quiet", str(made)], check=True, env=environ)
    return made


def told(folder: Path) -> dict[str, str]:
    """Return what is found, by paths from the folder."""
    return {str(path.relative_to(folder)): why for path, why in planted.in_folder(folder)}


def test_repository_as_git_makes_it_is_no_danger(folder: Path) -> None:
    """Who clones something into a mounted folder is not warned of it."""
    subprocess.run(["git", "-C", str(folder), "config", "remote.origin.url", "https://example.org/x"], check=True)

    assert told(folder) == {}


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("[core]\n\tfsmonitor = ./run", "core.fsmonitor"),
        ("[CORE] fsMonitor=./run", "core.fsmonitor"),
        ('[filter "x"]\n\tclean = ./run', "filter.x.clean"),
        ('[diff "x"] textconv = ./run', "diff.x.textconv"),
        ("[include]\n\tpath = ../elsewhere", "include.path"),
        ('[includeIf "gitdir:/"]\n\tpath = ../elsewhere', "includeif.gitdir:/.path"),
        ('[alias]\n\tst = "!./run"', "alias.st"),
        ("[core]\n\thooksPath = ../hooks", "core.hookspath"),
    ],
)
def test_setting_that_git_runs_is_named(folder: Path, setting: str, key: str) -> None:
    """However it is spelled: git takes sections and names in any case, and a setting in the line of its section."""
    config = folder / ".git" / "config"
    config.write_text(config.read_text(encoding="utf-8") + setting + "\n", encoding="utf-8")

    assert told(folder) == {".git/config": f"has git run or read what {key} say"}


def test_setting_that_git_runs_nothing_of_is_passed_over(folder: Path) -> None:
    """`core.fsmonitor = true` is git's own monitor."""
    config = folder / ".git" / "config"
    config.write_text("[core]\n\tfsmonitor = true\n", encoding="utf-8")

    assert told(folder) == {}


def test_hook_that_would_run_is_named(folder: Path) -> None:
    """The samples, and what has no run bit, are not run by git."""
    hooks = folder / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name, mode in (("pre-commit", 0o755), ("post-merge", 0o644), ("pre-push.sample", 0o755)):
        (hooks / name).touch()
        (hooks / name).chmod(mode)

    assert told(folder) == {".git/hooks/pre-commit": "is run by git"}


def test_repository_elsewhere_and_a_bare_one_are_looked_at(folder: Path, tmp_path: Path) -> None:
    """A file `.git` may lead to any folder of the container's; a submodule's is in this clone's own .git."""
    (folder / "a").mkdir()
    (folder / "a" / ".git").write_text("gitdir: ../../results/x\n", encoding="utf-8")
    (folder / "b").mkdir()
    (folder / "b" / ".git").write_text("gitdir: ../../.git/modules/b\n", encoding="utf-8")
    (folder / "c" / "objects").mkdir(parents=True)
    (folder / "c" / "HEAD").touch()
    (folder / "c" / "config").write_text("[core]\n\tfsmonitor = ./run\n", encoding="utf-8")

    assert told(folder) == {
        "a/.git": "leads git to a repository elsewhere",
        "c/config": "has git run or read what core.fsmonitor say",
    }


def test_settings_of_other_tools_are_named(folder: Path) -> None:
    """A file that a tool runs by its name alone, and a folder."""
    (folder / "tasks.py").touch()
    (folder / "sub" / ".vscode").mkdir(parents=True)

    assert told(folder) == {"tasks.py": "is run or read by invoke", "sub/.vscode": "is run or read by VS Code"}


def test_looking_ends_whatever_was_planted(folder: Path, tmp_path: Path) -> None:
    """A pipe, a link, a huge file and a deep tree neither hold it up nor lead it out."""
    config = folder / ".git" / "config"
    config.unlink()
    os.mkfifo(config)
    (folder / "out").symlink_to(tmp_path)
    (tmp_path / "tasks.py").touch()
    (folder / "deep/er/than/it/looks").mkdir(parents=True)
    (folder / "deep/er/than/it/looks/tasks.py").touch()
    (folder / "x" / ".git").mkdir(parents=True)
    with (folder / "x" / ".git" / "config").open("wb") as huge:
        huge.truncate(10**12)

    assert told(folder) == {}
