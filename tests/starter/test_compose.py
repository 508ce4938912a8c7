"""Tests of host_tasks.observe.compose: the shell never wins over docker/.env; a stub `docker` answers."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from host_tasks.ground import runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import DOCKER_DIR
from host_tasks.observe import compose
from host_tasks.observe.compose import Mount

VALUES = {"USER": "ada", "UID": "1815", "GID": "1852", "COMPOSE_PROJECT_NAME": "x-00000000"}
PWD = {"PWD": str(DOCKER_DIR)}


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `docker` that is the only one on the PATH; the test writes it."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "docker"
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_values_win_over_the_shell() -> None:
    """An exported USER, UID or GID never reaches Compose: it would recreate the container."""
    shell = {"USER": "bob", "UID": "7", "GID": "8", "PATH": "/bin", "http_proxy": "http://p:1"}

    assert compose.environment(VALUES, shell) == {"PATH": "/bin", "http_proxy": "http://p:1", **VALUES, **PWD}


@pytest.mark.parametrize(
    "name",
    [
        *("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_ENV_FILES", "COMPOSE_DISABLE_ENV_FILE", "COMPOSE_PROFILES"),
        *("COMPOSE_BAKE", "DOCKER_BUILDKIT", "BASE_IMAGE", "CA_BUNDLE", "PIP_CONFIG", "JUPYTER_PORT"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    ],
)
def test_inherited_variable_does_not_retarget_the_call(name: str) -> None:
    """What names other files, projects or values is dropped, also where docker/.env has no value of its own."""
    assert compose.environment({}, {name: "other"}) == PWD


def test_link_on_the_way_makes_no_other_mount_sources() -> None:
    """Go believes PWD where it names the working directory: a clone that is reached through a link has one path."""
    assert compose.environment({}, {"PWD": "/a/link/docker"}) == PWD


@pytest.mark.parametrize("name", ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "HOME", "DATA_DIR"])
def test_variable_of_the_persons_own_is_kept(name: str) -> None:
    """The choice of an engine and the person's own variables pass: a Compose file of theirs may use them."""
    assert compose.environment(VALUES, {name: "mine"}) == {name: "mine", **VALUES, **PWD}


def test_call_runs_in_docker_with_the_values_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """One argument list, one directory, one environment."""
    calls: list[tuple[Any, Any]] = []
    monkeypatch.setattr(runner, "run", lambda *words, **options: calls.append((words, options)))
    monkeypatch.setenv("USER", "bob")

    compose.call(VALUES, "up", "a b", timeout_s=3)

    ((words, options),) = calls
    assert words == (["docker", "compose", "up", "a b"],)
    assert (options["cwd"], options["timeout_s"], options["env"]["USER"]) == (DOCKER_DIR, 3, "ada")
    assert options["env"]["PATH"] == os.environ["PATH"]


def test_call_by_name_reads_no_file_of_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found by the project's label needs neither docker/.env nor the Compose file, which may be broken."""
    calls: list[tuple[Any, Any]] = []
    monkeypatch.setattr(runner, "run", lambda *words, **options: calls.append((words, options)))
    monkeypatch.setenv("COMPOSE_FILE", "/other.yml")

    compose.call_by_name("x-00000000", "down")

    ((words, options),) = calls
    assert words == (["docker", "compose", "--project-name", "x-00000000", "down"],)
    assert (options["cwd"], options["env"]["PWD"]) == (Path("/").resolve(), "/")
    assert not {name for name in options["env"] if name.startswith("COMPOSE_")}


def says(stub: Path, model: object) -> None:
    """Let Compose print a model, behind a warning."""
    stub.write_text(f"#!/bin/sh\necho warning >&2; cat <<'END'\n{json.dumps(model)}\nEND\n", encoding="utf-8")


def test_model_is_read_from_compose(stub: Path) -> None:
    """The model is what `docker compose config` prints, its warnings aside; it doubles every $, and this undoes it."""
    says(stub, {"services": {compose.SERVICE: {"environment": {"PRICE": "5$$"}}}})

    assert compose.model(VALUES) == {"services": {compose.SERVICE: {"environment": {"PRICE": "5$"}}}}


def test_model_is_asked_for_with_the_values_of_the_file(stub: Path) -> None:
    """Compose gets the values of docker/.env, and is asked for JSON."""
    words = '{\\"services\\": {\\"jupyterlab-server\\": \\"$USER $*\\"}}'
    stub.write_text(f'#!/bin/sh\necho "{words}"\n', encoding="utf-8")

    assert compose.model(VALUES) == {"services": {compose.SERVICE: "ada compose config --format json"}}


@pytest.mark.parametrize(
    ("model", "names"),
    [({"services": {"db": {}, "web": {}}}, "db, web"), ({"services": {}}, "none"), ({}, "none")],
    ids=["others", "none", "no services at all"],
)
def test_model_without_the_server_ends_with_78(stub: Path, model: object, names: str) -> None:
    """A Compose file that lost our service is one error, not a KeyError later."""
    says(stub, model)

    with pytest.raises(HostError) as refusal:
        compose.model(VALUES)

    assert refusal.value.code == ExitCode.CONFIG
    assert refusal.value.problem == f"the Compose files declare no service jupyterlab-server, but {names}"


def test_broken_compose_file_ends_with_78_and_composes_own_words(stub: Path) -> None:
    """Compose names the file where it knows it, and the line; that is passed on."""
    stub.write_text("#!/bin/sh\necho 'yaml: line 7: did not find expected key' >&2; exit 15\n", encoding="utf-8")

    with pytest.raises(HostError) as refusal:
        compose.model(VALUES)

    assert (refusal.value.code, refusal.value.problem, refusal.value.fix) == (
        ExitCode.CONFIG,
        "Compose cannot read its files: yaml: line 7: did not find expected key",
        "invoke config",
    )


def test_hash_of_each_service_is_read_from_compose(stub: Path) -> None:
    """One line a service; what is no such line is left out."""
    stub.write_text("#!/bin/sh\necho 'jupyterlab-server 1a2b'; echo; echo 'db 3c4d'\n", encoding="utf-8")

    assert compose.hashes(VALUES) == {"jupyterlab-server": "1a2b", "db": "3c4d"}


def test_declared_mounts_are_the_bind_mounts_of_the_server() -> None:
    """Volumes and other services are left out; read_only is taken over."""
    data = {"type": "bind", "source": "/p/data", "target": "/home/ada/app/data"}
    doc = {"type": "bind", "source": "/p/doc", "target": "/home/ada/app/doc", "read_only": True}
    volume = {"type": "volume", "source": "lab-settings", "target": "/home/ada/.jupyter"}
    services = {compose.SERVICE: {"volumes": [data, volume, doc]}, "db": {"volumes": [data]}}

    assert compose.declared_mounts({"services": services}) == (
        Mount(Path("/p/data"), "/home/ada/app/data", read_only=False),
        Mount(Path("/p/doc"), "/home/ada/app/doc", read_only=True),
    )


def test_server_without_mounts_declares_none() -> None:
    """A person may take every mount out."""
    assert compose.declared_mounts({"services": {compose.SERVICE: {}}}) == ()
