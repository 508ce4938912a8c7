"""The environment in a registry: pushed by one clone, taken by another, which builds nothing of it."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Clone, docker, small, wait_until
from debian import missing
from lab import status_of
from texts import REGISTRY, still_ours

from host_tasks.subjects.base import MADE_BY, STAND_IN, published


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of a registry on 127.0.0.1, which engines ask without TLS."""
    if why := missing(["docker-registry"], ["docker-registry"]):
        pytest.skip(why)
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": "127.0.0.1:0"},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(settings), encoding="utf-8")
    log = tmp_path / "registry.log"
    with log.open("w", encoding="utf-8") as out:
        argv = ["docker-registry", "serve", str(tmp_path / "registry.yml")]
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: re.search(r"listening on (127[\d.:]+)", log.read_text(encoding="utf-8")), what="a registry")
        yield re.findall(r"listening on (127[\d.:]+)", log.read_text(encoding="utf-8"))[0]
    finally:
        process.kill()
        process.wait(timeout=600)


@pytest.fixture
def both(built: Clone, make_clone: Callable[[str], Clone]) -> Iterator[tuple[Clone, Clone]]:
    """Two clones of the same files, with a small environment; the first one has its image."""
    docker("tag", built.values().get("BASE_IMAGE") or published(), "shared:base")
    first, other = (small(make_clone(name), "shared:base") for name in ("first", "other"))
    first.succeed("build", "--yes")
    yield first, other
    docker("image", "rm", "shared:base")


@pytest.fixture
def other(make_clone: Callable[[str], Clone]) -> Clone:
    """A clone of which nothing is on the engine."""
    return make_clone("other")


def shown_with(words: str, registry: str) -> list[str]:
    """Return the words of the task that the manual shows with these ones, with a real registry."""
    [block] = [each for each in still_ours()["docker/README.md"].blocks if words in each]
    return shlex.split(block.replace(REGISTRY, registry))[2:]


def layers(image: str) -> list[str]:
    """Return the layers of an image."""
    found: list[str] = json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
    return found


@pytest.mark.engines
def test_environment_is_taken_from_a_registry(both: tuple[Clone, Clone], registry: str) -> None:
    """The second clone pulls what the first has pushed, and builds its user on it; the base image is not asked for.

    Where another environment is wanted, it looks for that one, and builds it as ever.
    """
    first, other = both
    pushed = first.succeed(*shown_with("push --to", registry)).strip()
    heavy = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{first.project}-environment")

    up = other.task(*shown_with("up --from", registry), "--yes")

    assert up.returncode == 0, up.stderr[-3000:]
    assert f"$ docker pull {pushed}" in up.stderr
    assert "make.py" not in up.stderr
    assert status_of(up.stdout.strip()) == 200
    assert layers(f"{other.project}-jupyterlab-server")[: len(layers(heavy))] == layers(heavy)
    assert docker("image", "ls", "--quiet", pushed.rpartition(":")[0]) == ""
    with (other.root / "environment.yml").open("a", encoding="utf-8") as file:
        file.write("# another\n")
    plan = other.succeed("up", "--dry-run")
    wanted = re.findall(rf"take the environment {registry}/team/my-project:(\S+), or build it", plan)
    assert len(wanted) == 1
    assert wanted != [pushed.rpartition(":")[2]]
    other.succeed("clean")
    assert docker("image", "ls", "--quiet", f"{other.project}-environment") == ""


def test_stand_in_that_nobody_needs_goes_with_its_clone(other: Clone) -> None:
    """`clean` removes a stand-in that this clone made for an older environment.yml, and nobody else's."""
    for name, project in (("superseded", other.project), ("of-another", "another-00000000")):
        label = f"{MADE_BY}={project}"
        argv = ["docker", "build", "--quiet", "--label", label, "--tag", f"{STAND_IN}:{name}", "-"]
        subprocess.run(argv, input=f"FROM scratch\nENV A={name}\n", text=True, check=True, capture_output=True)

    would = other.succeed("clean", "--dry-run")
    other.succeed("clean")

    left = docker("image", "ls", "--format", "{{.Tag}}", STAND_IN).split()
    docker("image", "rm", f"{STAND_IN}:of-another")
    assert would.splitlines()[-1].strip() == f"touches: the image {STAND_IN}:superseded"
    assert "superseded" not in left
    assert "of-another" in left


@pytest.mark.engines
def test_archive_with_a_name_more_changes_nothing(other: Clone, tmp_path: Path) -> None:
    """It is refused whole, before the engine reads it; the same archive without that name is taken."""
    theirs, file = f"theirs-{tmp_path.name}-jupyterlab-server".lower(), tmp_path / "environment.tar"
    base = re.findall(r"^ARG BASE_IMAGE=(\S+)$", (other.root / "docker/Dockerfile").read_text("utf-8"), re.MULTILINE)[0]

    def built(name: str, content: str) -> None:
        argv = [
            "docker",
            "build",
            "--quiet",
            "--label",
            f"org.opencontainers.image.base.name={base}",
            "--tag",
            name,
            "-",
        ]
        subprocess.run(argv, input=f"FROM scratch\nWORKDIR /{content}\n", text=True, check=True, capture_output=True)

    built("made-elsewhere-environment:unknown", "environment")
    docker("save", "--output", str(file), "made-elsewhere-environment:unknown")
    [tag] = re.findall(r"the files here make (\S+)", other.task("load", str(file)).stderr)
    name = f"made-elsewhere-environment:{tag}"
    docker("tag", "made-elsewhere-environment:unknown", name)
    built(theirs, "hostile")
    docker("save", "--output", str(file), name, theirs)
    docker("image", "rm", "made-elsewhere-environment:unknown", name, theirs)
    built(theirs, "theirs")
    before = docker("images", "--quiet", "--no-trunc", theirs)

    refused = other.task("load", str(file))
    after, known = docker("images", "--quiet", "--no-trunc", theirs), docker("images", "--quiet", name)
    docker("image", "rm", theirs)
    built(name, "environment")
    docker("save", "--output", str(file), name)
    docker("image", "rm", name)
    taken = other.succeed("load", str(file))

    assert (refused.returncode, after, known) == (65, before, "")
    assert f"also holds '{theirs}:latest'" in refused.stderr
    assert taken == f"{other.project}-environment:{tag}\n"
    assert docker("images", "--quiet", name) == ""
