"""What the texts say may be deleted can be: `test --all`, `.ci/run`, the workflows and the starter's tests go on."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aids import executable
from invoke.context import Context
from invoke.exceptions import Exit
from texts import MAY_GO

from host_tasks.extras import starter
from host_tasks.kit.paths import ROOT
from host_tasks.kit.runner import Finished
from host_tasks.subjects import run

CI, WORKFLOW = ROOT / ".ci" / "run", ROOT / ".github" / "workflows" / "test.yml"
# The tests that read what may go, or what names it.
READERS = ("test_binder_copy.py", "test_pictures.py", "test_pins.py", "test_texts.py", "test_worked_examples.py")
CHECKED = """
import suite
print(*(word for argv in (*suite.checkers(), *suite.audits()) for word in argv if word.startswith("/")), sep="\\n")
"""


def test_all_without_the_starters_tests_is_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`test --all` runs what is there, and passes."""
    monkeypatch.setattr(starter, "SUITE", tmp_path / "suite.py")
    codes = iter([0, 1])
    monkeypatch.setattr(run, "run_tests", lambda *_, **__: Finished((), next(codes), "", ""))

    starter.run_all.body(Context(), all_=True, yes=True, on=None)

    assert "All that was run has passed." in capsys.readouterr().err
    with pytest.raises(Exit) as failed:
        starter.run_all.body(Context(), all_=True, yes=True, on=None)
    assert "failed: your tests" in str(failed.value.message)


@pytest.mark.skipif(not CI.is_file(), reason="the person has deleted it")
def test_ci_runs_that_and_nothing_else(tmp_path: Path) -> None:
    """`.ci/run` calls no file that may go."""
    stub = executable(tmp_path / "path" / "python3", 'echo "$CI" "$@"')

    done = subprocess.run(
        [CI], env={"PATH": f"{stub.parent}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )

    assert done.stdout == "true tasks.py test --all --yes\n"


@pytest.mark.skipif(not WORKFLOW.is_file(), reason="the person has deleted it")
def test_workflow_passes_over_what_was_deleted() -> None:
    """What only the starter's tests can do is asked where they are there, and nothing of `.ci` is run."""
    steps: list[dict[str, Any]] = [
        step for job in yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values() for step in job["steps"]
    ]
    runs = {step["run"]: step.get("if", "") for step in steps if "run" in step}

    assert {words for words, only in runs.items() if "hashFiles('tests/starter/suite.py')" in only} == {
        words for words in runs if re.search(r"--(fast|lint|starter)\b", words)
    }
    assert "python3 tasks.py test --all --yes" in runs
    assert not [words for words in runs if ".ci" in words]


@pytest.mark.slow
def test_starters_tests_go_on_without_all_that_may_go(tmp_path: Path) -> None:
    """With all of it deleted, what reads those files passes, and the checkers are given none that is not there."""
    root = tmp_path / "clone"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, done.stdout.split("\0")):
        if not name.startswith(tuple(each for each in MAY_GO if each != "tests/starter")) and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    pytests = [sys.executable, "-m", "pytest", "--config-file=docker/pyproject.toml", "--rootdir=.", "-q"]

    tested = subprocess.run(
        [*pytests, *(f"tests/starter/{name}" for name in READERS)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    environ = {"PYTHONPATH": f"{root}/tests/starter:{root}/docker:{root}/docker/environment", "PATH": "/usr/bin:/bin"}
    checked = subprocess.run(
        [sys.executable, "-c", CHECKED], cwd=root, env=environ, capture_output=True, text=True, check=True
    )

    assert tested.returncode == 0, tested.stdout[-3000:]
    named = [Path(word) for word in checked.stdout.splitlines() if word.startswith(str(root))]
    assert len(named) > 10
    assert [path for path in named if not path.exists()] == []
