"""Each change of a file, killed at every line that it consists of, or stopped by a full disk, loses nothing."""

import errno
import importlib
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

whole_files: Any = importlib.import_module("whole_files")
mounted_uploads: Any = importlib.import_module("mounted_uploads")

OLD, NEW = b"old" * 50_000, b"new" * 60_000


@dataclass(frozen=True)
class Place:
    """Two folders on two file systems, and what is in them at first."""

    here: Path
    elsewhere: Path

    def prepare(self) -> None:
        """Make what every change starts from."""
        for folder in (self.here, self.elsewhere):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        (self.here / "file").write_bytes(OLD)
        (self.here / "other").write_bytes(NEW)
        (self.here / "folder" / "deep").mkdir(parents=True)
        (self.here / "folder" / "deep" / "file").write_bytes(NEW)

    def content(self) -> dict[str, bytes]:
        """Return each file that people see, with its bytes; a link is where it leads."""
        found = {}
        for name, folder in (("here", self.here), ("elsewhere", self.elsewhere)):
            for path in sorted(folder.rglob("*")):
                if not any(part.startswith(whole_files.PART) for part in path.parts) and not path.is_dir():
                    found[f"{name}/{path.relative_to(folder)}"] = path.read_bytes()
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """The two folders."""
    elsewhere = Path(f"/dev/shm/whole-files-{os.getpid()}")  # noqa: S108 # memory, and so another file system
    if not elsewhere.parent.is_dir() or elsewhere.parent.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    made = Place(tmp_path / "here", elsewhere)
    made.prepare()
    yield made
    shutil.rmtree(elsewhere)


def save(place: Place) -> None:
    """Save a file."""
    with whole_files.written(place.here / "file", "wb") as file:
        file.write(NEW[:1000])
        file.write(NEW[1000:])


def upload(place: Place) -> None:
    """Upload a file in three parts."""
    for start, end, chunk in ((0, 10, 1), (10, 1000, 2), (1000, None, -1)):
        mounted_uploads.gather(place.here / "file", NEW[start:end], chunk)


def restore(place: Place) -> None:
    """Put a copy of a file in the place of another."""
    whole_files.copied(place.here / "other", place.here / "file")


def copy_folder(place: Place) -> None:
    """Copy a folder."""
    whole_files.copied(place.here / "folder", place.here / "copy")


def move(place: Place) -> None:
    """Move a file."""
    whole_files.moved(place.here / "file", place.here / "renamed")


def move_far(place: Place) -> None:
    """Move a folder to another file system."""
    whole_files.moved(place.here / "folder", place.elsewhere / "folder")


def left_in(place: Place) -> list[Path]:
    """Return what is left of changes."""
    return [path for folder in (place.here, place.elsewhere) for path in folder.rglob(f"{whole_files.PART}*")]


CHANGES = (save, upload, restore, copy_folder, move, move_far)


def killed_at(line: int, change: Callable[[Place], None], place: Place) -> bool:
    """Return whether a change was killed at a line of it, counted from 1; else it came to its end."""
    pid = os.fork()
    if pid:
        return os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith(("whole_files.py", "mounted_uploads.py", "shutil.py")):
            return None
        count += event == "line"
        if event == "line" and count == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    change(place)
    os._exit(0)


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.__name__)
def test_change_that_is_killed_at_any_line_is_whole_or_not_at_all(
    change: Callable[[Place], None], place: Place
) -> None:
    """Each file is the old or the new one, what moves is whole in one of its places, and the next write tidies up."""
    before = place.content()
    assert not killed_at(0, change, place)
    after = place.content()
    line, lost = 1, list[tuple[int, object]]()
    while True:
        place.prepare()
        if not killed_at(line, change, place):
            break
        found = place.content()
        whole = [all(found.get(name) == data for name, data in each.items()) for each in (before, after)]
        if not any(whole) or set(found.values()) - {OLD, NEW}:
            lost.append((line, sorted(found)))
        for folder in (place.here, place.elsewhere):
            with whole_files.written(folder / "next", "wb"):
                pass
        lost += [(line, str(left)) for left in left_in(place)]
        line += 1

    assert line > 2, "nothing was killed"
    assert lost == []


@pytest.mark.parametrize("change", [save, upload, restore], ids=lambda each: each.__name__)
def test_full_disk_leaves_the_old_file_and_nothing_else(change: Callable[[Place], None], place: Place) -> None:
    """A write that finds no room fails, and what was written of it is gone."""
    before = sorted(place.here.rglob("*")), place.content()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the error is EFBIG then, where a full disk's is ENOSPC
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(NEW) - 1, hard))

    try:
        with pytest.raises(OSError, match="File too large"):
            change(place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)

    assert (sorted(place.here.rglob("*")), place.content()) == before


def test_link_stays_and_mode_is_kept(place: Place) -> None:
    """What a link leads to is the file; a program stays one."""
    (place.here / "link").symlink_to("file")
    (place.here / "file").chmod(0o751)

    with whole_files.written(place.here / "link", "wb") as file:
        file.write(NEW)

    assert (place.here / "link").is_symlink()
    assert (place.here / "file").read_bytes() == NEW
    assert (place.here / "file").stat().st_mode & 0o777 == 0o751


def test_part_of_an_upload_that_does_not_follow_is_refused(place: Place) -> None:
    """The second part alone changes nothing: it is not put behind the old file."""
    before = place.content()

    with pytest.raises(FileNotFoundError):
        mounted_uploads.gather(place.here / "file", NEW, -1)

    assert place.content() == before


def test_part_that_nobody_makes_goes_and_other_files_stay(place: Place) -> None:
    """A part is removed as soon as its maker is gone, be it a folder; a person's file that looks alike is not."""
    left = [place.here / f"{whole_files.PART}{digits}" for digits in ("0" * 16, "f" * 16)]
    own = [place.here / name for name in (f"{whole_files.PART}of-mine", ".hidden")]
    for path in (left[1], *own):
        path.write_bytes(NEW)
    (left[0] / "deep").mkdir(parents=True)
    (left[0] / "deep").chmod(0o500)
    with whole_files.written(place.here / "other", "wb") as file:
        file.write(NEW)

        save(place)

        assert ([path.exists() for path in left], [path.exists() for path in own]) == ([False] * 2, [True] * 2)
    assert (place.here / "other").read_bytes() == NEW


def test_part_goes_when_it_is_old_where_nothing_can_be_locked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """There nobody can tell whose it is, for a day."""
    part = place.here / f"{whole_files.PART}{'0' * 16}"
    part.write_bytes(NEW)
    now = time.time()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(whole_files.fcntl, "flock", refuse)

    save(place)
    kept = part.exists()
    monkeypatch.setattr(whole_files.time, "time", lambda: now + whole_files.OLD_S + 60)
    save(place)

    assert (kept, part.exists()) == (True, False)


def test_upload_that_has_stopped_goes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of which nothing has come for an hour is dropped by the next upload, and its last part is refused."""
    mounted_uploads.gather(place.here / "file", NEW, 1)
    now = time.monotonic()
    monkeypatch.setattr(mounted_uploads.time, "monotonic", lambda: now + mounted_uploads.SILENT_S + 60)

    mounted_uploads.gather(place.here / "other", NEW, 1)

    assert len(left_in(place)) == 1
    with pytest.raises(FileNotFoundError):
        mounted_uploads.gather(place.here / "file", NEW, -1)
    assert (place.here / "file").read_bytes() == OLD


def test_two_uploads_to_one_file_are_not_mixed(place: Place) -> None:
    """A part that does not follow ends the upload; the file stays as it is."""
    target = place.here / "file"
    for chunk in (1, 2, 1, 2):
        mounted_uploads.gather(target, NEW, chunk)

    for chunk in (2, -1):
        with pytest.raises(FileNotFoundError):
            mounted_uploads.gather(target, OLD, chunk)

    assert target.read_bytes() == OLD
    assert left_in(place) == []


@pytest.mark.parametrize("change", [whole_files.copied, whole_files.moved], ids=lambda each: each.__name__)
@pytest.mark.parametrize("far", [False, True], ids=["", "far"])
def test_name_of_a_link_that_leads_nowhere_is_taken(place: Place, change: Callable[..., None], *, far: bool) -> None:
    """It is no free name: the link stays, and nothing is moved."""
    link = (place.elsewhere if far else place.here) / "link"
    link.symlink_to("nowhere")
    before = (place.here / "file").read_bytes()

    with pytest.raises(FileExistsError):
        change(place.here / "file", link)

    assert str(link.readlink()) == "nowhere"
    assert (place.here / "file").read_bytes() == before


def test_link_to_itself_is_copied_as_a_link(place: Place) -> None:
    """A folder that holds itself by a link is copied once."""
    (place.here / "folder" / "loop").symlink_to("../folder")

    whole_files.copied(place.here / "folder", place.here / "copy")

    assert os.readlink(place.here / "copy" / "loop") == "../folder"  # noqa: PTH115 # the words of the link
    assert sorted(path.name for path in (place.here / "copy").iterdir()) == ["deep", "loop"]
