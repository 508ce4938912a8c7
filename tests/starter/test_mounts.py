"""Tests of host_tasks.mounts, on real files; a small object stands in for the container and runs the real probe."""

import errno
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from host_tasks import mounts
from host_tasks.compose import Mount
from host_tasks.ground import paths
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.identity import Identity

ME = Identity("me", os.getuid(), os.getgid(), "you")
OTHER = Identity("other", os.getuid() + 1, os.getgid() + 1, "somebody else")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder that the module takes for the clone; what lies beside it is outside."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.setattr(mounts, "ROOT", folder)
    monkeypatch.setattr(paths, "ROOT", folder)
    return folder


class Container:
    """A container whose targets are folders of this machine: what it is told to run really runs, here."""

    def __init__(
        self,
        declared: Sequence[Mount],
        *,
        sources: dict[str, str] | None = None,
        before: Callable[[], object] | None = None,
    ) -> None:
        """Sources replaces what is mounted at each target; before runs ahead of every command."""
        self.commands: list[list[str]] = []
        self.before = before
        real = sources if sources is not None else {each.target: str(each.source) for each in declared}
        self.attrs = {"Mounts": [{"Type": "bind", "Destination": to, "Source": of} for to, of in real.items()]}

    def exec_run(self, argv: list[str]) -> Any:
        """Run a command as the docker SDK does."""
        self.commands.append(argv)
        if self.before:
            self.before()
        return SimpleNamespace(output=subprocess.run(argv, stdout=subprocess.PIPE, check=False).stdout)


def declared(root: Path, *names: str, read_only: bool = False) -> list[Mount]:
    """Return mounts of folders, each of which is its own target."""
    return [Mount(root / name, str(root / name), read_only) for name in names]


def faults(root: Path, name: str, identity: Identity = ME) -> mounts.Fault | None:
    """Return what is wrong with one folder on the host."""
    return mounts.check(declared(root, name), identity)[0].fault


def probes(root: Path) -> list[Path]:
    """Return the probe files that are left below a folder."""
    return [path for path in root.rglob(".probe*") if not path.is_dir()]


# What a source is like on the host


def test_good_folder_has_no_fault(root: Path) -> None:
    """A folder of the caller's is fine, and without a container nothing is said about the inside."""
    (root / "data").mkdir()

    found = mounts.check(declared(root, "data"), ME)

    expected = mounts.Check(root / "data", str(root / "data"), f"{ME.uid}:{ME.gid}", "ok", "not running", None)
    assert found == [expected]
    mounts.raise_first(found)


def test_missing_folder_is_named_with_its_repair(root: Path) -> None:
    """A missing source is a fault that `mounts --fix` repairs; its owner is unknown."""
    found = mounts.check(declared(root, "data"), ME)[0]

    assert found.fault == mounts.Fault("is missing", "invoke mounts --fix", ExitCode.CONFIG)
    assert found.owner == "-"


def test_file_is_no_folder(root: Path) -> None:
    """The engine would mount a file silently as a file; here it is a fault."""
    (root / "data").touch()

    assert faults(root, "data") == mounts.Fault("is a file, not a folder", "mv data data.file && mkdir data")


def test_dangling_link_is_named_with_its_target(root: Path) -> None:
    """A link that leads nowhere is told from a missing folder."""
    (root / "data").symlink_to("gone")

    assert faults(root, "data") == mounts.Fault("is a link to gone, which does not exist", "rm data && mkdir data")


def test_link_out_of_the_project_is_refused(root: Path, tmp_path: Path) -> None:
    """A link out of the project is not followed silently, whether it leads to a folder or to nothing."""
    (tmp_path / "elsewhere").mkdir()
    (root / "data").symlink_to(tmp_path / "elsewhere")

    found = faults(root, "data")

    assert found is not None
    assert found.problem == f"is a link out of the project, to {tmp_path / 'elsewhere'}"
    assert found.code == ExitCode.CONFIG
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_link_inside_the_project_is_a_folder(root: Path) -> None:
    """A link that stays in the project is the person's way to arrange it."""
    (root / "raw").mkdir()
    (root / "data").symlink_to("raw")

    assert faults(root, "data") is None


def test_folder_declared_elsewhere_is_the_persons(root: Path, tmp_path: Path) -> None:
    """A source outside the project that the Compose file names itself is taken as it is."""
    (tmp_path / "shared").mkdir()

    assert mounts.check([Mount(tmp_path / "shared", "/shared", read_only=False)], ME)[0].fault is None


@pytest.mark.parametrize("read_only", [False, True], ids=["read-write", "read-only"])
def test_read_only_file_system_is_a_fault_of_a_writable_mount(root: Path, read_only: bool) -> None:  # noqa: FBT001
    """A folder on a read-only file system ends in 77, unless the mount is declared read-only."""
    (root / "data").mkdir()
    body = f"""
        import sys; sys.path.insert(0, {str(paths.DOCKER_DIR)!r})
        from pathlib import Path
        from host_tasks import mounts
        from host_tasks.identity import Identity
        source = Path({str(root / "data")!r})
        fault = mounts.check([mounts.Mount(source, "/data", {read_only})], Identity("root", 0, 0, "x"))[0].fault
        print(fault and (fault.problem, int(fault.code)))
    """
    script = 'mount -t tmpfs -o ro none "$1" || exit 99; exec "$2" -c "$3"'
    body = "\n".join(line.strip() for line in body.splitlines())
    words = ["sh", "-c", script, "sh", str(root / "data"), sys.executable, body]
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare to mount in a namespace of its own")

    done = subprocess.run([*namespace, *words], capture_output=True, text=True, check=False)

    if done.returncode == 99 or "unshare failed" in done.stderr:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    expected = None if read_only else ("is on a read-only file system", 77)
    assert done.stdout.strip() == str(expected), done.stderr


def test_folder_of_somebody_else_ends_with_77_and_the_chown(root: Path) -> None:
    """A folder that the identity cannot write to is named with its owner, its mode and the chown that repairs it."""
    (root / "data").mkdir(mode=0o755)

    found = mounts.check(declared(root, "data"), OTHER)

    with pytest.raises(HostError) as refusal:
        mounts.raise_first(found)
    assert refusal.value.code == ExitCode.PERMISSION
    assert refusal.value.problem == (
        f"data is owned by {ME.uid}:{ME.gid} with mode 0755, so other ({OTHER.uid}:{OTHER.gid}) cannot write there"
    )
    assert refusal.value.fix == f"sudo chown -R {OTHER.uid}:{OTHER.gid} data"


def test_folder_of_somebody_else_may_be_mounted_read_only(root: Path) -> None:
    """A mount that is declared read-only needs no right to write."""
    (root / "data").mkdir(mode=0o755)

    assert mounts.check(declared(root, "data", read_only=True), OTHER)[0].fault is None


def test_full_disk_is_told_from_a_folder_that_is_not_writable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that finds no room ends with 74 and says so."""
    mount = declared(root, "data")
    (root / "data").mkdir()
    container = Container(mount)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mounts.os, "open", full)  # type: ignore[attr-defined]
    with pytest.raises(HostError) as raised:
        mounts.check(mount, ME, container)

    assert (raised.value.code, raised.value.problem) == (74, "data cannot be written: No space left on device")


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "expected"),
    [
        (0o700, 7, 8, True),
        (0o300, 7, 8, True),
        (0o600, 7, 8, False),
        (0o500, 7, 8, False),
        (0o077, 7, 8, False),
        (0o770, 9, 8, True),
        (0o750, 9, 8, False),
        (0o707, 9, 8, False),
        (0o707, 9, 9, True),
        (0o702, 9, 9, False),
        (0o777, 0, 0, True),
        (0o755, 0, 0, False),
        (0o1777, 0, 0, True),
        (0o775, 0, 100, True),  # the group users
    ],
)
def test_writable_follows_the_first_class_that_fits(mode: int, uid: int, gid: int, expected: bool) -> None:  # noqa: FBT001
    """Owner, else group, else others decide alone, and both writing and searching are needed."""
    status = os.stat_result((0o040000 | mode, 1, 1, 2, uid, gid, 0, 0, 0, 0))

    assert mounts.writable(status, Identity("ada", 7, 8, "x")) is expected


def test_first_of_several_faults_is_raised(root: Path) -> None:
    """Every mount is checked, and the first that has a fault is what the task ends with."""
    (root / "bin").mkdir()
    (root / "data").touch()
    found = mounts.check(declared(root, "bin", "data", "doc"), ME)

    with pytest.raises(HostError) as refusal:
        mounts.raise_first(found)

    assert [each.outside for each in found] == ["ok", "is a file, not a folder", "is missing"]
    assert refusal.value.problem == "data is a file, not a folder"
    assert refusal.value.code == ExitCode.CONFIG


def test_table_has_a_line_for_each_mount(root: Path) -> None:
    """The table names source, target and owner, and what was found on both sides."""
    (root / "bin").mkdir()

    lines = mounts.table(mounts.check([Mount(root / "bin", "/app/bin", read_only=False)], ME)).splitlines()

    assert lines[0].split() == ["SOURCE", "TARGET", "OWNER", "OUTSIDE", "INSIDE"]
    assert lines[1].split() == ["bin", "/app/bin", f"{ME.uid}:{ME.gid}", "ok", "not", "running"]


# Repairs


def test_missing_folder_is_made_as_the_caller(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not root makes folders of their own; the engine would make them root's."""
    monkeypatch.setattr(mounts, "_is_root", lambda: False)

    mounts.repair(declared(root, "data"), OTHER)

    status = (root / "data").stat()
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())


@needs_root
def test_missing_folder_that_root_makes_is_the_identitys(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Root makes a folder for the identity, and says both."""
    mounts.repair(declared(root, "data"), OTHER)

    status = (root / "data").stat()
    assert (status.st_uid, status.st_gid) == (OTHER.uid, OTHER.gid)
    assert capsys.readouterr().err.splitlines() == [
        "data: made, since it was missing",
        f"data: 1 of root's made writable for other ({OTHER.uid}:{OTHER.gid})",
    ]
    assert mounts.check(declared(root, "data"), OTHER)[0].fault is None


def test_folder_that_cannot_be_made_ends_with_73(root: Path) -> None:
    """Where the folder cannot be made the reason and both commands are named."""
    (root / "a-file").touch()

    with pytest.raises(HostError) as refusal:
        mounts.repair(declared(root, "a-file/data"), ME)

    assert refusal.value.code == ExitCode.CANNOT_CREATE
    assert refusal.value.problem == "a-file/data is missing and cannot be made: Not a directory"


def planted(root: Path, outside: Path) -> Path:
    """Make a folder of root's with all kinds of entries in it, and return it."""
    data = root / "data"
    (data / "deep").mkdir(parents=True)
    (outside / "secret").write_text("s", encoding="utf-8")
    (outside / "folder").mkdir()
    (outside / "folder" / "inner").touch()
    for name in ("file", "deep/file", "of-uid-4321"):
        (data / name).touch()
    os.chown(data / "of-uid-4321", 4321, 4321)
    (data / "to-file").symlink_to(outside / "secret")
    (data / "to-folder").symlink_to(outside / "folder")
    (data / "second-name").hardlink_to(outside / "secret")
    os.mkfifo(data / "pipe")
    return data


def owners(folder: Path) -> dict[str, int]:
    """Return the uid of everything below a folder, the folder itself as a dot; of links, not of their targets."""
    return {str(path.relative_to(folder)): path.lstat().st_uid for path in [folder, *folder.rglob("*")]}


@needs_root
def test_files_of_root_are_given_to_the_identity_and_links_are_left_alone(root: Path, tmp_path: Path) -> None:
    """Root's own files and folders go to the identity; links, their targets, multi-link and others' files stay."""
    outside = tmp_path / "outside"
    outside.mkdir()
    data = planted(root, outside)

    mounts.repair(declared(root, "data"), OTHER)

    given = dict.fromkeys((".", "deep", "deep/file", "file"), OTHER.uid)
    kept = {"of-uid-4321": 4321, **dict.fromkeys(("to-file", "to-folder", "second-name", "pipe"), 0)}
    assert owners(data) == {**given, **kept}
    assert set(owners(outside).values()) == {0}


@needs_root
def test_dry_run_names_the_repairs_and_changes_nothing(root: Path, tmp_path: Path) -> None:
    """`repairs` says what `repair` would do, with the same count, and does none of it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    before = owners(planted(root, outside))

    lines = mounts.repairs(declared(root, "data", "doc"), OTHER)

    assert lines == [
        f"data: 4 of root's made writable for other ({OTHER.uid}:{OTHER.gid})",
        "doc: made, since it was missing",
    ]
    assert owners(root / "data") == before
    assert not (root / "doc").exists()


@needs_root
def test_folder_behind_a_link_is_not_repaired(root: Path, tmp_path: Path) -> None:
    """A source that is itself a link, out of the project or inside it, is never gone through."""
    (tmp_path / "elsewhere").mkdir()
    (root / "raw").mkdir()
    (root / "data").symlink_to(tmp_path / "elsewhere")
    (root / "doc").symlink_to("raw")

    assert mounts.repairs(declared(root, "data", "doc"), OTHER) == []

    mounts.repair(declared(root, "data", "doc"), OTHER)
    assert {path.stat().st_uid for path in (root / "raw", tmp_path / "elsewhere")} == {0}


@needs_root
def test_folder_mounted_from_elsewhere_is_not_repaired(root: Path, tmp_path: Path) -> None:
    """A source that a person declared outside the project, such as /etc, is neither given away nor made."""
    (tmp_path / "elsewhere").mkdir()
    from_elsewhere = [Mount(tmp_path / name, f"/x/{name}", read_only=False) for name in ("elsewhere", "missing")]

    mounts.repair(from_elsewhere, OTHER)

    assert (tmp_path / "elsewhere").stat().st_uid == 0
    assert not (tmp_path / "missing").exists()


@needs_root
def test_second_repair_finds_nothing(root: Path, tmp_path: Path) -> None:
    """What is repaired stays repaired."""
    outside = tmp_path / "outside"
    outside.mkdir()
    planted(root, outside)

    mounts.repair(declared(root, "data", "doc"), OTHER)

    assert mounts.repairs(declared(root, "data", "doc"), OTHER) == []


# Through the container


@pytest.fixture
def folders(root: Path) -> list[Mount]:
    """Two good mounts, the name of one with a blank and a quote in it."""
    (root / "data").mkdir()
    (root / "it's here").mkdir()
    return declared(root, "data", "it's here")


def crossings(found: list[mounts.Check]) -> list[str]:
    """Return the column INSIDE."""
    return [each.inside for each in found]


def test_probes_cross_a_good_mount_both_ways(root: Path, folders: list[Mount]) -> None:
    """What is written outside is read inside, what is written inside is the identity's outside, and nothing stays."""
    container = Container(folders)

    found = mounts.check(folders, ME, container)

    assert crossings(found) == ["ok", "ok"]
    assert [each.fault for each in found] == [None, None]
    assert len(container.commands) == 1
    assert probes(root) == []


def test_folder_that_is_not_mounted_is_told(root: Path, folders: list[Mount]) -> None:
    """A mount that is declared and not there is one fault; the other mount is still good."""
    container = Container(folders, sources={folders[1].target: str(folders[1].source)})

    found = mounts.check(folders, ME, container)

    assert crossings(found) == ["is not mounted in the container", "ok"]
    assert probes(root) == []


def test_other_source_is_named(root: Path, folders: list[Mount]) -> None:
    """A container that was started from another folder is told, with the path it has."""
    sources = {each.target: f"/elsewhere/{each.source.name}" for each in folders}

    found = mounts.check(folders, ME, Container(folders, sources=sources))

    assert found[0].fault == mounts.Fault(
        f"is not what the container has at {folders[0].target}: that is /elsewhere/data", "invoke down, then invoke up"
    )
    assert probes(root) == []


def test_prefix_of_docker_desktop_is_the_same_source(folders: list[Mount]) -> None:
    """Docker Desktop puts its own prefix before a path of the host: that is no other source."""
    sources = {each.target: f"/host_mnt{each.source}" for each in folders}

    assert crossings(mounts.check(folders, ME, Container(folders, sources=sources))) == ["ok", "ok"]


def test_file_from_outside_that_cannot_be_read_inside_is_told(root: Path, tmp_path: Path) -> None:
    """Where the container shows another folder than the host, the probe from outside is missing there."""
    (root / "data").mkdir()
    (tmp_path / "stale").mkdir()
    mount = Mount(root / "data", str(tmp_path / "stale"), read_only=False)

    found = mounts.check([mount], ME, Container([mount]))

    assert crossings(found) == ["has a file from outside that cannot be read inside"]


def test_file_from_inside_that_does_not_show_outside_is_told(root: Path, tmp_path: Path) -> None:
    """A folder that can be read, but into which nothing is written back, would lose everything."""
    (root / "data").mkdir()
    copy = tmp_path / "copy"
    mount = Mount(root / "data", str(copy), read_only=False)
    container = Container([mount], before=lambda: shutil.copytree(root / "data", copy))

    found = mounts.check([mount], ME, container)

    assert crossings(found) == ["does not show outside what is written inside"]
    assert probes(root) == []


@pytest.mark.parametrize(
    ("read_only", "expected"), [(False, "cannot be written inside"), (True, "ok")], ids=["read-write", "read-only"]
)
def test_folder_that_cannot_be_written_inside_is_told(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_only: bool,  # noqa: FBT001
    expected: str,
) -> None:
    """Where the probe cannot be written inside the fault is 77 with the chown; a read-only mount may be so."""
    monkeypatch.setattr(secrets, "token_hex", lambda _: "x")
    (root / "data" / ".probe-x.inside").mkdir(parents=True)
    mount = declared(root, "data", read_only=read_only)

    found = mounts.check(mount, ME, Container(mount))[0]

    assert found.inside == expected
    fix = f"sudo chown -R {ME.uid}:{ME.gid} data"
    assert found.fault == (None if read_only else mounts.Fault(expected, fix, ExitCode.PERMISSION))


def test_file_from_inside_with_another_owner_is_told(root: Path, folders: list[Mount]) -> None:
    """What shows outside as somebody else's ends in 77, with both pairs."""
    for each in folders:
        each.source.chmod(0o777)

    found = mounts.check(folders, OTHER, Container(folders), platform="linux")

    problem = f"shows a file from inside as {ME.uid}:{ME.gid}, but you are {OTHER.uid}:{OTHER.gid}"
    assert found[0].fault == mounts.Fault(problem, "invoke down, then invoke up", ExitCode.PERMISSION)
    assert probes(root) == []


def test_owner_is_not_judged_on_macos(folders: list[Mount]) -> None:
    """MacOS shows every file of a shared folder as the caller's: there the probe decides alone."""
    for each in folders:
        each.source.chmod(0o777)

    assert crossings(mounts.check(folders, OTHER, Container(folders), platform="darwin")) == ["ok", "ok"]


def test_probes_are_removed_when_the_engine_fails(root: Path, folders: list[Mount]) -> None:
    """An engine that goes away amid the check leaves no probe behind, not even one written inside."""
    container = Container(folders)
    run = container.exec_run

    def dies(argv: list[str]) -> Any:
        run(argv)
        raise ConnectionError("the engine went away")

    container.exec_run = dies  # type: ignore[method-assign]

    with pytest.raises(ConnectionError):
        mounts.check(folders, ME, container)

    assert probes(root) == []
    assert len(container.commands) == 1


def test_probe_that_only_the_container_may_remove_is_removed_by_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, folders: list[Mount]
) -> None:
    """Where the caller may not delete what was written inside, the container does."""
    monkeypatch.setattr(mounts, "_removed", lambda path: path.name.endswith(".outside") and path.unlink() is None)

    mounts.check(folders, ME, Container(folders))

    assert probes(root) == []


def test_faulty_folder_gets_no_probe(root: Path, folders: list[Mount]) -> None:
    """A source with a fault on the host is not probed; the others are."""
    (root / "doc").touch()
    all_three = [*folders, *declared(root, "doc")]

    found = mounts.check(all_three, ME, Container(all_three))

    assert crossings(found) == ["ok", "ok", "-"]
    assert (root / "doc").read_bytes() == b""


def test_container_that_answers_nothing_is_no_traceback(folders: list[Mount]) -> None:
    """A container without a shell answers nothing: that is a fault of every mount."""
    silent = SimpleNamespace(attrs=Container(folders).attrs, exec_run=lambda _: SimpleNamespace(output=b""))

    found = mounts.check(folders, ME, silent)

    assert crossings(found) == ["has a file from outside that cannot be read inside"] * 2
