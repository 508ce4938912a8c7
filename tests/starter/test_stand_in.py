"""Tests of host_tasks.stand_in without an engine: which base image, and when a stand-in has to be made again."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from host_tasks import stand_in
from host_tasks.ground import envfile, paths, report, runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.identity import Identity
from host_tasks.settings import Settings


def settings(**values: str) -> Settings:
    """Return settings with these values."""
    return Settings(Identity("ada", 1, 1, "x"), envfile.Plan(paths.ENV_FILE, None, b"", ()), values)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what a stand-in is made from."""
    shutil.copytree(paths.DOCKER_DIR / "stand-in", tmp_path / "stand-in", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (paths.DOCKER_DIR / "activate.sh", paths.ENVIRONMENT_YML):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(stand_in, "STAND_IN_DIR", tmp_path / "stand-in")
    monkeypatch.setattr(stand_in, "DOCKER_DIR", tmp_path)
    monkeypatch.setattr(stand_in, "ENVIRONMENT_YML", tmp_path / "environment.yml")
    return tmp_path


class Machine:
    """The images that are here, and the commands that were run."""

    def __init__(self, *here: str, reachable: bool = False) -> None:
        self.here = set(here)
        self.reachable = reachable
        self.commands: list[list[str]] = []

    def run(self, argv: list[str], **_: Any) -> runner.Finished:
        """Pretend to run a command."""
        self.commands.append(argv)
        return runner.Finished(tuple(argv), 0 if self.reachable else 1, "", "no such host")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with no image that reaches no registry; a person who is asked says no."""
    machine = Machine()
    monkeypatch.setattr(stand_in, "_is_here", lambda image: image in machine.here)
    monkeypatch.setattr(stand_in, "_root_file_system", lambda: "root:1")
    monkeypatch.setattr(runner, "run", machine.run)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/apt-get")
    return machine


def test_published_base_is_the_one_of_the_dockerfile() -> None:
    """One place names it: docker/Dockerfile, by tag and digest."""
    lines = paths.DOCKERFILE.read_text(encoding="utf-8").splitlines()

    assert f"ARG BASE_IMAGE={stand_in.published()}" in lines
    assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", stand_in.published())


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("conda-pip-docker/stand-in:0123456789ab", True),
        ("conda-pip-docker/stand-in", False),
        ("conda-pip-docker/stand-in-of-mine:1", False),
        ("mine/conda-pip-docker/stand-in:1", False),
        (stand_in.published(), False),
    ],
)
def test_stand_in_is_known_by_its_name(image: str, expected: bool) -> None:  # noqa: FBT001
    """Only what this project tags so is a stand-in of ours, to be made again at will."""
    assert stand_in.is_stand_in(image) is expected


def test_tag_is_the_same_for_the_same_files(tree: Path) -> None:
    """Every clone with the same files shares one stand-in, wherever it lies; what Python leaves there counts not."""
    before = stand_in.tag()
    (tree / "stand-in" / "__pycache__").mkdir()

    assert stand_in.tag() == before
    assert stand_in.is_stand_in(before)


@pytest.mark.parametrize(
    "name",
    ["environment.yml", "activate.sh", *(f"stand-in/{each.name}" for each in sorted(paths.STAND_IN_DIR.glob("*.*")))],
)
def test_tag_changes_with_every_file(tree: Path, name: str) -> None:
    """A stand-in of other files is another one: it is never taken for this clone's."""
    before = stand_in.tag()

    with (tree / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")

    assert stand_in.tag() != before


def test_tag_changes_with_the_system(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another release or architecture of the host makes another stand-in."""
    before = stand_in.tag()
    monkeypatch.setattr(stand_in, "_system", lambda: "debian trixie riscv64")

    assert stand_in.tag() != before
    assert tree.is_dir()


def test_published_base_is_taken_where_it_can_be_had(machine: Machine) -> None:
    """Where it is here nothing is pulled; where it can be pulled it is."""
    machine.reachable = True
    assert stand_in.ensure_base(settings(), yes=False) is None
    assert machine.commands == [["docker", "pull", stand_in.published()]]
    machine.here.add(stand_in.published())

    assert stand_in.ensure_base(settings(), yes=False) is None
    assert len(machine.commands) == 1


def test_base_image_of_the_persons_own_is_never_replaced(machine: Machine) -> None:
    """An image chosen in docker/.env that cannot be had ends with 69, also with --yes."""
    with pytest.raises(HostError) as refusal:
        stand_in.ensure_base(settings(BASE_IMAGE="mine:1"), yes=True)

    assert refusal.value.code == ExitCode.UNAVAILABLE
    assert refusal.value.fix == "see why: docker pull mine:1"
    machine.here.add("mine:1")
    assert stand_in.ensure_base(settings(BASE_IMAGE="mine:1"), yes=False) == "mine:1"


def test_stand_in_is_never_made_unasked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --yes and without a terminal the offer is an error with the command that accepts it."""
    monkeypatch.setattr(report.sys, "stdin", SimpleNamespace(isatty=lambda: False))  # type: ignore[attr-defined]

    with pytest.raises(HostError) as refusal:
        stand_in.ensure_base(settings(), yes=False)

    assert refusal.value.code == ExitCode.UNAVAILABLE
    assert refusal.value.fix == "make a stand-in for it: invoke up --yes"
    assert [argv[:2] for argv in machine.commands] == [["docker", "pull"]]


def test_stand_in_that_is_here_is_taken_at_once(machine: Machine) -> None:
    """Neither a pull nor a build where the stand-in that fits is here."""
    machine.here.add(stand_in.tag())

    assert stand_in.ensure_base(settings(BASE_IMAGE=stand_in.tag()), yes=False) == stand_in.tag()
    assert machine.commands == []


def test_stand_in_of_other_files_is_made_again(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed environment.yml makes the stand-in again, says why, and hands over proxies, CA and index."""
    machine.reachable = True
    old = f"{stand_in.REPOSITORY}:000000000000"
    machine.here.add(old)

    image = stand_in.ensure_base(settings(BASE_IMAGE=old, HTTP_PROXY="http://p:1", CA_BUNDLE="/ca.pem"), yes=False)

    (argv,) = machine.commands
    assert image == stand_in.tag()
    assert "environment.yml has changed" in capsys.readouterr().err
    assert argv[:4] == ["docker", "buildx", "build", "--load"]
    assert {"ROOT_FILE_SYSTEM=root:1", "HTTP_PROXY=http://p:1", "id=ca_bundle,src=/ca.pem"} < set(argv)
    assert f"id=pip_config,src={paths.DOCKER_DIR / 'pip.conf'}" in argv


def test_stand_in_that_cannot_be_made_names_the_cause(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that PyPI does not have is the error, not the last line of the builder."""
    said = "#9 error: the stand-in has no r-base: not to be had from PyPI\nERROR: failed to solve: exit code 1"
    monkeypatch.setattr(runner, "run", lambda argv, **_: runner.Finished(tuple(argv), 1, "", said))

    with pytest.raises(HostError) as refusal:
        stand_in.ensure_base(settings(), yes=True)

    assert refusal.value.code == ExitCode.UNAVAILABLE
    assert refusal.value.problem.endswith("the stand-in has no r-base: not to be had from PyPI")
    assert machine.commands == []
