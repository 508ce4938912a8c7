"""Secrets of the person's own: given to the container's user as files, and shown nowhere."""

import os
import stat

import pytest
from conftest import Clone, docker, git

SECRET = "s3cr3t-0f-ada-l0velace"  # noqa: S105


@pytest.fixture(scope="module")
def given(clone: Clone) -> Clone:
    """A running clone with a secret that was written as any other file, and a docker/.env that anybody could read."""
    clone.succeed("env")
    for path in (clone.root / "docker" / "secrets" / "api_key", clone.root / "docker" / ".env"):
        with path.open("a", encoding="utf-8") as file:
            file.write(SECRET if path.name == "api_key" else f"DB_PASSWORD={SECRET}\n")
        path.chmod(0o644)
    clone.succeed("up", "--yes")
    return clone


def test_secret_is_read_by_the_containers_user_only(given: Clone) -> None:
    """Its user reads it and cannot change it; another user of the container does not even read it."""
    file = "/run/secrets/yours/api_key"

    own = given.inside("cat", file)
    written = given.inside("sh", "-c", f": >>{file}; rm -f {file}; touch /run/secrets/yours/other")
    other = docker("inspect", "--format", "{{.Id}}", given.container_id())
    stranger = given.run("docker", "exec", "--user", "65534:65534", other, "cat", file)

    assert own.stdout == SECRET
    assert written.stderr.count("Read-only file system") == 3
    assert (stranger.stdout, "denied" in stranger.stderr) == ("", True)
    assert given.inside("cat", file).stdout == SECRET


def test_files_that_others_could_read_are_closed(given: Clone) -> None:
    """Secrets, and a docker/.env that held a password before the tasks saw it, are their owner's only."""
    folder = given.root / "docker"

    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in (".env", "secrets/api_key")}

    assert modes == {".env": 0o600, "secrets/api_key": 0o600}
    assert str((folder / "secrets" / "api_key").stat().st_uid) == given.values()["UID"]


def test_secret_of_later_is_there_without_a_restart(given: Clone) -> None:
    """The folder is mounted, so what is added and changed is seen; `up` closes it and leaves the container alone."""
    container = given.container_id()
    later = given.root / "docker" / "secrets" / "later"
    later.write_text(SECRET[::-1], encoding="utf-8")

    given.succeed("up", "--yes")

    assert given.container_id() == container
    assert given.inside("cat", "/run/secrets/yours/later").stdout == SECRET[::-1]


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
