"""What the fault matrix stands on: a clone as somebody calls it, what of it must not change, and the faults themselves.

A fault is a function that makes one on a stage and yields the world in which a task meets it; leaving it undoes it.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aids import executable, wait_until
from conftest import PROGRAM, STUB, YOURS, Clone, cloned, docker
from private import RESTART, Private

from host_tasks.subjects.compose import SERVICE

PERSON = 1234  # uid and gid of an ordinary user that this machine need not know
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SOCKET = Path("/var/run/docker.sock")
OVERRIDE = "docker/docker-compose.override.yml"
# What a line for the shell finds: the clone's own invoke, and the rights of root without a question.
SHELL = r"""
invoke() {{ {PYTHON} -I {PROGRAM} "$@"; }}
sudo() {{ "$@"; }}
"""


@dataclass(frozen=True)
class World:
    """A clone, and how somebody calls its tasks there."""

    clone: Clone
    environ: Mapping[str, str] = field(default_factory=dict)
    become: tuple[str, ...] = ()  # the command that runs another as somebody, or somewhere, else
    cwd: Path | None = None  # None: the clone's root
    facts: Mapping[str, str] = field(default_factory=dict)  # what only the fault knows, for the expected lines
    meanwhile: Callable[[], None] | None = None  # what happens while the task meets the fault
    blind: bool = False  # whether the engine tells nobody what is on it

    def shell(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Run a script as the caller, in the caller's folder and environment."""
        words = {"PYTHON": sys.executable, "PROGRAM": str(self.clone.root / PROGRAM)}
        prelude = SHELL.format(**{name: shlex.quote(word) for name, word in words.items()})
        argv = [*self.become, "/bin/bash", "-c", prelude + script]
        return self.clone.run(*argv, cwd=self.cwd, timeout_s=120, **self.environ)

    def task(self, words: str) -> "subprocess.CompletedProcess[str]":
        """Run a task."""
        return self.shell(f"invoke {words}")

    def meet(self, words: str) -> "subprocess.CompletedProcess[str]":
        """Run a task while the fault comes."""
        with ThreadPoolExecutor(1) as pool:
            fault = pool.submit(self.meanwhile or (lambda: None))
            done = self.task(words)
            fault.result()
        return done

    def findings(self) -> list[dict[str, str]]:
        """Return what `doctor` has to say that is not good."""
        done = self.task("doctor --json")
        assert done.returncode in (0, 1, 2), done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        found: list[dict[str, str]] = json.loads(done.stdout)
        assert (done.returncode == 1) == any(each["state"] == "fail" for each in found), done.stdout
        return [each for each in found if each["state"] != "ok"]


@dataclass
class Stage:
    """The clones on which the faults are made, each built once."""

    clone: Clone
    folder: Path
    engine: Private | None = None  # None: the machine's own
    baseline: dict[bool, set[str]] = field(default_factory=dict)  # what `doctor` says of a healthy clone, by its state

    def world(self, **known: Any) -> World:
        """Return the world without a fault."""
        become = tuple(self.engine.argv()) if self.engine else ()
        return replace(World(self.clone, become=become), **known)

    def docker(self, *words: str) -> str:
        """Return the stdout of a docker command that must succeed."""
        if self.engine is None:
            return docker(*words)
        done = self.engine.run("docker", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def bring(self, *, runs: bool) -> None:
        """Start or stop the server, and learn once what is true of this machine where nothing is wrong."""
        running = self.docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={self.clone.project}")
        if runs != bool(running):
            done = self.world().task("up --yes" if runs else "down")
            assert done.returncode == 0, done.stderr[-3000:]
        if runs not in self.baseline:
            self.baseline[runs] = {each["code"] for each in self.world().findings()}

    def leftovers(self) -> str:
        """Return the ids of the containers, in any state, and of the networks of the clone."""
        label = f"label=com.docker.compose.project={self.clone.project}"
        containers = self.docker("ps", "--all", "--quiet", "--filter", label)
        return (containers + "\n" + self.docker("network", "ls", "--quiet", "--filter", label)).strip()


Fault = Callable[[Stage], AbstractContextManager[World]]


# What must not change.


def content(root: Path) -> dict[str, str]:
    """Return a digest of every file of the person's own, the target of every link, and the kind of the rest."""
    found = {}
    for path in [each for name in YOURS for each in (root / name, *(root / name).rglob("*"))]:
        kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file" if path.is_file() else "-"
        what = str(path.readlink()) if kind == "link" else ""
        found[str(path.relative_to(root))] = kind + (
            hashlib.sha256(path.read_bytes()).hexdigest() if kind == "file" else what
        )
    return found


def leftovers(clone: Clone) -> str:
    """Return the ids of the containers, in any state, and of the networks of a clone."""
    label = f"label=com.docker.compose.project={clone.project}"
    return "\n".join(
        [
            docker("ps", "--all", "--quiet", "--filter", label),
            docker("network", "ls", "--quiet", "--filter", label),
        ]
    ).strip()


def error_of(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    """Return the two lines of the one error of a task that ended with a code, without a traceback."""
    lines = done.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    # Of ours: conda shows one of its own amid a build.
    traceback = re.search("^Traceback", done.stderr, re.MULTILINE) is not None
    assert (done.returncode, len(errors), traceback) == (code, 1, False), done.stderr[-3000:]
    assert lines[-2] == errors[0]
    assert lines[-1].startswith("fix: ")
    return "\n".join(lines[-2:])


@contextmanager
def saved(path: Path) -> Iterator[None]:
    """Put a file, a link or a folder back as it was, whatever becomes of it meanwhile; a folder stays the same one."""
    kept = path.with_name(f".{path.name}.kept")
    there = os.path.lexists(path)
    if there:
        path.rename(kept)
        if kept.is_dir() and not kept.is_symlink():
            shutil.copytree(kept, path, symlinks=True, copy_function=copied)
            shutil.copystat(kept, path)
            owned_alike(kept, path)
        else:
            copied(kept, path)
    try:
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            path.unlink()
        if there:
            kept.rename(path)


def copied(source: str | Path, target: str | Path) -> None:
    """Copy a file with its mode, time and owner, or a link as one."""
    shutil.copy2(source, target, follow_symlinks=False)
    owned_alike(Path(source), Path(target))


def owned_alike(source: Path, target: Path) -> None:
    """Give a file to the owner of another where this process may."""
    with suppress(PermissionError):
        status = source.lstat()
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)


# Faults of an engine of one's own.

# What the Dockerfile of the private engine's clone makes of the base image: a stub, and nothing has to be installed.
SMALL = f"""
FROM ${{BASE_IMAGE}}
ARG username
ARG uid
ARG gid
RUN mkdir -p /srv && echo x >/srv/token
ENV JUPYTER_TOKEN_FILE=/srv/token PATH=/opt/conda/bin:/usr/local/bin:/usr/bin:/bin
{STUB}
USER ${{uid}}:${{gid}}
"""


def small_clone(root: Path, base: str) -> Clone:
    """Make a clone whose image is made in a second."""
    clone = cloned(root)
    dockerfile = root / "docker" / "Dockerfile"
    lines = dockerfile.read_text(encoding="utf-8").splitlines()
    dockerfile.write_text(next(line for line in lines if line.startswith("ARG BASE_IMAGE=")) + SMALL, encoding="utf-8")
    (root / "docker" / ".env").write_text(f"BASE_IMAGE={base}\n" if base else "", encoding="utf-8")
    return clone


def repaired_by_root(stage: Stage) -> dict[str, str]:
    """Return an environment in which `service docker restart` is the private engine's; the installer does it too."""
    restart = executable(stage.folder / "service" / "service", RESTART)
    (stage.clone.root / "docker" / "install-engine.sh").write_text(RESTART, encoding="utf-8")
    return {"PATH": f"{restart.parent}:{SYSTEM_PATH}"}


@contextmanager
def engine_that_is_frozen(stage: Stage) -> Iterator[World]:
    """Stop the engine in the middle of whatever it does."""
    assert stage.engine
    with saved(stage.clone.root / "docker" / "install-engine.sh"):
        stage.engine.signal("STOP")
        try:
            yield stage.world(environ=repaired_by_root(stage), blind=True)
        finally:
            stage.engine.restart()


@contextmanager
def engine_that_was_killed(stage: Stage) -> Iterator[World]:
    """Kill the engine while the server runs, and start it again."""
    assert stage.engine
    stage.engine.signal("KILL")
    stage.engine.restart()
    yield stage.world()


@contextmanager
def engine_killed_in_a_build(stage: Stage) -> Iterator[World]:
    """Kill the engine as soon as a step of the build runs."""
    assert stage.engine
    engine, step = stage.engine, "sleep 601.5"
    dockerfile = stage.clone.root / "docker" / "Dockerfile"

    def kill() -> None:
        wait_until(lambda: engine.run("pgrep", "--full", f"^{step}").returncode == 0, timeout_s=60, what=step)
        engine.signal("KILL")
        text = dockerfile.read_text(encoding="utf-8")
        dockerfile.write_text(text.replace(f"RUN {step}\n", ""), encoding="utf-8")

    with saved(dockerfile), saved(stage.clone.root / "docker" / "install-engine.sh"):
        with dockerfile.open("a", encoding="utf-8") as stream:
            stream.write(f"RUN {step}\n")
        try:
            yield stage.world(environ=repaired_by_root(stage), meanwhile=kill, blind=True)
        finally:
            engine.restart()


@contextmanager
def disk_that_is_full(stage: Stage) -> Iterator[World]:
    """Leave the engine's disk no room, and ask a build for some."""
    assert stage.engine
    filler = stage.engine.data / "filler"
    script = 'fallocate --length $(($(df --output=avail --block-size=1 "$1" | tail -n 1) - 8000000)) "$1/filler"'
    dockerfile = stage.clone.root / "docker" / "Dockerfile"
    with saved(dockerfile):
        with dockerfile.open("a", encoding="utf-8") as stream:
            stream.write("USER 0\nRUN head -c 50000000 /dev/zero >/large\n")
        done = stage.engine.run("sh", "-c", script, "sh", str(stage.engine.data))
        assert done.returncode == 0, done.stderr
        try:
            yield stage.world()
        finally:
            stage.engine.run("rm", str(filler))


def left_behind(kind: str) -> Fault:
    """Return the fault that a volume or a network has this clone's label, and no Compose file declares it."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        label, name = f"com.docker.compose.project={stage.clone.project}", f"{stage.clone.project}-{kind}"
        stage.docker(kind, "create", "--label", label, name)
        yield stage.world(blind=True, facts={"name": name})
        for each in ("container", "image", "volume", "network"):
            assert stage.docker(each, "ls", "--quiet", "--filter", f"label={label}") == ""

    return fault


@contextmanager
def base_image_not_chosen(stage: Stage) -> Iterator[World]:
    """Forget the choice of a stand-in, where there is one: the published image is asked for, and cannot be reached."""
    with env_says("BASE_IMAGE", "")(stage) as world:
        path = stage.clone.root / "docker" / ".env"
        path.write_text(path.read_text(encoding="utf-8").replace("BASE_IMAGE=\n", ""), encoding="utf-8")
        yield world


# Faults of the caller's environment.


def exported(**environ: str) -> Fault:
    """Return the fault that variables are exported."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        yield stage.world(environ=environ)

    return fault


def called_by(*become: str) -> Fault:
    """Return the fault that the task is called through another command."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        yield stage.world(become=become)

    return fault


@contextmanager
def healthy(stage: Stage) -> Iterator[World]:
    """No fault at all."""
    yield stage.world()


@contextmanager
def no_docker_on_the_path(stage: Stage) -> Iterator[World]:
    """Leave docker's folder out of the PATH, as cron does where docker is not in /usr/bin."""
    folder = stage.folder / "few"
    folder.mkdir(exist_ok=True)
    for name in ("bash", "cat", "env", "id", "kill", "sh", "sleep"):
        if not (folder / name).exists():
            (folder / name).symlink_to(shutil.which(name) or "/nonexistent")
    yield stage.world(environ={"PATH": str(folder)})


def other_docker(case: str) -> Fault:
    """Return the fault that docker's command answers something else, by a line of a shell's `case` on its words."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        body = f'case "$*" in\n{case}\nesac\nexec {shutil.which("docker")} "$@"'
        path = executable(stage.folder / "stubs" / "docker", body)
        script = stage.clone.root / "docker" / "install-engine.sh"
        with saved(script):
            script.write_text(f"echo repaired; rm {path}\n", encoding="utf-8")
            try:
                yield stage.world(environ={"PATH": f"{path.parent}:{os.environ['PATH']}"})
            finally:
                path.unlink(missing_ok=True)

    return fault


@contextmanager
def engine_that_never_answers(stage: Stage) -> Iterator[World]:
    """Name a socket in DOCKER_HOST that accepts and says nothing."""
    path = Path("/tmp") / f"hung-{os.getpid()}.sock"  # noqa: S108 - a socket's path is short (unix(7))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(50)
        try:
            yield stage.world(environ={"DOCKER_HOST": f"unix://{path}"}, facts={"socket": str(path)})
        finally:
            path.unlink()


@contextmanager
def engine_that_is_down(stage: Stage) -> Iterator[World]:
    """Hide the engine's socket from the caller."""
    script = stage.clone.root / "docker" / "install-engine.sh"
    hidden = 'mount -t tmpfs none /run && exec "$@"'
    with saved(script):
        script.write_text("echo repaired; umount /run\n", encoding="utf-8")
        yield stage.world(become=("unshare", "--mount", "sh", "-c", hidden, "sh"))


@contextmanager
def broken_settings_of_pip(stage: Stage) -> Iterator[World]:
    """Name a configuration of pip that pip cannot read."""
    path = stage.folder / "pip.conf"
    path.write_text("[global]\nindex-url\n", encoding="utf-8")
    yield stage.world(environ={"PIP_CONFIG_FILE": str(path)}, facts={"path": re.escape(str(path))})


@contextmanager
def broken_settings_of_invoke(stage: Stage) -> Iterator[World]:
    """Give the caller a home whose settings of Invoke are no YAML."""
    home = stage.folder / "home"
    home.mkdir(exist_ok=True)
    (home / ".invoke.yaml").write_text("tasks: [", encoding="utf-8")
    yield stage.world(environ={"HOME": str(home)})


# Faults of files.


def edited(name: str, old: str, new: str) -> Fault:
    """Return the fault that a file of the clone says something else."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        path = stage.clone.root / name
        with saved(path):
            text = path.read_text(encoding="utf-8")
            assert old in text, f"{name} has no {old!r}"
            path.write_text(text.replace(old, new, 1), encoding="utf-8")
            yield stage.world()

    return fault


def appended(name: str, line: str | bytes, **known: Any) -> Fault:
    """Return the fault that a file of the clone has one line more."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        path = stage.clone.root / name
        with saved(path):
            before = path.read_bytes() if path.exists() else b""
            path.write_bytes(before + (line.encode() if isinstance(line, str) else line) + b"\n")
            yield stage.world(facts={"line": str(before.count(b"\n") + 1)}, **known)

    return fault


def env_says(key: str, value: str) -> Fault:
    """Return the fault that docker/.env says something else of one key."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        path = stage.clone.root / "docker" / ".env"
        with saved(path):
            lines = [each for each in path.read_text(encoding="utf-8").splitlines() if not each.startswith(f"{key}=")]
            path.write_text("\n".join([*lines, f"{key}={value}", ""]), encoding="utf-8")
            yield stage.world(facts={"line": str(len(lines) + 1)})

    return fault


@contextmanager
def proxy_of_an_earlier_shell(stage: Stage) -> Iterator[World]:
    """Let the settings be of a shell that had a proxy."""
    folder = stage.clone.root / "docker"
    with saved(folder / ".env"):
        stage.clone.succeed("env", HTTP_PROXY="http://me:secret@proxy.invalid:3128")
        yield stage.world()
    (folder / ".proxies.conf").unlink()


def missing(name: str) -> Fault:
    """Return the fault that a file or folder of the clone is missing."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        path = stage.clone.root / name
        with saved(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            yield stage.world()

    return fault


def replaced(name: str, plant: Callable[[Path], object]) -> Fault:
    """Return the fault that something else stands in the place of a file or folder of the clone."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        path = stage.clone.root / name
        with saved(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            plant(path)
            yield stage.world(facts={"parent": re.escape(str(stage.clone.root.parent))})

    return fault


def a_file(path: Path) -> None:
    """Put a file there."""
    path.write_text("precious", encoding="utf-8")


def a_folder(path: Path) -> None:
    """Put a folder there."""
    path.mkdir()


def a_link(target: str) -> Callable[[Path], None]:
    """Return what puts a link there; its target is seen from the folder that it is in."""
    return lambda path: path.symlink_to(target)


def no_run_bits(stage: Stage) -> AbstractContextManager[World]:
    """Take the run bits of the scripts away, as a zip archive does."""

    @contextmanager
    def fault() -> Iterator[World]:
        scripts = [stage.clone.root / "postBuild", *(stage.clone.root / "docker").rglob("*.sh")]
        before = {path: path.stat().st_mode for path in scripts}
        for path in scripts:
            path.chmod(0o644)
        try:
            yield stage.world()
        finally:
            for path, mode in before.items():
                path.chmod(mode)

    return fault()


def override(text: str, *, of_service: bool = True) -> Fault:
    """Return the fault that the person's own Compose file says something, of the server or of its own."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        indented = "".join(f"    {line}\n" for line in text.splitlines())
        whole = f"services:\n  {SERVICE}:\n{indented}" if of_service else text
        path = stage.clone.root / OVERRIDE
        port = free_port()
        whole = whole.replace("FREE_PORT", str(port)).replace("IMAGE", f"{stage.clone.project}-{SERVICE}")
        path.write_text(whole.replace("FOLDER", str(stage.folder)), encoding="utf-8")
        try:
            yield stage.world(facts={"folder": re.escape(str(stage.folder))})
        finally:
            path.unlink(missing_ok=True)

    return fault


# Faults of ports and containers.


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def port_of_a_program(stage: Stage) -> Iterator[World]:
    """Let a program of this machine listen on a port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield stage.world(
            environ={"PORT": str(listener.getsockname()[1])}, facts={"port": str(listener.getsockname()[1])}
        )


@contextmanager
def own_port_taken(stage: Stage) -> Iterator[World]:
    """Let a program of this machine listen on the port that docker/.env names."""
    with port_of_a_program(stage) as world, env_says("JUPYTER_PORT", world.facts["port"])(stage):
        yield world


@contextmanager
def port_of_a_container(stage: Stage) -> Iterator[World]:
    """Let a container of somebody else publish a port."""
    name, port = f"{stage.clone.project}-holder", free_port()
    image = f"{stage.clone.project}-{SERVICE}"
    words = ("--publish", f"127.0.0.1:{port}:1", "--entrypoint", "sleep", image, "600")
    docker("run", "--detach", "--name", name, "--label", "com.docker.compose.project=", *words)
    try:
        yield stage.world(environ={"PORT": str(port)}, facts={"port": str(port), "name": name})
    finally:
        docker("rm", "--force", name)


def with_container(*words: str) -> Fault:
    """Return the fault that somebody does something to the server's container by hand."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        container = stage.clone.container_id()
        docker(*words, container)
        try:
            yield stage.world()
        finally:
            if words == ("pause",):
                stage.clone.run("docker", "unpause", container)

    return fault


@contextmanager
def mounted_below(stage: Stage) -> Iterator[World]:
    """Mount something below a mount that the server has already."""
    folder = stage.clone.root / "data" / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=True)
    try:
        yield stage.world()
    finally:
        stage.clone.succeed("down")
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


@contextmanager
def folder_replaced(stage: Stage) -> Iterator[World]:
    """Delete a folder that the server has, and put its copy there, as git and a backup do."""
    folder, copy = stage.clone.root / "results", stage.clone.root / "copy"
    shutil.copytree(folder, copy, symlinks=True, copy_function=copied)
    owned_alike(folder, copy)
    shutil.rmtree(folder)
    copy.rename(folder)
    yield stage.world()


@contextmanager
def processes_used_up(stage: Stage) -> Iterator[World]:
    """Start processes in the server until none can be started."""
    container = stage.clone.container_id()
    docker("update", "--pids-limit", "60", container)
    docker("exec", "--detach", container, "/bin/sh", "-c", "while true; do sleep 600 & done")
    stats = ("stats", "--no-stream", "--format", "{{.PIDs}}", container)
    wait_until(lambda: int(docker(*stats)) >= 58, timeout_s=60, what="the last process")
    try:
        yield stage.world()
    finally:
        docker("update", "--pids-limit", "8192", container)


@contextmanager
def service_of_a_profile(stage: Stage) -> Iterator[World]:
    """Start a service of a profile by hand: what Compose declares without the profile does not have it."""
    text = "services: {extra: {image: IMAGE, pull_policy: never, profiles: [more], entrypoint: [sleep, '600']}}\n"
    with override(text, of_service=False)(stage) as world:
        words = ("docker", "compose", "--profile", "more", "up", "--detach", "extra")
        done = stage.clone.run(*words, cwd=stage.clone.root / "docker")
        assert done.returncode == 0, done.stderr
        yield world
        assert stage.leftovers() == ""


def all_of(*faults: Fault) -> Fault:
    """Return several faults at once, as one."""

    @contextmanager
    def fault(stage: Stage) -> Iterator[World]:
        with ExitStack() as stack:
            worlds = [stack.enter_context(each(stage)) for each in faults]
            yield replace(
                worlds[-1],
                environ={name: value for each in worlds for name, value in each.environ.items()},
                facts={name: value for each in worlds for name, value in each.facts.items()},
            )

    return fault
