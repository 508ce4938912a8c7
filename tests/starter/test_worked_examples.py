"""The three examples of CONTRIBUTING.md, followed in a scratch clone: what they promise is what comes of them."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from test_extras import Task, task, tree
from texts import still_ours

__all__ = ["task", "tree"]
GUIDE = still_ours().get("CONTRIBUTING.md")
DIFFS = re.findall(r"^```diff\n(.*?)^```$", GUIDE.content if GUIDE else "", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.skipif(not DIFFS, reason="CONTRIBUTING.md is the person's own")


def follow(tree: Path, number: int) -> None:
    """Make the changes of an example."""
    argv = ["git", "apply", "--unidiff-zero", "-"]
    done = subprocess.run(argv, cwd=tree, input=DIFFS[number], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_new_rule_is_asked_by_doctor(tree: Path, task: Task) -> None:
    """It has its code, and is at its place."""
    follow(tree, 0)

    done = task("doctor", "--json")

    codes = [finding["code"] for finding in json.loads(done.stdout)]
    assert codes.index("many-files") == codes.index("scripts") + 1, done.stderr


def test_new_choice_is_an_option_a_key_and_a_file(tree: Path, task: Task) -> None:
    """`up --debug` is planned with its file, and `status` has its row."""
    follow(tree, 1)

    planned = task("up", "--debug", "--dry-run").stdout
    facts = json.loads(task("status", "--json").stdout)

    assert "--no-debug" in task("--help", "up").stdout
    assert "touches: DEBUG, COMPOSE_FILE in docker/.env" in planned
    assert facts["debug"] == "no"
    assert "docker-compose.debug.yml" in (tree / "docker" / "README.md").read_text(encoding="utf-8")


def test_new_extra_has_its_task(tree: Path, task: Task) -> None:
    """It is listed, and prints what it promises."""
    follow(tree, 2)
    (tree / "data" / "a.csv").write_text("12345", encoding="utf-8")

    done = task("sizes")

    assert "Print how much each of the six folders holds." in task("--list").stdout
    assert ["data", "5"] in [line.split() for line in done.stdout.splitlines()], done.stderr
