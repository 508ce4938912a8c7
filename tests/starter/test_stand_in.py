"""Tests of host_tasks.subjects.base without an engine: how a stand-in is made, and chosen."""

import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from aids import executable
from observed import ENVIRONMENT, Seen, base as base_of, settings as settings_of

from host_tasks.kit import paths, runner
from host_tasks.kit.words import ExitCode
from host_tasks.loop import Ended, plan
from host_tasks.subjects import base, images, settings
from host_tasks.subjects.images import Built, Image

IMAGE = "conda-pip-docker/stand-in:0123456789ab"
NOTHING: Mapping[str, str] = MappingProxyType({})
VALUES = {"COMPOSE_PROJECT_NAME": "study"}


class Machine:
    """The images that are here, and the commands that were run; a build makes what it tags, unless it fails."""

    def __init__(self) -> None:
        self.here: set[str] = set()
        self.commands: list[list[str]] = []
        self.fails = ""  # what a command says that fails

    def find(self, name: str) -> Image | None:
        """Return an image."""
        return Image(f"sha256:{name}") if name in self.here else None

    def run(self, argv: list[str], **_: Any) -> runner.Finished:
        """Pretend to run a command."""
        self.commands.append(argv)
        if not self.fails:
            self.here.add(argv[argv.index("--tag") + 1] if "--tag" in argv else argv[-1])
        return runner.Finished(tuple(argv), 1 if self.fails else 0, "", self.fails)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with no image."""
    found = Machine()
    monkeypatch.setattr(images, "find", found.find)
    monkeypatch.setattr(runner, "run", found.run)
    monkeypatch.setattr(runner, "as_root", lambda *argv: list(argv))
    return found


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str | None]]:
    """What was written to docker/.env as chosen."""
    written: list[dict[str, str | None]] = []
    monkeypatch.setattr(settings, "write", lambda seen, **values: written.append(values))
    return written


def seen(
    name: str = IMAGE, values: Mapping[str, str] = NOTHING, tried: Mapping[str, Ended] = MappingProxyType({})
) -> Seen:
    """Return what is seen of a machine that needs the stand-in of this name, with these values in docker/.env."""
    needed = base_of(name=name, image=None, stand_in=name, chosen=True)
    known = replace(settings_of(), values={**VALUES, **values})
    return Seen(base=needed, settings=known, environment=ENVIRONMENT, image=None, built=Built(), tried=tried)


Choices = list[dict[str, str | None]]


def test_stand_in_is_made_and_chosen(machine: Machine, chosen: Choices) -> None:
    """It is built from this machine's root file system and the project, with its proxies, CA bundle and index."""
    values = {"HTTP_PROXY": "http://me:secret@p:1", "PROXY_CONFIG": "/p.conf", "CA_BUNDLE": "/ca.pem"}

    base.make_stand_in(seen(values=values))

    script, load, build = machine.commands
    root = load[-1]
    assert script[:2] == ["bash", str(paths.STAND_IN_DIR / "root-file-system.sh")]
    assert load[:2] == ["docker", "import"]
    assert build == [
        *("docker", "buildx", "build", "--load", "--progress=plain"),
        *("--label", "conda-pip-docker.made-by=study", "--tag", IMAGE),
        *("--build-arg", f"ROOT_FILE_SYSTEM={root}"),
        *("--secret", "id=ca_bundle,src=/ca.pem", "--secret", f"id=pip_config,src={paths.DOCKER_DIR / 'pip.conf'}"),
        *("--secret", "id=proxies,src=/p.conf"),
        *("--file", str(paths.STAND_IN_DIR / "Dockerfile")),
        str(paths.ROOT),
    ]
    assert not any("secret@" in word for argv in machine.commands for word in argv)
    assert chosen == [{"BASE_IMAGE": IMAGE}]


def test_stand_in_that_is_here_is_only_chosen(machine: Machine, chosen: Choices) -> None:
    """Another clone has made it: neither a pull nor a build."""
    machine.here.add(IMAGE)

    base.make_stand_in(seen())

    assert machine.commands == []
    assert chosen == [{"BASE_IMAGE": IMAGE}]


def test_root_file_system_is_made_once(machine: Machine, chosen: Choices) -> None:
    """The root file system is kept for the next stand-in, of another environment.yml."""
    base.make_stand_in(seen())
    machine.here.remove(IMAGE)
    machine.commands.clear()

    base.make_stand_in(seen())

    assert [argv[:3] for argv in machine.commands] == [["docker", "buildx", "build"]]


def test_root_file_system_of_another_script_is_another_one(
    machine: Machine, chosen: Choices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old root file system is not taken for that of a changed script."""
    (tmp_path / "root-file-system.sh").write_text("changed", encoding="utf-8")

    base.make_stand_in(seen())
    monkeypatch.setattr(base, "STAND_IN_DIR", tmp_path)
    base.make_stand_in(seen("other:1"))

    assert [argv[0] for argv in machine.commands] == ["bash", "docker", "docker"] * 2


@pytest.mark.parametrize(
    ("has_root", "said", "problem"),
    [
        (
            True,
            "#9 error: the stand-in has no r-base: PyPI does not have it\nERROR: failed to solve: exit code 1",
            "the stand-in base image cannot be made: the stand-in has no r-base: PyPI does not have it",
        ),
        (True, "no space left", "the stand-in base image cannot be made: no space left"),
        (False, "E: no mirror", "the root file system of the stand-in cannot be made"),
    ],
    ids=["package that PyPI does not have", "other words", "no root file system"],
)
def test_stand_in_that_cannot_be_made_names_the_cause(
    machine: Machine, chosen: Choices, said: str, problem: str, *, has_root: bool
) -> None:
    """The cause is the error, not the last line of the builder; nothing is chosen that is not there."""
    if has_root:
        base.make_stand_in(seen("first:1"))
        chosen.clear()
    machine.fails = said

    [step] = plan(seen(), [base.base_image]).steps
    ended = step.do(seen())
    assert ended is not None
    finding = plan(seen(tried={step.name: ended}), [base.base_image]).problem

    assert finding is not None
    assert (finding.cause, finding.exit_code) == (problem, ExitCode.UNAVAILABLE)
    assert chosen == []


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="the script is for Debian and Ubuntu")
def test_root_file_system_has_no_password_of_apts(tmp_path: Path) -> None:
    """What apt needs to reach its archives goes into it without the passwords of a proxy and of an archive."""
    config = tmp_path / "apt.conf"
    config.write_text('Acquire::http::Proxy::example.invalid "http://ada:lovelace@127.0.0.1:9";\n', encoding="utf-8")
    # It does with its options what mmdebstrap does (mmdebstrap 1.3, mmdebstrap(1), --aptopt and --customize-hook).
    executable(
        tmp_path / "bin" / "mmdebstrap",
        """
        root="$(mktemp -d)"; mkdir -p "$root/etc/apt/apt.conf.d" "$root/etc/dpkg/dpkg.cfg.d" "$root/usr/share/doc/bash"
        sed 's|//|//ada:lovelace@|' >"$root/etc/apt/sources.list"
        for word; do case "$word" in
            --aptopt=*) cp "${word#*=}" "$root/etc/apt/apt.conf.d/99mmdebstrap" ;;
            --customize-hook=*) sh -c "${word#*=}" exec "$root" ;;
            */root.tar) file="$word" ;;
        esac; done
        tar -cf "$file" -C "$root" .; rm -r "$root"
        """,
    )
    environ = {**os.environ, "APT_CONFIG": str(config), "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    script = paths.STAND_IN_DIR / "root-file-system.sh"

    subprocess.run(["bash", str(script), str(tmp_path / "root.tar")], check=True, env=environ, capture_output=True)

    with tarfile.open(tmp_path / "root.tar") as made:
        files = {each.name: made.extractfile(each).read().decode() for each in made if each.isreg()}  # type: ignore[union-attr]
        folders = {each.name for each in made if each.isdir()}
    assert 'Acquire::http::Proxy::example.invalid "http://127.0.0.1:9"' in files["./etc/apt/apt.conf.d/99mmdebstrap"]
    assert "deb http" in files["./etc/apt/sources.list"]
    assert [name for name, text in files.items() if "lovelace" in text] == []
    assert "./usr/share/doc" in folders
    assert "./usr/share/doc/bash" not in folders
    assert "path-exclude=/usr/share/man/*\n" in files["./etc/dpkg/dpkg.cfg.d/99without-documents"]
