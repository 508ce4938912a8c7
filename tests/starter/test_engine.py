"""The engine: every way in which it cannot be used has one answer, and nothing is installed unasked.

A stub `docker` stands in for the command, so these tests need no engine; what it says is what docker 26
and 28 say.
"""

import functools
import io
import json
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aids import executable

from host_tasks.kit import lock, paths
from host_tasks.kit.client import DEFAULT_HOST, Endpoint, endpoint
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import ANEW, FAIL, OK, Ended, Finding, Seen, achieve
from host_tasks.subjects import compose, containers, engine, idmap
from host_tasks.subjects.engine import Engine, judge, state

ANSWERS: dict[str, Any] = {
    "ServerVersion": "26.1.5",
    "OSType": "linux",
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "ClientInfo": {"Plugins": [{"Name": "buildx", "Version": "0.13.1"}, {"Name": "compose", "Version": "2.26.1"}]},
}
SILENT = {**ANSWERS, "ServerVersion": ""}
PERMISSION_DENIED = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
    'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/info": dial unix /var/run/docker.sock: connect: permission denied'
)
UNREACHABLE = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"

Stub = Callable[..., Path]


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Return a function that puts a `docker` with the given answers first on the PATH, in a clean environment."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", engine.IN_GROUP_MARK, "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian"})
    monkeypatch.setattr(idmap, "client", lambda: SimpleNamespace(info=lambda: {"ServerVersion": "26.1.5"}))
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(info: object = ANSWERS, *, compose: str = "2.26.1-4", fails: str = "", context: str = "") -> Path:
        end = f"echo {shlex.quote(fails)} >&2; exit 1" if fails else "exit 0"
        return executable(
            folder / "docker",
            f"""case "$1" in
            info) echo {shlex.quote(json.dumps(info))}; {end} ;;
            compose) {compose if " " in compose else "echo " + compose} ;;
            context) {"echo " + context if context else "exit 1"} ;;
            version) echo 26.1.5 ;;
            esac""",
        )

    return write


@pytest.fixture
def hung_socket(tmp_path: Path) -> Iterator[Path]:
    """Return a socket that takes connections and never answers, as an engine under SIGSTOP does."""
    path = tmp_path / "hung.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield path


def problem() -> Finding:
    """Return what is wrong with the engine, which must be something."""
    found = judge(state(Seen()))
    assert found.state == FAIL
    return found


def installs(found: Finding) -> bool:
    """Return whether the installation script is offered."""
    return found.step is not None and found.step.key == ANEW


@pytest.mark.parametrize("version", ["2.26.1-4", "v2.40.3", "5.0.0", "2.100.0"])
def test_diagnose_usable_engine(stub: Stub, version: str) -> None:
    """An engine that answers, Compose from 2.26 on and buildx are all that is needed."""
    stub(compose=version)

    found = judge(state(Seen()))

    assert (found.state, found.cause) == (
        OK,
        f"engine 26.1.5, Compose {version}, at {DEFAULT_HOST}",
    )


def test_diagnose_without_docker(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No docker on the PATH must be named, with the command that installs it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engine, "PLACES", ())

    found = problem()

    assert (found.cause, found.fix) == ("docker is not on the PATH", "invoke up --yes")
    assert (found.exit_code, installs(found)) == (ExitCode.UNAVAILABLE, True)


def test_diagnose_without_docker_elsewhere(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the script cannot work, the fix must not name it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engine, "PLACES", ())
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "alpine"})

    assert (problem().fix, problem().step) == ("start Docker, or install it, see docs.docker.com", None)


@pytest.mark.parametrize(
    "complaint",
    ["unknown shorthand flag: 'd' in -d", "unknown flag: --short", "docker: unknown command: docker compose",
     "docker: 'compose' is not a docker command.", "it crashed"],
)  # fmt: skip
def test_diagnose_without_compose(stub: Stub, complaint: str) -> None:
    """A missing or broken Compose plugin must be called that, whatever docker calls it."""
    stub(compose=f"echo {shlex.quote(complaint)} >&2; exit 125")

    found = problem()

    assert found.cause == f"Docker Compose v2 not found: {complaint}"
    assert (found.exit_code, installs(found)) == (ExitCode.UNAVAILABLE, True)


@pytest.mark.parametrize("version", ["2.5.0", "2.25.9", "v1.29.2"])
def test_diagnose_old_compose(stub: Stub, version: str) -> None:
    """A Compose that is too old must be named with the needed and the found version."""
    stub(compose=version)

    found = problem()

    assert found.cause == f"Docker Compose is too old: needed 2.26, found {version}"
    assert (found.exit_code, installs(found)) == (ExitCode.UNAVAILABLE, False)


def test_diagnose_without_buildx(stub: Stub) -> None:
    """A plugin that docker lists without a version is a broken one."""
    stub({**ANSWERS, "ClientInfo": {"Plugins": [{"Name": "buildx", "Err": "exit status 3"}]}})

    assert (problem().cause, installs(problem())) == ("Docker buildx not found", True)


@pytest.mark.parametrize(
    "answer",
    [{"info": SILENT, "fails": UNREACHABLE}, {"info": {**SILENT, "ServerErrors": [UNREACHABLE]}},
     {"info": "no json object", "fails": "some new words"}],
    ids=["docker 28", "docker 26", "unknown"],
)  # fmt: skip
def test_diagnose_engine_down(stub: Stub, answer: dict[str, Any]) -> None:
    """An engine that is down on the default socket can be installed or started by the script."""
    stub(**answer)

    found = problem()

    assert found.cause == f"the engine is not reachable at {DEFAULT_HOST}"
    assert (found.exit_code, installs(found)) == (ExitCode.UNAVAILABLE, True)


@pytest.mark.parametrize("host", ["unix:///nope", "tcp://192.0.2.1:2375", "ssh://u@nope"])
def test_diagnose_named_host_down(stub: Stub, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """An engine that DOCKER_HOST names is never replaced by an installed one: the variable is named."""
    stub(SILENT, fails=UNREACHABLE.replace("unix:///var/run/docker.sock", host))
    monkeypatch.setenv("DOCKER_HOST", host)

    found = problem()

    assert found.cause == f"the engine is not reachable at {host} (DOCKER_HOST={host})"
    assert (found.fix, found.exit_code, found.step) == ("unset DOCKER_HOST", ExitCode.UNAVAILABLE, None)


def test_diagnose_unknown_context(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context that does not exist must be named with its variable."""
    says = 'Failed to initialize: unable to resolve docker endpoint: context "nope": context not found'
    stub({}, fails=says, compose=f"echo {shlex.quote(says)} >&2; exit 1")
    monkeypatch.setenv("DOCKER_CONTEXT", "nope")

    found = problem()

    assert found.cause == "docker knows no such context (DOCKER_CONTEXT=nope)"
    assert (found.fix, found.exit_code, found.step) == ("unset DOCKER_CONTEXT", ExitCode.UNAVAILABLE, None)


@pytest.mark.parametrize(
    "answer",
    [{"info": SILENT, "fails": PERMISSION_DENIED}, {"info": {**SILENT, "ServerErrors": [PERMISSION_DENIED]}}],
    ids=["docker 28", "docker 26"],
)
def test_diagnose_socket_denied(stub: Stub, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    """A refused socket must name the group and the command that joins it, and is not a case for installing."""
    stub(**answer)
    monkeypatch.setattr(engine, "waits_for_group", lambda: False)

    found = problem()

    assert found.cause == f"you may not use the engine at {DEFAULT_HOST}: you are not in group docker"
    assert found.fix == "sudo usermod -aG docker $(id -un) && newgrp docker"
    assert (found.exit_code, installs(found)) == (ExitCode.PERMISSION, False)


@pytest.mark.parametrize("scheme", ["unix", "ssh"])
def test_diagnose_hung_engine(stub: Stub, hung_socket: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """An engine that takes the call and never answers must not hold the task: 75 here, 69 elsewhere."""
    asks = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)"
    executable(
        stub().with_name("docker"),
        f'[ "$1" = info ] || exec echo 2.26.1\nexec {sys.executable} -c {shlex.quote(asks)} {hung_socket}',
    )
    monkeypatch.setenv("DOCKER_HOST", f"{scheme}://{hung_socket}")

    monkeypatch.setattr(engine, "COMMAND_S", 0.5)  # where it is not heeded, this does not end
    found = problem()

    assert "no answer within 0.5 s" in found.cause
    assert found.exit_code == {"unix": ExitCode.TRY_AGAIN, "ssh": ExitCode.UNAVAILABLE}[scheme]


@pytest.mark.parametrize(
    ("differs", "words"),
    [({"SecurityOptions": ["name=userns"]}, "userns-remap"), ({"OSType": "windows"}, "Windows containers")],
    ids=["userns", "windows"],
)  # fmt: skip
def test_diagnose_unsupported_engine(stub: Stub, differs: dict[str, Any], words: str) -> None:
    """An engine that maps ids or runs Windows is refused before a file gets a wrong owner."""
    stub({**ANSWERS, **differs})

    found = problem()

    assert words in found.cause
    assert (found.exit_code, installs(found)) == (ExitCode.CONFIG, False)


@pytest.mark.parametrize(
    ("host", "usable"),
    [("tcp://far:2376", False), ("ssh://u@far", False), ("tcp://127.0.0.1:2375", True), ("unix:///run/o.sock", True)],
)
def test_diagnose_other_machine(stub: Stub, monkeypatch: pytest.MonkeyPatch, host: str, *, usable: bool) -> None:
    """An engine of another machine is refused by the variable's name: a bind mount would show that machine's disk."""
    stub()
    monkeypatch.setenv("DOCKER_HOST", host)

    found = judge(state(Seen()))

    assert (found.state == OK) == usable
    there = host if host.startswith("ssh:") else "far"
    assert usable or (found.exit_code, found.fix) == (
        ExitCode.CONFIG,
        f"unset DOCKER_HOST && invoke up --on {there}",
    )
    assert usable or f"DOCKER_HOST={host} is another machine" in found.cause


def test_diagnose_other_machine_by_context(stub: Stub, tmp_path: Path) -> None:
    """The context that config.json makes the current one counts like a variable."""
    stub(context="ssh://u@far")
    config = tmp_path / "config" / "config.json"
    config.parent.mkdir()
    config.write_text('{"currentContext": "lab"}', encoding="utf-8")

    found = problem()

    assert f"the context lab of {config}" in found.cause
    assert found.fix == "docker context use default && invoke up --on ssh://u@far"


@pytest.mark.parametrize(
    ("environ", "host"),
    [({}, DEFAULT_HOST), ({"DOCKER_CONTEXT": "default"}, DEFAULT_HOST),
     ({"DOCKER_CONTEXT": "lab"}, "unix:///lab.sock"),
     ({"DOCKER_CONTEXT": "lab", "DOCKER_HOST": "unix:///x"}, "unix:///x")],
)  # fmt: skip
def test_endpoint_order(stub: Stub, environ: dict[str, str], host: str) -> None:
    """The order is docker's own: DOCKER_HOST, then DOCKER_CONTEXT, then the default socket."""
    stub(context="unix:///lab.sock")

    assert endpoint(environ).host == host


def test_podmans_command_is_told_from_dockers(stub: Stub) -> None:
    """It is called by its name: not a Docker that lacks Compose, which could be installed."""
    stub({"host": {}, "version": {}}, compose="echo 'Error: unrecognized command `podman compose`' >&2; exit 125")

    found = problem()

    assert found.cause.startswith("docker is Podman's command here")
    assert (found.exit_code, found.step) == (ExitCode.CONFIG, None)


@pytest.mark.parametrize(
    ("version", "has_command", "state", "cause"),
    [
        ("4.3.1", True, OK, f"Podman 4.3.1, Compose 2.26.1-4, at {DEFAULT_HOST}"),
        ("4.2.0", True, FAIL, "Podman is too old: needed 4.3, found 4.2.0"),
        ("5.8.6", False, FAIL, "podman is not on the PATH, and it builds for Podman's engine"),
    ],
    ids=["as old as was tried", "older", "without its command"],
)
def test_podman_is_no_docker_that_is_too_old_or_lacks_buildx(
    version: str, state: str, cause: str, *, has_command: bool
) -> None:
    """It has versions of its own, and builds by its own command."""
    told = Engine(Endpoint(DEFAULT_HOST), compose="2.26.1-4", info={"ServerVersion": version, "OSType": "linux"})

    found = judge(replace(told, podman=True, podman_builds=has_command))

    assert (found.state, found.cause) == (state, cause)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"BuildahVersion": "1"}, "Podman 26.1.5, "),
        ({"ServerVersion": "26.1.5"}, "engine 26.1.5, "),
        ({}, f"the engine at {DEFAULT_HOST} gave no answer within "),
    ],
    ids=["Podman", "Docker", "no answer in time"],
)
def test_podman_is_told_from_docker(stub: Stub, monkeypatch: pytest.MonkeyPatch, says: object, words: str) -> None:
    """By its own words to the SDK; without them nobody knows, and nothing is made of the version that it names."""
    stub()
    monkeypatch.setattr(idmap, "client", lambda: SimpleNamespace(info=lambda: says))

    assert judge(state(Seen())).cause.startswith(words)


def test_old_engine_is_named_with_both_versions(stub: Stub) -> None:
    """An engine that does not know the start interval of a health check would never be seen as healthy."""
    stub({**ANSWERS, "ServerVersion": "24.0.9"})

    assert problem().cause == "the engine is too old: needed 25.0, found 24.0.9"


def test_missing_sdk_is_told_from_a_missing_engine(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the SDK, `import docker` gives the folder docker/ as an empty package."""
    stub()
    monkeypatch.setitem(sys.modules, "docker", ModuleType("docker"))

    found = problem()

    assert found.cause == "the Python package docker is missing in .venv"
    assert found.fix == "rm -r .venv && python3 tasks.py --list"


@pytest.fixture
def install_script(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a script that brings the engine that is down; it leaves a file `log` beside itself."""
    repaired = stub().rename(tmp_path / "repaired")
    docker = stub(SILENT, fails=UNREACHABLE)
    script = executable(tmp_path / "install-engine.sh", f'echo "$@" >{tmp_path}/log; cp {repaired} {docker}')
    executable(docker.with_name("sudo"), 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"')
    monkeypatch.setattr(engine, "INSTALL_ENGINE", script)
    monkeypatch.setattr(lock, "held", functools.partial(lock.held, tmp_path / ".lock"))
    monkeypatch.setattr(containers, "ours", lambda seen: ())  # of this very clone, where it is at work
    return script


def test_ensure_unasked(install_script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal and without --yes nothing is installed; the refusal is what is wrong, and how to agree."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))

    with pytest.raises(HostError) as caught:
        achieve([engine.engine])

    assert (caught.value.code, caught.value.fix) == (ExitCode.UNAVAILABLE, "invoke up --yes")
    assert caught.value.problem == f"the engine is not reachable at {DEFAULT_HOST}"
    assert not install_script.with_name("log").exists()


def test_ensure_agreed(install_script: Path) -> None:
    """With --yes the script runs once, and the engine that it brought is taken."""
    achieve([engine.engine], yes=True)

    assert install_script.with_name("log").read_text(encoding="utf-8") == "\n"


def test_ensure_failed_script(install_script: Path) -> None:
    """A script that fails ends the task with its exit code in the message."""
    executable(install_script, "exit 69")

    with pytest.raises(HostError, match=r"install-engine\.sh ended with 69"):
        achieve([engine.engine], yes=True)


def test_ensure_named_host(install_script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With DOCKER_HOST elsewhere, --yes must install nothing: the person's engine is not ours to replace."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nope")

    with pytest.raises(HostError, match="DOCKER_HOST=unix:///nope"):
        achieve([engine.engine], yes=True)

    assert not install_script.with_name("log").exists()


SCRIPT = "docker/install-engine.sh"


@pytest.mark.parametrize(
    ("argv", "returncode", "last_line"),
    [([], 0, "Nothing to do: the engine answers, Compose and buildx are there."),
     (["--force"], 64, f"usage: sudo {SCRIPT} [--dry-run], or {SCRIPT} --rootless [--dry-run]")],
)  # fmt: skip
def test_script_changes_nothing(stub: Stub, argv: list[str], returncode: int, last_line: str) -> None:
    """Where all is there, or the words are wrong, the script must say so and change nothing."""
    stub()

    done = subprocess.run([paths.INSTALL_ENGINE, *argv], capture_output=True, text=True, timeout=600, check=False)

    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1]) == (returncode, "", last_line)


def test_script_names_no_archive() -> None:
    """Where packages come from is the machine's own decision: no address in the script."""
    assert "http" not in paths.INSTALL_ENGINE.read_text(encoding="utf-8")


def test_engine_that_went_away_amid_the_steps_is_not_installed() -> None:
    """It answered before the first step: the next call may find it again, and --yes agreed to no installation."""
    said = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
    gone = Engine(Endpoint(DEFAULT_HOST), info={}, said=said, compose="2.26.1", script_knows_this_system=True)
    here = replace(gone, info=ANSWERS)
    first = Seen({engine.state: here, containers.ours: ()})
    known = {engine.state: gone, containers.ours: (), compose.is_there: True}

    [amid] = engine.engine.found(Seen(known, tried={"build": Ended(ok=False)}, first=first))
    [before] = engine.engine.found(Seen(known))

    assert (amid.state, amid.step, amid.exit_code) == (FAIL, None, ExitCode.UNAVAILABLE)
    assert before.step is not None
