"""`invoke upgrade`, by git on a starter and a project of its own, and the rule that it goes by."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from observed import Seen

from host_tasks.extras.upgrade import Change, Starter, entry, newest, number, taken
from host_tasks.kit.paths import ROOT, STARTER_SETTINGS
from host_tasks.loop import OK, plan

PROGRAM = "docker/host_tasks/setup/program.py"
STARTER = Starter("https://example.org/starter.git", "v1.0.0", "v1.1.0", known=True)
FOLDERS = ("docker", "tests/starter", ".ci", ".github", ".devcontainer")
NEW = [f"{folder}/new" for folder in FOLDERS]
YOURS = {
    "README.md": "mine",
    "LICENSE": "mine",
    "environment.yml": "mine",
    "requirements.txt": "mine",
    ".gitignore": "mine",
    "notebooks/mine.ipynb": "mine",
    "src/mine.py": "mine",
    "tests/test_mine.py": "mine",
    "data/penguins.md": "mine",
    "docker/docker-compose.override.yml": "mine",
}


def git(cwd: Path, *words: str) -> str:
    """Return what a git command prints that must succeed."""
    done = subprocess.run(["git", *words], cwd=cwd, env=person(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def person() -> dict[str, str]:
    """Return the environment of somebody with a name and without settings of their own for git."""
    roles = {f"GIT_{role}_{what}": "t@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**os.environ, **roles, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


def commit(root: Path, files: dict[str, str], *, delete: tuple[str, ...] = ()) -> None:
    """Commit files, and the deletion of others."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    for name in delete:
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "a change")


def edited(root: Path, name: str, *, first: str = "", last: str = "") -> dict[str, str]:
    """Return a file with a further line at its beginning or its end."""
    return {name: first + (root / name).read_text(encoding="utf-8") + last}


@dataclass(frozen=True)
class Project:
    """A person's project, and the starter that it came from."""

    root: Path
    starter: Path

    def upgrade(self, *words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run `invoke upgrade`."""
        argv = [sys.executable, "-I", str(self.root / PROGRAM), "upgrade", *words]
        place = cwd or self.root
        return subprocess.run(argv, cwd=place, env=person(), capture_output=True, text=True, check=False)

    def files(self) -> dict[str, bytes]:
        """Return what git tracks."""
        names = git(self.root, "ls-files", "-z").split("\0")
        return {name: (self.root / name).read_bytes() for name in names if (self.root / name).is_file()}


def released(starter: Path, version: str) -> dict[str, str]:
    """Return the starter's settings with a version and its own address."""
    text = (starter / "docker/pyproject.toml").read_text(encoding="utf-8")
    text = re.sub(r'^version = ".*"', f'version = "{version}"', text, flags=re.MULTILINE)
    text = re.sub(r'^urls.Repository = ".*"', f'urls.Repository = "{starter}"', text, flags=re.MULTILINE)
    return {"docker/pyproject.toml": text}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project of v1.0.0 with ten files of its own, two changes in the starter's, and two deletions; v1.1.0 is out."""
    starter, mine = tmp_path / "starter", tmp_path / "mine"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in (each for each in names if each and (ROOT / each).is_file()):
        (starter / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, starter / name)
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(starter))
    commit(starter, {**released(starter, "1.0.0"), "docker/old": "old\n"})
    git(starter, "tag", "v1.0.0")
    # "Use this template" copies the files without their history.
    shutil.copytree(starter, mine, ignore=shutil.ignore_patterns(".git"))
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(mine))
    commit(mine, {})
    git(mine, "tag", "v1.1.0")  # one of the person's own
    changed = {
        **edited(mine, "docker/Dockerfile", last="# mine\n"),
        **edited(mine, "docker/entrypoint.sh", last="# mine\n"),
    }
    commit(mine, {**YOURS, **changed}, delete=("CONTRIBUTING.md", ".ci", "tests/starter/image"))
    news = {
        **released(starter, "1.1.0"),
        **edited(starter, "docker/Dockerfile", first="# news\n"),
        **edited(starter, "tests/starter/image/lab.py", last="# news\n"),
        **dict.fromkeys([*NEW, "tests/starter/image/new/a", "NEW.md", "README.md", "tests/test_mine.py"], "news\n"),
    }
    commit(starter, news, delete=("docker/old",))
    git(starter, "tag", "v1.1.0")
    git(starter, "tag", "v2-draft")
    return Project(mine, starter)


@pytest.mark.slow
def test_upgrade_takes_the_starters_news_and_nothing_else(project: Project) -> None:
    """Ten edited files of the person's stay, two of the starter's are merged, what was deleted stays deleted."""
    before = project.files()
    listed = project.upgrade("--dry-run")
    assert listed.returncode == 0, listed.stderr
    assert project.files() == before
    assert "deleted: docker/old" in listed.stdout
    assert "left out, since it was deleted here: tests/starter/image/new/a" in listed.stdout

    done = project.upgrade(cwd=project.root / "src")

    assert done.returncode == 0, done.stderr
    after = project.files()
    new = {name: after.pop(name) for name in set(after) - set(before)}
    assert new == dict.fromkeys(set(NEW) - {".ci/new"}, b"news\n")
    assert set(before) - set(after) == {"docker/old"}
    assert {name for name in after if after[name] != before[name]} == {"docker/Dockerfile", "docker/pyproject.toml"}
    assert after["docker/Dockerfile"] == b"# news\n" + before["docker/Dockerfile"]
    git(project.root, "commit", "--quiet", "--message", "Upgrade the starter")
    again = project.upgrade()
    assert (again.returncode, again.stderr.splitlines()[-1]) == (0, "The starter is up to date.")
    assert git(project.root, "tag") == "v1.1.0\n"


@pytest.mark.slow
def test_clash_is_marked_and_named(project: Project) -> None:
    """Lines that both changed get marks; what was changed here is not deleted."""
    entrypoint = edited(project.starter, "docker/entrypoint.sh", last="# news\n")
    commit(project.starter, {**released(project.starter, "1.2.0"), **entrypoint}, delete=("docker/activate.sh",))
    git(project.starter, "tag", "v1.2.0")
    commit(project.root, {"docker/activate.sh": "mine\n"})

    done = project.upgrade()

    assert done.returncode == 78
    assert done.stderr.splitlines()[-2:] == [
        "error: changed on both sides, and not merged yet: docker/entrypoint.sh",
        "fix: edit where <<<<<<< stands, then: git add docker/entrypoint.sh && git commit",
    ]
    assert "<<<<<<<" in (project.root / "docker/entrypoint.sh").read_text(encoding="utf-8")
    assert (project.root / "docker/new").is_file()  # the others are taken
    assert (project.root / "docker/activate.sh").read_text(encoding="utf-8") == "mine\n"
    assert project.upgrade().stderr.splitlines()[-2:] == done.stderr.splitlines()[-2:]


@pytest.mark.slow
def test_project_in_a_folder_of_a_repository_is_upgraded(project: Project) -> None:
    """Git counts paths from the top of the repository; the project is where it is."""
    top = project.root.with_name("top")
    git(top.parent, "init", "--quiet", "--initial-branch=main", str(top))
    shutil.copytree(project.root, top / "study", ignore=shutil.ignore_patterns(".git", "__pycache__"))
    commit(top, {"docker/Dockerfile": "FROM another\n"})
    inside = Project(top / "study", project.starter)

    listed = inside.upgrade("--dry-run")
    assert (listed.returncode, git(top, "status", "--porcelain", "--untracked-files=no")) == (0, ""), listed.stderr
    assert "new: docker/new\n" in listed.stdout

    done = inside.upgrade()

    assert done.returncode == 0, done.stderr
    assert (top / "study/docker/new").is_file()
    assert (top / "docker/Dockerfile").read_text(encoding="utf-8") == "FROM another\n"
    assert inside.upgrade("--dry-run").stdout == "Nothing to do.\n"


@pytest.mark.parametrize(
    ("unfinished", "starter", "cause"),
    [
        pytest.param(("src/a.py",), {}, "changed since the last commit: src/a.py", id="uncommitted change"),
        pytest.param((), {"known": False}, "says v1.0.0, and https://example.org/starter.git has no", id="no such tag"),
        pytest.param((), {"untracked": frozenset({"docker/a"})}, "brings a file docker/a", id="a file in the way"),
    ],
)
def test_upgrade_is_refused(unfinished: tuple[str, ...], starter: dict[str, object], cause: str) -> None:
    """Nothing is begun that git could not give back, or that has no beginning."""
    found = Starter(STARTER.source, "v1.0.0", "v1.1.0", **{"known": True, **starter})  # type: ignore[arg-type]

    planned = plan(Seen(unfinished=(unfinished, ()), starter=found), [newest])

    assert planned.steps == ()
    assert planned.problem is not None
    assert cause in planned.problem.cause


def test_newest_starter_is_left_alone() -> None:
    """Whoever has the newest version may have changed files."""
    found = Starter(STARTER.source, "v1.1.0", "v1.1.0", known=True)

    assert [each.state for each in newest.found(Seen(unfinished=(("a",), ()), starter=found))] == [OK]


def test_what_was_deleted_stays_deleted() -> None:
    """What is gone stays so, a folder with its new files too; what was changed stays; all else comes or goes."""
    changes = {
        "M docker/a",
        "M docker/gone",
        "A docker/new",
        "A gone/new/b",
        "A other/new",
        "D docker/old",
        "D docker/b",
    }
    found = Starter(
        STARTER.source,
        "v1.0.0",
        "v1.1.0",
        changes=tuple(Change(*each.split()) for each in sorted(changes)),
        older=frozenset({"docker/a", "docker/b", "docker/gone", "docker/old", "gone/a"}),
        tracked=frozenset({"docker/a", "docker/b", "docker/old", "README.md"}),
        edited=frozenset({"docker/a", "docker/b"}),
    )

    assert {f"{each.kind} {each.name}" for each in taken(found)} == changes - {
        "M docker/gone",
        "A gone/new/b",
        "D docker/b",
    }


def test_versions_are_compared_by_their_numbers() -> None:
    """v1.10.0 is newer than v1.9.0, and a tag of another form is no version."""
    assert number("v1.10.0") > number("v1.9.0") > number("v2-draft")


def test_settings_name_version_and_address() -> None:
    """A clone knows what it came from."""
    assert number(f"v{entry('version')}")
    assert entry("urls.Repository"), STARTER_SETTINGS
