"""What is found in mounted folders that tools of this machine would run, on real repositories."""

import os
import subprocess
from pathlib import Path

import pytest
from aids import executable

from host_tasks.kit import git
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
        ("[core]\n\tbare = false\n" + "# more\n" * 20_000 + "\tfsmonitor = ./run", "core.fsmonitor"),
        ("[core]\n\tfsmonitor = \\\n./run", "core.fsmonitor"),
    ],
)
def test_setting_that_git_runs_is_named(folder: Path, setting: str, key: str) -> None:
    """However it is spelled: git takes sections and names in any case, and a setting in the line of its section."""
    config = folder / ".git" / "config"
    config.write_text(config.read_text(encoding="utf-8") + setting + "\n", encoding="utf-8")

    assert told(folder) == {".git/config": f"has git run or read what {key} say"}


def test_setting_behind_a_byte_order_mark_is_named(folder: Path) -> None:
    """As git reads it: what is looked at is git's own list of the settings."""
    (folder / ".git" / "config").write_bytes(b"\xef\xbb\xbf[core]\n\tfsmonitor = ./run\n")

    assert told(folder) == {".git/config": "has git run or read what core.fsmonitor say"}


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


def test_repository_elsewhere_and_a_bare_one_are_looked_at(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file `.git` may lead to any folder of the container's; a submodule's is in this clone's own .git."""
    monkeypatch.setattr(planted, "ROOT", tmp_path)
    for name, gitdir in {"a": "../../results/x", "d": "../../results/.git/modules/x"}.items():
        (folder / name).mkdir()
        (folder / name / ".git").write_text(f"gitdir: {gitdir}\n", encoding="utf-8")
    (folder / "b").mkdir()
    (folder / "b" / ".git").write_text("gitdir: ../../.git/modules/b\n", encoding="utf-8")
    (folder / "c" / "objects").mkdir(parents=True)
    (folder / "c" / "HEAD").touch()
    (folder / "c" / "config").write_text("[core]\n\tfsmonitor = ./run\n", encoding="utf-8")

    assert told(folder) == {
        "a/.git": "leads git to a repository elsewhere",
        "d/.git": "leads git to a repository elsewhere",
        "c/config": "has git run or read what core.fsmonitor say",
    }


def test_settings_of_other_tools_are_named(folder: Path) -> None:
    """A file that a tool runs by its name alone, a folder, and a file of many with a table of one."""
    (folder / "tasks.py").touch()
    (folder / "sub" / ".vscode").mkdir(parents=True)
    (folder / "tasks").mkdir()
    (folder / "tasks" / "__init__.py").touch()
    (folder / "pyproject.toml").write_text("[project]\n[tool.pytest.ini_options]\n", encoding="utf-8")
    (folder / "sub" / "pyproject.toml").write_text("[project]\n[tool.ruff]\n", encoding="utf-8")
    (folder / "sub" / "setup.cfg").write_text("[tool:pytest]\n", encoding="utf-8")

    assert told(folder) == {
        "tasks.py": "is run or read by invoke",
        "pyproject.toml": "is run or read by pytest",
        "tasks/__init__.py": "is run or read by invoke",
        "sub/.vscode": "is run or read by VS Code",
        "sub/setup.cfg": "is run or read by pytest",
    }


def test_looking_ends_whatever_was_planted(folder: Path, tmp_path: Path) -> None:
    """A pipe, a link, a huge file and a deep tree neither hold it up nor lead it out; settings like that are named."""
    config = folder / ".git" / "config"
    config.unlink()
    os.mkfifo(config)
    (folder / "out").symlink_to(tmp_path)
    (tmp_path / "tasks.py").touch()
    (folder / "deep/er/than/it/looks").mkdir(parents=True)
    (folder / "deep/er/than/it/looks/tasks.py").touch()
    for name in ("x", "y"):
        (folder / name / ".git").mkdir(parents=True)
    with (folder / "x" / ".git" / "config").open("wb") as huge:
        huge.truncate(8 * 1024**3)
    (folder / "y" / ".git" / "config").symlink_to("/dev/zero")
    (folder / "pyproject.toml").symlink_to("/dev/zero")

    assert told(folder) == {
        ".git/config": "cannot be looked into, for it is no file; git would read it",
        "x/.git/config": "cannot be looked into, for it has more than 1048576 bytes; git would read it",
        "y/.git/config": "cannot be looked into, for it is a link, or behind one; git would read it",
    }


def test_git_that_the_tasks_call_runs_nothing_of_an_embedded_repository(folder: Path, tmp_path: Path) -> None:
    """A submodule in a mounted folder, and the clone itself, have settings and hooks that git would run."""
    ran, executes = tmp_path / "ran", executable(tmp_path / "run", f'touch "{tmp_path}/ran"')
    person = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for place, name in ((folder, "a"), (tmp_path, "notebooks")):
        subprocess.run(["git", "init", "--quiet", str(place)], check=True)
        (folder / "a").touch()
        subprocess.run([*person, "-C", str(place), "add", name], check=True, capture_output=True)
        subprocess.run([*person, "-C", str(place), "commit", "--quiet", "--message", "x"], check=True)
        for key, value in {"core.fsmonitor": executes, "core.hooksPath": tmp_path}.items():
            subprocess.run(["git", "-C", str(place), "config", key, str(value)], check=True)
    executable(tmp_path / "post-index-change", f'touch "{tmp_path}/ran"')
    (folder / "a").write_text("changed", encoding="utf-8")

    said = git.run("status", "--porcelain", "--untracked-files=no", ".", cwd=tmp_path, capture=True, announce=False)
    git.run("ls-files", "--others", cwd=tmp_path, capture=True, announce=False)
    untouched = not ran.exists()
    subprocess.run(["git", "-C", str(tmp_path), "status"], check=True, capture_output=True)

    assert (said.returncode, said.stdout, untouched, ran.exists()) == (0, "", True, True)
