"""What JupyterLab's file browser can do over REST: everything in the folders, nothing beside or to them."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import YOURS, Clone, docker
from lab import OPENER, api

OVERRIDE = """\
services:
  jupyterlab-server:
    volumes:
      - {type: bind, source: ../extra, target: "/home/${USER}/app/data/study/my extra"}
      - {type: bind, source: ../reference, target: "/home/${USER}/app/reference", read_only: true}
"""


@dataclass(frozen=True)
class Change:
    """A request to the contents API."""

    method: str
    path: str
    body: dict[str, Any] | None = None

    def __str__(self) -> str:
        """Return a readable id."""
        values = [str(value) for key, value in (self.body or {}).items() if key in ("path", "copy_from", "chunk")]
        return " ".join([self.method, self.path, *values])


FILE = {"type": "file", "format": "text", "content": "lost"}
LOSING = (
    Change("DELETE", "data"),
    Change("DELETE", "data/study"),
    Change("DELETE", "data/study/my%20extra"),
    Change("DELETE", "reference/kept.txt"),
    Change("DELETE", "env/conda-meta/history"),
    Change("PATCH", "data", {"path": "data2"}),
    Change("PATCH", "data", {"path": "results/data"}),
    Change("PATCH", "data/study", {"path": "results/study"}),
    Change("PATCH", "notebooks/kept.txt", {"path": "env/kept.txt"}),
    Change("PATCH", "notebooks/deep", {"path": "env/deep"}),
    Change("PATCH", "notebooks/kept.txt", {"path": "notebooks/out/kept.txt"}),
    Change("PATCH", "notebooks/kept.txt", {"path": "kept.txt"}),
    Change("PATCH", "reference/kept.txt", {"path": "notebooks/moved.txt"}),
    Change("POST", "env", {"copy_from": "notebooks/deep"}),
    Change("POST", "env", {"copy_from": "notebooks/kept.txt"}),
    Change("POST", "notebooks/out", {"copy_from": "notebooks/deep"}),
    Change("POST", "notebooks/deep", {"copy_from": "notebooks/deep"}),
    Change("POST", "", {"copy_from": "data"}),
    Change("POST", "env", {"type": "notebook"}),
    Change("POST", "env", {"type": "directory"}),
    Change("PUT", "env/lost.txt", FILE),
    Change("PUT", "env/lost.txt", {**FILE, "chunk": 1}),
    Change("PUT", "env/lost.txt", {**FILE, "chunk": 2}),
    Change("PUT", "notebooks/out/lost.txt", FILE),
    Change("PUT", "notebooks/link.txt", FILE),
)


@pytest.fixture(scope="module")
def link(clone: Clone) -> Iterator[str]:
    """The link of a server with the six folders, a folder in a folder of data/, and one that may only be read.

    In the end the container's own files are what they were at first: nothing was moved, copied or deleted to there.
    """
    for folder in ("extra", "reference", "data/study/my extra", "notebooks/deep/deeper"):
        (clone.root / folder).mkdir(parents=True)
        (clone.root / folder / "kept.txt").write_text("kept", encoding="utf-8")
    (clone.root / "notebooks" / "kept.txt").write_text("kept", encoding="utf-8")
    (clone.root / "notebooks" / "out").symlink_to("/tmp")  # noqa: S108 - in the container
    (clone.root / "notebooks" / "link.txt").symlink_to("/tmp/lost.txt")  # noqa: S108
    (clone.root / "docker" / "docker-compose.override.yml").write_text(OVERRIDE, encoding="utf-8")
    link = clone.succeed("up", "--yes").splitlines()[-1]
    before = changed_inside(clone)
    yield link
    assert changed_inside(clone) == before


@pytest.fixture
def unchanged(clone: Clone, link: str) -> Iterator[Clone]:
    """The clone, in which a test may change none of the person's files."""
    before = content(clone.root)
    yield clone
    assert content(clone.root) == before


def changed_inside(clone: Clone) -> list[str]:
    """Return what differs from the image in the container's own files."""
    return sorted(docker("diff", clone.container_id()).splitlines())


def content(root: Path) -> dict[str, bytes]:
    """Return every file of the mounted folders with its bytes."""
    folders = [root / name for name in (*YOURS, "extra", "reference")]
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else b""
        for folder in folders
        for path in sorted(folder.rglob("*"))
    }


def answer_to(link: str, change: Change) -> tuple[int, str]:
    """Return the status that a change gets, and what JupyterLab shows of it."""
    base, token = link.split("/?")[0], link.rpartition("token=")[2]
    data = None if change.body is None else json.dumps(change.body).encode()
    headers = {"Authorization": f"token {token}"}
    request = urllib.request.Request(f"{base}/api/contents/{change.path}", data, headers, method=change.method)
    try:
        with OPENER.open(request, timeout=60) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as err:
        return err.code, str(json.loads(err.read())["message"])


@pytest.mark.parametrize("change", LOSING, ids=str)
def test_change_that_would_lose_something_is_refused_whole(change: Change, unchanged: Clone, link: str) -> None:
    """It gets 403 and a sentence that names the path; not one file has moved."""
    status, said = answer_to(link, change)

    assert status == 403, said
    assert said.startswith(("notebooks/", "data", "env", "reference", "kept", "~/app"))
    assert "Traceback" not in said


def test_project_folder_itself_cannot_be_deleted(unchanged: Clone, link: str) -> None:
    """The root of the file browser stays as well."""
    status, _ = answer_to(link, Change("DELETE", ""))

    assert status in (400, 403)


def test_deleted_folder_is_whole_in_the_trash_of_its_mount(clone: Clone, link: str) -> None:
    """A deleted folder is beside what stays, on the host, under the time and its own path."""
    folder = clone.root / "results" / "run 1%" / "é"
    clone.inside("mkdir", "--parents", "results/run 1%/é")
    clone.inside("cp", "notebooks/kept.txt", "results/run 1%/é/big.csv")

    status, said = answer_to(link, Change("DELETE", "results/run%201%25"))

    (trash,) = (clone.root / "results").glob(".Trash-*")
    (kept,) = trash.glob("*/run 1%/é/big.csv")
    assert (status, said) == (204, "")
    assert not folder.parent.exists()
    assert kept.read_bytes() == b"kept"
    assert trash.stat().st_mode & 0o777 == 0o700
    assert trash.name == f".Trash-{clone.values()['UID']}"


def test_same_name_can_be_deleted_again_and_again(clone: Clone, link: str) -> None:
    """Files of one name are all kept, even a link that leads nowhere; git does not see them."""
    for text in ("first", "second"):
        (clone.root / "doc" / "same.txt").write_text(text, encoding="utf-8")
        assert answer_to(link, Change("DELETE", "doc/same.txt"))[0] == 204
    (clone.root / "doc" / "same.txt").symlink_to("gone")

    status, said = answer_to(link, Change("DELETE", "doc/same.txt"))

    kept = sorted(path / "same.txt" for path in (clone.root / "doc").glob(".Trash-*/*"))
    assert (status, said) == (204, "")
    assert [path.read_text(encoding="utf-8") for path in kept if path.exists()] == ["first", "second"]
    assert [str(path.readlink()) for path in kept if path.is_symlink()] == ["gone"]
    assert clone.run("git", "init", "--quiet").returncode == 0
    assert ".Trash" not in clone.run("git", "status", "--porcelain", "--untracked-files=all").stdout


def test_everything_works_inside_the_folders(clone: Clone, link: str) -> None:
    """Saving, renaming, moving between folders, copying files and folders: on the host at once."""
    saved = {"type": "file", "format": "text", "content": "mine"}
    changes = (
        Change("PUT", "notebooks/new", {"type": "directory"}),
        Change("PUT", "notebooks/new/a.txt", saved),
        Change("PUT", "notebooks/new/b.txt", {**saved, "chunk": 1}),
        Change("PUT", "notebooks/new/b.txt", {**saved, "chunk": -1}),
        Change("PATCH", "notebooks/new/a.txt", {"path": "results/a.txt"}),
        Change("PATCH", "notebooks/new", {"path": "notebooks/old"}),
        Change("POST", "results", {"copy_from": "notebooks/old"}),
        Change("POST", "doc", {"copy_from": "env/conda-meta/history"}),
        Change("POST", "bin", {"copy_from": "reference/kept.txt"}),
        Change("PATCH", "results/old", {"path": "data/study/my extra/old"}),
    )

    answers = [answer_to(link, each) for each in changes]

    assert [status // 100 for status, _ in answers] == [2] * len(changes), answers
    files = content(clone.root)
    assert files["results/a.txt"] == b"mine"
    assert files["notebooks/old/b.txt"] == files["extra/old/b.txt"] == b"minemine"
    assert files["bin/kept.txt"] == b"kept"
    assert "doc/history" in files
    assert "notebooks/new" not in files
    assert api(link, "contents/notebooks/old")["type"] == "directory"
