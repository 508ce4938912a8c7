"""Links in the mounted folders: which of them lead nowhere in the container, and what is said of them."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from observed import Seen, settings

from host_tasks.kit import paths, words
from host_tasks.loop import Finding, ok
from host_tasks.subjects import links, mounts
from host_tasks.subjects.compose import SERVICE, Mount

APP = "/home/ada/app"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with three of its folders, beside a folder and a file of this machine."""
    folder = tmp_path / "project"
    for name in ("project/data/raw", "project/results/of", "project/docker", "disk/deep", ".ssh"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "disk" / "large.csv").touch()
    for module in (paths, words, mounts, links):
        monkeypatch.setattr(module, "ROOT", folder)
    monkeypatch.chdir(folder)
    return folder


def looked(root: Path, *more: dict[str, str]) -> Seen:
    """Return an observation of the clone as it is now, and of further mounts."""
    own = [Mount(root / name, f"{APP}/{name}", read_only=False) for name in ("data", "results")]
    volumes = [{"type": "bind", "source": str(mount.source), "target": mount.target} for mount in own]
    model = {"services": {SERVICE: {"volumes": [*volumes, *more]}}}
    places = tuple(mounts.place(mount, count_roots=False) for mount in own)
    found = links.leading_out.__wrapped__(Seen(model=model, places=places))  # type: ignore[attr-defined]
    return Seen(settings=settings(), has_compose=True, links=found)


def judged(root: Path, *more: dict[str, str]) -> Finding:
    """Return what is said of the links, which is fine where that is nothing."""
    return next(links.inward.found(looked(root, *more)), ok(""))


@pytest.mark.parametrize(
    ("text", "leads_out"),
    [
        pytest.param("{beside}/disk", True, id="a disk"),
        pytest.param("{beside}/disk/large.csv", True, id="a file"),
        pytest.param("../../../disk", True, id="a way out that is relative"),
        pytest.param("{root}/data/raw", True, id="the clone itself, by its path on this machine"),
        pytest.param("../../docker", True, id="a folder of the clone that is not mounted"),
        pytest.param("../../data/raw", False, id="another mounted folder"),
        pytest.param("../of", False, id="its own folder"),
        pytest.param("/usr/bin/env", False, id="the system, which the image has too"),
        pytest.param("/home/ada/app/data", False, id="a path of the container, which is not on this machine"),
        pytest.param("{beside}/none", False, id="nothing, here neither"),
    ],
)
def test_link_leads_out_where_nothing_is_inside(root: Path, text: str, *, leads_out: bool) -> None:
    """What opens here and not inside is told; what opens inside, or nowhere, is not."""
    (root / "results" / "of" / "link").symlink_to(text.format(root=root, beside=root.parent))

    assert (judged(root).state == "warn") is leads_out


def test_links_are_counted_and_three_are_named(root: Path) -> None:
    """Those above come first, and each with the place that it has on this machine."""
    for name in ("data/raw/d", "data/a", "data/b", "results/c"):
        (root / name).symlink_to(root.parent / "disk")

    cause = judged(root).cause

    beginning, disk = "links of your folders that lead out of them open here only", root.parent / "disk"
    assert cause.startswith(f"{beginning}, and not in the container, 4: ")
    assert sorted(re.findall(r"(\S+) to", cause)) == ["data/a", "data/b", "results/c"]
    assert cause.count(f" to {disk}") == 3


@pytest.mark.parametrize("to", ["disk", "disk/large.csv"])
def test_mount_that_is_named_cures(root: Path, to: str) -> None:
    """The folder at its own path, for a file the one that it is in, as a line for Compose's own reader."""
    (root / "data" / "link").symlink_to(root.parent / to)

    line = re.search(r"\{.*\}", judged(root).fix)

    assert line
    volume = yaml.safe_load(line[0])
    assert volume["source"] == volume["target"] == str(root.parent / "disk")
    assert judged(root, volume).state == "ok"


def test_link_within_the_clone_is_cured_by_its_relative_path(root: Path) -> None:
    """To mount the clone at its own path would show the container what runs on this machine."""
    (root / "results" / "of" / "link").symlink_to(root / "data" / "raw")

    subprocess.run(["bash", "-c", judged(root).fix], check=True)

    assert str((root / "results" / "of" / "link").readlink()) == "../../data/raw"
    assert judged(root).state == "ok"


def test_nothing_hidden_is_proposed_to_be_mounted(root: Path) -> None:
    """The container can make a link to ~/.ssh, and must get no advice for it."""
    (root / "data" / "link").symlink_to(root.parent / ".ssh")

    assert judged(root).fix == "rm data/link"


def test_large_folder_is_looked_at_in_part(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more entries are read than it takes, links of other folders are still found, and it is said."""
    monkeypatch.setattr(links, "OF_ONE", 5)
    monkeypatch.setattr(links, "MOST", 30)
    for number in range(100):
        (root / "data" / "raw" / f"{number}").mkdir()
    (root / "results" / "of" / "link").symlink_to(root.parent / "disk")
    read, scandir = [], os.scandir

    class Counted:
        """The entries of a folder, which are counted as they are read."""

        def __init__(self, folder: Path) -> None:
            self.entries = scandir(folder)

        def __enter__(self) -> "Counted":
            return self

        def __exit__(self, *_: object) -> None:
            self.entries.close()

        def __iter__(self) -> "Counted":
            return self

        def __next__(self) -> "os.DirEntry[str]":
            read.append(next(self.entries))
            return read[-1]

    monkeypatch.setattr(os, "scandir", Counted)

    finding = judged(root)

    assert len(read) <= 31
    assert ", at least 1: results/of/link to " in finding.cause


def test_whole_folder_that_was_looked_at_has_a_plain_count(root: Path) -> None:
    """`at least` stands only where something was left out."""
    (root / "data" / "link").symlink_to(root.parent / "disk")

    assert looked(root).known["links"].looked_at_all
    assert ", 1: data/link" in judged(root).cause
    assert json.dumps(str(root.parent / "disk")) in judged(root).fix
