"""Clones are islands: any folder name works, and none touches another's containers."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Clone, cloned, docker, git, removed, stubbed
from lab import status_of

AT_ONCE = 4  # journeys; each waits for its server half of the time
TEN = 10

# FAULTS 1.14 in full: each of these names broke the short mount syntax, Compose's own project name, or a shell.
NAMES = [
    pytest.param("my project", id="space"),
    pytest.param("a:b", id="colon"),
    pytest.param("$HOME", id="variable"),
    pytest.param("${UID:-x}", id="interpolation"),
    pytest.param("$$", id="dollars"),
    pytest.param("a#b", id="number sign"),
    pytest.param("it's", id="quote"),
    pytest.param('a"b', id="double quote"),
    pytest.param("a\\b", id="backslash"),
    pytest.param("a*[b]?", id="globs"),
    pytest.param("a;&b", id="semicolon"),
    pytest.param("a&b", id="ampersand"),
    pytest.param("a%20b", id="percent"),
    pytest.param("a,b=c", id="comma"),
    pytest.param("-rf", id="option"),
    pytest.param("x" * 200, id="200 characters"),
    pytest.param("e\u0301tude", id="NFD"),
    pytest.param("rocket🚀", id="emoji"),
    pytest.param("研究", id="only non-ASCII"),
    pytest.param("___", id="underscores"),
    pytest.param("...", id="dots"),
    pytest.param("do$(touch pwned)", id="command substitution"),
    pytest.param("`touch pwned`", id="backticks"),
]


@dataclass(frozen=True)
class Journey:
    """What became of `up`, a file written inside, and `down` in one folder."""

    up: str  # "" = it ended with 0, else what it said
    status: int  # of the link
    saved: str  # what the file written inside says on the host
    down: str  # as up
    left: str  # ids of the containers that are left


def journey(root: Path) -> Journey:
    """Make a clone in a folder, start it, write a file inside, stop it."""
    clone = stubbed(cloned(root))
    try:
        up = clone.task("up", "--yes")
        if up.returncode != 0:
            return Journey(up.stderr[-300:] or "failed", 0, "", "", "")
        status = status_of(up.stdout.splitlines()[-1])
        clone.inside("sh", "-c", 'cd "$PROJECT_DIR" && echo "$HOSTNAME" >data/saved')
        container = clone.container_id()
        saved = (root / "data" / "saved").read_text(encoding="utf-8").strip()
        down = clone.task("down")
        label = f"label=com.docker.compose.project={clone.project}"
        return Journey(
            "",
            status,
            "its own" if container.startswith(saved) else saved,
            down.stderr if down.returncode else "",
            docker("ps", "--all", "--quiet", "--filter", label),
        )
    finally:
        removed(clone)


@pytest.fixture(scope="module")
def journeys(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, "Future[Journey]"]]:
    """The journeys of the selected names, under way a few at once."""
    parent = tmp_path_factory.mktemp("names")
    selected = [item for item in request.session.items if "journeys" in getattr(item, "fixturenames", ())]
    names = [item.callspec.params["name"] for item in selected if hasattr(item, "callspec")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(journey, parent / name) for name in names}
        pool.shutdown(cancel_futures=True)
    assert list(parent.rglob("pwned")) == []
    assert not Path("pwned").exists()


@pytest.mark.parametrize("name", NAMES)
def test_folder_name_works_end_to_end(name: str, journeys: dict[str, "Future[Journey]"]) -> None:
    """Up, a link that answers, a file that lands in this very folder, and down: no name breaks or executes anything."""
    assert journeys[name].result() == Journey(up="", status=200, saved="its own", down="", left="")


@pytest.mark.parametrize("name", ["a\tb", "a\nb"], ids=["TAB", "line break"])
def test_folder_name_that_compose_cannot_read_is_refused(name: str, make_clone: Callable[[str], Clone]) -> None:
    """`up` and `env` end with 78 and the reason, before anything is written; `down` needs no path, and says so."""
    clone = make_clone(name)

    done = [clone.task(*words) for words in (["up", "--yes"], ["env"])]

    assert [each.returncode for each in done] == [78, 78]
    for each in done:
        assert "has a control character (TAB, line break)" in each.stderr
        assert each.stderr.count("\n") == 2
    assert clone.task("down").returncode == 0
    assert not (clone.root / "docker" / ".env").exists()


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Clone, str]]]:
    """Ten clones, all in a folder of the same name, brought up at once by ten processes; each with its link."""
    parent = tmp_path_factory.mktemp("ten")
    clones = [stubbed(cloned(parent / str(number) / "my-project")) for number in range(TEN)]
    with ThreadPoolExecutor(TEN) as pool:
        try:
            ups = [pool.submit(clone.succeed, "up", "--yes") for clone in clones]
            wait(ups)  # all of them, before one that failed lets the removal begin
            yield [(clone, up.result().splitlines()[-1]) for clone, up in zip(clones, ups, strict=True)]
        finally:
            list(pool.map(removed, clones))


def test_ten_clones_start_at_once_on_ten_ports(ten: list[tuple[Clone, str]]) -> None:
    """Ten `up` at the same moment, none told a port: ten links answer, each of another port and another project."""
    ports = {link.split(":")[2].partition("/")[0] for _, link in ten}

    assert [status_of(link) for _, link in ten] == [200] * TEN
    assert len(ports) == TEN
    assert len({clone.project for clone, _ in ten}) == TEN


def test_down_leaves_the_containers_of_other_clones(ten: list[tuple[Clone, str]]) -> None:
    """`down` in one of ten clones of one folder name: nine containers are the ones they were, and answer."""
    (first, gone), *others = ten
    before = [clone.container_id() for clone, _ in others]

    first.succeed("down")

    assert first.container_id() == ""
    assert [clone.container_id() for clone, _ in others] == before
    assert all(before)
    assert [status_of(link) for _, link in others] == [200] * (TEN - 1)
    with pytest.raises(OSError, match="refused"):
        status_of(gone)


def test_worktree_is_a_clone_of_its_own_and_a_link_is_not(make_clone: Callable[[str], Clone], tmp_path: Path) -> None:
    """`up` and `down` in a git worktree leave the clone's container; through a symbolic link it is the same clone."""
    clone = stubbed(make_clone("study"))
    git(clone, "init", "--quiet")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "x")
    git(clone, "worktree", "add", "--quiet", str(tmp_path / "fix" / "study"))
    tree = Clone(tmp_path / "fix" / "study")
    (tmp_path / "link").symlink_to(clone.root)
    try:
        clone.succeed("up", "--yes")
        container = clone.container_id()

        tree.succeed("up", "--yes")
        Clone(tmp_path / "link").succeed("up", "--yes")
        there = tree.container_id()
        tree.succeed("down")
    finally:
        removed(tree)

    assert there not in ("", container)
    assert clone.container_id() == container


def test_moved_clone_names_its_old_containers(make_clone: Callable[[str], Clone]) -> None:
    """A clone moved while its server ran says at `down` and `up` what runs and how to remove it; then it works."""
    old = stubbed(make_clone("study"))
    old.succeed("up", "--yes")
    old_project = old.project
    name = f"{old_project}-jupyterlab-server-1"
    new = Clone(old.root.rename(old.root.with_name("study, the second")))
    try:
        refused = [new.task("down"), new.task("up", "--yes")]
        problem, _, fix = refused[0].stderr.rstrip().partition("\nfix: ")
        still = docker("ps", "--quiet", "--filter", f"name=^{name}$")
        repaired = subprocess.run(["bash", "-c", fix], cwd=new.root, capture_output=True, text=True, check=False)
        left = docker("ps", "--all", "--quiet", "--filter", f"name=^{name}$")

        assert [each.returncode for each in refused] == [78, 78], refused
        assert refused[1].stderr.splitlines()[-2:] == refused[0].stderr.splitlines()[-2:]
        assert name in problem
        assert old_project in problem
        assert (bool(still), repaired.returncode, left) == (True, 0, ""), repaired.stderr
        new.succeed("up", "--yes")
        assert new.project != old_project
    finally:
        removed(new)


def on_engine(clone: Clone) -> list[str]:
    """Return the names of all that the engine has of a clone."""
    label = f"label=com.docker.compose.project={clone.project}"
    listed = [docker(kind, "ls", "--quiet", "--filter", label) for kind in ("volume", "network", "image")]
    listed.append(docker("ps", "--all", "--quiet", "--filter", label))
    listed.append(docker("images", "--quiet", f"{clone.project}-*"))
    return [name for names in listed for name in names.split()]


SETTINGS = "$HOME/.jupyter/lab/user-settings/layout"


def test_renamed_clone_takes_its_settings_along(make_clone: Callable[[str], Clone]) -> None:
    """JupyterLab's settings come along under the new name, and the engine keeps nothing under the old one."""
    old = make_clone("study")
    old.succeed("up", "--yes")
    old.inside("sh", "-c", f'mkdir -p "{SETTINGS}" && echo mine >"{SETTINGS}/a"')
    old.succeed("down")
    gone = on_engine(old)
    new = Clone(old.root.rename(old.root.with_name("renamed")))
    try:
        planned = new.succeed("up", "--yes", "--dry-run")
        done = new.task("up", "--yes")
        kept = new.inside("sh", "-c", f'cat "{SETTINGS}/a" && echo more >>"{SETTINGS}/a"').stdout

        assert gone
        assert done.returncode == 0, done.stderr
        assert f"1. take over what {old.project} has" in planned
        assert f"this clone was moved, and under its old name there is still the volume {old.project}_" in done.stderr
        assert (kept, on_engine(old)) == ("mine\n", [])
        assert new.succeed("up", "--yes", "--dry-run") == "Nothing to do.\n"
    finally:
        removed(new)


def test_clean_of_a_renamed_clone_leaves_nothing_of_either_name(make_clone: Callable[[str], Clone]) -> None:
    """`clean` after a clone was renamed removes what it made under its old name too."""
    old = make_clone("study")
    old.succeed("up", "--yes")
    old.succeed("down")
    new = Clone(old.root.rename(old.root.with_name("renamed")))

    new.succeed("clean")

    assert on_engine(old) == on_engine(new) == []


def test_copied_clone_leaves_the_original_alone(make_clone: Callable[[str], Clone]) -> None:
    """A copy of a clone, docker/.env and all, gets a project and a port of its own while the original runs on."""
    original = stubbed(make_clone("study"))
    link = original.succeed("up", "--yes").splitlines()[-1]
    container = original.container_id()
    had = on_engine(original)
    copy = Clone(Path(shutil.copytree(original.root, original.root.with_name("study-2"), symlinks=True)))
    try:
        assert copy.values() == original.values()

        copied_link = copy.succeed("up", "--yes").splitlines()[-1]
        copy.succeed("clean")
    finally:
        removed(copy)

    assert copied_link.split("?")[0] != link.split("?")[0]
    assert copy.project != original.project
    assert original.container_id() == container
    assert (on_engine(original), on_engine(copy)) == (had, [])
    assert status_of(link) == 200


def test_clone_in_the_place_of_a_moved_one_is_not_shown_its_files(make_clone: Callable[[str], Clone]) -> None:
    """A new clone at the path of a moved one finds the old container there: it says so, and never serves its files."""
    old = stubbed(make_clone("study"))
    old.succeed("up", "--yes")
    moved = old.root.rename(old.root.with_name("study-old"))
    new = stubbed(cloned(old.root))

    refused = new.task("up", "--yes")
    new.succeed("down")
    new.succeed("up", "--yes")
    new.inside("sh", "-c", 'touch "$PROJECT_DIR/data/new"')

    assert refused.returncode == 78, refused.stderr
    assert "invoke down" in refused.stderr.splitlines()[-1]
    assert (new.root / "data" / "new").is_file()
    assert not (moved / "data" / "new").exists()
