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
    "local": ((), (), ()),
    "record": ((), ("diff", "record"), ()),
    "reproduce": (("docker/reproduce.py",), ("reproduce",), ()),
    "share": ((), ("push", "save", "load"), ()),
    "slurm": (("docker/slurm.sh",), ("slurm",), ()),
    "ssh": ((), ("pull",), ("--on",)),
    "starter": ((), ("bench",), ()),
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


LOCAL = 'from invoke import task\n\n@task\ndef hello(c, name=\'you\'):\n    """Greet."""\n    print(\'hello\', name)\n'


def test_own_tasks_are_listed_and_run(tree: Path, task: Task) -> None:
    """A plain task of tasks_local.py is one like the others."""
    (tree / "tasks_local.py").write_text(LOCAL, encoding="utf-8")

    listing, said = task("--list"), task("hello", "--name", "ada")

    assert "hello" in listing.stdout
    assert "Greet." in listing.stdout
    assert (said.returncode, said.stdout) == (0, "hello ada\n")


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("import sys\nimport no_such\n", 2, "ModuleNotFoundError: No module named 'no_such'"),
        ("def a(:\n", 1, "SyntaxError: "),
        ("\n\nraise SystemExit(3)\n", 3, "SystemExit: 3"),
        ("from invoke import task\n@task\ndef f():\n    pass\n", 2, "TypeError: "),
    ],
)
def test_own_tasks_that_cannot_be_loaded_are_one_error(tree: Path, task: Task, text: str, line: int, why: str) -> None:
    """The line and the reason are told, and every other task works."""
    (tree / "tasks_local.py").write_text(text, encoding="utf-8")

    done = task("config")

    assert (done.returncode, done.stdout) == (0, "compose config\n")
    assert f"error: tasks_local.py:{line}: {why}" in done.stderr
    assert f"fix: correct line {line} of tasks_local.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_plain_task_in_tasks_py_is_a_task(tree: Path, task: Task) -> None:
    """Invoke's own decorator needs no brackets, and neither does the one of tasks.py."""
    with (tree / "tasks.py").open("a", encoding="utf-8") as file:
        file.write("\n\n@task\ndef greet(c):\n    print('hello')\n")

    assert task("greet").stdout == "hello\n"
