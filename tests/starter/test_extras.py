"""Extras can be deleted: their tasks, options and rules go with them, and all else is as before."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aids import executable

from host_tasks.kit.paths import ROOT, YOURS

# What each extra brings: its files, tasks and options of `up`.
EXTRAS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "gpu": (("docker/docker-compose.gpu.yml",), (), ("--gpu", "--no-gpu")),
    "hardened": (("docker/docker-compose.hardened.yml",), (), ("--hardened", "--no-hardened")),
    "maintain": ((), ("bench",), ()),
    "record": ((), ("diff", "record"), ()),
    "share": ((), ("push", "save", "load"), ()),
    "slurm": (("docker/slurm.sh",), ("slurm",), ()),
    "ssh": ((), ("pull",), ("--on",)),
    "upgrade": (("docker/host_tasks/extras/_swap.py",), ("upgrade",), ()),
    "workers": (("docker/docker-compose.workers.yml",), (), ("--workers",)),
}
INFO = {"ServerVersion": "28.0", "ClientInfo": {"Plugins": [{"Name": "buildx", "Version": "1"}]}}
STUB = f"""
case "$1 $2" in
"info --format") echo '{json.dumps(INFO)}' ;;
"compose version") echo 2.30.0 ;;
"compose config") [ $# = 2 ] && echo "$*" || echo '{{"services": {{"jupyterlab-server": {{}}}}}}' ;;
*) exit 1 ;;
esac
"""
Task = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the tasks need."""
    root = tmp_path / "clone"
    shutil.copytree(ROOT / "docker", root / "docker", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("tasks.py", "environment.yml", ".dockerignore"):
        shutil.copy(ROOT / name, root)
    for name in YOURS:
        (root / name).mkdir()
    return root


@pytest.fixture
def task(tree: Path, tmp_path: Path) -> Task:
    """Run a task of the copy, with a stub `docker` that prints its words."""
    stub = executable(tmp_path / "path" / "docker", STUB)
    program = str(tree / "docker" / "host_tasks" / "setup" / "program.py")
    environ = {"PATH": f"{stub.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, "-I", program, *words]
        return subprocess.run(argv, cwd=tree, env=environ, capture_output=True, text=True, timeout=60, check=False)

    return run


def listed(task: Task) -> set[str]:
    """Return the names of the tasks that there are, listed or not."""
    script = task("--complete", "--", "invoke ").stdout.split()
    return {name for name in script if not name.startswith("-")}


def test_every_extra_is_named_here() -> None:
    """A new one gets its row, and with it this proof."""
    folder = ROOT / "docker" / "host_tasks" / "extras"

    assert {path.stem for path in folder.glob("[!_]*.py")} == set(EXTRAS)


@pytest.mark.parametrize("name", EXTRAS)
def test_extra_goes_with_all_that_it_brings(tree: Path, task: Task, name: str) -> None:
    """Its tasks and options are gone, and the others work; they were there before."""
    files, tasks, options = EXTRAS[name]
    before, help_before = listed(task), task("--help", "up").stdout

    for file in (f"docker/host_tasks/extras/{name}.py", *files):
        (tree / file).unlink()
    after, help_after, config = listed(task), task("--help", "up"), task("config")
    doctor = task("doctor", "--json")

    assert set(tasks) <= before
    assert after == before - set(tasks)
    assert all(option in help_before and option not in help_after.stdout for option in options)
    assert (help_after.returncode, config.returncode) == (0, 0), help_after.stderr + config.stderr
    assert config.stdout == "compose config\n"
    assert {"engine", "env-file", "mounts"} <= {finding["code"] for finding in json.loads(doctor.stdout)}, doctor.stderr
