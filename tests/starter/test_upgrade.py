"""`invoke upgrade`, by git on a starter and a project of its own, and the rule that it goes by."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from invoke.context import Context
from observed import Seen

from host_tasks.extras import upgrade
from host_tasks.extras.upgrade import Change, Starter, newest, number, taken, version
from host_tasks.kit.paths import ROOT, STARTER_SETTINGS
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import OK, plan

PROGRAM = "docker/host_tasks/setup/program.py"
STARTER = Starter("/srv/starter.git", "v1.0.0", "v1.1.0", ("a", "b"))
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
    """Return the starter's settings with a version."""
    text = (starter / "docker/pyproject.toml").read_text(encoding="utf-8")
    text = re.sub(r'^version = ".*"', f'version = "{version}"', text, flags=re.MULTILINE)
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
    git(mine, "remote", "add", "upstream", str(starter))
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
    assert (again.returncode, again.stderr.splitlines()[-1]) == (
        0,
        f"The starter is up to date with {project.starter}.",
    )
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

    listed = inside.upgrade("--from", str(project.starter), "--dry-run")
    assert (listed.returncode, git(top, "status", "--porcelain", "--untracked-files=no")) == (0, ""), listed.stderr
    assert "new: docker/new\n" in listed.stdout

    done = inside.upgrade("--from", str(project.starter))

    assert done.returncode == 0, done.stderr
    assert (top / "study/docker/new").is_file()
    assert (top / "docker/Dockerfile").read_text(encoding="utf-8") == "FROM another\n"
    assert inside.upgrade("--dry-run").stdout == "Nothing to do.\n"


# A version whose modules cannot be mixed with those before: `new` is there, and everything asks for it.
REDESIGNED = {"docker/host_tasks/kit/new.py": "NEW = 1\n"}
ASKS = "from host_tasks.kit.new import NEW as NEW\n"
MIXED = ("docker/host_tasks/loop.py", "docker/host_tasks/setup/bootstrap.py", "docker/host_tasks/goals.py", "tasks.py")
# What stands in for a kill: the process ends at a step of putting files in their places.
KILLED = """
import os, pathlib, runpy, sys
left, replace = [int(sys.argv[2])], pathlib.Path.replace
def step(self, target):
    if not left[0]: os._exit(137)
    left[0] -= 1
    return replace(self, target)
pathlib.Path.replace = step
runpy.run_path(sys.argv[1])
"""


@pytest.fixture
def redesigned(project: Project) -> Project:
    """A project to whose starter v2.0.0 has come, with a module on which the others stand."""
    for name in MIXED:
        text = (project.starter / name).read_text(encoding="utf-8")
        at = re.search(r"^(?:from|import) (?!__future__|host_tasks\.setup import basics)", text, re.MULTILINE)
        assert at
        commit(project.starter, {name: text[: at.start()] + text[at.start() :] + ASKS.replace("\n", "  # noqa\n")})
    commit(
        project.starter,
        {**released(project.starter, "2.0.0"), **REDESIGNED},
        delete=("docker/host_tasks/extras/gpu.py",),
    )
    return project


def state_of(root: Path) -> tuple[str, str]:
    """Return what git knows of a project, and how its files differ from that."""
    return git(root, "ls-files", "--stage"), git(root, "status", "--porcelain")


@pytest.mark.slow
def test_upgrade_that_is_killed_amid_its_files_goes_on(redesigned: Project, tmp_path: Path) -> None:
    """At whatever file it ends, tasks.py is there, and the next upgrade does what is left of it, and nothing else."""
    swap = "docker/host_tasks/extras/_swap.py"
    real = (redesigned.root / swap).read_text(encoding="utf-8")
    commit(redesigned.root, {swap: "import os\nos._exit(137)\n"})
    assert redesigned.upgrade().returncode == 137
    ready = "docker/.upgrade/swap.py"
    (redesigned.root / ready).write_text(real, encoding="utf-8")
    whole = tmp_path / "whole"
    shutil.copytree(redesigned.root, whole, symlinks=True)
    subprocess.run([sys.executable, "-I", str(whole / ready)], env=person(), check=True)
    steps = len([path for path in (redesigned.root / "docker/.upgrade/files").rglob("*") if path.is_file()]) + 1

    for at in sorted({*range(0, steps, 4), steps - 2, steps - 1}):
        broken = Project(tmp_path / f"at {at}", redesigned.starter)
        shutil.copytree(redesigned.root, broken.root, symlinks=True)
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, str(broken.root / ready), str(at)], env=person(), check=False
        )
        there = (broken.root / "tasks.py").is_file()
        again = broken.upgrade()

        assert (ended.returncode, there, again.returncode) == (137, True, 0), f"{at} of {steps}: {again.stderr}"
        assert state_of(broken.root) == state_of(whole)
        assert not list((broken.root / "docker").glob(".upgrade*"))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda each: each.name)
def test_upgrade_that_is_killed_at_any_moment_goes_on(redesigned: Project, tmp_path: Path, how: signal.Signals) -> None:
    """Whatever it was at, the same command once more ends as if nothing had been."""
    whole = Project(tmp_path / "whole", redesigned.starter)
    shutil.copytree(redesigned.root, whole.root, symlinks=True)
    assert whole.upgrade().returncode == 0

    for number_of_files in range(0, 30, 6):  # of docker/.upgrade.new, by which the moment is chosen
        killed = Project(tmp_path / f"{number_of_files}", redesigned.starter)
        shutil.copytree(redesigned.root, killed.root, symlinks=True)
        argv = [sys.executable, "-I", str(killed.root / PROGRAM), "upgrade"]
        process = subprocess.Popen(
            argv, cwd=killed.root, env=person(), stderr=subprocess.DEVNULL, start_new_session=True
        )
        fresh = [killed.root / "docker" / name for name in (".upgrade.new", ".upgrade")]
        while (
            process.poll() is None
            and sum(len(names) for folder in fresh for *_, names in os.walk(folder)) < number_of_files
        ):
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        process.wait(timeout=600)
        there = (killed.root / "tasks.py").is_file()
        again = killed.upgrade()

        assert (there, again.returncode) == (True, 0), again.stderr
        assert state_of(killed.root) == state_of(whole.root)


@pytest.mark.slow
def test_versions_without_tags_are_those_of_the_settings(redesigned: Project, tmp_path: Path) -> None:
    """From 1.0.0 to 2.0.0, which has no tag, by way of 1.1.0, from a bare repository, each upgrade committed."""
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(redesigned.starter), str(bare))
    for tag in ("v1.0.0", "v1.1.0"):
        git(bare, "tag", "--delete", tag)
    git(redesigned.root, "remote", "remove", "upstream")

    unknown = redesigned.upgrade()
    git(redesigned.root, "remote", "add", "origin", str(redesigned.starter / "no such"))
    lost = redesigned.upgrade()
    first = redesigned.upgrade("--from", str(bare))
    git(redesigned.root, "commit", "--quiet", "--message", "Upgrade the starter")
    again = redesigned.upgrade()

    assert (unknown.returncode, lost.returncode) == (78, 69)
    assert "fix: invoke upgrade --from <the address of its repository>" in unknown.stderr
    assert f"the starter cannot be fetched from {redesigned.starter}/no such" in lost.stderr
    assert first.returncode == 0, first.stderr
    assert (redesigned.root / "docker/host_tasks/kit/new.py").is_file()
    assert again.stderr.splitlines()[-1] == f"The starter is up to date with {bare}."


@pytest.mark.parametrize("word", ["-oProxyCommand=id", "a\nb"])
def test_address_is_no_option(word: str) -> None:
    """Nothing reaches git as an option of its own."""
    with pytest.raises(HostError) as refused:
        upgrade.upgrade_task(Context(), from_=word)

    assert refused.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("unfinished", "starter", "cause"),
    [
        pytest.param(("src/a.py",), {}, "changed since the last commit: src/a.py", id="uncommitted change"),
        pytest.param((), {"commits": ("", "b")}, "says v1.0.0, and /srv/starter.git has no", id="no such tag"),
        pytest.param((), {"untracked": frozenset({"docker/a"})}, "brings a file docker/a", id="a file in the way"),
    ],
)
def test_upgrade_is_refused(unfinished: tuple[str, ...], starter: dict[str, object], cause: str) -> None:
    """Nothing is begun that git could not give back, or that has no beginning."""
    found = Starter(STARTER.source, "v1.0.0", "v1.1.0", **{"commits": ("a", "b"), **starter})  # type: ignore[arg-type]

    planned = plan(Seen(unfinished=(unfinished, ()), starter=found), [newest])

    assert planned.steps == ()
    assert planned.problem is not None
    assert cause in planned.problem.cause


def test_newest_starter_is_left_alone() -> None:
    """Whoever has the newest version may have changed files."""
    found = Starter(STARTER.source, "v1.1.0", "v1.1.0", ("a", "a"))

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


def test_settings_name_the_version() -> None:
    """A clone knows which one it is."""
    assert number(version(STARTER_SETTINGS.read_text(encoding="utf-8")))
