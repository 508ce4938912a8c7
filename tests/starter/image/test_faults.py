"""What an ordinary user meets, who is not root and may use the engine; the fault matrix has the rest."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import YOURS, Clone, cloned, removed, stubbed
from faults import PERSON, SOCKET, SYSTEM_PATH, Stage, error_of


@pytest.fixture
def person_clone() -> Iterator[Clone]:
    """A clone that belongs to an ordinary user, in a folder that this user can reach."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    clone = stubbed(cloned(folder / "theirs"))
    (folder / "home").mkdir()
    for path in [folder / "home", clone.root, *clone.root.rglob("*")]:
        os.chown(path, PERSON, PERSON, follow_symlinks=False)
    yield clone
    removed(clone)
    shutil.rmtree(folder)


def as_person(clone: Clone, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run `python3 tasks.py <words>` as an ordinary user who may use the engine."""
    groups = str(SOCKET.stat().st_gid)
    become = ["setpriv", f"--reuid={PERSON}", f"--regid={PERSON}", f"--groups={groups}", "--no-new-privs"]
    become += ["env"]  # what setpriv itself starts is still found with the rights of root
    python = next((each for each in (sys.executable, "/usr/bin/python3") if runs_as_person(become, each)), None)
    if python is None:
        pytest.skip("no Python of this machine lets an ordinary user make environments")
    become += [f"HOME={clone.root.parent / 'home'}", "USER=somebody", f"PATH={SYSTEM_PATH}"]
    return clone.run(*become, python, "tasks.py", *words)


def runs_as_person(become: list[str], python: str) -> bool:
    """Return whether the ordinary user may run this interpreter, and make environments with it."""
    done = subprocess.run([*become, python, "-c", "import venv, ensurepip"], cwd="/", capture_output=True, check=False)
    return done.returncode == 0


def test_ordinary_user_is_told_of_an_unwritable_source_and_owns_all_that_is_made(person_clone: Clone) -> None:
    """Root's results/ ends with 77 and the chown; after it `up` works, and every file belongs to the user outside."""
    results = person_clone.root / "results"
    os.chown(results, 0, 0)

    said = error_of(as_person(person_clone, "up", "--yes"), 77)
    left = Stage(person_clone, person_clone.root.parent).leftovers()
    command = said.rpartition("\nfix: sudo ")[2].split()
    subprocess.run(command, cwd=person_clone.root, check=True)
    up = as_person(person_clone, "up", "--yes")

    assert said.startswith(f"error: results is owned by 0:0 with mode 0755, so u{PERSON} ({PERSON}:{PERSON}) cannot")
    assert command == ["chown", "-R", f"{PERSON}:{PERSON}", "results"]
    assert left == ""
    assert up.returncode == 0, up.stderr[-3000:]
    assert up.stdout.splitlines()[-1].startswith("http://127.0.0.1:")
    inside = as_person(
        person_clone, "run", "--", "sh", "-c", "cd ~/app && touch results/r notebooks/n && id -u && id -g"
    )
    assert inside.stdout.split() == [str(PERSON)] * 2, inside.stderr
    whose = {(path.lstat().st_uid, path.lstat().st_gid) for path in (*results.rglob("*"), *yours(person_clone.root))}
    assert whose == {(PERSON, PERSON)}
    assert as_person(person_clone, "mounts").returncode == 0
    assert as_person(person_clone, "down").returncode == 0
    assert Stage(person_clone, person_clone.root.parent).leftovers() == ""
    owners = {path.lstat().st_uid for path in (person_clone.root, *(person_clone.root / "docker").rglob("*"))}
    assert owners == {PERSON}


def yours(root: Path) -> Iterator[Path]:
    """Yield everything in the six folders."""
    for name in YOURS:
        yield from (root / name, *(root / name).rglob("*"))
