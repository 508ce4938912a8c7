"""Another machine by ssh: a real sshd on this one, another user, another folder."""

import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aids import executable, wait_until
from conftest import PROGRAM, Clone, cloned, git, removed
from debian import missing
from faults import World
from lab import executed, status_of
from texts import FAR, still_ours
from users import User, ending, free_port, second_user

from host_tasks.kit.words import ExitCode

MANUAL = still_ours()["docker/README.md"]
SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
"""
SSH = """
Host 127.0.0.1
    IdentityFile {folder}/key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known
    StrictHostKeyChecking accept-new
"""


@dataclass(frozen=True)
class Far:
    """The other machine, as the tasks of a clone are told of it."""

    clone: Clone  # here
    on: str
    home: Path  # there
    environ: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The project there."""
        return self.home / self.clone.project

    def task(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a task here."""
        return self.clone.task(*words, **self.environ)

    def succeed(self, *words: str) -> str:
        """Run a task that must succeed and return its stdout."""
        return self.clone.succeed(*words, **self.environ)

    def fix(self, said: str) -> "subprocess.CompletedProcess[str]":
        """Paste the fix of the last error of a task."""
        lines = re.findall(r"^fix: (.*)$", said, re.MULTILINE)
        return World(self.clone, self.environ).shell(f"export PATH={shlex.quote(self.environ['PATH'])}\n{lines[-1]}")

    def connections(self) -> list[int]:
        """Return the processes of ssh that keep a connection for this clone."""
        argv = ["pgrep", "--full", f"ControlPath={self.home.parent}/.ssh/starter-.*ControlPersist"]
        found = subprocess.run(argv, capture_output=True, text=True, check=False)
        return [int(each) for each in found.stdout.split()]


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    """The user there, who may use the engine."""
    if reason := missing(["sshd", "rsync", "ssh"], ["openssh-server", "rsync", "openssh-client"]):
        pytest.skip(reason)
    with second_user("docker") as made:
        yield made


@pytest.fixture(scope="module")
def port(user: User) -> Iterator[int]:
    """The port of a server with keys of its own, for an ssh that knows them."""
    folder = user.folder
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    number = free_port()
    (folder / "sshd").write_text(SSHD.format(port=number, folder=folder), encoding="utf-8")
    (folder / "ssh").write_text(SSH.format(folder=folder), encoding="utf-8")
    executable(folder / "bin" / "ssh", f'exec {shutil.which("ssh")} -F {folder}/ssh "$@"')
    Path("/run/sshd").mkdir(exist_ok=True)
    argv = [str(shutil.which("sshd")), "-D", "-e", "-f", str(folder / "sshd")]
    with ending(subprocess.Popen(argv, stderr=subprocess.DEVNULL)):
        wait_until((folder / "sshd.pid").exists, what="sshd")
        yield number


@pytest.fixture(scope="module")
def far(user: User, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    """A clone here; no project is there yet."""
    clone = cloned(tmp_path_factory.mktemp("near") / "my project")
    for words in (["init", "--quiet"], ["add", "--all"]):
        git(clone, *words)
    environ = {"PATH": f"{user.folder / 'bin'}:{os.environ['PATH']}", "HOME": str(user.folder)}
    made = Far(clone, f"{user.name}@127.0.0.1:{port}", user.home, environ)
    yield made
    for each in made.connections():
        os.kill(each, signal.SIGTERM)
    removed(Clone(made.folder))
    removed(clone)


@pytest.fixture(scope="module")
def link(far: Far) -> str:
    """The link that `up --on` prints."""
    for name, content in {"data/big": "ignored", "src/mine.py": "x = 1\n", "src/gone.py": "y = 1\n"}.items():
        (far.clone.root / name).write_text(content, encoding="utf-8")
    return far.succeed("up", "--yes", "--on", far.on).splitlines()[-1]


def test_link_opens_here_what_runs_there(far: Far, user: User, link: str) -> None:
    """The server there runs as the user there; the link is of a port of this machine, and its token is asked for."""
    there = pwd.getpwnam(user.name)

    said = executed(link, "import os, pathlib; pathlib.Path('results/r').write_text('far'); print(os.getuid())")

    streams = [m["content"]["text"] for m in said if m["msg_type"] == "stream"]  # type: ignore[index]
    assert streams == [f"{there.pw_uid}\n"]
    assert (far.folder / "results" / "r").stat().st_uid == there.pw_uid
    assert not (far.clone.root / "results" / "r").exists()
    assert status_of(link.replace("token=", "token=0")) == 403


def test_environment_there_has_the_packages_of_the_one_here(far: Far, link: str) -> None:
    """`conda list` is the same on both machines."""
    listed = ("conda", "list", "--json")

    here = far.clone.succeed("run", "--yes", "--", *listed)

    assert json.loads(here) == json.loads(Clone(far.folder).inside(*listed).stdout)


def test_what_git_ignores_is_not_sent_and_what_is_new_is(far: Far, user: User, link: str) -> None:
    """The project there is what git tracks or would track, and a docker/.env of its own."""
    assert (far.folder / "src" / "mine.py").read_text(encoding="utf-8") == "x = 1\n"
    assert not (far.folder / "data" / "big").exists()
    assert f"USER={user.name}\n" in (far.folder / "docker" / ".env").read_text(encoding="utf-8")
    assert os.access(far.folder / "postBuild", os.X_OK)


def test_second_up_keeps_what_is_newer_there_and_all_that_runs(far: Far, link: str) -> None:
    """An edit here arrives, what it replaces is kept; a newer file there stays; server, connection and link stay.

    What was sent and is gone here goes there, where it is kept; what was made there stays.
    """
    (far.clone.root / "src" / "gone.py").unlink()
    (far.folder / "src" / "theirs.py").touch()
    near, there = far.clone.root / "src" / "mine.py", far.folder / "src" / "mine.py"
    notebook = Path("notebooks") / "penguins.ipynb"
    edited = near.stat().st_mtime + 60
    (far.folder / notebook).write_text("newer", encoding="utf-8")
    os.utime(far.folder / notebook, (edited, edited))
    near.write_text("x = 2\n", encoding="utf-8")
    os.utime(near, (edited, edited))
    before, container = far.connections(), Clone(far.folder).container_id()

    plan = far.task("up", "--on", far.on, "--dry-run").stderr
    unsent = there.read_text(encoding="utf-8")
    done = far.task("up", "--on", far.on)

    assert "src/mine.py" in plan
    assert "deleting src/gone.py" in plan
    assert not (far.folder / "src" / "gone.py").exists()
    assert (far.folder / "docker" / ".replaced" / "src" / "gone.py").is_file()
    assert (far.folder / "src" / "theirs.py").is_file()
    assert (unsent, there.read_text(encoding="utf-8")) == ("x = 1\n", "x = 2\n")
    assert (far.folder / "docker" / ".replaced" / "src" / "mine.py").read_text(encoding="utf-8") == "x = 1\n"
    assert (far.folder / notebook).read_text(encoding="utf-8") == "newer"
    assert f"{notebook} is newer" in done.stderr
    assert (done.stdout, far.connections(), Clone(far.folder).container_id()) == (f"{link}\n", before, container)


def test_pull_brings_results_and_spares_what_is_newer_here(far: Far, link: str) -> None:
    """`pull` brings a result, its owner is the caller; a newer file here stays, and what is replaced is kept."""
    here, there = far.clone.root / "results", far.folder / "results"
    for name, age_s in {"old": 60, "new": -60}.items():
        (there / name).write_text("there", encoding="utf-8")
        (here / name).write_text("here", encoding="utf-8")
        now = (there / name).stat().st_mtime
        os.utime(here / name, (now - age_s, now - age_s))
    (there / "inside").symlink_to("old")
    (there / "outside").symlink_to("/etc/passwd")

    far.succeed("pull", "--on", far.on)

    assert {each.name for each in here.iterdir()} >= {"old", "new", "inside"}
    assert not (here / "outside").is_symlink()
    assert [(here / name).read_text(encoding="utf-8") for name in ("old", "new", "inside")] == [
        "there",
        "here",
        "there",
    ]
    assert (far.clone.root / "docker" / ".replaced" / "results" / "old").read_text(encoding="utf-8") == "here"
    assert (here / "old").stat().st_uid == os.getuid()
    assert far.task("pull", "--on", far.on, "--folders", "docker").returncode == ExitCode.USAGE


def test_lost_connection_ends_nothing_and_comes_again(far: Far, link: str) -> None:
    """The server goes on without the connection; the next `up` says that it was lost, and the link is the same."""
    container = Clone(far.folder).container_id()
    for each in far.connections():
        os.kill(each, signal.SIGKILL)
    wait_until(lambda: not far.connections(), what="the end of the connection")

    done = far.task("up", "--on", far.on)

    assert f"The connection to {far.on} was lost" in done.stderr
    assert (done.stdout, Clone(far.folder).container_id()) == (f"{link}\n", container)
    assert status_of(link) == 200


def test_what_fails_there_is_told_with_a_shell_there(far: Far, link: str) -> None:
    """The error of there, its exit code, and a fix that opens a shell in the project there."""
    env = far.folder / "docker" / ".env"
    whole = env.read_text(encoding="utf-8")
    env.write_text(f"{whole}no line\n", encoding="utf-8")

    done = far.task("up", "--on", far.on)
    shell = far.fix(done.stderr)
    env.write_text(whole, encoding="utf-8")

    assert done.returncode == ExitCode.CONFIG
    assert "error: docker/.env:" in done.stderr
    assert f"error: `up` ended with {ExitCode.CONFIG:d} on {far.on}" in done.stderr
    assert shell.returncode == 0, shell.stderr


def test_every_task_of_the_day_is_done_there(far: Far, link: str) -> None:
    """`url` is of this machine, and the others say what they say there; what stands behind -- comes through."""
    words = ["python", "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "a b", "$HOME"]

    ran = far.task("run", "--on", far.on, "--", *words)

    assert (ran.returncode, ran.stdout) == (7, "['a b', '$HOME']\n")
    assert far.succeed("url", "--on", far.on) == f"{link}\n"
    assert json.loads(far.succeed("status", "--json", "--on", far.on))["project"] == Clone(far.folder).project
    assert {"engine", "mounts"} <= {
        each["code"] for each in json.loads(far.task("doctor", "--json", "--on", far.on).stdout)
    }
    assert "jupyterlab" in far.succeed("logs", "--tail", "5", "--on", far.on).lower()


@pytest.mark.parametrize("task", ["run", "logs"])
def test_line_that_is_cut_ends_nothing_there(far: Far, link: str, task: str) -> None:
    """A command goes on to its end, and who follows a log is told that what runs there goes on."""
    script = "echo begun; sleep 5; echo done >results/late"
    words = {"run": ["run", "--on", far.on, "--", "bash", "-c", script], "logs": ["logs", "--follow", "--on", far.on]}
    argv = [sys.executable, "-I", str(far.clone.root / PROGRAM), *words[task]]
    pipe, environ = subprocess.PIPE, {**os.environ, **far.environ}
    process = subprocess.Popen(argv, cwd=far.clone.root, env=environ, stdout=pipe, stderr=pipe)
    with ending(process):
        assert process.stdout
        process.stdout.readline()  # it has come through
        for each in far.connections():
            os.kill(each, signal.SIGKILL)
        said = process.communicate(timeout=600)[1].decode()

    assert process.returncode == ExitCode.UNAVAILABLE
    assert f"error: no connection to {far.on}; what runs there goes on" in said
    if task == "run":
        wait_until((far.folder / "results" / "late").exists, timeout_s=60, what="the end of what ran there")
    assert far.succeed("up", "--on", far.on) == f"{link}\n"


def test_fix_of_a_refused_docker_host_is_up_on_that_machine(far: Far, link: str) -> None:
    """An engine elsewhere would see that machine's files; its error's fix, pasted, starts the project there."""
    on = f"ssh://{far.on}"
    refused = far.clone.task("up", **far.environ, DOCKER_HOST=on)

    done = far.fix(refused.stderr)

    assert refused.returncode == ExitCode.CONFIG
    assert f"fix: unset DOCKER_HOST && invoke up --on {on}" in refused.stderr
    assert urlsplit(done.stdout.splitlines()[-1]).port == urlsplit(link).port, done.stderr


def test_down_ends_server_and_connection_and_leaves_the_files(far: Far, link: str) -> None:
    """The manual's commands end with `down --on`: nothing runs there or is connected, and the files are there."""
    assert far.connections()
    shown = next(block for block in MANUAL.blocks if FAR in block).replace(FAR, far.on)

    done = World(far.clone, far.environ).shell(f"set -e\n{shown.replace('python3 tasks.py', 'invoke')}")
    far.succeed("down", "--on", far.on)

    assert done.returncode == 0, done.stderr

    assert far.connections() == []
    assert Clone(far.folder).container_id() == ""
    assert (far.folder / "src" / "mine.py").is_file()


def test_failed_up_leaves_no_connection(far: Far, link: str) -> None:
    """Where none was there before; a machine without Python is told as that."""
    far.succeed("down", "--on", far.on)
    bashrc = far.home / ".bashrc"
    before = bashrc.read_text(encoding="utf-8") if bashrc.exists() else ""
    bashrc.write_text("PATH=/nonexistent\n" + before, encoding="utf-8")

    done = far.task("run", "--on", far.on, "--", "true")
    bashrc.write_text("echo Welcome\n" + before, encoding="utf-8")
    failed = far.task("up", "--on", far.on)
    fixed = far.fix(failed.stderr)

    assert f"error: {far.on} has no python3 on its PATH" in done.stderr
    assert "prints something before each command" in failed.stderr
    assert far.connections() == []
    assert fixed.returncode == 0
    assert bashrc.read_text(encoding="utf-8").startswith("case $- in")
    bashrc.write_text(before, encoding="utf-8")


def test_machine_that_is_not_there_is_one_error(far: Far) -> None:
    """No connection is an error of two lines with an exit code of its own."""
    done = far.task("pull", "--on", "nobody@127.0.0.1:1")

    assert done.returncode == ExitCode.UNAVAILABLE
    assert "error: no connection to" in done.stderr
