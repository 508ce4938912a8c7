"""What JupyterLab's file browser and its checkpoints do amid a kill or on a full disk, and with odd links and names."""

import base64
import json
import random
import subprocess
import threading
from pathlib import Path
from typing import Any

import interrupts
import pytest
from conftest import Clone, docker, wait_until
from lab import api, status_of
from test_contents import Change, answer_to

OVERRIDE = """\
services:
  jupyterlab-server:
    tmpfs:
      - /home/${USER}/app/data/small:uid=${UID},gid=${GID},size=1m
      - /home/${USER}/app/data/small-0:uid=${UID},gid=${GID},size=1m
      - /home/${USER}/app/data/small-1:uid=${UID},gid=${GID},size=1m
      - /home/${USER}/app/data/large-0:uid=${UID},gid=${GID},size=64m
      - /home/${USER}/app/data/large-1:uid=${UID},gid=${GID},size=64m
    volumes:
      - {type: bind, source: ../reference, target: "/home/${USER}/app/reference", read_only: true}
      - {type: bind, source: ../reference, target: "/home/${USER}/app/notebooks/shared", read_only: true}
"""
KILLS, FULL = 200, 50
TEXT = {"type": "file", "format": "text"}


@pytest.fixture(scope="module")
def link(clone: Clone) -> str:
    """The link of a server with a disk of one megabyte, and a folder that may only be read."""
    for folder in ("small", "small-0", "small-1", "large-0", "large-1"):
        (clone.root / "data" / folder).mkdir()
    (clone.root / "reference").mkdir()
    (clone.root / "notebooks" / "shared").mkdir()
    (clone.root / "reference" / "kept.txt").write_text("kept", encoding="utf-8")
    (clone.root / "docker" / "docker-compose.override.yml").write_text(OVERRIDE, encoding="utf-8")
    return clone.succeed("up", "--yes").splitlines()[-1]


def part_of(content: bytes, chunk: int) -> dict[str, object]:
    """Return a part of an upload, as JupyterLab sends it."""
    return {"type": "file", "format": "base64", "chunk": chunk, "content": base64.b64encode(content).decode()}


def saved(clone: Clone, path: str, text: str) -> Path:
    """Make a file of the container's user, and return where it is on the host."""
    clone.inside("sh", "-c", 'printf %s "$2" >"$1"', "sh", path, text)
    return clone.root / path


def in_trash(folder: Path, name: str) -> list[str]:
    """Return what the trash of a mount has of a name."""
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob(f".Trash-*/*/{name}"))]


def test_upload_that_breaks_off_leaves_the_old_file(clone: Clone, link: str) -> None:
    """Until its last part has come the old file is there, whole; then it is the new one, and nothing is left beside."""
    file = saved(clone, "results/big.bin", "old" * 1000)

    first = answer_to(link, Change("PUT", "results/big.bin", part_of(b"new", 1)))[0]
    second = answer_to(link, Change("PUT", "results/big.bin", part_of(b"er", 2)))[0]
    broken_off = file.read_text("utf-8")
    last = answer_to(link, Change("PUT", "results/big.bin", part_of(b"!", -1)))[0]

    assert ([first, second, last], broken_off) == ([200] * 3, "old" * 1000)
    assert file.read_bytes() == b"newer!"
    assert list(file.parent.glob(".part-*")) == []


def test_new_file_is_not_there_before_its_last_part(clone: Clone, link: str) -> None:
    """Nor is a part taken whose predecessor is gone."""
    lost = answer_to(link, Change("PUT", "results/new.bin", part_of(b"b", 2)))
    first = answer_to(link, Change("PUT", "results/new.bin", part_of(b"a", 1)))[0]
    early = (clone.root / "results" / "new.bin").exists()
    last = answer_to(link, Change("PUT", "results/new.bin", part_of(b"b", -1)))[0]

    assert (lost[0], "uploaded again" in lost[1], first // 100, early, last // 100) == (409, True, 2, False, 2)
    assert (clone.root / "results" / "new.bin").read_bytes() == b"ab"


@pytest.mark.parametrize("chunk", [None, 1, -1], ids=["save", "first part", "last part"])
def test_full_disk_leaves_the_old_file(clone: Clone, link: str, chunk: int | None) -> None:
    """A change that finds no room is told, the old file is whole, and what was written is gone."""
    clone.inside("sh", "-c", "rm -rf data/small/* data/small/.part-*; printf old >data/small/kept.txt")
    if chunk == -1:
        answer_to(link, Change("PUT", "data/small/kept.txt", part_of(b"x" * 10**5, 1)))
    body = {**TEXT, "content": "x" * 2**21} if chunk is None else part_of(b"x" * 2**21, chunk)

    status, _ = answer_to(link, Change("PUT", "data/small/kept.txt", body))

    assert status == 500
    assert clone.inside("sh", "-c", "cat data/small/kept.txt; ls -A data/small").stdout == "oldkept.txt\n"


def test_server_that_is_killed_amid_a_save_leaves_the_old_file(clone: Clone, link: str) -> None:
    """The new text is beside until it is complete and on the disk."""
    file = saved(clone, "doc/long.txt", "old")
    body = {**TEXT, "content": "x" * 150_000_000}

    def save() -> None:
        try:
            answer_to(link, Change("PUT", "doc/long.txt", body))
        except OSError:
            return

    thread = threading.Thread(target=save)
    thread.start()
    wait_until(lambda: list(file.parent.glob(".part-*")) or file.stat().st_size != 3, timeout_s=120, what="the save")
    docker("kill", "--signal=KILL", clone.container_id())
    thread.join()

    found = file.read_bytes()
    clone.succeed("up", "--yes")
    assert found in (b"old", b"x" * 150_000_000)


@pytest.fixture(scope="module")
def interrupted(clone: Clone, link: str) -> dict[str, dict[str, Any]]:
    """What became of each write, interrupted by kills at random moments, and by disks with room for a part of it."""
    seed = random.randrange(2**32)  # noqa: S311 # for the same moments again
    print(
        f"seed {seed}: in the container, python -I -B - {seed} {KILLS} {FULL} HALF <tests/starter/image/interrupts.py"
    )
    with Path(str(interrupts.__file__)).open("rb") as program:
        words = ("docker", "exec", "--interactive", clone.container_id(), "python", "-I", "-B", "-")
        started = []
        for half in range(interrupts.HALVES):
            numbers = map(str, (seed, KILLS, FULL, half))
            program.seek(0)
            text = program.read()
            process = subprocess.Popen([*words, *numbers], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert process.stdin
            process.stdin.write(text)
            process.stdin.close()
            started.append(process)
        table: dict[str, dict[str, Any]] = {}
        for process in started:
            assert process.stdout
            table |= json.loads(process.stdout.read())
            assert process.wait() == 0
    return table


@pytest.mark.parametrize("write", interrupts.WRITES)
def test_write_that_is_interrupted_loses_nothing(interrupted: dict[str, dict[str, Any]], write: str) -> None:
    """Killed 200 times amid it, or on a full disk: the old content or the new one is there whole, and nothing stays."""
    told = interrupted[write]

    assert told["amiss"] == []
    assert told["kills"] >= KILLS
    # To rename takes no room, nor does to delete.
    assert (told["full"] > 0) == (not write.startswith(("rename", "delete")))


@pytest.fixture
def fresh(clone: Clone, link: str) -> str:
    """The link of the server now; one that was killed has another."""
    del link
    return clone.succeed("url").splitlines()[-1]


def test_restored_checkpoint_keeps_the_newer_text(clone: Clone, fresh: str) -> None:
    """What the checkpoint replaces is in the trash; where both are equal nothing is put there."""
    file = saved(clone, "doc/essay.txt", "first")
    made = answer_to(fresh, Change("POST", "doc/essay.txt/checkpoints"))[0]
    same = answer_to(fresh, Change("POST", "doc/essay.txt/checkpoints/checkpoint"))[0]
    before = in_trash(clone.root / "doc", "essay.txt")
    saved(clone, "doc/essay.txt", "newer")

    restored = answer_to(fresh, Change("POST", "doc/essay.txt/checkpoints/checkpoint"))[0]

    assert (made, same, before, restored) == (201, 204, [], 204)
    assert file.read_text("utf-8") == "first"
    assert in_trash(clone.root / "doc", "essay.txt") == ["newer"]


def test_checkpoint_stays_in_the_folders(clone: Clone, fresh: str) -> None:
    """A link in the place of their folder leads none of them out; it is in the trash afterwards."""
    clone.inside(
        "sh", "-c", "mkdir -p ~/.cache/out results/linked && ln -s ~/.cache/out results/linked/.ipynb_checkpoints"
    )
    saved(clone, "results/linked/a.txt", "a")

    status = answer_to(fresh, Change("POST", "results/linked/a.txt/checkpoints"))[0]

    assert status == 201
    assert clone.inside("sh", "-c", "ls -A ~/.cache/out").stdout == ""
    kept = clone.root / "results" / "linked" / ".ipynb_checkpoints" / "a-checkpoint.txt"
    assert kept.read_text("utf-8") == "a"
    assert len(list((clone.root / "results").glob(".Trash-*/*/linked/.ipynb_checkpoint[s]"))) == 1


PLANTED = {
    "a link to the settings": "ln -s ~/.jupyter/lab .ipynb_checkpoints",
    "a link that leads nowhere": "ln -s ~/.cache/none .ipynb_checkpoints",
    "a file": "touch .ipynb_checkpoints",
    "a checkpoint that is a link": "mkdir .ipynb_checkpoints && ln -s ~/.cache/x .ipynb_checkpoints/a-checkpoint.txt",
}


@pytest.mark.parametrize("script", PLANTED.values(), ids=PLANTED)
def test_checkpoint_is_made_whatever_is_in_its_place(clone: Clone, fresh: str, script: str) -> None:
    """What is there is in the trash afterwards, and nothing is written where it leads."""
    name = f"planted-{list(PLANTED.values()).index(script)}"
    where = "find ~/.jupyter/lab ~/.cache -name '*checkpoint*' -o -name none -o -path '*/.cache/x'"
    clone.inside("sh", "-c", f"mkdir results/{name} && cd results/{name} && {script}")
    saved(clone, f"results/{name}/a.txt", "a")

    status, said = answer_to(fresh, Change("POST", f"results/{name}/a.txt/checkpoints"))

    kept = clone.root / "results" / name / ".ipynb_checkpoints" / "a-checkpoint.txt"
    assert (status, said) == (201, "")
    assert (kept.parent.is_symlink(), kept.is_symlink(), kept.read_text("utf-8")) == (False, False, "a")
    assert clone.inside("sh", "-c", where).stdout == ""
    assert len(list((clone.root / "results").glob(f".Trash-*/*/{name}/.ipynb_checkpoint[s]"))) == 1


def test_trash_that_is_a_link_takes_nothing(clone: Clone, fresh: str) -> None:
    """Where it leads out of the folders, what is deleted stays, and so does what a checkpoint would replace."""
    file = saved(clone, "bin/tool.txt", "first")
    made = answer_to(fresh, Change("POST", "bin/tool.txt/checkpoints"))[0]
    saved(clone, "bin/tool.txt", "newer")
    clone.inside("sh", "-c", "mkdir -p ~/.cache/trash && ln -s ~/.cache/trash bin/.Trash-$(id -u)")

    deleted, said = answer_to(fresh, Change("DELETE", "bin/tool.txt"))
    restored, told = answer_to(fresh, Change("POST", "bin/tool.txt/checkpoints/checkpoint"))

    assert (made, deleted, restored) == (201, 403, 403)
    assert "it is a link" in said
    assert told.startswith("bin/tool.txt stays")
    assert file.read_text("utf-8") == "newer"
    assert clone.inside("sh", "-c", "ls -A ~/.cache/trash").stdout == ""


WRITTEN = {
    "settings/@jupyterlab/apputils-extension:themes": {"raw": '{"theme": "JupyterLab Dark"}'},
    "workspaces/default": {"data": {"layout": 1}, "metadata": {"id": "default"}},
}


@pytest.mark.parametrize("path", WRITTEN)
def test_jupyterlabs_own_files_are_written_beside(clone: Clone, fresh: str, path: str) -> None:
    """Settings and layouts, too, are put in the place of the old ones by a rename: each time it is another file."""
    listing = ("sh", "-c", "find ~/.jupyter/lab -type f -name '*.jupyterlab-*' -exec stat -c '%n %i' {} +")
    api(fresh, path, root="lab/api", method="PUT", body=WRITTEN[path])
    first = clone.inside(*listing).stdout.splitlines()

    api(fresh, path, root="lab/api", method="PUT", body=WRITTEN[path])

    second = clone.inside(*listing).stdout.splitlines()
    changed = [line.split()[0] for line in first if line not in second]
    assert len(changed) == 1
    assert [line.split()[0] for line in second] == [line.split()[0] for line in first]


def test_settings_are_no_place_for_files(clone: Clone, fresh: str) -> None:
    """A link to JupyterLab's settings, which outlive the container, is refused like any other way out."""
    clone.inside("sh", "-c", "ln -s ~/.jupyter/lab notebooks/settings")

    status, said = answer_to(fresh, Change("PUT", "notebooks/settings/x.txt", {**TEXT, "content": "x"}))

    assert (status, said.startswith("notebooks/settings/x.txt")) == (403, True)


@pytest.mark.parametrize("path", ["reference/kept.txt", "notebooks/shared/kept.txt", "env/conda-meta/history"])
def test_where_nothing_can_be_saved_no_checkpoint_can_be_made(clone: Clone, fresh: str, path: str) -> None:
    """There are none, and to ask for one gets 403 and a sentence."""
    listed = api(fresh, f"contents/{path}/checkpoints")
    status, said = answer_to(fresh, Change("POST", f"{path}/checkpoints"))

    assert (list(listed), status) == ([], 403)
    assert said.startswith(path)
    assert answer_to(fresh, Change("POST", f"{path}/checkpoints/checkpoint"))[0] in (403, 404)


def test_notebook_in_a_folder_that_may_only_be_read_is_not_saved(clone: Clone, fresh: str) -> None:
    """It opens, and to save it gets 403 and a sentence, where it is and beside it."""
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (clone.root / "reference" / "a.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    whole = {"type": "notebook", "format": "json", "content": notebook}

    opened = api(fresh, "contents/notebooks/shared/a.ipynb")
    saves = [answer_to(fresh, Change("PUT", f"notebooks/shared/{name}.ipynb", whole)) for name in ("a", "b")]

    assert opened["type"] == "notebook"
    assert [(status, said.partition(" is in")[2]) for status, said in saves] == [
        (403, " a folder that you may only read.")
    ] * 2


def test_rename_does_not_replace_a_link_that_leads_nowhere(clone: Clone, fresh: str) -> None:
    """It gets 409, as a file would; both are what they were."""
    file = saved(clone, "doc/from.txt", "mine")
    clone.inside("ln", "-s", "nowhere", "doc/to.txt")

    status, said = answer_to(fresh, Change("PATCH", "doc/from.txt", {"path": "doc/to.txt"}))

    assert (status, said) == (409, "doc/to.txt exists already.")
    assert file.read_text("utf-8") == "mine"
    assert str((clone.root / "doc" / "to.txt").readlink()) == "nowhere"


def test_folder_that_holds_itself_is_copied_once(clone: Clone, fresh: str) -> None:
    """Its link is a link in the copy, too, and nothing is left beside."""
    clone.inside("sh", "-c", "mkdir doc/loop && printf a >doc/loop/a.txt && ln -s ../loop doc/loop/loop")

    status, said = answer_to(fresh, Change("POST", "results", {"copy_from": "doc/loop"}))

    assert (status, said) == (201, "")
    copy = clone.root / "results" / "loop"
    assert sorted(path.name for path in copy.iterdir()) == ["a.txt", "loop"]
    assert (copy / "loop").is_symlink()
    assert list((clone.root / "results").glob(".part-*")) == []


def test_name_that_is_no_text_is_shown_opened_renamed_and_deleted(clone: Clone, fresh: str) -> None:
    """A name in Latin-1 has a stand-in for each byte that is none of UTF-8; by it JupyterLab reaches the file."""
    for name in ("caf\udce9.txt", "gar\udce7on"):
        (clone.root / "doc" / name).write_text("1 €", encoding="utf-8")
        (clone.root / "doc" / name).chmod(0o666)
    (clone.root / "doc" / "caf\uefe9 of mine.txt").write_text("own", encoding="utf-8")
    listed = {str(each["name"]) for each in api(fresh, "contents/doc")["content"]}  # type: ignore[attr-defined]

    opened = api(fresh, "contents/doc/caf%EE%BF%A9.txt")
    downloaded = status_of(fresh.replace("/?", "/files/doc/caf%EE%BF%A9.txt?"))
    own = api(fresh, "contents/doc/caf%EE%BF%A9%20of%20mine.txt")
    saving = answer_to(fresh, Change("PUT", "doc/caf%EE%BF%A9.txt", {**TEXT, "content": "2 €"}))[0]
    renamed = answer_to(fresh, Change("PATCH", "doc/caf%EE%BF%A9.txt", {"path": "doc/café.txt"}))[0]
    deleted = answer_to(fresh, Change("DELETE", "doc/gar%EE%BF%A7on"))[0]

    assert {"caf\uefe9.txt", "gar\uefe7on"} <= listed
    assert (opened["name"], opened["content"], own["content"]) == ("caf\uefe9.txt", "1 €", "own")
    assert downloaded == 200
    assert (saving, renamed, deleted) == (200, 200, 204)
    assert (clone.root / "doc" / "café.txt").read_text("utf-8") == "2 €"
    assert not (clone.root / "doc" / "gar\udce7on").exists()
    assert in_trash(clone.root / "doc", "gar\udce7on") == ["1 €"]


def test_file_moves_to_another_mount_whole(clone: Clone, fresh: str) -> None:
    """Between two file systems it is copied beside, and then gone from the first; a full one takes nothing."""
    saved(clone, "data/fits.txt", "x")
    big = saved(clone, "data/big.txt", "")
    clone.inside("sh", "-c", "head -c 2M /dev/zero >data/big.txt")

    fits = answer_to(fresh, Change("PATCH", "data/fits.txt", {"path": "data/small/fits.txt"}))[0]
    full = answer_to(fresh, Change("PATCH", "data/big.txt", {"path": "data/small/big.txt"}))[0]

    assert (fits, full) == (200, 500)
    assert big.stat().st_size == 2**21
    assert not (clone.root / "data" / "fits.txt").exists()
    assert "fits.txt" in clone.inside("ls", "data/small").stdout.split()
    assert "big.txt" not in clone.inside("ls", "-A", "data/small").stdout
