"""Tests of tasks.py as a person meets it: real processes in a copy of the tree, a stub `docker` where one is needed."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from invoke.collection import Collection
from invoke.tasks import Task

from host_tasks.ground import paths
from host_tasks.ground.paths import ROOT, YOURS

Invoke = Callable[..., "subprocess.CompletedProcess[str]"]


def tasks() -> list[Task]:  # type: ignore[type-arg]
    """Return the tasks of tasks.py."""
    spec = importlib.util.spec_from_file_location("tasks", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(Collection.from_module(module).tasks.values())


ALL = tasks()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a task needs."""
    root = tmp_path / "clone"
    written = shutil.ignore_patterns("__pycache__", ".env", ".lock", ".pip.conf")
    shutil.copytree(ROOT / "docker", root / "docker", ignore=written)
    shutil.copy(ROOT / "tasks.py", root)
    shutil.copy(ROOT / "environment.yml", root)
    for name in YOURS:
        (root / name).mkdir()
    return root


@pytest.fixture
def inv(tree: Path, tmp_path: Path) -> Invoke:
    """Run Invoke in the copy, in a folder of it, on a PATH with nothing but a stub `docker` that prints its words."""
    stub = tmp_path / "path" / "docker"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\necho "$PWD: $*: $COMPOSE_PROJECT_NAME"\n', encoding="utf-8")
    stub.chmod(0o755)

    def run(*words: str, folder: str = ".") -> "subprocess.CompletedProcess[str]":
        environ = {"PATH": f"{stub.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
        argv = [sys.executable, "-I", str(tree / "docker" / "host_tasks" / "setup" / "program.py"), *words]
        return subprocess.run(
            argv, cwd=tree / folder, env=environ, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_list_reads_like_a_table_of_contents_from_any_subfolder(inv: Invoke) -> None:
    """`inv --list` works deep in the tree and prints the first line of every task's docstring."""
    done = inv("--list", folder="docker/host_tasks")

    assert done.returncode == 0, done.stderr
    listed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  "))
    assert listed == {each.name.replace("_", "-"): str(each.__doc__).splitlines()[0] for each in ALL}
    assert {"env", "config", "build", "up", "down", "mounts", "url", "open"} < set(listed)
    assert {"logs", "shell", "run", "status", "test", "clean"} < set(listed)


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_task_says_what_it_does(each: "Task[Callable[..., None]]") -> None:
    """The first line is a sentence of at most 60 characters; what changes on disk, and whether to repeat, follows."""
    first, _, rest = str(each.__doc__).partition("\n")

    assert len(first) <= 60
    assert first.endswith(".")
    assert first[0].isupper()
    assert not rest or rest.startswith("\n")


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_help_names_parameters_only(each: "Task[Callable[..., None]]") -> None:
    """A help text for an option that is not there breaks every `inv`; an option without help explains nothing."""
    options = each.get_arguments()

    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["up", "--porto", "1"], "No idea what '--porto' is"),
        (["nonsense"], "No idea what 'nonsense' is"),
        (["up", "--port", "abc"], "--port abc is not between 1024 and 65535"),
        (["up", "--port", "80"], "--port 80 is not between 1024 and 65535"),
        (["run"], "no command to run"),
        (["run", "--"], "no command to run"),
    ],
    ids=["option", "task", "port-word", "port-80", "run-nothing", "run-dashes"],
)
def test_wrong_command_line_ends_with_64_in_two_lines(inv: Invoke, words: list[str], problem: str) -> None:
    """What cannot be meant is one error on stderr, the exit code of sysexits, and nothing on stdout or disk."""
    done = inv(*words)

    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith(f"error: {problem}\nfix: ")
    assert done.stderr.count("\n") == 2


@pytest.mark.parametrize("words", [["env"], ["config"], ["down"]], ids=" ".join)
def test_malformed_env_ends_with_78_and_stays_as_it_is(inv: Invoke, tree: Path, words: list[str]) -> None:
    """A docker/.env that cannot be read is named with its line, and no task touches it."""
    env_file = tree / "docker" / ".env"
    env_file.write_text("A=b\n1USER=x\n", encoding="utf-8")
    docker = tree.parent / "path" / "docker"
    info = '{"ServerVersion": "28", "ClientInfo": {"Plugins": [{"Name": "buildx", "Version": "1"}]}}'
    docker.write_text(f"#!/bin/sh\ncase $1 in info) echo '{info}' ;; *) echo 2.30.0 ;; esac\n", encoding="utf-8")

    done = inv(*words)

    assert (done.returncode, done.stdout) == (78, ""), done.stderr
    assert done.stderr.startswith("error: docker/.env:2: ")
    assert done.stderr.count("\n") == 2
    assert env_file.read_text(encoding="utf-8") == "A=b\n1USER=x\n"


def test_env_writes_the_file_beside_the_compose_file_from_any_subfolder(inv: Invoke, tree: Path) -> None:
    """`env` writes docker/.env, for its owner only, says what it wrote, and does nothing the second time."""
    first = inv("env", folder="notebooks")
    written = (tree / "docker" / ".env").read_bytes()
    second = inv("env", folder="docker")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (tree / "docker" / ".env").stat().st_mode & 0o777 == 0o600
    assert "add COMPOSE_PROJECT_NAME=clone-" in first.stdout
    assert second.stdout == "docker/.env: nothing to change\n"
    assert (tree / "docker" / ".env").read_bytes() == written
    assert list((tree / "notebooks").iterdir()) == []


def test_env_dry_run_writes_nothing(inv: Invoke, tree: Path) -> None:
    """`env --dry-run` prints the plan and leaves the tree as it is."""
    done = inv("env", "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "docker/.env: add UID=" in done.stdout
    assert not (tree / "docker" / ".env").exists()


def test_config_runs_compose_where_its_file_is(inv: Invoke, tree: Path) -> None:
    """`config` prints what Compose prints, run in docker/ with the project's own name, from any subfolder."""
    done = inv("config", folder="results")

    assert done.returncode == 0, done.stderr
    folder, words, project = done.stdout.strip().split(": ")
    assert (folder, words) == (str(tree / "docker"), "compose config")
    assert project.startswith("clone-")


def test_global_invoke_is_sent_to_the_command_that_works(tree: Path) -> None:
    """An `invoke` of another Python has neither our packages nor our pins: it is told what to type instead."""
    packages = str(importlib.metadata.distribution("invoke").locate_file(""))
    base = os.path.realpath(sys.executable)
    argv = [base, "-m", "invoke", "up", "--port", "9 9"]
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": packages}

    done = subprocess.run(argv, cwd=tree / "data", env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.splitlines()[1:] == ["fix: python3 ../tasks.py up --port '9 9'"]


@pytest.mark.parametrize("name", ["docker/__init__.py", "tests/docker", "docker/host_tasks/docker.py", "docker.py"])
def test_nothing_here_is_taken_for_the_docker_package(name: str) -> None:
    """A module or package called docker would hide the SDK from every task."""
    assert not (ROOT / name).exists()
    assert (ROOT / "docker").is_dir()


def test_folder_docker_does_not_hide_the_sdk(tree: Path) -> None:
    """Run from the project's root, where docker/ lies first on the path, `import docker` still finds the SDK."""
    script = "import tasks, docker; print(hasattr(docker, 'from_env'), hasattr(tasks, 'up'))"

    done = subprocess.run([sys.executable, "-c", script], cwd=tree, capture_output=True, text=True, check=False)

    assert done.stdout == "True True\n", done.stderr


@pytest.mark.parametrize("name", YOURS)
def test_folder_of_the_persons_own_explains_itself(name: str) -> None:
    """Each has a README of three lines: its name, what belongs here, what git ignores."""
    lines = (ROOT / name / "README.md").read_text(encoding="utf-8").splitlines()

    assert len(lines) == 3
    assert lines[0] == f"# {name}"
    assert f"~/app/{name}" in lines[1]
    assert lines[2].startswith("Git ignores ")


def test_paths_are_absolute_and_shown_as_a_person_writes_them() -> None:
    """Messages show a path relative inside the clone, and whole outside of it."""
    assert paths.ENV_FILE.is_absolute()
    assert paths.shown(paths.ENV_FILE) == "docker/.env"
    assert paths.shown(Path("/etc/hosts")) == "/etc/hosts"
