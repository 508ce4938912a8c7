"""The name of a clone for Compose: legal for any folder, the same in every run, never shared by two clones."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from observed import Seen, engine

from host_tasks.kit.words import ExitCode
from host_tasks.loop import FAIL, OK, Finding
from host_tasks.subjects.clone import path, project_name

# Compose specification, "Name top-level element"; distribution/reference, path-component of an image name.
COMPOSE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
IMAGE_NAME = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")

FOLDERS = [
    pytest.param("my project", "my-project", id="space"),
    pytest.param("a:b", "a-b", id="colon"),
    pytest.param("$HOME", "home", id="variable"),
    pytest.param("$$", "project", id="dollars"),
    pytest.param("a#b", "a-b", id="number sign"),
    pytest.param("it's", "it-s", id="quote"),
    pytest.param('a"b', "a-b", id="double quote"),
    pytest.param("a\\b", "a-b", id="backslash"),
    pytest.param("a*", "a", id="asterisk"),
    pytest.param("a;b&c", "a-b-c", id="semicolon and ampersand"),
    pytest.param("a%20b", "a-20b", id="percent"),
    pytest.param("x" * 200, "x" * 30, id="200 characters"),
    pytest.param("x" * 29 + "-y", "x" * 29, id="cut at a hyphen"),
    pytest.param("e\u0301tude", "etude", id="NFD"),
    pytest.param("étude", "etude", id="NFC"),
    pytest.param("rocket🚀", "rocket", id="emoji"),
    pytest.param("研究", "project", id="only non-ASCII"),
    pytest.param("___", "project", id="underscores"),
    pytest.param("...", "project", id="dots"),
    pytest.param("do$(touch pwned)", "do-touch-pwned", id="command substitution"),
    pytest.param("docker", "project", id="docker"),
    pytest.param("DOCKER", "project", id="DOCKER"),
    pytest.param("2026_paper--v1.0", "2026-paper-v1-0", id="mixed separators"),
    pytest.param("-rf", "rf", id="hyphen first"),
    pytest.param("{a,b}|<c>", "a-b-c", id="braces and pipes"),
    pytest.param("ﬁt", "fit", id="ligature"),
]


def judged(root: Path) -> Finding:
    """Return what is said of a clone's path."""
    [finding] = path.found(Seen(root=root, engine=engine()))
    return finding


@pytest.mark.parametrize(("folder", "slug"), FOLDERS)
def test_project_name_of_any_folder_is_legal(folder: str, slug: str, tmp_path: Path) -> None:
    """Every folder that a file system takes gives a readable name, legal for Compose and for an image."""
    root = tmp_path / folder

    name = project_name(root)

    assert re.fullmatch(re.escape(slug) + "-[0-9a-f]{8}", name)
    assert COMPOSE_NAME.fullmatch(name)
    assert IMAGE_NAME.fullmatch(f"{name}-jupyterlab-server")
    assert judged(root).state == OK


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_project_name_of_random_folders_is_legal(folder: str) -> None:
    """No name that a folder can have breaks either grammar."""
    name = project_name(Path("/clones", folder))

    assert COMPOSE_NAME.fullmatch(name)
    assert IMAGE_NAME.fullmatch(name)


def test_project_name_differs_for_two_clones_with_one_folder_name(tmp_path: Path) -> None:
    """Two clones never share a name: `up` in one would destroy the other's container."""
    first, second = tmp_path / "a" / "study", tmp_path / "b" / "study"

    assert project_name(first) != project_name(second)
    assert project_name(first).rpartition("-")[0] == project_name(second).rpartition("-")[0] == "study"


def test_project_name_is_the_same_through_a_link(tmp_path: Path) -> None:
    """A clone has one name, however it is reached."""
    root, link = tmp_path / "study", tmp_path / "link"
    root.mkdir()
    link.symlink_to(root)

    assert project_name(link) == project_name(root)


def test_project_name_is_the_same_in_another_process() -> None:
    """The name does not depend on this process: hash() would, sha256 does not."""
    assert project_name(Path("/clones/study")) == "study-9878eed7"


def test_project_name_differs_for_a_worktree(tmp_path: Path) -> None:
    """A git worktree is a clone of its own."""
    root, tree = tmp_path / "study", tmp_path / "study-fix"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "-C"]
    subprocess.run(["git", "init", "--quiet", root], check=True, timeout=600)
    subprocess.run([*git, root, "commit", "--quiet", "--allow-empty", "--message", "x"], check=True, timeout=600)
    subprocess.run([*git, root, "worktree", "add", "--quiet", tree], check=True, timeout=600, capture_output=True)

    assert project_name(tree) != project_name(root)


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(b"a\tb", id="TAB"),
        pytest.param(b"a\nb", id="line break"),
        pytest.param(b"\x1b[2Ja", id="escape"),
        pytest.param(b"it's\x7f\\x", id="DEL with quote and backslash"),
        pytest.param(b"caf\xe9", id="Latin-1"),
    ],
)
@pytest.mark.parametrize("below", [pytest.param("", id="clone"), pytest.param("study", id="parent")])
def test_path_that_compose_cannot_read_is_refused(folder: bytes, below: str, tmp_path: Path) -> None:
    """Such a path is refused with its reason in one line, and the command in it repairs it."""
    name = os.fsdecode(folder)
    root = tmp_path / name / below
    try:
        root.mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes no such name")

    refused = judged(root)
    subprocess.run(["bash", "-c", refused.fix], check=True, timeout=600)

    assert (refused.state, refused.exit_code) == (FAIL, ExitCode.CONFIG)
    assert f"{refused.cause}{refused.fix}".isprintable()
    [repaired] = tmp_path.iterdir()
    assert judged(repaired / below).state == OK
    assert (repaired / below).is_dir()


def test_repair_of_a_path_executes_nothing(tmp_path: Path) -> None:
    """The command shown for a hostile name is only a move."""
    root = tmp_path / "$(touch pwned)`touch pwned`\t'"
    root.mkdir()

    refused = judged(root)

    subprocess.run(["bash", "-c", refused.fix], check=True, timeout=600, cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["$(touch pwned)`touch pwned`-'"]
    assert shlex.split(refused.fix)[0] == "mv"
