"""Every command of the README, run in its order in a fresh clone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROGRAM, ROOT, Clone

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)]
TEST_COMMAND = "python3 tasks.py test --yes"  # .ci/run runs it: this test is part of it


def test_readme_and_ci_agree_on_the_test_command() -> None:
    """`.ci/run` runs the command that the README gives for the tests."""
    assert [TEST_COMMAND] in BLOCKS
    assert TEST_COMMAND in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("task", sorted(set(re.findall(r"tasks\.py ([a-z]+)", README)) | {"clean", "open", "shell"}))
def test_readme_names_only_tasks_that_exist(task: str) -> None:
    """No task of the README's prose or table is missing from `invoke --list`."""
    argv = [sys.executable, "-I", str(ROOT / PROGRAM), "--list"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    assert re.search(rf"^  {task} ", listed, re.MULTILINE)


def test_every_block_runs_in_a_fresh_clone(clone: Clone, tmp_path: Path) -> None:
    """Each block, in its order, with a clone of this tree for the address of a fork: every line ends with 0."""
    origin = tmp_path / "origin"
    for command in (
        ["git", "init", "--quiet", "."],
        ["git", "add", "--all"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--message", "all"],
    ):
        assert clone.run(*command).returncode == 0
    clone.run("git", "clone", "--quiet", str(clone.root), str(origin))
    place = tmp_path
    try:
        for block in BLOCKS:
            if block == [TEST_COMMAND]:
                continue
            script = "set -eu\n" + "\n".join(block).replace("https://example.org/your/fork.git", str(origin))
            done = clone.run("bash", "-c", script, cwd=place)
            assert done.returncode == 0, f"{script}\n{done.stderr[-3000:]}"
            place = tmp_path / "my-project"
    finally:
        clone.run("python3", "tasks.py", "clean", cwd=tmp_path / "my-project")
