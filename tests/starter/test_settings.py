"""Tests of host_tasks.settings: what is observed meets what docker/.env keeps, on a file of the test's own."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from host_tasks import clone, identity, network, settings
from host_tasks.ground import envfile
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.identity import Identity

INDEX = "https://index.example/simple"


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker/.env of the test's own, on a machine with a known identity, no proxies, no index and one CA bundle."""
    path = tmp_path / ".env"
    for name in ("read", "line_numbers", "plan"):
        monkeypatch.setattr(envfile, name, functools.partial(getattr(envfile, name), path=path))
    monkeypatch.setattr(identity, "observe", lambda: Identity("ada", 1815, 1852, "you"))
    monkeypatch.setattr(network, "PIP_CONFIG", tmp_path / ".pip.conf")
    names = [*network.CA_VARIABLES, *network.PROXIES, *map(str.lower, network.PROXIES), "XDG_CONFIG_HOME"]
    for name in (*names, "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return path


def kept(path: Path, **values: str) -> None:
    """Write a docker/.env that keeps these values."""
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items()), encoding="utf-8")


def test_first_observation_plans_every_value_and_writes_nothing(env_file: Path, tmp_path: Path) -> None:
    """Observing changes nothing; what the file will hold is known before it is written."""
    found = settings.observe()

    values = {
        "USER": "ada",
        "UID": "1815",
        "GID": "1852",
        "COMPOSE_PROJECT_NAME": clone.project_name(),
        "CA_BUNDLE": str(tmp_path / "ca.pem"),
    }
    assert found.values == values
    assert {change.key: change.new for change in found.plan.changes} == values
    assert found.project == clone.project_name()
    assert not env_file.exists()


def test_second_observation_changes_nothing(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was written is what is observed: the second `env` is a no-op, and the first says what it did."""
    first = settings.observe()
    settings.write(first)
    said = capsys.readouterr().err
    before = env_file.stat().st_mtime_ns

    second = settings.observe()
    settings.write(second)

    assert said.strip() == str(first.plan)
    assert (second.plan.changed, second.values) == (False, first.values)
    assert env_file.stat().st_mtime_ns == before
    assert capsys.readouterr().err == ""


def test_shell_does_not_decide_who_it_is(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """USER, UID, GID and LOGNAME of the shell are never read."""
    monkeypatch.undo()
    expected = settings.observe().values
    for name in ("USER", "UID", "GID", "LOGNAME", "COMPOSE_PROJECT_NAME", "JUPYTER_PORT", "BASE_IMAGE"):
        monkeypatch.setenv(name, "7777")

    assert settings.observe().values == expected
    assert not env_file.exists()


def test_choices_of_before_are_kept(env_file: Path) -> None:
    """A port, a base image and keys of the person's own stay where nothing else is asked for."""
    kept(env_file, JUPYTER_PORT="9000", BASE_IMAGE="mine:1", DATA_DIR="/srv")

    found = settings.observe()

    assert (found.values["JUPYTER_PORT"], found.values["BASE_IMAGE"]) == ("9000", "mine:1")
    assert "DATA_DIR" not in found.values
    settings.write(found)
    assert envfile.read()["DATA_DIR"] == "/srv"


def test_new_choice_replaces_the_old(env_file: Path) -> None:
    """A port and a base image that are asked for win; an empty base image removes the line."""
    kept(env_file, JUPYTER_PORT="9000", BASE_IMAGE="mine:1")

    assert settings.observe(port=9001, base_image="other:2").values["JUPYTER_PORT"] == "9001"
    assert settings.observe(port=9001, base_image="other:2").values["BASE_IMAGE"] == "other:2"
    assert "BASE_IMAGE" not in settings.observe(base_image="").values


@pytest.mark.parametrize("port", ["abc", "0", "80", "70000", "-1", "9" * 30])
def test_port_in_the_file_that_is_none_ends_with_78(env_file: Path, port: str) -> None:
    """A port written by hand that cannot be one is named with file and line; the file stays as it was."""
    kept(env_file, USER="ada", JUPYTER_PORT=port)
    before = env_file.read_bytes()

    with pytest.raises(HostError) as refusal:
        settings.observe()

    assert refusal.value.code == ExitCode.CONFIG
    assert refusal.value.problem == f"docker/.env:2: JUPYTER_PORT={port} is not between 1024 and 65535"
    assert env_file.read_bytes() == before


def test_empty_port_in_the_file_is_none(env_file: Path) -> None:
    """Compose takes its default for an empty value, and so does this."""
    kept(env_file, JUPYTER_PORT="")

    assert settings.observe().values["JUPYTER_PORT"] == ""


def test_ca_bundle_that_a_person_chose_stays_while_it_exists(env_file: Path, tmp_path: Path) -> None:
    """The file of docker/.env wins over this machine's until it is gone."""
    own = tmp_path / "own.pem"
    own.touch()
    kept(env_file, CA_BUNDLE=str(own))

    assert settings.observe().values["CA_BUNDLE"] == str(own)
    own.unlink()
    assert settings.observe().values["CA_BUNDLE"] == str(tmp_path / "ca.pem")


def test_ca_bundle_that_is_relative_is_seen_from_docker(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose sees a relative path of its .env from docker/, wherever the task is run."""
    kept(env_file, CA_BUNDLE="ca-bundle.pem")
    monkeypatch.chdir(tmp_path)

    assert settings.observe().values["CA_BUNDLE"] == "ca-bundle.pem"


def test_index_of_pip_follows_the_shell_that_names_one(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index goes to a file beside docker/.env; another index changes the file even where docker/.env stays."""
    config = tmp_path / ".pip.conf"
    monkeypatch.setenv("PIP_INDEX_URL", INDEX)
    settings.write(settings.observe())
    assert envfile.read()["PIP_CONFIG"] == str(config)
    monkeypatch.setenv("PIP_INDEX_URL", f"{INDEX}/2")

    settings.write(settings.observe())

    assert config.read_text(encoding="utf-8") == f"[global]\nindex-url = {INDEX}/2\n"


def test_index_of_pip_stays_in_a_shell_that_names_none(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docker/.env names the file, so it must stay, whatever else changes: Compose refuses a secret without its file."""
    monkeypatch.setenv("PIP_INDEX_URL", INDEX)
    settings.write(settings.observe())
    monkeypatch.delenv("PIP_INDEX_URL")

    settings.write(settings.observe(port=9001))

    assert envfile.read()["PIP_CONFIG"] == str(tmp_path / ".pip.conf")
    assert (tmp_path / ".pip.conf").exists()


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let `docker ps` say that containers were started from this folder."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def answer(working_directory: str) -> None:
        (folder / "docker").write_text(f"#!/bin/sh\necho 'old-1 {working_directory}'\n", encoding="utf-8")
        (folder / "docker").chmod(0o755)

    return answer


def test_moved_clone_with_containers_of_before_ends_with_78(env_file: Path, stub: Callable[[str], None]) -> None:
    """The new name would orphan them: the file stays, and the command that removes them is named."""
    stub("/gone/docker")
    kept(env_file, COMPOSE_PROJECT_NAME="old-00000000")
    before = env_file.read_bytes()

    with pytest.raises(HostError) as refusal:
        settings.write(settings.observe())

    assert refusal.value.code == ExitCode.CONFIG
    assert "/gone/docker" in refusal.value.problem
    assert refusal.value.fix == "docker compose --project-name old-00000000 down"
    assert env_file.read_bytes() == before


def test_copied_clone_gets_a_name_of_its_own(env_file: Path, tmp_path: Path, stub: Callable[[str], None]) -> None:
    """Where the folder that the containers came from is still there this is a copy, and they are the other's."""
    stub(str(tmp_path))
    kept(env_file, COMPOSE_PROJECT_NAME="old-00000000")

    settings.write(settings.observe())

    assert envfile.read()["COMPOSE_PROJECT_NAME"] == clone.project_name()
