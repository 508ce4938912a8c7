"""Every identity of the host: what `id` says inside, what docker/.env says and whose the files are outside agree."""

import os
from pathlib import Path

import pytest
from conftest import YOURS, Clone, docker

from host_tasks.subjects.identity import safe_user_name

# Those on which the post's `adduser` was tried, and those that other projects get wrong; 0:0 is nobody's.
PAIRS = [
    *[(1000, 100), (501, 20), (1000, 1000), (1000, 985), (1001, 1002), (1, 1), (33, 33), (65534, 65534), (54321, 0)],
    *[(1500000000, 100), (1885580785, 1885580785), (2147483647, 2147483647)],
]
NAMES = [
    *["al-khawarizmi", "a$", "root", "daemon", "www-data", "ubuntu", "", "john.doe", "John", "JOHN.DOE", "CORP\\jdoe"],
    *["jdoe@corp", "john doe", "1john", "12345", "_svc", "-x", "josé", "a" * 33],
]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a clone to another identity")


def given_to(clone: Clone, uid: int, gid: int) -> None:
    """Give a clone to an identity: root works for the owner of the project's folder."""
    for path in (clone.root, *clone.root.rglob("*")):
        os.chown(path, uid, gid, follow_symlinks=False)


def made_inside(clone: Clone) -> tuple[str, dict[str, Path]]:
    """Make a file on every mount from inside; return what `id` says there, and the files outside."""
    script = (
        f"cd ~/app && for d in {' '.join(YOURS)}; do rm -f $d/made && touch $d/made; done && echo $(id -u):$(id -g)"
    )
    inside = clone.succeed("run", "--yes", "--", "sh", "-c", script).strip()
    return inside, {name: clone.root / name / "made" for name in YOURS}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]}:{pair[1]}")
def test_identity_is_the_same_inside_in_env_and_outside(clone: Clone, pair: tuple[int, int]) -> None:
    """The pair is honoured exactly on each of the six mounts, whether or not the image knows its ids."""
    given_to(clone, *pair)

    inside, made = made_inside(clone)

    values = clone.values()
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in made.values()}
    assert inside == f"{values['UID']}:{values['GID']}" == f"{pair[0]}:{pair[1]}"
    assert owners == {pair}


def test_plain_root_works_as_the_posts_user(clone: Clone) -> None:
    """Where root owns the project too, the container's user is the post's default and owns what it makes."""
    given_to(clone, 0, 0)

    inside, made = made_inside(clone)

    assert inside == "1000:100"
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made.values()} == {(1000, 100)}


@pytest.mark.parametrize("pair", [(2147483648, 100), (1000, 4294967294)], ids=lambda pair: f"{pair[0]}:{pair[1]}")
def test_ids_that_no_engine_runs_are_refused_before_a_build(clone: Clone, pair: tuple[int, int]) -> None:
    """An id over 2147483647 ends with 78 and one error that names it; nothing is built."""
    given_to(clone, *pair)

    done = clone.task("up", "--yes")

    said = done.stderr.splitlines()
    assert (done.returncode, len(said)) == (78, 2)
    assert str(max(pair)) in said[0]
    assert said[0].startswith("error: ")


def test_every_name_becomes_one_that_the_image_takes(clone: Clone) -> None:
    """Whatever the account is called on the host, the image gets a user of the safe name."""
    base = clone.values().get("BASE_IMAGE", "")
    names = {safe_user_name(name) for name in NAMES}

    found = {}
    for name in names:
        words = [f"--build-arg={each}" for each in (f"username={name}", f"BASE_IMAGE={base}") if not each.endswith("=")]
        built = clone.run("docker", "build", "--quiet", *words, "--file", "docker/Dockerfile", ".")
        assert built.returncode == 0, built.stderr
        found[name] = docker(
            "run", "--rm", "--entrypoint", "sh", built.stdout.strip(), "-c", "id -un && cd ~/app && pwd"
        )
        docker("image", "rm", "--force", built.stdout.strip())

    assert found == {name: f"{name}\n/home/{name}/app" for name in names}
