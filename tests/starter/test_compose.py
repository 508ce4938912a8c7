"""Tests of host_tasks.subjects.compose: the shell never wins over docker/.env; a stub `docker` answers."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aids import executable
from observed import settings as settings_of

from host_tasks.kit import paths, runner
from host_tasks.kit.paths import DOCKER_DIR
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import Seen
from host_tasks.subjects import compose, images, settings
from host_tasks.subjects.compose import Mount
from host_tasks.subjects.images import Built

VALUES = {"USER": "ada", "UID": "1815", "GID": "1852", "COMPOSE_PROJECT_NAME": "x-00000000"}
OURS = {"PWD": str(DOCKER_DIR), "BUILDX_BUILDER": "default", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `docker` that is the only one on the PATH; the test writes it."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return executable(tmp_path / "docker", "")


ASKED_FOR_JSON = """case "$*" in *json) echo '{"services": {"jupyterlab-server": {}}}'; exit ;; esac"""


def started(built: Built) -> Seen:
    """Return what is seen where this was written down of the last start."""
    return Seen({**seen().facts, images.last_build: built})


def seen() -> Seen:
    """Return what is seen where docker/.env is to hold these values."""
    return Seen({settings.now: settings_of(COMPOSE_PROJECT_NAME=VALUES["COMPOSE_PROJECT_NAME"])})


def test_values_win_over_the_shell() -> None:
    """An exported USER, UID or GID never reaches Compose: it would recreate the container."""
    shell = {"USER": "bob", "UID": "7", "GID": "8", "PATH": "/bin", "http_proxy": "http://p:1"}

    assert compose.environment(VALUES, shell) == {"PATH": "/bin", "http_proxy": "http://p:1", **VALUES, **OURS}


@pytest.mark.parametrize(
    "name",
    [
        *("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_ENV_FILES", "COMPOSE_DISABLE_ENV_FILE", "COMPOSE_PROFILES"),
        *("COMPOSE_BAKE", "DOCKER_BUILDKIT", "BASE_IMAGE", "CA_BUNDLE", "PIP_CONFIG", "JUPYTER_PORT"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
        *("DOCKER_DEFAULT_PLATFORM", "DOCKER_CONTENT_TRUST", "BUILDX_GIT_INFO", "BUILDKIT_SYNTAX", "BUILDKIT_HOST"),
    ],
)
def test_inherited_variable_does_not_retarget_the_call(name: str) -> None:
    """What names other files, projects or values is dropped, also where docker/.env has no value of its own."""
    assert compose.environment({}, {name: "other"}) == OURS


def test_link_on_the_way_makes_no_other_mount_sources() -> None:
    """Go believes PWD where it names the working directory: a clone that is reached through a link has one path."""
    assert compose.environment({}, {"PWD": "/a/link/docker"}) == OURS


@pytest.mark.parametrize(
    "name", ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "HOME", "DATA_DIR", "BUILDKIT_PROGRESS"]
)
def test_variable_of_the_persons_own_is_kept(name: str) -> None:
    """The choice of an engine and the person's own variables pass: a Compose file of theirs may use them."""
    assert compose.environment(VALUES, {name: "mine"}) == {
        name: "mine",
        **VALUES,
        **OURS,
        "BUILDX_BUILDER": "mine" if name == "DOCKER_CONTEXT" else "default",
    }


def test_builder_is_the_engine_itself() -> None:
    """A builder of the person's own keeps its images to itself: the server could not be started from them."""
    assert compose.environment({}, {"BUILDX_BUILDER": "cloud"}) == OURS


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
    assert {name for name in options["env"] if name.startswith("COMPOSE_")} == set()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names, and links only for some")
@pytest.mark.parametrize(
    "name", ["a,b", 'a"b', "a${b", "ca\u0301fe"], ids=["comma", "quote", "dollar", "two-part accent"]
)
def test_clone_of_an_odd_name_is_built_under_a_plain_one(
    tmp_path: Path, stub: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Compose's bake takes some characters of a path for its own: it gets a link, and copies of Dockerfiles."""
    clone = tmp_path / name
    (clone / "docker").mkdir(parents=True)
    (clone / "docker" / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    monkeypatch.setattr(compose, "ROOT", clone)
    monkeypatch.setattr(compose, "DOCKER_DIR", clone / "docker")
    made = {"context": str(clone).replace("$", "$$"), "dockerfile": "docker/Dockerfile"}
    model = json.dumps({"services": {compose.SERVICE: {"build": made}}}, ensure_ascii=False)
    (tmp_path / "model").write_text(model, encoding="utf-8")
    executable(stub, f'[ "$2" = config ] && exec cat {tmp_path}/model; echo "$5"; cat "$3"')

    finished = compose.build(VALUES, compose.SERVICE)

    words, text = finished.stderr.splitlines()
    built = json.loads(text)["services"][compose.SERVICE]["build"]
    assert (finished.ok, words) == (True, compose.SERVICE)
    assert name not in text
    assert Path(built["context"]).name == "clone"
    assert Path(built["dockerfile"]).parent == Path(built["context"]).parent


def says(stub: Path, model: object) -> None:
    """Let Compose print a model, behind a warning."""
    executable(stub, f"echo warning >&2; cat <<'END'\n{json.dumps(model)}\nEND")


def test_model_is_read_from_compose(stub: Path) -> None:
    """The model is what `docker compose config` prints, its warnings aside; it doubles every $, and this undoes it."""
    says(stub, {"services": {compose.SERVICE: {"environment": {"PRICE": "5$$"}}}})

    assert compose.model(seen()) == {"services": {compose.SERVICE: {"environment": {"PRICE": "5$"}}}}


def test_model_is_asked_for_with_the_values_of_the_file(stub: Path) -> None:
    """Compose gets the values of docker/.env, and is asked for JSON."""
    words = '{\\"services\\": {\\"jupyterlab-server\\": \\"$USER $*\\"}}'
    executable(stub, f'echo "{words}"')

    assert compose.model(seen()) == {"services": {compose.SERVICE: "ada compose config --format json"}}


@pytest.mark.parametrize(
    ("model", "names"),
    [({"services": {"db": {}, "web": {}}}, "db, web"), ({"services": {}}, "none"), ({}, "none")],
    ids=["others", "none", "no services at all"],
)
def test_model_without_the_server_ends_with_78(stub: Path, model: object, names: str) -> None:
    """A Compose file that lost our service is one error, not a KeyError later."""
    says(stub, model)

    with pytest.raises(HostError) as refusal:
        compose.model(seen())

    assert refusal.value.code == ExitCode.CONFIG
    assert refusal.value.problem == f"the Compose files declare no service jupyterlab-server, but {names}"


@pytest.fixture
def files(tmp_path: Path, stub: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Our Compose file and an override, both good; Compose says that line 7 of something is wrong with the two."""
    folder = tmp_path / "clone" / "docker"
    folder.mkdir(parents=True)
    found = [folder / "docker-compose.yml", folder / "docker-compose.override.yml"]
    for path in found:
        path.write_text("services: {}\n", encoding="utf-8")
    monkeypatch.setattr(paths, "ROOT", tmp_path / "clone")
    monkeypatch.setattr(compose, "DOCKER_DIR", folder)
    monkeypatch.setattr(compose, "COMPOSE_FILE", found[0])
    monkeypatch.setattr(compose, "OVERRIDE_FILES", (found[1],))
    stub.write_text(
        '#!/bin/sh\n[ "$2" = --file ] && exit 0\necho "line 7: services.x is not allowed" >&2; exit 15\n',
        encoding="utf-8",
    )
    return found


@pytest.mark.parametrize(
    ("broken", "place"),
    [
        (None, "docker/docker-compose.override.yml:7"),
        (0, "docker/docker-compose.yml:2"),
        (1, "docker/docker-compose.override.yml:2"),
    ],
    ids=["our file alone is good", "ours is no YAML", "the override is no YAML"],
)
def test_broken_compose_file_is_named_with_its_line(files: list[Path], broken: int | None, place: str) -> None:
    """An error in the person's override is not blamed on our file; Compose's own words are passed on."""
    if broken is not None:
        files[broken].write_text("services:\n\tx: 1\n", encoding="utf-8")

    with pytest.raises(HostError) as refusal:
        compose.model(seen())

    assert refusal.value.code == ExitCode.CONFIG
    assert refusal.value.problem == f"Compose cannot read {place}: line 7: services.x is not allowed"
    assert refusal.value.fix == f"correct {place}, then: invoke up"


def test_broken_file_of_ours_is_named_where_there_is_no_other(files: list[Path]) -> None:
    """Without an override it can only be ours."""
    files[1].unlink()

    with pytest.raises(HostError) as refusal:
        compose.hashes(seen())

    assert refusal.value.problem == "Compose cannot read docker/docker-compose.yml:7: line 7: services.x is not allowed"


def test_hash_of_each_service_is_read_from_compose(stub: Path) -> None:
    """One line a service; what is no such line is left out."""
    executable(stub, f"{ASKED_FOR_JSON}; echo 'jupyterlab-server 1a2b'; echo; echo 'db 3c4d'")

    assert compose.hashes(started(Built())) == {"jupyterlab-server": "1a2b", "db": "3c4d"}


def test_hashes_of_the_model_that_was_started_are_known(stub: Path) -> None:
    """Compose is asked for them where its model is another one than was written down, and only there."""
    executable(stub, f"{ASKED_FOR_JSON}; echo 'jupyterlab-server new'")
    written = Built(services={"jupyterlab-server": "old"}, model=compose.model_digest(started(Built())))

    assert compose.hashes(started(written)) == {"jupyterlab-server": "old"}
    assert compose.hashes(started(replace(written, model="another"))) == {"jupyterlab-server": "new"}


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


def test_override_that_is_read_is_the_one_that_compose_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four names Compose takes the first that is there (tried: 2.26), and so does COMPOSE_FILE of an option."""
    names = [f"{name}.override.{ending}" for name in ("compose", "docker-compose") for ending in ("yml", "yaml")]
    monkeypatch.setattr(settings, "DOCKER_DIR", tmp_path)
    for name in reversed(names):
        (tmp_path / name).write_text("services: {}\n", encoding="utf-8")

        assert compose.files({}, tmp_path) == [tmp_path / "docker-compose.yml", tmp_path / name]
        named = os.pathsep.join(["docker-compose.yml", settings.GONE, "mine.yml"])
        made = os.pathsep.join(["docker-compose.yml", "mine.yml", name])
        assert settings.compose_file({"COMPOSE_FILE": named}) == made
