"""Interrupt each write of JupyterLab's own manager of files, by kill and by full disk; the image's Python runs this.

python -I -B - SEED KILLS FULL HALF, in the container: prints what was tried and what was found amiss, as JSON. What is
killed is a child of this process, which has made the manager already: so hundreds of kills take seconds.
"""

import asyncio
import gc
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(os.environ.get("PROJECT_DIR", "/"))
OLD, NEW, THIRD = "old " * 15_000, "new " * 20_000, "third " * 9_000
PAGE_BYTES = 4096
SMALL_BYTES = 2**20  # of a disk that is filled
HALVES = 2  # which run side by side, each on two disks of its own: data/large-<half> and data/small-<half>
Content = dict[str, bytes]


@dataclass(frozen=True)
class Write:
    """A change that a person makes in the file browser: what is there first, and the calls that it consists of."""

    prepare: Callable[["Place"], object]
    steps: tuple[Callable[["Place"], Awaitable[object]], ...]


@dataclass(frozen=True)
class Place:
    """A folder in which a change is tried, and one on another file system."""

    manager: Any
    here: Path
    there: Path

    def path(self, name: str, folder: Path | None = None) -> str:
        """Return what the file browser calls a file."""
        return str((folder or self.here).relative_to(PROJECT) / name)

    def content(self) -> Content:
        """Return each file with its bytes, parts of writes left out; what is in a trash is called so."""
        found = {}
        for folder in (self.here, self.there, *self.trashes()):
            for file in folder.rglob("*"):
                if file.is_file() and not any(part.startswith(".part-") for part in file.parts):
                    name = file.relative_to(PROJECT).as_posix()
                    if ".Trash-" in name:
                        name = f"trash/{name.partition('.Trash-')[2].split('/', 2)[2]}"
                    found[name] = file.read_bytes()
        return found

    def trashes(self) -> list[Path]:
        """Return the trash of each mount that is concerned."""
        return [trash for root in {self.here.parent, self.there.parent} for trash in root.glob(".Trash-*")]

    def parts(self) -> list[str]:
        """Return what is left of writes."""
        return sorted(str(each) for folder in (self.here, self.there, *self.trashes()) for each in left_in(folder))

    def empty(self) -> None:
        """Make the folders anew, with nothing in them."""
        for folder in (self.here, self.there, *self.trashes()):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.here, self.there):
            folder.mkdir()


def left_in(folder: Path) -> list[Path]:
    """Return what is left of writes in a folder."""
    return [each for each in folder.rglob(".part-*") if each.exists() or each.is_symlink()]


def notebook(text: str) -> dict[str, Any]:
    """Return a notebook of one cell."""
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": text}
    return {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def file(name: str, text: str = OLD) -> Callable[[Place], object]:
    """Return what makes a file."""
    return lambda place: (place.here / name).write_text(text)


def folder(place: Place) -> None:
    """Make a folder with files in it."""
    for name in ("a/b/one.txt", "a/two.txt", "a/three.txt"):
        (place.here / name).parent.mkdir(parents=True, exist_ok=True)
        (place.here / name).write_text(OLD)
    (place.here / "a" / "loop").symlink_to("../a")


def with_checkpoint(text: str = OLD) -> Callable[[Place], object]:
    """Return what makes a file that is newer than its checkpoint, which holds a text."""

    def prepare(place: Place) -> None:
        (place.here / ".ipynb_checkpoints").mkdir()
        (place.here / ".ipynb_checkpoints" / "f-checkpoint.txt").write_text(text)
        (place.here / "f.txt").write_text(THIRD)

    return prepare


def text_model(text: str, **more: object) -> dict[str, Any]:
    """Return what JupyterLab sends to save a text."""
    return {"type": "file", "format": "text", "content": text, **more}


def part(place: Place, chunk: int) -> Awaitable[object]:
    """Upload a part of a file."""
    number = 3 if chunk == -1 else chunk
    return place.manager.save(  # type: ignore[no-any-return]
        text_model(NEW[(number - 1) * 30_000 : number * 30_000], chunk=chunk), place.path("f.txt")
    )


async def upload(place: Place) -> None:
    """Upload a file in three parts, in the place of another."""
    for chunk in (1, 2, -1):
        await part(place, chunk)


WRITES = {
    "save a text": Write(file("f.txt"), (lambda place: place.manager.save(text_model(NEW), place.path("f.txt")),)),
    "save a notebook": Write(
        lambda place: (place.here / "n.ipynb").write_text(json.dumps(notebook(OLD))),
        (
            lambda place: place.manager._save_notebook(
                str(place.here / "n.ipynb"), importlib.import_module("nbformat").from_dict(notebook(NEW))
            ),
            lambda place: place.manager.save(
                {"type": "notebook", "format": "json", "content": notebook(NEW)}, place.path("n.ipynb")
            ),
        ),
    ),
    "upload": Write(file("f.txt"), (upload,)),
    "rename": Write(
        with_checkpoint(),
        (
            lambda place: place.manager.rename_file(place.path("f.txt"), place.path("g.txt")),
            lambda place: place.manager.rename(place.path("f.txt"), place.path("g.txt")),
        ),
    ),
    "move a folder to another disk": Write(
        folder, (lambda place: place.manager.rename(place.path("a"), place.path("a", place.there)),)
    ),
    "copy a file": Write(file("f.txt"), (lambda place: place.manager.copy(place.path("f.txt")),)),
    "copy a folder": Write(folder, (lambda place: place.manager.copy(place.path("a")),)),
    "delete": Write(
        with_checkpoint(),
        (
            lambda place: place.manager.delete_file(place.path("f.txt")),
            lambda place: place.manager.delete(place.path("f.txt")),
        ),
    ),
    "delete a folder": Write(folder, (lambda place: place.manager.delete(place.path("a")),)),
    "make a checkpoint": Write(
        with_checkpoint(), (lambda place: place.manager.create_checkpoint(place.path("f.txt")),)
    ),
    "restore a checkpoint": Write(
        with_checkpoint(),
        (
            lambda place: asyncio.to_thread(
                importlib.import_module("mounted_files").put_in_trash, place.here / "f.txt", stay=True
            ),
            lambda place: place.manager.restore_checkpoint("checkpoint", place.path("f.txt")),
        ),
    ),
}


def whole_states(write: Write, place: Place) -> tuple[list[Content], float]:
    """Return what may be found, and how long the change takes, in seconds.

    All is as before, as after, or as between two of the files that are concerned.
    """
    states, taken_s = [], 0.0
    for step in (None, *write.steps):
        place.empty()
        write.prepare(place)
        if step:
            start_s = time.monotonic()
            asyncio.run(called(step, place))
            taken_s = time.monotonic() - start_s
        states.append(place.content())
    return [*states, {**states[0], **states[-1]}], taken_s


async def called(step: Callable[[Place], Awaitable[object]], place: Place, *, kill_after_s: float = 0) -> None:
    """Do a step of a change; the kernel ends this process amid it, for nobody handles SIGALRM."""
    signal.setitimer(signal.ITIMER_REAL, kill_after_s)
    await step(place)
    signal.setitimer(signal.ITIMER_REAL, 0)


def killed_in_child(write: Write, place: Place, after_s: float) -> bool:
    """Do a change in a child, and return whether that was killed before the end."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            asyncio.run(called(write.steps[-1], place, kill_after_s=after_s))
            status = 0
        finally:
            os._exit(status)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended in (0, -signal.SIGALRM), f"the child ended with {ended}"
    return ended != 0


def next_write(place: Place) -> None:
    """Do what a person does next in the same folders: it removes what is left there."""
    written = importlib.import_module("whole_files").written
    for each in (place.here, place.there):
        with written(each / "next.txt", "wb") as opened:
            opened.write(b"next")


def killed(write: Write, place: Place, times: int) -> tuple[int, list[str]]:
    """Kill a change at random moments until it was amid it so many times; return how often, and what was amiss."""
    states, longest_s = whole_states(write, place)
    kills, amiss = 0, []
    for _ in range(10 * times):
        if kills == times:
            break
        place.empty()
        write.prepare(place)
        after_s = max(random.uniform(0, longest_s), 1e-6)  # noqa: S311
        killed_amid = killed_in_child(write, place, after_s)
        kills += killed_amid
        longest_s *= 1.05 if killed_amid else 0.95  # so that most moments lie within the change, on a busy machine too
        found = place.content()
        if found not in states:
            amiss.append(f"killed after {after_s * 1000:.2f} ms: {told(found, states)}")
        next_write(place)
        if place.parts():
            amiss.append(f"killed after {after_s * 1000:.2f} ms: {place.parts()} stays")
    return kills, amiss


def told(found: Content, states: list[Content]) -> str:
    """Return how something differs from what it was before and what it would be after."""
    return " / ".join(
        ", ".join(sorted(name for name in found.keys() | state.keys() if found.get(name) != state.get(name)))
        for state in (states[0], states[-2])
    )


def filled(write: Write, place: Place, times: int) -> tuple[int, list[str]]:
    """Do a change with so much room on the disk as chance gives; return how often it failed, and what was amiss."""
    (states, _), failed, amiss = whole_states(write, place), 0, list[str]()
    small = next(each.parent for each in (place.here, place.there) if each.parent.name.startswith("small"))
    for _ in range(times):
        place.empty()
        write.prepare(place)
        room = random.randrange(30) * PAGE_BYTES  # noqa: S311
        filler = small / "filler"
        free = shutil.disk_usage(small).free
        with filler.open("wb") as opened:
            opened.write(bytes(max(0, free - room)))
        try:
            asyncio.run(called(write.steps[-1], place))
        except Exception:  # whatever it is, JupyterLab tells the person
            failed += 1
        filler.unlink()
        if (found := place.content()) not in states:
            amiss.append(f"{room} bytes free: {told(found, states)}")
        if place.parts():
            amiss.append(f"{room} bytes free: {place.parts()} stays")
    return failed, amiss


def main(seed: int, kills: int, full: int, half: int) -> dict[str, Any]:
    """Interrupt each change of a half, and return by its name how often, and what was amiss."""
    random.seed(seed)
    sys.path.insert(0, "/etc/jupyter")  # where the server finds it too
    manager = importlib.import_module("mounted_contents").MountedContents(root_dir=str(PROJECT))
    manager.log.disabled = True
    gc.disable()  # which would have each child copy what this process holds
    large, small = (PROJECT / "data" / f"{kind}-{half}" for kind in ("large", "small"))
    to_small, from_small = (
        Place(manager, large / "here", small / "there"),
        Place(manager, small / "here", large / "there"),
    )
    table: dict[str, Any] = {}
    for name, write in list(WRITES.items())[half::HALVES]:
        count, amiss = killed(write, to_small, kills)
        to_small.empty()
        place = to_small if "another disk" in name else from_small
        failed, more = filled(write, place, full)
        place.empty()
        table[name] = {"kills": count, "full": failed, "amiss": amiss + more}
    return table


if __name__ == "__main__":
    print(json.dumps(main(*(int(word) for word in sys.argv[1:]))))
