"""What `load` takes of an archive: the names that belong to this clone, and else nothing of it."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from observed import Seen, base, engine, settings

from host_tasks.extras import share
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import OK, Finding
from host_tasks.subjects import images

INPUTS = {"environment.yml": "e1"}
BASE = "base:1"
NAME = f"other-0a1b2c3d-environment:{images.environment_tag(INPUTS, BASE)}"
DATABASE = "postgres:16"
STAND_IN = "conda-pip-docker/stand-in:0123456789ab"


def config(below: str = BASE, *, more: str = "") -> bytes:
    """Return an image's configuration."""
    return json.dumps({"config": {"Labels": {images.BASE_LABEL: below}}, "more": more}).encode()


def archive(*names: str, below: str = BASE, **more: Any) -> dict[str, bytes]:
    """Return the files of an archive as engine 26 writes it: every name is in all three lists."""
    blob = "blobs/sha256/" + hashlib.sha256(config(below)).hexdigest()
    manifest = {"Config": blob, "RepoTags": list(names), "Layers": []}
    annotated = [{share.NAMES[0]: f"docker.io/library/{name}", share.NAMES[1]: name.split(":")[1]} for name in names]
    lists = {
        "manifest.json": [manifest],
        "repositories": {name.split(":")[0]: {name.split(":")[1]: "layer"} for name in names},
        "index.json": {"manifests": [{"digest": "sha256:index", "annotations": words} for words in annotated]},
        **{name.replace("_", "."): content for name, content in more.items()},
    }
    return {blob: config(below), **{name: json.dumps(content).encode() for name, content in lists.items()}}


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of some files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file that is loaded."""
    return tmp_path / "environment.tar"


def found(
    file: Path, *, here: Mapping[str, str] | None = None, containerd: bool = False, chosen: str = BASE
) -> Finding:
    """Return the first that the rule of `load` finds, where the engine has these images, by name."""
    on_engine = {name: images.Image(id_) for name, id_ in (here or {}).items()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(images, "on_engine", lambda seen, name: on_engine.get(name))
        seen = Seen(
            inputs=INPUTS,
            base=base(name=chosen),
            project="study-1a2b3c4d",
            settings=settings(),
            engine=engine(
                info={"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]} if containerd else {}
            ),
            model={"services": {"jupyterlab-server": {"build": {}}, "db": {"image": DATABASE}}},
            lacking_images={"db": DATABASE},
        )
        return next(iter(share.fitting(file, lambda: share.held(file)).found(seen)))


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=lambda each: each.__module__
)
@pytest.mark.parametrize("names", [(NAME,), (NAME, DATABASE)], ids=["environment", "and a service's image"])
def test_archive_of_this_clones_names_is_taken(
    file: Path, names: tuple[str, ...], compress: Callable[[bytes], bytes]
) -> None:
    """The environment, and the images of the services here, however the file is compressed."""
    file.write_bytes(compress(packed(archive(*names))))

    assert found(file).state == OK


def other_name(where: str, name: str) -> dict[str, bytes]:
    """Return an archive that has a name more in one of its three lists."""
    repository, _, tag = name.rpartition(":")
    lists: dict[str, Any] = {
        "manifest.json": [json.loads(archive(NAME, name)["manifest.json"])[0]],
        "repositories": {repository: {tag: "layer"}},
        "index.json": {
            "manifests": [{"digest": "sha256:b", "annotations": {share.NAMES[0]: f"docker.io/library/{name}"}}]
        },
        "index.json, by its second annotation": {
            "manifests": [{"digest": "sha256:b", "annotations": {share.NAMES[1]: name}}]
        },
    }
    return {**archive(NAME), where.partition(",")[0]: json.dumps(lists[where]).encode()}


@pytest.mark.parametrize(
    "where", ["manifest.json", "repositories", "index.json", "index.json, by its second annotation"]
)
@pytest.mark.parametrize("name", ["mysql:8", "theirs-9f8e7d6c-jupyterlab-server:latest", "evil.example/a:\x1b[2J"])
def test_name_that_is_not_this_clones_is_refused(file: Path, where: str, name: str) -> None:
    """A second tag would replace another project's image; it stands in any of the lists that an engine may read."""
    file.write_bytes(packed(other_name(where, name)))

    finding = found(file)

    assert (finding.exit_code, finding.step) == (ExitCode.DATA, None)
    assert f"also holds {name!r}" in finding.cause
    assert "\x1b" not in finding.cause + finding.fix


@pytest.mark.parametrize("name", [NAME, DATABASE])
@pytest.mark.parametrize("containerd", [False, True], ids=["docker's store", "containerd's store"])
def test_name_that_the_engine_has_stays_what_it_is(file: Path, name: str, containerd: bool) -> None:  # noqa: FBT001
    """The environment of another clone here, or a database's image, is not replaced; the same one is no matter."""
    file.write_bytes(packed(archive(NAME, DATABASE)))
    same = "sha256:index" if containerd else f"sha256:{hashlib.sha256(config()).hexdigest()}"
    lie = "sha256:index" if not containerd else same.replace("index", "config")

    refused = found(file, here={name: lie}, containerd=containerd)

    assert (refused.exit_code, refused.fix) == (*(ExitCode.DATA, f"docker image rm {name} && invoke load {file}"),)
    assert found(file, here={name: same}, containerd=containerd).state == OK


@pytest.mark.parametrize(("below", "state"), [(STAND_IN, OK), ("stranger/base:1", "fail"), ("$(id)", "fail")])
def test_base_image_of_a_stranger_is_refused(file: Path, below: str, state: str) -> None:
    """BASE_IMAGE is what the Dockerfile or docker/.env names, or a stand-in; the fix says it, as one word."""
    name = f"other-0a1b2c3d-environment:{images.environment_tag(INPUTS, below)}"
    file.write_bytes(packed(archive(name, below=below)))

    finding = found(file)

    assert finding.state == state
    assert state == OK or f"built on {below!r}" in finding.cause
    assert found(file, chosen=below).state == OK


def link(folder: Path) -> tarfile.TarInfo:
    """Return a member that is a link."""
    member = tarfile.TarInfo("blobs/a")
    member.type, member.linkname = tarfile.SYMTYPE, "."
    return member


def with_huge_header() -> bytes:
    """Return an archive whose first header claims eight gigabytes for itself (pax)."""
    member = tarfile.TarInfo("huge")
    member.type, member.size = tarfile.XHDTYPE, 8 * 2**30
    return member.tobuf() + bytes(2**20)


STRANGE = {
    "empty": b"",
    "no archive": b"x" * 100_000,
    "cut off": packed(archive(NAME))[:700],
    "cut off, compressed": gzip.compress(packed(archive(NAME)))[:-50],
    "no manifest": packed({"index.json": archive(NAME)["index.json"]}),
    "two environments": packed(archive(NAME, NAME.replace("other", "another"))),
    "no environment": packed(archive(DATABASE)),
    "a list that is none": packed({**archive(NAME), "repositories": b"[]"}),
    "deep JSON": packed({**archive(NAME), "index.json": b"[" * 500_000}),
    "another name for it": packed({**archive(NAME), "./manifest.json": b"[]"}),
    "a huge header": with_huge_header(),
    "zstd": share.ZSTD + bytes(100),
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE)
def test_file_that_is_no_such_archive_is_one_error(file: Path, content: bytes) -> None:
    """It is told in one line, whatever it is."""
    file.write_bytes(content)

    finding = found(file)

    assert (finding.state, finding.exit_code) == ("fail", ExitCode.DATA)
    assert finding.cause.startswith(f"{file} cannot be read: ")
    assert "\n" not in finding.cause


def test_file_behind_a_link_in_the_archive_is_refused(file: Path) -> None:
    """An engine that unpacks it first would read another manifest there."""
    with tarfile.open(file, "w") as tar:
        for name, content in archive(NAME).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        tar.addfile(link(file.parent))
        member = tarfile.TarInfo("blobs/a/manifest.json")
        tar.addfile(member)

    assert "behind a link" in found(file).cause


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: None])
def test_what_is_no_file_is_not_waited_for(file: Path, make: Callable[[Path], None]) -> None:
    """A pipe, a folder, a device behind a link, and nothing at all."""
    make(file)

    with pytest.raises(HostError) as refused:
        share.held(file)

    assert refused.value.code == ExitCode.DATA
