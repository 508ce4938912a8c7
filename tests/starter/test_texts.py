"""What the README, the manual and the texts beside them say, against what is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from texts import STARTER, Text, still_ours

from host_tasks.ground.errors import ExitCode
from host_tasks.ground.paths import ROOT, YOURS
from host_tasks.observe.settings import OWN_KEYS

TEXTS = still_ours()
MANUAL = TEXTS["docker/README.md"]
FEW_WORDS = 900
NEWS = (
    "docker/new",
    "tests/starter/new",
    ".ci/new",
    ".github/new",
    ".devcontainer/new",
)  # in each of the starter's folders
PROGRAM = ROOT / "docker" / "host_tasks" / "setup" / "program.py"


@pytest.fixture
def readme() -> Text:
    """The starter's README, as long as it is there."""
    if "README.md" not in TEXTS:
        pytest.skip("README.md is the person's own")
    return TEXTS["README.md"]


def rows(text: Text, heading: str) -> list[list[str]]:
    """Return the cells of the table whose first column has a heading, without that line."""
    table = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text.content, re.MULTILINE)
    assert table, f"{text.name} has no table {heading!r}"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


def names(cell: str) -> list[str]:
    """Return what stands in backticks, each without what follows a first word."""
    return [each.split()[0] for each in re.findall(r"`([^`]+)`", cell)]


def tracked() -> list[str]:
    """Return the files that git tracks, or would track."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this is no git checkout")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]


def listed_tasks() -> set[str]:
    """Return the tasks of `--list`."""
    done = subprocess.run([sys.executable, "-I", str(PROGRAM), "--list"], capture_output=True, text=True, check=True)
    return set(re.findall(r"^  ([a-z]+) ", done.stdout, re.MULTILINE))


def test_readme_is_short(readme: Text) -> None:
    """The README has under 900 words: a newcomer decides in a minute."""
    assert len(readme.content.split()) < FEW_WORDS


def test_readmes_tree_is_what_git_tracks(readme: Text) -> None:
    """The tree names exactly the top level that git tracks: add what is missing, or write a README of your own."""
    tree = re.search(r"^```\n(\.ci/.*?)^```", readme.content, re.DOTALL | re.MULTILINE)
    assert tree
    in_tree = [line.split()[0].rstrip("/") for line in tree[1].splitlines()]

    assert in_tree == sorted({name.split("/")[0] for name in tracked()})


def test_readme_and_ci_agree_on_the_test_command(readme: Text) -> None:
    """`.ci/run` runs the command that the README gives for the tests."""
    command = "python3 tasks.py test --all --yes\n"

    assert command in readme.blocks
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines(keepends=True)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_every_link_leads_to_what_git_tracks(text: Text) -> None:
    """Each link between the files, and to a heading of one, leads somewhere; so does each picture."""
    files = set(tracked())
    for link in text.links:
        path, _, anchor = link.partition("#")
        target = (text.path.parent / path).resolve() if path else text.path
        assert str(target.relative_to(ROOT)) in files, link
        assert not anchor or anchor in Text(target.name, target.read_text(encoding="utf-8")).anchors, link


def test_starters_texts_link_to_the_starters_files_only() -> None:
    """A person may delete every text outside docker/: no link of the manual or the changelog leads there."""
    for text in (MANUAL, TEXTS["docker/CHANGELOG.md"]):
        assert not [link for link in text.links if link.startswith("..")], text.name


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts_name_only_tasks_that_exist(text: Text) -> None:
    """No text names a task that `--list` does not."""
    assert set(re.findall(r"(?:tasks\.py|\binvoke) ([a-z]+)", text.content)) <= listed_tasks() | {"is"}


def test_manual_tells_every_task() -> None:
    """The manual's table of tasks has exactly those of `--list`."""
    in_table = [name for row in rows(MANUAL, "task") for name in names(row[0])]

    assert sorted(in_table) == sorted(listed_tasks())


def test_manual_tells_every_key_of_env() -> None:
    """The manual's table of keys has exactly those that the tasks write."""
    in_table = [name for row in rows(MANUAL, "key") for name in names(row[0])]

    assert sorted(in_table) == sorted(OWN_KEYS)


def test_manual_tells_every_exit_code() -> None:
    """The manual's table has every exit code of the tasks, and those of `test` and `doctor`."""
    in_table = {int(code) for row in rows(MANUAL, "exit code") for code in row[0].split(", ")}

    assert in_table == {*map(int, ExitCode), 1, 2}


def test_manual_names_the_folders() -> None:
    """The six folders of the manual are those of the tasks."""
    assert f"`{' '.join(YOURS)}`" in MANUAL.content


def test_licence_is_kept_beside_the_starters_files() -> None:
    """Whoever puts a licence of their own at the top keeps the starter's in docker/, whole."""
    kept = (ROOT / "docker" / "LICENSE").read_text(encoding="utf-8")

    assert kept.startswith("BSD 3-Clause License\n")
    assert kept.rstrip().endswith("POSSIBILITY OF SUCH DAMAGE.")


@pytest.mark.slow
def test_upgrade_merges_the_starters_files_and_nothing_else(tmp_path: Path) -> None:
    """The manual's upgrade: the starter's news come, what was changed or deleted there stays so, all else is as it was.

    The newer starter has changed, added and deleted files on both sides of the line between the owners.
    """
    block = next(each for each in MANUAL.blocks if STARTER in each)
    starter, mine = tmp_path / "starter", tmp_path / "mine"
    repository(starter, {"README.md": "ours\n", "doc/README.md": "doc\n", "CONTRIBUTING.md": "how\n"})
    add(starter, {"tasks.py": "a\nb\nc\nd\ne\n", "docker/Dockerfile": "FROM old\n", "docker/old": "old\n"})
    add(starter, {".ci/run": "run\n", "tests/starter/test_a.py": "a\n", "tests/test_mine.py": "example\n"})
    git(tmp_path, "clone", "--quiet", str(starter), str(mine))
    add(mine, {"README.md": "mine\n", "tasks.py": "a\nb\nc\nd\nmine\n", "docker/docker-compose.override.yml": "x\n"})
    add(mine, {}, delete=["CONTRIBUTING.md", ".ci/run"])
    add(starter, {"README.md": "news\n", "CONTRIBUTING.md": "news\n", "NEW.md": "news\n"})
    add(starter, {"tasks.py": "news\nb\nc\nd\ne\n", "tests/test_mine.py": "news\n", "docker/Dockerfile": "FROM new\n"})
    add(starter, dict.fromkeys(NEWS, "news\n"), delete=["doc/README.md", "docker/old"])

    pasted = block.replace(STARTER, str(starter))  # its merge ends with 1, as it does for a person
    subprocess.run(["bash", "-c", pasted], cwd=mine, env=person(), capture_output=True, check=True)

    files = {str(path.relative_to(mine)): path.read_text(encoding="utf-8") for path in mine.rglob("*") if is_file(path)}
    assert files == {
        **dict.fromkeys(NEWS, "news\n"),
        "README.md": "mine\n",
        "doc/README.md": "doc\n",
        "docker/Dockerfile": "FROM new\n",
        "docker/docker-compose.override.yml": "x\n",
        "tasks.py": "news\nb\nc\nd\nmine\n",
        "tests/starter/test_a.py": "a\n",
        "tests/test_mine.py": "example\n",
    }
    assert git(mine, "status", "--porcelain") == ""
    assert git(mine, "log", "-1", "--format=%s") == "Upgrade the starter\n"
    assert git(mine, "merge-base", "HEAD", git(starter, "rev-parse", "HEAD").strip())  # the next one begins here


def is_file(path: Path) -> bool:
    """Return whether a path is a file of the work tree."""
    return path.is_file() and ".git" not in path.parts


def repository(root: Path, files: dict[str, str]) -> None:
    """Make a repository with a branch main and a commit of files."""
    git(root.parent, "init", "--quiet", "--initial-branch=main", str(root))
    add(root, files)


def add(root: Path, files: dict[str, str], *, delete: list[str] | None = None) -> None:
    """Commit files, and the deletion of others."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    for name in delete or []:
        (root / name).unlink()
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "a change")


def git(cwd: Path, *words: str) -> str:
    """Return what a git command prints that must succeed."""
    done = subprocess.run(["git", *words], cwd=cwd, env=person(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def person() -> dict[str, str]:
    """Return the environment of somebody with a name and without settings of their own for git."""
    roles = {f"GIT_{role}_{what}": "t@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**os.environ, **roles, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
