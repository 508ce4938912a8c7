"""The first day as a project's owner: what is not needed is deleted, the rest is one's own, and all goes on working."""

import json
import shutil

import pytest
from conftest import Clone, git

pytestmark = pytest.mark.engines

NOT_NEEDED = (
    *("tests/starter", ".binder", ".ci", ".devcontainer", ".editorconfig", ".gitattributes", ".github"),
    *("CONTRIBUTING.md", "SECURITY.md", "postBuild", "requirements.txt", "docker/examples", "docker/pictures"),
    *("bin", "data", "doc", "notebooks", "results", "src", "tests/test_trends.py"),
)
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "a",
            "metadata": {},
            "outputs": [],
            "source": "import study\nopen('../results/size.txt', 'w').write(study.size(10**6))",
        }
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
OWN = {
    "README.md": "# Study\n",
    "LICENSE": "All rights reserved.\n",
    ".gitignore": "/results/\n__pycache__/\n",
    "src/pyproject.toml": '[project]\nname = "study"\nversion = "1"\ndependencies = ["humanize"]\n',
    "src/study/__init__.py": "import humanize\n\n\ndef size(count):\n    return humanize.naturalsize(count)\n",
    "tests/test_study.py": "import study\n\n\ndef test_size():\n    assert study.size(1000) == '1.0 kB'\n",
    "notebooks/study.ipynb": json.dumps(NOTEBOOK),
    "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "--no-such-option"\n\n[tool.ruff]\nline-length = 40\n',
}


@pytest.fixture(scope="module")
def own(clone: Clone) -> Clone:
    """A project of its owner's."""
    for name in NOT_NEEDED:
        path = clone.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for name, content in OWN.items():
        (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
        (clone.root / name).write_text(content, encoding="utf-8")
    for words in (["init", "--quiet", "."], ["add", "--all"], ["commit", "--quiet", "--message", "My own"]):
        git(clone, *words)
    return clone


def test_own_package_is_tested_and_own_notebook_runs(own: Clone) -> None:
    """What src/pyproject.toml requires is installed, tests and notebook import the package, git is clean."""
    own.succeed("up", "--yes")

    tested = own.task("test", "--yes")
    own.succeed("run", "--", "jupyter", "nbconvert", "--execute", "--to", "html", "notebooks/study.ipynb")

    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "1 passed" in tested.stdout
    assert (own.root / "results" / "size.txt").read_text(encoding="utf-8") == "1.0 MB"
    assert json.loads(own.succeed("status", "--json"))["server"] == "healthy"
    changed = own.run("git", "status", "--porcelain").stdout
    assert changed == "?? notebooks/study.html\n"


def test_lock_goes_on_working(own: Clone) -> None:
    """It needs nothing of what was deleted, and is for this machine only where a stand-in is the base."""
    own.succeed("lock", "--yes")

    own.succeed("up", "--yes")
    (made,) = (own.root / "environment.lock").rglob("conda-linux-64.txt")
    assert "/humanize-" not in made.read_text(encoding="utf-8")
    assert "humanize==" in made.with_name("pip-linux-64.txt").read_text(encoding="utf-8")


def test_starters_tests_are_missed_in_two_lines(own: Clone) -> None:
    """Whoever deleted them is told so, and gets no traceback."""
    done = own.task("test", "--starter")

    assert done.returncode == 78
    assert done.stderr.splitlines()[-2:] == [
        "error: tests/starter is not here: the starter's tests were deleted",
        "fix: invoke test",
    ]
