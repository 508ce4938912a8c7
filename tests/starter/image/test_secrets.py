"""Secrets, the person's own and a proxy's password: given to the container's user as files, and shown nowhere."""

import json
import os
import secrets
import stat
from pathlib import Path

import pytest
from conftest import Clone, docker, git

SECRET = secrets.token_hex(12)
PROXY = f"http://ada:{SECRET}@127.0.0.1:9"


@pytest.fixture(scope="module")
def given(clone: Clone) -> Clone:
    """A running clone with a secret that was written as any other file, and a docker/.env that anybody could read.

    The proxy, where nothing listens, is named when the image is built already.
    """
    clone.succeed("build", "--yes")
    for path in (clone.root / "docker" / "secrets" / "api_key", clone.root / "docker" / ".env"):
        with path.open("a", encoding="utf-8") as file:
            file.write(SECRET if path.name == "api_key" else f"DB_PASSWORD={SECRET}\n")
        path.chmod(0o644)
    clone.succeed("up", "--yes", HTTP_PROXY=PROXY, NO_PROXY="localhost,127.0.0.1")
    return clone


def test_secret_is_read_by_the_containers_user_only(given: Clone) -> None:
    """Its user reads it and cannot change it; another user of the container does not even read it."""
    file = "/run/secrets/yours/api_key"

    own = given.inside("cat", file)
    written = given.inside("sh", "-c", f"cp /dev/null {file}; rm -f {file}; touch /run/secrets/yours/other")
    other = docker("inspect", "--format", "{{.Id}}", given.container_id())
    stranger = given.run("docker", "exec", "--user", "65534:65534", other, "cat", file)

    assert own.stdout == SECRET
    assert written.stderr.count("Read-only file system") == 3
    assert (stranger.stdout, "denied" in stranger.stderr) == ("", True)
    assert given.inside("cat", file).stdout == SECRET


def test_files_that_others_could_read_are_closed(given: Clone) -> None:
    """Secrets, and a docker/.env that held a password before the tasks saw it, are their owner's only."""
    folder = given.root / "docker"

    modes = {
        path: stat.S_IMODE((folder / path).stat().st_mode) for path in (".env", ".proxies.conf", "secrets/api_key")
    }

    assert modes == dict.fromkeys(modes, 0o600)
    assert str((folder / "secrets" / "api_key").stat().st_uid) == given.values()["UID"]


def test_secret_of_later_is_there_without_a_restart(given: Clone) -> None:
    """The folder is mounted, so what is added and changed is seen; `up` closes it and leaves the container alone."""
    container = given.container_id()
    later = given.root / "docker" / "secrets" / "later"
    later.write_text(SECRET[::-1], encoding="utf-8")

    given.succeed("up", "--yes")

    assert given.container_id() == container
    assert given.inside("cat", "/run/secrets/yours/later").stdout == SECRET[::-1]


@pytest.mark.parametrize("program", [["bash", "-c", "python -c '{}'"], ["python", "-c", "{}"]], ids=["shell", "python"])
def test_proxy_is_known_inside(given: Clone, program: list[str]) -> None:
    """In both cases of its name, with a shell or without one."""
    code = 'import os; print(*(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "no_proxy")))'

    done = given.inside(*(word.replace("{}", code) for word in program))

    assert done.stdout.split() == [PROXY, PROXY, "localhost,127.0.0.1"], done.stderr


def test_secret_shows_nowhere(given: Clone) -> None:
    """Not in what the engine and Compose tell, the log, the image's history and settings, or what git would take."""
    image = f"{given.project}-jupyterlab-server"
    git(given, "init", "--quiet", ".")
    git(given, "add", "--all")
    told = {
        "inspect": docker("inspect", given.container_id()),
        "image": docker("image", "inspect", image),
        "history": docker("history", "--no-trunc", image),
        "environment": given.inside("env").stdout,
        "config": given.succeed("config"),
        "logs": given.succeed("logs"),
        "explain": given.succeed("config", "--explain"),
        "status": given.succeed("status"),
        "doctor": given.task("doctor").stdout,
        "diff": docker("diff", given.container_id()),
        "git": given.run("git", "grep", "--cached", "--fixed-strings", SECRET).stdout,
    }

    assert [name for name, text in told.items() if SECRET in text] == []
    assert "docker/secrets/README.md" in given.run("git", "ls-files", "docker/secrets").stdout.split()
    assert len(given.run("git", "ls-files", "docker/secrets").stdout.split()) == 1
    assert os.fsencode(SECRET) in (given.root / "docker" / "secrets" / "api_key").read_bytes()


def test_proxy_of_dockers_configuration_is_handed_in_as_a_file(given: Clone, tmp_path: Path) -> None:
    """Compose would put it into the container's environment, with its password; `docker inspect` does not show it."""
    of_docker = {"httpsProxy": PROXY, "allProxy": PROXY, "ftpProxy": PROXY}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": of_docker}}), encoding="utf-8")

    given.succeed("down")
    given.succeed("up", "--yes", DOCKER_CONFIG=str(tmp_path))

    known = given.inside("python", "-c", "import os; print(os.environ['HTTPS_PROXY'], os.environ['https_proxy'])")
    assert known.stdout.split() == [PROXY, PROXY]
    assert SECRET not in docker("inspect", given.container_id())
    assert f"HTTPS_PROXY={PROXY}" in (given.root / "docker" / ".proxies.conf").read_text(encoding="utf-8")
