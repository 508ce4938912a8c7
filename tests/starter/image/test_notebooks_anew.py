"""Notebooks that are run anew: what is said of each, from a commit, without network, and past the person's files."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import PROGRAM, Clone, docker, git, wait_until
from seeded import SEEDS, Seed, code, notebook, said

TIMEOUT_S = 20  # that one of the notebooks uses up


@pytest.fixture(scope="module")
def told(built: Clone, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What is said of each notebook, by its name, and how it ended."""
    folder, outside = built.root / "notebooks" / "seeded", tmp_path_factory.mktemp("outside") / "file"
    folder.mkdir()
    for name, seed in SEEDS.items():
        (folder / f"{name}.ipynb").write_text(notebook(seed), encoding="utf-8")
    (folder / "no notebook.ipynb").write_text("{", encoding="utf-8")
    outside.write_text("mine", encoding="utf-8")
    (built.root / "results" / "reproduced.json").symlink_to(outside)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    names = [f"notebooks/seeded/{name}" for name in before]
    done = built.task("reproduce", "--as-is", "--json", "--", "--jobs=4", f"--timeout={TIMEOUT_S}", *names)

    assert done.returncode in (0, 1), done.stderr[-3000:]
    return {
        **{Path(one["notebook"]).stem: one for one in json.loads(done.stdout)["notebooks"]},
        "exit code": done.returncode,
        "unchanged": before == {path.name: path.read_bytes() for path in folder.iterdir()},
        "outside": outside.read_text(encoding="utf-8"),
        "results": {path.name for path in (built.root / "results").iterdir()},
    }


@pytest.mark.parametrize("name", SEEDS)
def test_seeded_notebook_is_named_rightly(name: str, told: Mapping[str, Any]) -> None:
    """It is the same, differs, fails, is unstable or has nothing stored, and by a text, a number or a picture."""
    found = told[name]
    worst = [cell for cell in found["cells"] if cell["state"] == found["state"]]

    assert (found["state"], worst[0].get("kind", "") if worst else "") == SEEDS[name][:2], found


def test_run_leaves_two_files_and_follows_no_link(told: Mapping[str, Any]) -> None:
    """The notebooks and what they write stay in the container; what is planted in the report's place is replaced."""
    assert told["exit code"] == 1
    assert told["unchanged"]
    assert told["outside"] == "mine"
    assert told["results"] == {"README.md", "reproduced.json", "reproduced.md"}
    assert told["no notebook"]["state"] == "fails"


def test_example_passes_from_its_commit(built: Clone) -> None:
    """What is committed is run; a change that is not asks for another word."""
    git(built, "init", "--quiet")
    git(built, "add", "--all", ".")
    git(built, "commit", "--quiet", "--message", "Begin")

    done = built.task("reproduce", "--json", "--", "notebooks/penguins.ipynb")
    (built.root / "src" / "new.py").touch()
    refused = built.task("reproduce")

    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert json.loads(done.stdout)["origin"].startswith("commit ")
    assert (refused.returncode, refused.stderr.splitlines()) == (
        *(78, ["error: not as the last commit has it: src/new.py", "fix: invoke reproduce --as-is"]),
    )


def test_new_outputs_are_stored_where_that_is_asked_for(built: Clone) -> None:
    """What is stored then is what comes again; nothing else of the notebook changes."""
    path = built.root / "notebooks" / "stored.ipynb"
    path.write_text(notebook(Seed("", "", [code("print(1)", said("2\n"))])), encoding="utf-8")
    before = json.loads(path.read_text(encoding="utf-8"))

    done = built.task("reproduce", "--as-is", "--write", "--", "notebooks/stored.ipynb")
    after = json.loads(path.read_text(encoding="utf-8"))

    assert done.returncode == 0, done.stderr[-3000:]
    assert "notebooks/stored.ipynb, cell 1  differs  stdout: 2 is now 1;" in done.stdout
    assert after["cells"][0].pop("outputs") == [{"name": "stdout", "output_type": "stream", "text": ["1\n"]}]
    after["cells"][0]["source"] = "".join(after["cells"][0]["source"])  # nbformat writes lines
    before["cells"][0].pop("outputs")
    assert after == before
    assert path.stat().st_uid == int(built.owner[0])


def test_ctrl_c_leaves_no_container(built: Clone) -> None:
    """It ends with 130, and what it started is gone."""
    path = built.root / "notebooks" / "long.ipynb"
    path.write_text(notebook(Seed("", "", [code("import time; time.sleep(1000)")])), encoding="utf-8")
    argv = [sys.executable, "-I", PROGRAM, "reproduce", "--as-is", "--", "notebooks/long.ipynb"]
    name = f"name={built.project}-reproduce-"
    with subprocess.Popen(argv, cwd=built.root, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        next(line for line in process.stderr if line.startswith("run 1 of 2"))

        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()

    assert process.returncode == 130, rest
    wait_until(lambda: docker("ps", "--all", "--quiet", "--filter", name) == "", what="the container's end")
