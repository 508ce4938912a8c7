"""What the README, the manual and the texts beside them say, against what is there."""

import re
import subprocess
import sys

import pytest
import tried
from texts import Text, deleted, still_ours

from host_tasks import extras
from host_tasks.kit.paths import ROOT, STARTER_FILES, YOURS
from host_tasks.kit.words import ExitCode
from host_tasks.subjects.settings import own_keys

TEXTS = still_ours()
MANUAL = TEXTS["docker/README.md"]
FEW_WORDS = 900
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
    tree = re.search(r"^```\n(\.binder/.*?)^```", readme.content, re.DOTALL | re.MULTILINE)
    assert tree
    in_tree = [line.split()[0].rstrip("/") for line in tree[1].splitlines()]

    assert sorted({*in_tree} - deleted()) == sorted({name.split("/")[0] for name in tracked()})
    assert in_tree == sorted(in_tree)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_engines_of_the_texts_are_those_that_were_tried(text: Text) -> None:
    """The versions are those of the last runs of tests/starter/engines.py, and nobody's own words."""
    assert text.content == tried.said(text.content)


def test_texts_say_where_it_was_tried(readme: Text) -> None:
    """The manual has the table, and the README the versions."""
    assert tried.HEADING in MANUAL.content
    assert f"| engine | Docker Engine {tried.rows()[0]['engine']}" in readme.content


@pytest.mark.skipif(not (ROOT / ".ci").is_dir(), reason="the person has deleted it")
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
        name = str(target.relative_to(ROOT))
        if name.startswith(tuple(deleted())):
            continue
        assert name in files, link
        assert not anchor or anchor in Text(target.name, target.read_text(encoding="utf-8")).anchors, link


def test_starters_texts_link_to_the_starters_files_only() -> None:
    """A person may delete every text outside docker/: no link of the manual or the changelog leads there."""
    for text in (MANUAL, TEXTS["docker/CHANGELOG.md"]):
        assert not [link for link in text.links if link.startswith("..")], text.name


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts_name_only_tasks_that_exist(text: Text) -> None:
    """No text names a task that is neither in `--list` nor one for who works on the starter, which is not listed."""
    there = listed_tasks() | {task.name for task in extras.tasks()}

    assert set(re.findall(r"(?:tasks\.py|\binvoke) ([a-z]+)", text.content)) <= there | {"is"}


def test_manual_tells_every_task() -> None:
    """The manual's table of tasks has exactly those of `--list`."""
    in_table = [name for row in rows(MANUAL, "task") for name in names(row[0])]

    assert sorted(in_table) == sorted(listed_tasks())


def test_manual_tells_every_key_of_env() -> None:
    """The manual's tables of keys and of options have exactly those that the tasks write."""
    in_table = [name for row in rows(MANUAL, "key") for name in names(row[0])]
    in_table += [name for row in rows(MANUAL, "option of `up`") for name in names(row[1])]

    assert sorted(in_table) == sorted(own_keys())


def test_manual_tells_what_upgrades_touch() -> None:
    """The manual's table of owners has exactly what `upgrade` merges."""
    in_table = [name for row in rows(MANUAL, "file or folder") if row[2] == "merges" for name in names(row[0])]

    assert sorted(name.rstrip("/") for name in in_table) == sorted(STARTER_FILES)


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


@pytest.mark.skipif(not (ROOT / ".devcontainer").is_dir(), reason="the person has deleted it")
def test_editor_agrees_to_nothing() -> None:
    """To open the folder in VS Code installs no engine by sudo, and makes no stand-in: it says --yes to nothing."""
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")

    assert '"initializeCommand": "python3 tasks.py up"' in text
