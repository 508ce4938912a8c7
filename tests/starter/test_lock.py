"""Tests of host_tasks.kit.lock, with real files and real processes."""

import errno
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from aids import as_person

from host_tasks.kit import lock
from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.setup import basics

WAITING = "Another task is at work in this clone: waiting for it to end.\n"

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="holders are forked processes")


def hold_until_told(path: Path, link: Connection) -> None:
    """Hold the lock, say so, and let it go at a word."""
    with lock.held(path):
        link.send("held")
        link.recv()


def try_lock(path: Path) -> tuple[int, str, str]:
    """Return the code, the problem and the fix of the error that taking the lock ends with; 0 and blanks for none."""
    try:
        with lock.held(path, timeout_s=0):
            return 0, "", ""
    except HostError as err:
        return err.code, err.problem, err.fix


class Holder:
    """Another process that holds the lock."""

    def __init__(self, path: Path) -> None:
        """Start it, and return when it has the lock."""
        fork = multiprocessing.get_context("fork")
        self.link, theirs = fork.Pipe()
        self.process = fork.Process(target=hold_until_told, args=(path, theirs))
        self.process.start()
        theirs.close()
        assert self.link.recv() == "held"

    def let_go(self) -> None:
        """Let it end as it would by itself."""
        self.link.send("let go")
        self.process.join()

    def kill(self) -> None:
        """End it as kill -9 does."""
        self.process.kill()
        self.process.join()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    """Another process that holds tmp_path/.lock."""
    holder = Holder(tmp_path / ".lock")
    yield holder
    holder.kill()


@needs_fork
def test_lock_of_killed_holder_is_free(tmp_path: Path, holder: Holder, capsys: pytest.CaptureFixture[str]) -> None:
    """A holder that kill -9 ends must leave no lock behind: the next task does not even wait."""
    holder.kill()

    with lock.held(tmp_path / ".lock", timeout_s=0):
        pass

    assert capsys.readouterr().err == ""


@needs_fork
def test_lock_held_elsewhere_is_waited_for_and_announced_once(
    tmp_path: Path, holder: Holder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second task waits for the first, says so once however long it waits, and then has the lock."""
    polls = []

    def sleep(seconds: float) -> None:
        polls.append(seconds)
        if len(polls) == 3:
            holder.let_go()

    monkeypatch.setattr(time, "sleep", sleep)

    with lock.held(tmp_path / ".lock"):
        pass

    assert polls == [basics.POLL_S] * 3
    assert capsys.readouterr().err == WAITING


@needs_fork
@pytest.mark.usefixtures("holder")
def test_lock_held_too_long_ends_with_75(tmp_path: Path) -> None:
    """A task that waited timeout_s gives up with 75, and names the lock and the time."""
    with pytest.raises(HostError) as refusal, lock.held(tmp_path / ".lock", timeout_s=0):
        pytest.fail("the lock was taken twice")

    assert refusal.value.code == ExitCode.TRY_AGAIN
    assert refusal.value.problem == f"another task has held {tmp_path / '.lock'} for 0 s"


def test_lock_is_free_after_an_error_inside(tmp_path: Path) -> None:
    """An exception in the task must free the lock."""
    with pytest.raises(ZeroDivisionError), lock.held(tmp_path / ".lock"):
        raise ZeroDivisionError

    with lock.held(tmp_path / ".lock", timeout_s=0):
        pass


def test_lock_is_not_reentrant(tmp_path: Path) -> None:
    """Taking the lock again in the task that holds it is a bug, and ends with 75 instead of two holders."""
    with lock.held(tmp_path / ".lock"), pytest.raises(HostError) as refusal:  # noqa: SIM117
        with lock.held(tmp_path / ".lock", timeout_s=0):
            pytest.fail("the lock was taken twice")

    assert refusal.value.code == ExitCode.TRY_AGAIN


def test_lock_in_missing_folder_ends_with_73(tmp_path: Path) -> None:
    """A lock file that cannot be made is one error with 73."""
    with pytest.raises(HostError) as refusal, lock.held(tmp_path / "none" / ".lock"):
        pytest.fail("the lock was taken in a folder that does not exist")

    assert refusal.value.code == ExitCode.CANNOT_CREATE


@needs_fork
def test_lock_in_unwritable_folder_ends_with_73() -> None:
    """In somebody else's folder it is one error with 73, whose fix neither needs their rights nor takes them away."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() == 0:
            os.chown(folder, 4321, 4321)
        folder.chmod(0o555)

        code, problem, fix = as_person(try_lock, folder / ".lock")

        folder.chmod(0o755)
    theirs = f"git clone {ROOT} ~/{ROOT.name} # this one is somebody else's"
    assert (code, problem) == (73, f"{folder}/.lock cannot be made: Permission denied")
    assert fix == (theirs if os.geteuid() == 0 else f"chmod u+rwX {folder}")


@needs_fork
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root leaves files to others")
def test_lock_made_under_sudo_can_be_taken_by_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file that `sudo invoke` made is the person's afterwards, and nobody else's to hold."""
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "1235")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)

        with lock.held(folder / ".lock"):
            pass

        made = (folder / ".lock").stat()
        assert (made.st_uid, made.st_gid, oct(made.st_mode)) == (1234, 1235, "0o100600")
        assert as_person(try_lock, folder / ".lock") == (0, "", "")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root leaves files to others")
def test_lock_made_by_root_is_the_folders_owners(tmp_path: Path) -> None:
    """Root's own task in a person's clone, without sudo, leaves them a lock that they can take."""
    os.chown(tmp_path, 1234, 1235)

    with lock.held(tmp_path / ".lock"):
        pass

    made = (tmp_path / ".lock").stat()
    assert (made.st_uid, made.st_gid) == (1234, 1235)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_lock_that_others_could_hold_is_closed_to_them(tmp_path: Path) -> None:
    """Whoever may open a lock file may hold it for ever: one of an earlier version becomes its owner's only."""
    (tmp_path / ".lock").touch(mode=0o644)

    with lock.held(tmp_path / ".lock"):
        pass

    assert oct((tmp_path / ".lock").stat().st_mode) == "0o100600"


def test_lock_on_file_system_without_locks_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is one error at once, not a wait for a task that does not exist."""
    fcntl = pytest.importorskip("fcntl")

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)

    with pytest.raises(HostError) as refusal, lock.held(tmp_path / ".lock", timeout_s=0):
        pytest.fail("the lock was taken without locks")

    assert refusal.value.code == ExitCode.UNAVAILABLE
