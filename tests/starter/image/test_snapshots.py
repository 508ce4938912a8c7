"""A way back: what a script or an agent does to the six folders in a container is undone to the byte."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import YOURS, Clone

# What each script does, run by the container's user in ~/app.
HARM = {
    "rm -rf": "rm -rf data/* data/.[!.]* results/* notebooks/*",
    "rm of one file": "rm data/table.csv",
    "truncated": ": >data/table.csv",
    "cut in the middle": "truncate --size=10 data/large.bin",
    "overwritten in place": "python3 -c \"f = open('data/large.bin', 'r+b'); f.seek(500_000); f.write(b'x' * 1000)\"",
    "overwritten in place, with its old time": (
        "touch -r data/table.csv /tmp/t; printf y | dd of=data/table.csv conv=notrunc 2>/dev/null; "
        "touch -r /tmp/t data/table.csv"
    ),
    "renamed over": "cp data/large.bin /tmp/new; cp data/table.csv data/.n && mv data/.n data/large.bin",
    "renamed": "mv data/table.csv data/table-old.csv",
    "a folder renamed": "mv data/deep data/shallow",
    "a file instead of a folder": "rm -rf data/deep; echo x >data/deep",
    "a folder instead of a file": "rm data/table.csv; mkdir -p data/table.csv/x",
    "chmod 000 of a file": "chmod 000 data/table.csv",
    "chmod 000 of folders": "chmod 000 data/deep/er data/deep",
    "chmod 777 of all": "chmod -R 777 data src",
    "touched": "touch -d 2001-01-01 data/table.csv data/deep",
    "many files": "cd results && python3 -c \"[open(f'f{n}', 'w').close() for n in range(5_000)]\"",
    "a link instead of a file": "ln -sf /etc/passwd data/table.csv",
    "links that lead out": "ln -s /etc data/etc; ln -s ../../../../etc/shadow data/deep/shadow; ln -sfn / data/link",
    "a pipe": "rm data/table.csv; mkfifo data/table.csv",
    "odd names": "touch 'data/a\nb' \"data/$(printf '\\377')\" 'data/ -rf' data/-rf",
    "sparse": "truncate --size=4G data/sparse",
    "hard links": "ln data/table.csv data/same; echo x >>data/same",
}


@pytest.fixture(scope="module")
def clone(running_stub: Clone) -> Iterator[Clone]:
    """A clone whose server runs, with something of each kind in its folders, and a snapshot of it."""
    data = running_stub.root / "data"
    (data / "deep" / "er").mkdir(parents=True)
    (data / "deep" / "er" / "leaf").write_text("leaf", encoding="utf-8")
    (data / "table.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (data / "table.csv").chmod(0o640)
    (data / "large.bin").write_bytes(os.urandom(1_000_000))
    (data / "link").symlink_to("table.csv")
    (data / "nowhere").symlink_to("none")
    os.link(data / "large.bin", data / "same.bin")
    os.utime(data / "table.csv", ns=(0, 1_000_000_001))
    for path in data.rglob("*"):
        os.chown(path, *map(int, running_stub.owner), follow_symlinks=False)
    running_stub.succeed("snapshot")
    yield running_stub
    for folder in data.glob("deep*"):
        folder.chmod(0o755)


def state(root: Path) -> dict[str, tuple[object, ...]]:
    """Return all that there is to know of each entry of the six folders but its number on the disk."""
    found: dict[str, tuple[object, ...]] = {}
    for name in YOURS:
        for at, folders, names in os.walk(root / name):
            for path in (Path(at), *(Path(at, inner) for inner in (*folders, *names))):
                status = path.lstat()
                content = b""
                if stat.S_ISREG(status.st_mode):
                    content = path.read_bytes() if status.st_size < 10**8 else b"large"
                elif stat.S_ISLNK(status.st_mode):
                    content = os.fsencode(path.readlink())
                told = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
                found[str(path.relative_to(root))] = (*told, hashlib.sha256(content).hexdigest())
    return found


@pytest.mark.parametrize("script", HARM.values(), ids=HARM)
def test_harm_is_undone_to_the_byte(clone: Clone, script: str) -> None:
    """Content, owners, modes and times are as they were."""
    before = state(clone.root)
    harm = clone.inside("bash", "-c", f"cd ~/app && {script}")
    harmed = state(clone.root)

    clone.succeed("restore")

    assert harm.returncode == 0, harm.stderr
    assert harmed != before
    assert state(clone.root) == before


def test_snapshot_is_out_of_reach_and_shares_what_has_not_changed(clone: Clone) -> None:
    """Its files are not those of the folders, so a write in place does not reach it; two snapshots share them."""
    folder, name = clone.root / "docker" / ".snapshots", "data/large.bin"
    first = clone.succeed("snapshot").strip()
    second = clone.succeed("snapshot").strip()
    (clone.root / "data" / "table.csv").write_text("new", encoding="utf-8")
    third = clone.succeed("snapshot").strip()

    inodes = [(folder / at / name).stat().st_ino for at in (first, second, third)]
    tables = [(folder / at / "data" / "table.csv").read_text("utf-8") for at in (first, second, third)]

    assert len({*inodes, (clone.root / name).stat().st_ino}) == 2
    assert tables == ["a,b\n1,2\n"] * 2 + ["new"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert clone.inside("ls", "/home").returncode == 0
    assert "docker" not in clone.inside("bash", "-c", "ls -a ~/app").stdout.split()
    clone.succeed("restore", "--at", second)
    assert (clone.root / "data" / "table.csv").read_text("utf-8") == "a,b\n1,2\n"


def test_restore_can_be_taken_back_and_takes_one_folder(clone: Clone) -> None:
    """What it replaced is a snapshot of its own, which the message names; a folder that is not asked for stays."""
    (clone.root / "results" / "mine").write_text("1", encoding="utf-8")
    (clone.root / "data" / "mine").write_text("2", encoding="utf-8")

    told = clone.task("restore", "--folders", "data")
    after = [(clone.root / name / "mine").exists() for name in ("data", "results")]
    again = clone.task(*told.stderr.splitlines()[-1].split("invoke ")[1].split())

    assert (told.returncode, after, again.returncode) == (0, [False, True], 0)
    assert (clone.root / "data" / "mine").read_text("utf-8") == "2"
    assert "restore --at" in told.stderr


def test_what_runs_goes_on_after_a_snapshot_that_was_killed(clone: Clone) -> None:
    """A failed copy leaves no snapshot, says so in cp's words, and nothing is paused; the next one is whole."""
    before = clone.succeed("snapshot", "--list")
    (clone.root / "docker" / ".snapshots" / ".making").mkdir()
    broken = clone.root / "bin" / "cp"
    broken.write_text("#!/bin/sh\necho cp: no space left >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)

    done = clone.task("snapshot", PATH=f"{broken.parent}:{os.environ['PATH']}")

    broken.unlink()
    state_of = clone.run("docker", "inspect", "--format", "{{.State.Status}}", clone.container_id()).stdout.strip()
    assert (done.returncode, state_of) == (74, "running")
    assert "error: not everything was copied: cp: no space left" in done.stderr
    assert clone.succeed("snapshot", "--list") == before
    assert clone.succeed("snapshot").strip() in clone.succeed("snapshot", "--list")


def test_one_is_deleted_and_an_unknown_one_is_refused(clone: Clone) -> None:
    """Files that others share with it stay there; a name that is no snapshot's deletes nothing and restores nothing."""
    first, second = clone.succeed("snapshot").strip(), clone.succeed("snapshot").strip()
    before = state(clone.root)

    clone.succeed("snapshot", "--remove", first)
    refused = [clone.task("restore", "--at", first), clone.task("snapshot", "--remove", "../secrets")]
    refused += [clone.task("restore", "--folders", "docker")]

    assert [done.returncode for done in refused] == [64] * 3
    assert first not in clone.succeed("snapshot", "--list")
    assert (clone.root / "docker" / ".snapshots" / second / "data" / "large.bin").stat().st_size == 1_000_000
    assert (clone.root / "docker" / "secrets").is_dir()
    assert state(clone.root) == before
