"""docker/install-engine.sh --rootless, by an ordinary user of a machine without systemd."""

from collections.abc import Iterator

import pytest
from debian import HERE, ROOTLESS, UnreachableError, unpacked
from private import Private, private_engine
from users import second_user

from host_tasks.kit.paths import INSTALL_ENGINE


@pytest.fixture
def machine() -> Iterator[Private]:
    """A machine with what a rootless engine needs, and a person of it."""
    try:
        programs = [unpacked(HERE, ROOTLESS)]
    except UnreachableError as err:
        pytest.skip(str(err))
    with second_user() as person, private_engine(programs=programs, person=person) as engine:
        yield engine


def test_engine_of_the_callers_own_starts_once_and_is_the_one_that_docker_asks(machine: Private) -> None:
    """`--dry-run` changes nothing, a second call starts nothing, and docker's own context leads there."""
    assert machine.person
    home = machine.person.home / "fresh"
    fresh = ("--unset=DOCKER_HOST", "--unset=XDG_RUNTIME_DIR", f"HOME={home}")
    machine.run("mkdir", str(home))

    dry_run = machine.run(*fresh, "bash", str(INSTALL_ENGINE), "--rootless", "--dry-run")
    left_by_dry_run = machine.run("ls", "-A", str(home)).stdout
    first = machine.run(*fresh, "bash", str(INSTALL_ENGINE), "--rootless")
    second = machine.run(*fresh, "bash", str(INSTALL_ENGINE), "--rootless")
    asked = machine.run(*fresh, "docker", "info", "--format", "{{.SecurityOptions}} {{.DockerRootDir}}")

    assert [done.returncode for done in (dry_run, first, second, asked)] == [0, 0, 0, 0], first.stderr + second.stderr
    assert left_by_dry_run == ""
    assert ["  - start " in done.stderr for done in (dry_run, first, second)] == [True, True, False]
    assert "name=rootless" in asked.stdout
    assert f"{home}/.local/share/docker" in asked.stdout
