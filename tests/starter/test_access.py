"""Tests of host_tasks.setup.basics.fix_access: the command that gives a person what they may not use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from host_tasks.kit.paths import DOCKER_DIR

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such owners and modes")


def fix_of(path: str, folder: Path) -> str:
    """Return the command for a path, named from a folder; a process of its own, for it could go on without end."""
    code = "import sys; from host_tasks.setup.basics import fix_access; print(fix_access(sys.argv[1]))"
    argv = [sys.executable, "-c", code, path]
    environ = {**os.environ, "PYTHONPATH": str(DOCKER_DIR)}
    return subprocess.run(
        argv, cwd=folder, env=environ, capture_output=True, text=True, timeout=600, check=True
    ).stdout.strip()


@pytest.mark.parametrize("name", ["new", "no/such/folder/new", "./new", "here/new"])
def test_what_is_not_there_is_made_in_what_is(tmp_path: Path, name: str) -> None:
    """A name without a folder before it is one in the working directory, and the nearest folder is the one to open."""
    (tmp_path / "here").mkdir()

    assert fix_of(name, tmp_path) == f"chmod u+rwX {tmp_path / 'here' if name == 'here/new' else tmp_path}"


def test_link_to_nothing_is_made_in_its_folder(tmp_path: Path) -> None:
    """A link that leads nowhere can be opened no more than what is not there: it has neither owner nor mode."""
    (tmp_path / "link").symlink_to("gone")

    assert fix_of(str(tmp_path / "link"), tmp_path) == f"chmod u+rwX {tmp_path}"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(("theirs", "begins"), [(["file"], "sudo chown $(id -u) "), (["file", "."], "git clone ")])
def test_what_is_another_persons_is_taken_only_in_ones_own_folder(
    tmp_path: Path, theirs: list[str], begins: str
) -> None:
    """What lies in somebody else's folder is theirs: a clone of one's own harms nobody."""
    (tmp_path / "file").touch()
    for name in theirs:
        os.chown(tmp_path / name, 1234, 1234)

    assert fix_of("file", tmp_path).startswith(begins)
