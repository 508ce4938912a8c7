"""Tests of tasks.py as a person meets it: real processes in a copy of the tree, a stub `docker` where one is needed."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aids import executable
from invoke.collection import Collection
from invoke.tasks import Task

from host_tasks.kit import paths
from host_tasks.kit.paths import ROOT, YOURS
from host_tasks.setup.basics import CALLED_AS

Invoke = Callable[..., "subprocess.CompletedProcess[str]"]


def tasks() -> list[Task]:  # type: ignore[type-arg]
    """Return the tasks of tasks.py."""
    spec = importlib.util.spec_from_file_location("tasks", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(Collection.from_module(module).tasks.values())


def hidden(task: Task) -> bool:  # type: ignore[type-arg]
    """Return whether a task is for who works on the starter itself, and not listed."""
    return bool(getattr(task, "hidden", False))


ALL = tasks()
ONLY_PRINTS = ("open", "logs", "status")  # of which the first line says all


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
    stub = executable(tmp_path / "path" / "docker", 'echo "$PWD: $*: $COMPOSE_PROJECT_NAME"')

    def run(*words: str, folder: str = ".", told: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
        environ = {"PATH": f"{stub.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8", **more}
        program = str(tree / "docker" / "host_tasks" / "setup" / "program.py")
        argv = [sys.executable, "-I", *(["-c", told, program] if told else [program]), *words]
        return subprocess.run(
            argv, cwd=tree / folder, env=environ, capture_output=True, text=True, timeout=600, check=False
        )

    return run


def test_list_reads_like_a_table_of_contents_from_any_subfolder(inv: Invoke) -> None:
    """`inv --list` works deep in the tree and prints the first line of every task's docstring."""
    done = inv("--list", folder="docker/host_tasks")

    assert done.returncode == 0, done.stderr
    listed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  "))
    assert listed == {
        each.name.replace("_", "-"): str(each.__doc__).splitlines()[0] for each in ALL if not hidden(each)
    }
    assert {"env", "config", "build", "up", "down", "mounts", "url", "open"} < set(listed)
    assert {"logs", "shell", "run", "status", "doctor", "test", "clean"} < set(listed)


@pytest.mark.parametrize("form", ["invoke", "./tasks.py"])
def test_bash_completes_both_forms(tree: Path, tmp_path: Path, form: str) -> None:
    """What `--print-completion-script` prints completes tasks and options of the form that printed it."""
    program = tree / "docker" / "host_tasks" / "setup" / "program.py"
    called = executable(tmp_path / "forms" / form, f'{CALLED_AS}={form} exec {sys.executable} -I {program} "$@"')
    script = (
        f"source <({form} --print-completion-script bash); complete -p {form} >&2; COMP_WORDS=({form} up --po); "
        f'_complete_{form} {form} --po up; echo "${{COMPREPLY[@]}}"; COMP_WORDS=({form} st); '
        f'_complete_{form} {form} st; echo "${{COMPREPLY[@]}}"'
    )
    environ = {"PATH": f"{called.parent}:/usr/bin:/bin", "HOME": str(tree)}

    done = subprocess.run(
        ["bash", "-c", script], cwd=called.parent, env=environ, capture_output=True, text=True, timeout=600, check=False
    )

    assert done.stdout == "--port\nstatus\n", done.stderr
    assert f"_complete_{form} {form}" in done.stderr


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_task_says_what_it_does(each: "Task[Callable[..., None]]") -> None:
    """The first line is a sentence of at most 60 characters; what it means for files and containers follows."""
    first, _, rest = str(each.__doc__).partition("\n")

    assert len(first) <= 60
    assert re.fullmatch(r"[A-Z].*\.", first)
    assert re.fullmatch("" if each.name in ONLY_PRINTS else r"\n *[A-Z].*\.\s*", rest, re.DOTALL)


@pytest.mark.parametrize("name", ["env", "build", "up", "down", "clean"])
def test_task_that_changes_something_says_that_it_may_be_repeated(name: str) -> None:
    """Who is not sure whether it worked does it again: the help says that this is safe."""
    assert "Safe to repeat" in str(next(each for each in ALL if each.name == name).__doc__)


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_help_names_parameters_only(each: "Task[Callable[..., None]]") -> None:
    """A help text for an option that is not there breaks every `inv`; an option without help explains nothing."""
    options = each.get_arguments()

    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_options_are_words(each: "Task[Callable[..., None]]") -> None:
    """A letter that Invoke makes up changes its meaning when an option comes or goes."""
    assert [name for option in each.get_arguments() for name in option.names if len(name) == 1] == []


def test_command_without_dashes_is_told_with_them(inv: Invoke) -> None:
    """Invoke takes its words for tasks; the fix is the command that was meant."""
    done = inv("run", "--yes", "ls", "-l")

    assert done.returncode == 64
    assert done.stderr.splitlines()[-1].endswith(" run --yes -- ls -l")


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


@pytest.mark.parametrize("words", [["env"], ["config"]], ids=" ".join)
def test_malformed_env_ends_with_78_and_stays_as_it_is(inv: Invoke, tree: Path, words: list[str]) -> None:
    """A docker/.env that cannot be read is named with its line, and no task touches it."""
    env_file = tree / "docker" / ".env"
    env_file.write_text("A=b\n1USER=x\n", encoding="utf-8")
    docker = tree.parent / "path" / "docker"
    info = '{"ServerVersion": "28", "ClientInfo": {"Plugins": [{"Name": "buildx", "Version": "1"}]}}'
    executable(docker, f"case $1 in info) echo '{info}' ;; *) echo 2.30.0 ;; esac")

    done = inv(*words)

    assert (done.returncode, done.stdout) == (78, ""), done.stderr
    assert done.stderr.startswith("error: docker/.env:2: ")
    assert done.stderr.count("\n") == 2
    assert env_file.read_text(encoding="utf-8") == "A=b\n1USER=x\n"


@pytest.mark.parametrize("words", [["down"], ["logs"]], ids=" ".join)
def test_malformed_env_keeps_nobody_from_looking_and_stopping(inv: Invoke, tree: Path, words: list[str]) -> None:
    """These need the project's name alone: what they end with here is that no engine answers."""
    (tree / "docker" / ".env").write_text("1USER=x\n", encoding="utf-8")

    done = inv(*words, DOCKER_HOST="unix:///nonexistent.sock")

    assert done.returncode == 69
    assert "docker/.env" not in done.stderr


def test_env_writes_the_file_beside_the_compose_file_from_any_subfolder(inv: Invoke, tree: Path) -> None:
    """`env` writes docker/.env, for its owner only, says what it wrote, and does nothing the second time."""
    first = inv("env", folder="notebooks")
    written = (tree / "docker" / ".env").read_bytes()
    second = inv("env", folder="docker")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (tree / "docker" / ".env").stat().st_mode & 0o777 == 0o600
    assert "docker/.env: add COMPOSE_PROJECT_NAME=clone-" in first.stderr
    assert (first.stdout, second.stdout) == ("", "")
    assert second.stderr == "docker/.env is up to date.\n"
    assert (tree / "docker" / ".env").read_bytes() == written
    assert list((tree / "notebooks").iterdir()) == []


def test_env_dry_run_writes_nothing(inv: Invoke, tree: Path) -> None:
    """`env --dry-run` prints the plan and leaves the tree as it is; once written there is nothing to do."""
    done = inv("env", "--dry-run")
    written = (tree / "docker" / ".env").exists()
    inv("env")
    again = inv("env", "--dry-run")

    assert (done.returncode, done.stdout.splitlines()[:2]) == (
        0,
        ["1. write docker/.env", "   why: there is no docker/.env yet"],
    )
    assert not written
    assert (again.returncode, again.stdout, again.stderr) == (0, "Nothing to do.\n", "")


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


LOADED = """
import atexit, runpy, sys
heavy = {"docker.client", "requests", "concurrent.futures.thread", "urllib.request"}  # ours
heavy |= {"yaml", "invoke.vendor.yaml.reader", "ssl", "asyncio", "email", "importlib.metadata"}  # Invoke's
atexit.register(lambda: print("loaded:", *sorted(heavy & set(sys.modules)), flush=True))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("words", [["--list"], ["env"], ["config"], ["config", "--explain"]], ids=" ".join)
def test_what_is_not_needed_is_not_loaded(inv: Invoke, tree: Path, words: list[str]) -> None:
    """Neither the SDK nor an engine, nor what Invoke has for cases that are none here: they cost more than the task."""
    stub = tree.parent / "path" / "docker"
    executable(stub, '[ "$1 $2" = "compose config" ] || echo "asked: $*" >&2')

    done = inv(*words, told=LOADED)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"
    assert "asked:" not in done.stderr


def test_what_is_needed_is_seen_to_be_loaded(inv: Invoke) -> None:
    """The twin of the test above: `status` asks the engine, so the SDK is loaded, and that is seen."""
    done = inv("status", told=LOADED, DOCKER_HOST="unix:///nonexistent.sock")

    assert "docker.client" in done.stdout.splitlines()[-1]


def test_version_is_that_of_invoke(inv: Invoke) -> None:
    """It is told though no start looks for it."""
    assert inv("--version").stdout == f"Invoke {importlib.metadata.version('invoke')}\n"


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


def test_paths_are_absolute_and_shown_as_a_person_writes_them() -> None:
    """Messages show a path relative inside the clone, and whole outside of it."""
    assert paths.ENV_FILE.is_absolute()
    assert paths.shown(paths.ENV_FILE) == "docker/.env"
    assert paths.shown(Path("/etc/hosts")) == "/etc/hosts"
