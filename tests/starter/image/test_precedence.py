"""The file wins: what a shell exports neither retargets a call nor recreates a container."""

import os
import random

import pytest
from conftest import Clone, docker

ROUNDS = int(os.environ.get("ROUNDS", "16"))

# What sudo, cron, CI, an editor's terminal or another project's .env leave in a shell. HOME stays: it is the docker
# command's own.
HOSTILE: dict[str, tuple[str, ...]] = {
    "USER": ("bob", "root", "", "CORP\\jdoe", "../../etc"),
    "LOGNAME": ("bob", ""),
    "UID": ("7", "0", "", "4294967295"),
    "GID": ("7", "0", "20"),
    "JUPYTER_PORT": ("1", "80", "abc", ""),
    "BASE_IMAGE": ("scratch", "nowhere.invalid/base:latest"),
    "CA_BUNDLE": ("/nonexistent", "/etc/passwd"),
    "PIP_CONFIG": ("/nonexistent",),
    "COMPOSE_FILE": ("/nonexistent", "/nonexistent:other.yml"),
    "COMPOSE_PROJECT_NAME": ("other", "docker", ""),
    "COMPOSE_ENV_FILES": ("/nonexistent",),
    "COMPOSE_DISABLE_ENV_FILE": ("1", "true"),
    "COMPOSE_PROFILES": ("debug", "*"),
    "COMPOSE_PATH_SEPARATOR": (";", "x"),
    "COMPOSE_IGNORE_ORPHANS": ("1",),
    "COMPOSE_PARALLEL_LIMIT": ("1",),
    "DOCKER_BUILDKIT": ("0",),
}


def shell(chance: random.Random) -> dict[str, str]:
    """Return some of HOSTILE, each with one of its values."""
    names = chance.sample(sorted(HOSTILE), k=chance.randint(1, len(HOSTILE)))
    return {name: chance.choice(HOSTILE[name]) for name in names}


@pytest.fixture(scope="module")
def plain(running_stub: Clone) -> str:
    """What Compose is told from this shell."""
    return running_stub.succeed("config")


@pytest.mark.parametrize("nth", range(max(map(len, HOSTILE.values()))))
def test_config_is_the_same_whatever_is_exported(nth: int, running_stub: Clone, plain: str) -> None:
    """All of them at once, each with its nth value, change nothing in what Compose is told."""
    exported = {name: values[nth % len(values)] for name, values in HOSTILE.items()}

    assert running_stub.succeed("config", **exported) == plain


def test_up_in_another_environment_recreates_nothing(running_stub: Clone) -> None:
    """`up` after `up`, each in a shell that exports something else: the container is the same one to the end."""
    chance = random.Random(1)  # noqa: S311 - the same shells in every run
    before = running_stub.container_id()
    env_file = (running_stub.root / "docker" / ".env").read_bytes()
    for _ in range(ROUNDS):
        exported = shell(chance)
        running_stub.succeed("up", "--yes", **exported)
        assert running_stub.container_id() == before, exported

    assert (running_stub.root / "docker" / ".env").read_bytes() == env_file
    assert docker("inspect", "--format", "{{.RestartCount}}", before) == "0"


def test_exported_variable_of_the_compose_file_still_counts(running_stub: Clone) -> None:
    """What the tasks do not own comes from the shell, as plain Compose has it: the test above can fail."""
    override = running_stub.root / "docker" / "docker-compose.override.yml"
    override.write_text("services: {jupyterlab-server: {labels: {theirs: '${THEIRS:-none}'}}}\n", encoding="utf-8")
    try:
        seen = [running_stub.succeed("config", THEIRS=value) for value in ("one", "two")]
    finally:
        override.unlink()

    assert ["theirs: one" in seen[0], "theirs: two" in seen[1]] == [True, True]
