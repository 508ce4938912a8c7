"""The batch script, and the archive of an image that it starts from."""

import json
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from host_tasks.act import slurm
from host_tasks.ground.errors import ExitCode, HostError

ENVIRONMENT = ["ENV_PREFIX=/opt/env", "A=a b"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's root, in which nothing is yet."""
    monkeypatch.setattr(slurm, "ROOT", tmp_path)
    monkeypatch.setattr(slurm, "SETTINGS", tmp_path / "slurm.yml")
    monkeypatch.setattr(slurm, "KEPT", tmp_path / ".slurm")
    return tmp_path


def packed(target: Path, files: dict[str, str], *, links: Iterable[tuple[str, str]] = ()) -> None:
    """Write a tar archive of files and symbolic links."""
    source = Path(tempfile.mkdtemp(dir=target.parent))
    with tarfile.open(target, "w") as archive:
        archive.add(source, "./")
        for name, content in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(content, encoding="utf-8")
            archive.add(source / name, name)
        for name, to in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, to
            archive.addfile(member)


def image(folder: Path, *layers: dict[str, str], links: Iterable[tuple[str, str]] = ()) -> None:
    """Write an archive as `docker save` does; the links are in the first layer."""
    for number, files in enumerate(layers):
        packed(folder / f"{number}.tar", files, links=() if number else links)
    names = [f"{number}.tar" for number in range(len(layers))]
    (folder / "config").write_text(json.dumps({"config": {"Env": ENVIRONMENT}}), encoding="utf-8")
    (folder / "other").write_text(json.dumps({"config": {}}), encoding="utf-8")
    images = [{"Config": "other", "Layers": []}, {"Config": "config", "Layers": names}]
    (folder / "manifest.json").write_text(json.dumps(images), encoding="utf-8")
    with tarfile.open(folder / "image.tar", "w") as archive:
        for name in ("manifest.json", "config", "other", *names):
            archive.add(folder / name, name)


def unpacked(folder: Path) -> dict[str, str]:
    """Return the files of the unpacked image."""
    root = slurm.unpacked(folder / "image.tar")
    return {str(each.relative_to(root)): each.read_text("utf-8") for each in root.rglob("*") if each.is_file()}


def test_layers_lie_over_each_other(folder: Path) -> None:
    """A later file replaces an earlier one; a whiteout takes one away, an opaque one a whole folder."""
    slurm.KEPT.mkdir()
    first = {"a": "1", "b": "1", "c/d": "1", "c/e": "1", "f/g": "1"}
    image(folder, first, {"a": "2", ".wh.b": "", "c/.wh..wh..opq": "", "c/h": "2", ".wh.f": ""})

    assert unpacked(folder) == {"a": "2", "c/h": "2"}


def test_archive_is_unpacked_once_and_a_new_one_anew(folder: Path) -> None:
    """What is unpacked is taken again, until the archive is another one."""
    slurm.KEPT.mkdir()
    image(folder, {"a": "1"})
    first = slurm.unpacked(folder / "image.tar")
    (first / "mark").touch()

    again = slurm.unpacked(folder / "image.tar")
    image(folder, {"a": "1", "b": "other"})
    other = slurm.unpacked(folder / "image.tar")

    assert (again / "mark").exists()
    assert not (other / "mark").exists()
    assert (first / "mark").exists()  # a job may run from it


def test_layer_does_not_leave_its_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A link of an earlier layer leads no later one to a file of this machine."""
    slurm.KEPT.mkdir()
    outside = tmp_path_factory.mktemp("outside")
    image(folder, {"a": "1"}, {"out/b": "2"}, links=[("out", str(outside))])

    with pytest.raises(HostError) as refused:
        slurm.unpacked(folder / "image.tar")

    assert refused.value.code == ExitCode.DATA
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "code"), [(None, ExitCode.UNAVAILABLE), (b"no archive", ExitCode.DATA)], ids=["absent", "damaged"]
)
def test_archive_that_cannot_be_used_is_told(folder: Path, content: bytes | None, code: ExitCode) -> None:
    """One that is not there, or is no archive, is one error, and nothing is taken for an image afterwards."""
    slurm.KEPT.mkdir()
    if content:
        (folder / "image.tar").write_bytes(content)

    with pytest.raises(HostError) as refused:
        slurm.unpacked(folder / "image.tar")

    assert refused.value.code == code
    assert not list(slurm.KEPT.glob("image-*"))


def test_script_says_what_was_asked_and_what_slurm_yml_says(folder: Path) -> None:
    """An option goes before slurm.yml, any other key of sbatch goes through, and words stay words."""
    image(folder, {"a": "1"})
    text = "sbatch: {partition: long, time: '1:00', gres: gpu:1}\nlogin: a@b\nsetup: module load x\noptions: --nv\n"
    (folder / "slurm.yml").write_text(text, encoding="utf-8")

    lines = slurm.script(["python", "a b"], {"partition": "short", "time": "", "mem": "", "account": ""}).splitlines()

    assert lines[:8] == [
        "#!/bin/bash",
        "#SBATCH --job-name=python",
        f"#SBATCH --output={folder}/.slurm/%j.out",
        "#SBATCH --partition=short",
        "#SBATCH --time=1:00",
        "#SBATCH --gres=gpu:1",
        "module load x",
        f"project=({folder})",
    ]
    assert lines[9:14] == [
        "login=(a@b)",
        "folders=(bin data doc notebooks results src)",
        "environment=(ENV_PREFIX=/opt/env 'A=a b')",
        "options=(--nv)",
        "set -- python 'a b'",
    ]
    assert slurm.KEPT.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("partition: short\n", "partition: short"),
        ("sbatch: short\n", "sbatch: short"),
        ("- a\n", "no attribute"),
        ("a: [\n", "while parsing"),
    ],
    ids=["unknown key", "no mapping", "a list", "no YAML"],
)
def test_broken_slurm_yml_is_told(folder: Path, content: str, words: str) -> None:
    """What slurm.yml cannot mean is one error that names it."""
    (folder / "slurm.yml").write_text(content, encoding="utf-8")

    with pytest.raises(HostError) as refused:
        slurm.read_settings()

    assert words in refused.value.problem
    assert refused.value.code == ExitCode.CONFIG


def test_value_of_two_lines_is_refused() -> None:
    """No value of slurm.yml or of an option becomes a line of its own in the script."""
    with pytest.raises(HostError):
        slurm.one_line("short\nrm -r ~", "partition")

    assert slurm.one_line("a b", "comment") == "'a b'"
