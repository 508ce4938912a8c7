"""Mounts: how a source is seen, judged and repaired, and what probes say of the way through a container.

Real files; where a container is needed, what it is told to run really runs, here.
"""

import errno
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from observed import Seen, settings

from host_tasks import loop
from host_tasks.kit import paths, words
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import Finding, plan
from host_tasks.setup.basics import try_lock
from host_tasks.subjects import clone, compose, containers, links, mounts, probes
from host_tasks.subjects.compose import SERVICE, Mount
from host_tasks.subjects.containers import Container
from host_tasks.subjects.identity import Identity
from host_tasks.subjects.mounts import DANGLING, FILE, FOLDER, MISSING, OTHER, Place
from host_tasks.subjects.probes import Crossing, Held

ME = Identity("me", os.getuid(), os.getgid(), "you")
ADA = Identity("ada", 1815, 1852, "you")
BOB = Identity("bob", 1816, 1853, "you")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder that the modules take for the clone; what lies beside it is outside."""
    folder = tmp_path / "project"
    folder.mkdir()
    for module in (paths, words, mounts, links):
        monkeypatch.setattr(module, "ROOT", folder)
    monkeypatch.setattr(mounts, "DOCKER_DIR", folder / "docker")
    monkeypatch.setattr(mounts, "TASKS_PY", folder / "tasks.py")
    monkeypatch.chdir(folder)
    return folder


def declared(root: Path, *names: str, read_only: bool = False) -> list[Mount]:
    """Return mounts of folders, each of which is its own target."""
    return [Mount(root / name, str(root / name), read_only) for name in names]


def looked(found: Sequence[Mount], who: Identity = ME, *, group_add: Sequence[str] = ()) -> Seen:
    """Return an observation of these mounts as they are now."""
    as_root = os.geteuid() == 0 and who.uid != 0
    return of([mounts.place(each, count_roots=as_root) for each in found], who, group_add=group_add)


def of(
    places: Sequence[Place],
    who: Identity = ADA,
    *,
    group_add: Sequence[str] = (),
    crossings: Sequence[Crossing] = (),
    server: Container | None = None,
    tried: tuple[str, ...] = (),
) -> Seen:
    """Return an observation of sources and ways through."""
    return Seen(
        tried=tried,
        settings=settings(who=who),
        model={"services": {SERVICE: {"group_add": list(group_add)}}},
        has_compose=True,
        planted={},
        places=tuple(places),
        crossings=tuple(crossings),
        containers=(server,) if server else (),
    )


def judged(place: Place, who: Identity = ADA, *, group_add: Sequence[str] = ()) -> Finding | None:
    """Return what is wrong with one source on the host."""
    [finding] = mounts.outside(of([place], who, group_add=group_add))
    return finding


def told(finding: Finding | None) -> tuple[str, str, ExitCode] | None:
    """Return cause, fix and exit code of a finding."""
    return (finding.cause, finding.fix, finding.exit_code) if finding else None


def left(root: Path) -> list[Path]:
    """Return the probe files that are left below a folder."""
    return [path for path in root.rglob(".probe*") if not path.is_dir()]


# What a source is like


@pytest.mark.parametrize("kind", [FOLDER, FILE, OTHER, MISSING, DANGLING])
def test_kind_of_a_source_is_what_it_leads_to(root: Path, kind: str) -> None:
    """A folder, a file, a pipe, nothing, and a link to nothing are told apart; the owner of what is not is unknown."""
    make: dict[str, Callable[[Path], object]] = {
        FOLDER: Path.mkdir,
        FILE: Path.touch,
        OTHER: os.mkfifo,
        MISSING: Path.exists,
        DANGLING: lambda path: path.symlink_to("gone"),
    }
    make[kind](root / "data")

    found = mounts.place(declared(root, "data")[0], count_roots=False)

    assert (found.kind, found.shown) == (kind, "data")
    assert found.link == (Path("gone") if kind == DANGLING else None)
    assert found.uid == (os.getuid() if kind in (FOLDER, FILE, OTHER) else -1)


def test_link_is_followed_and_named(root: Path) -> None:
    """Where a source leads is seen, and that it is a link."""
    (root / "raw").mkdir(mode=0o750)
    (root / "data").symlink_to("raw")

    found = mounts.place(declared(root, "data")[0], count_roots=True)

    assert (found.kind, found.link, found.real, found.mode) == (FOLDER, Path("raw"), root / "raw", 0o750)
    assert found.of_root == 0


@pytest.mark.parametrize("read_only", [False, True], ids=["read-write", "read-only"])
def test_read_only_file_system_is_seen(root: Path, *, read_only: bool) -> None:
    """A source on a read-only file system is told from one that is not."""
    (root / "data").mkdir()
    body = f"""
        import sys; sys.path.insert(0, {str(paths.DOCKER_DIR)!r})
        from pathlib import Path
        from host_tasks.subjects import compose, mounts
        source = Path({str(root / "data")!r})
        print(mounts.place(compose.Mount(source, "/data", False), count_roots=False).read_only_disk)
    """
    script = f'mount -t tmpfs -o {"ro" if read_only else "rw"} none "$1" || exit 99; exec "$2" -c "$3"'
    body = "\n".join(line.strip() for line in body.splitlines())
    words = ["sh", "-c", script, "sh", str(root / "data"), sys.executable, body]
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare to mount in a namespace of its own")

    done = subprocess.run([*namespace, *words], capture_output=True, text=True, check=False)

    if done.returncode == 99 or "unshare failed" in done.stderr:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    assert done.stdout.strip() == str(read_only), done.stderr


# How it is judged


def folder(root: Path, name: str = "data", *, read_only: bool = False, **seen: object) -> Place:
    """Return a folder of ADA's with mode 0755 on the host that nobody else can write, but as it is said."""
    [mount] = declared(root, name, read_only=read_only)
    about = {"kind": FOLDER, "real": mount.source, "uid": ADA.uid, "gid": ADA.gid, "mode": 0o755, "writable": False}
    return Place(mount, **{**about, **seen})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param({}, None, id="own folder"),
        pytest.param(
            {"kind": MISSING}, ("data is missing", "invoke mounts --fix", ExitCode.CONFIG), id="missing: made by a step"
        ),
        pytest.param(
            {"kind": FILE},
            ("data is a file, not a folder", "mv data data.file && mkdir data", ExitCode.CONFIG),
            id="file in a folder's place: the engine would mount it silently",
        ),
        pytest.param(
            {"kind": DANGLING, "link": Path("gone")},
            ("data is a link to gone, which does not exist", "rm data && mkdir data", ExitCode.CONFIG),
            id="link that leads nowhere",
        ),
        pytest.param(
            {"read_only_disk": True},
            ("data is on a read-only file system", "mount -o remount,rw data", ExitCode.PERMISSION),
            id="read-only file system",
        ),
        pytest.param({"read_only_disk": True, "read_only": True}, None, id="read-only file system, mounted so"),
        pytest.param(
            {"uid": 7, "gid": 8},
            (
                "data is owned by 7:8 with mode 0755, so ada (1815:1852) cannot write there",
                "sudo chown -R 1815:1852 data",
                ExitCode.PERMISSION,
            ),
            id="somebody else's",
        ),
        pytest.param({"uid": 7, "gid": 8, "read_only": True}, None, id="somebody else's, mounted read-only"),
        pytest.param({"uid": 7, "gid": 8, "writable": True}, None, id="somebody else's, open by an ACL"),
        pytest.param(
            {"of_root": 3},
            ("3 in data belong to root", "invoke mounts --fix", ExitCode.PERMISSION),
            id="files of root's",
        ),
    ],
)
def test_folder_of_the_clone_is_judged(
    root: Path, seen: dict[str, object], expected: tuple[str, str, ExitCode] | None
) -> None:
    """Each fault of a folder of ours is named with its values and the command that repairs it."""
    assert told(judged(folder(root, **seen))) == expected  # type: ignore[arg-type]


def test_entry_that_cannot_be_given_away_is_left_to_the_probe(root: Path) -> None:
    """An immutable file, or root on NFS, refuses: the start goes on, and fails only where nothing can be saved."""
    left = folder(root, of_root=1)

    assert [step.key for step in plan(of([left]), [mounts.mounts_outside]).steps] == ["give"]
    assert str(plan(of([left], tried=("give",)), [mounts.mounts_outside])) == "Nothing to do."


def test_link_out_of_the_project_is_refused(root: Path, tmp_path: Path) -> None:
    """A link out of the project is not followed silently, and nothing is done behind it."""
    (tmp_path / "elsewhere").mkdir()
    (root / "data").symlink_to(tmp_path / "elsewhere")

    [found] = mounts.outside(looked(declared(root, "data")))

    assert found is not None
    assert (found.cause, found.step) == (f"data is a link out of the project, to {tmp_path / 'elsewhere'}", None)
    assert found.exit_code == ExitCode.CONFIG
    line = f'{{type: bind, source: "{tmp_path}/elsewhere", target: "{root}/data"}}'
    example = "add to volumes as in docker/examples/data-disk.yml, in docker/docker-compose.override.yml"
    assert found.fix == f"{example}: {line}, then: invoke up"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_link_to_a_disk_that_is_not_mounted_stays(root: Path, tmp_path: Path) -> None:
    """Neither does the fix take the link away, nor does it make a folder where the disk will be."""
    (root / "data").symlink_to(tmp_path / "disk")

    [found] = mounts.outside(looked(declared(root, "data")))

    assert found is not None
    assert found.fix == f"mount the disk of {tmp_path / 'disk'}, then: invoke up"


def test_folder_below_a_link_out_of_the_project_is_refused(root: Path, tmp_path: Path) -> None:
    """It is the way that counts, not the last name on it."""
    (tmp_path / "elsewhere" / "raw").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "elsewhere")

    [found] = mounts.outside(looked(declared(root, "link/raw")))

    assert found is not None
    assert found.cause == f"link/raw is a link out of the project, to {tmp_path / 'elsewhere' / 'raw'}"


def test_link_inside_the_project_is_a_folder(root: Path) -> None:
    """A link that stays in the project is the person's way to arrange it."""
    (root / "raw").mkdir()
    (root / "data").symlink_to("raw")

    assert mounts.outside(looked(declared(root, "data"))) == [None]


@pytest.mark.parametrize("target", ["docker", "docker/host_tasks", ".git", ".venv", "tests/starter", "tests", "."])
def test_link_to_code_that_runs_here_is_refused(root: Path, target: str) -> None:
    """The container must not write what this machine runs, neither in a folder of code nor above one."""
    (root / target).mkdir(parents=True, exist_ok=True)
    (root / "data").symlink_to(root / target)

    [found] = mounts.outside(looked(declared(root, "data")))

    assert found is not None
    assert found.cause == f"data leads to {target}, whose code runs on this machine: the container must not write it"
    assert found.fix == "rm data && mkdir data"


def test_code_may_be_mounted_read_only(root: Path) -> None:
    """What the container only reads, it may read."""
    (root / "docker").mkdir()

    assert mounts.outside(looked(declared(root, "docker", read_only=True))) == [None]
    assert mounts.outside(looked(declared(root, "docker"))) != [None]


def test_way_through_a_folder_of_the_container_is_refused(root: Path) -> None:
    """A link in a mounted folder is the container's to change: it could lead anywhere at the next start."""
    (root / "data" / "real").mkdir(parents=True)
    (root / "data" / "link").symlink_to("real")

    found = mounts.outside(looked(declared(root, "data/link", "data/real")))

    assert [each and each.cause for each in found] == [
        "data/link goes through a link in data/, which the container can point elsewhere",
        None,
    ]


def test_folder_declared_elsewhere_is_the_persons(root: Path, tmp_path: Path) -> None:
    """A source outside the project that the Compose file names itself is taken as it is; missing, it is not made."""
    (tmp_path / "shared").mkdir()

    found = mounts.outside(looked([Mount(tmp_path / name, f"/{name}", read_only=False) for name in ("shared", "gone")]))

    assert found[0] is None
    assert found[1] is not None
    assert (found[1].cause, found[1].fix, found[1].step) == (
        f"{tmp_path / 'gone'} is missing",
        f"mkdir {tmp_path / 'gone'}",
        None,
    )


@pytest.mark.parametrize("kind", [FILE, OTHER])
def test_file_of_the_persons_is_good_where_it_can_be_read(tmp_path: Path, root: Path, kind: str) -> None:
    """A settings file or a socket that a person mounts is asked for being there and readable, for nothing else."""
    source = tmp_path / "gitconfig"
    place = Place(Mount(source, "/etc/gitconfig", read_only=False), kind, source, mode=0o600, writable=False)
    unreadable = Place(place.mount, kind, source, mode=0o600, readable=False)

    assert judged(place) is None
    assert told(judged(unreadable)) == (
        f"{source} cannot be read by you",
        f"sudo chmod o+r {source}",
        ExitCode.PERMISSION,
    )


@pytest.mark.parametrize(
    ("gid", "mode", "fix"),
    [
        (
            50,
            0o2775,
            'add to jupyterlab-server in docker/docker-compose.override.yml: group_add: ["50"], then: invoke up',
        ),
        (50, 0o755, "ask its owner for: sudo setfacl -m u:1815:rwx {path}"),
        (0, 0o775, "ask its owner for: sudo setfacl -m u:1815:rwx {path}"),
    ],
    ids=["team folder", "closed", "root's group is nobody's to join"],
)
def test_shared_folder_is_never_taken_from_the_others(
    root: Path, tmp_path: Path, gid: int, mode: int, fix: str
) -> None:
    """Outside the clone the fix is to be let in, not to become the owner of what others share."""
    source = tmp_path / "shared"
    place = Place(Mount(source, "/shared", read_only=False), FOLDER, source, uid=7, gid=gid, mode=mode, writable=False)

    found = judged(place)

    assert found is not None
    assert found.fix == fix.format(path=source)
    assert found.exit_code == ExitCode.PERMISSION


def test_group_that_is_added_counts(root: Path) -> None:
    """A folder of a group that the Compose file adds can be written; a name there is not known here."""
    team = folder(root, uid=7, gid=50, mode=0o775)

    assert judged(team, group_add=["50", "staff"]) is None
    assert judged(team, group_add=["staff"]) is not None


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
        (0o2775, 9, 50, False),
    ],
)
def test_permission_follows_the_first_class_that_fits(
    root: Path, mode: int, uid: int, gid: int, *, expected: bool
) -> None:
    """Owner, else group, else others decide alone, and both writing and searching are needed."""
    place = folder(root, mode=mode, uid=uid, gid=gid)

    assert (judged(place, Identity("ada", 7, 8, "x")) is None) is expected


def test_every_mount_is_judged_and_the_first_fault_is_raised(root: Path) -> None:
    """The table shows all of them; the first that has a fault is what the task ends with."""
    for name in ("bin", "data"):
        (root / name).mkdir()
    (root / "data").rmdir()
    (root / "data").touch()
    seen = looked(declared(root, "bin", "data", "doc"))

    with pytest.raises(HostError) as refusal:
        mounts.print_mounts(seen, json=False)

    assert [row["outside"] for row in mounts.rows(seen)] == ["ok", "is a file, not a folder", "is missing"]
    assert (refusal.value.problem, refusal.value.code) == ("data is a file, not a folder", ExitCode.CONFIG)


def test_table_has_a_line_for_each_mount(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table names source, target and owner, and what was found on both sides."""
    (root / "bin").mkdir()

    seen = looked([Mount(root / "bin", "/app/bin", read_only=False), Mount(root / "doc", "/app/doc", read_only=False)])

    with pytest.raises(HostError, match="doc is missing"):
        mounts.print_mounts(seen, json=False)

    assert [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines()] == [
        ["SOURCE", "TARGET", "OWNER", "OUTSIDE     INSIDE"],
        ["bin", "/app/bin", f"{ME.uid}:{ME.gid}", "ok          not running"],
        ["doc", "/app/doc", "-", "is missing  not running"],
    ]


# Repairs


def test_missing_folder_is_made_as_the_caller(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who calls makes folders of their own; the engine would make them root's. What is there is left alone."""
    (root / "doc").mkdir(mode=0o700)

    mounts.make(looked(declared(root, "data", "doc")))

    status = (root / "data").stat()
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert (root / "doc").stat().st_mode & 0o777 == 0o700
    assert capsys.readouterr().err == "data: made, since it was missing\n"


@needs_root
def test_missing_folder_that_root_makes_is_the_identitys(root: Path) -> None:
    """Root makes a folder and gives it away in the next step; then there is nothing left to do."""
    mounts.make(looked(declared(root, "data"), ADA))
    second = plan(looked(declared(root, "data"), ADA), [mounts.mounts_outside])
    mounts.give(looked(declared(root, "data"), ADA))

    status = (root / "data").stat()
    assert [step.key for step in second.steps] == ["give"]
    assert (status.st_uid, status.st_gid) == (ADA.uid, ADA.gid)
    assert str(plan(looked(declared(root, "data"), ADA), [mounts.mounts_outside])) == "Nothing to do."


def test_folder_that_cannot_be_made_ends_with_73(root: Path) -> None:
    """Where the folder cannot be made the reason and the command are named."""
    (root / "a-file").touch()

    with pytest.raises(HostError) as refusal:
        mounts.make(looked(declared(root, "a-file/data")))

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
def test_files_of_root_are_given_to_the_identity_and_links_are_left_alone(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root's own files and folders go to the identity; links, their targets, multi-link and others' files stay."""
    outside = tmp_path / "outside"
    outside.mkdir()
    data = planted(root, outside)

    mounts.give(looked(declared(root, "data"), ADA))

    given = dict.fromkeys((".", "deep", "deep/file", "file"), ADA.uid)
    kept = {"of-uid-4321": 4321, **dict.fromkeys(("to-file", "to-folder", "second-name", "pipe"), 0)}
    assert owners(data) == {**given, **kept}
    assert set(owners(outside).values()) == {0}
    assert capsys.readouterr().err == "data: 4 of root's given to ada (1815:1852)\n"
    assert str(plan(looked(declared(root, "data"), ADA), [mounts.mounts_outside])) == "Nothing to do."


@needs_root
def test_entry_that_was_swapped_since_it_was_seen_keeps_its_owner(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the container puts in the place of an entry meanwhile is another file, and never given away."""
    (root / "data").mkdir()
    (root / "data" / "file").touch()
    seen = looked(declared(root, "data"), ADA)
    entries = mounts.roots(root / "data")
    (tmp_path / "passwd").touch()  # before the other goes, whose inode it would get
    (root / "data" / "file").unlink()
    (root / "data" / "file").hardlink_to(tmp_path / "passwd")
    monkeypatch.setattr(mounts, "roots", lambda _: entries)

    mounts.give(seen)

    assert (root / "data").stat().st_uid == ADA.uid
    assert (tmp_path / "passwd").stat().st_uid == 0


@needs_root
def test_folder_behind_a_link_is_not_repaired(root: Path, tmp_path: Path) -> None:
    """A source that is itself a link is never gone through, whatever else is to be given."""
    (root / "raw").mkdir()
    (root / "results").mkdir()
    (root / "doc").symlink_to("raw")

    mounts.give(looked(declared(root, "doc", "results"), ADA))

    assert (root / "raw").stat().st_uid == 0
    assert (root / "results").stat().st_uid == ADA.uid


@needs_root
def test_folder_mounted_from_elsewhere_is_not_repaired(root: Path, tmp_path: Path) -> None:
    """A source that a person declared outside the project, such as /etc, is neither given away nor made.

    Not even where a folder of the clone is.
    """
    (tmp_path / "elsewhere").mkdir(mode=0o777)
    (root / "data").mkdir()
    found = [
        *declared(root, "data", "doc"),
        *(Mount(tmp_path / name, f"/x/{name}", read_only=False) for name in ("elsewhere", "missing")),
    ]

    mounts.make(looked(found, ADA))
    mounts.give(looked(found, ADA))

    assert (root / "doc").stat().st_uid == (root / "data").stat().st_uid == ADA.uid
    assert (tmp_path / "elsewhere").stat().st_uid == 0
    assert not (tmp_path / "missing").exists()


# Through the container


class Engine:
    """An engine with one container, whose targets are folders of this machine."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.before: Callable[[], object] = lambda: None
        self.fails: Exception | None = None
        self.silent = False

    def run_in(self, container: Container, argv: Sequence[str]) -> bytes:
        """Run a command here."""
        self.commands.append(list(argv))
        self.before()
        output = subprocess.run(list(argv), stdout=subprocess.PIPE, check=False).stdout
        if self.fails:
            raise self.fails
        return b"" if self.silent else output


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine that the probes go through."""
    found = Engine()
    monkeypatch.setattr(containers, "run_in", found.run_in)
    return found


@pytest.fixture
def folders(root: Path) -> list[Mount]:
    """Two good mounts, the name of one with a blank and a quote in it."""
    (root / "data").mkdir()
    (root / "it's here").mkdir()
    return declared(root, "data", "it's here")


def container(found: Sequence[Mount], binds: dict[str, str] | None = None) -> Container:
    """Return a running server that has these mounts, or has others bound instead."""
    own = {each.target: str(each.source) for each in found}
    return Container("1", "lab-1", service=SERVICE, binds=own if binds is None else binds)


def crossings(places: Sequence[Place], server: Container) -> tuple[Crossing, ...]:
    """Return what probes through a server say."""
    return probes.crossings(loop.Seen({mounts.places: tuple(places), containers.ours: (server,)}))


def crossed(
    found: Sequence[Mount], who: Identity = ME, binds: dict[str, str] | None = None
) -> list[tuple[str, str, ExitCode] | None]:
    """Return what is wrong between container and host."""
    places = [mounts.place(each, count_roots=False) for each in found]
    server = container(found, binds)
    seen = of(places, who, crossings=crossings(places, server), server=server)
    return [told(each) for each in mounts.inside(seen)]


AGAIN = "invoke down && invoke up"


def test_probes_cross_a_good_mount_both_ways(root: Path, folders: list[Mount], engine: Engine) -> None:
    """What is written outside is read inside, what is written inside is the identity's outside, and nothing stays."""
    places = [mounts.place(each, count_roots=False) for each in folders]

    found = crossings(places, container(folders))

    good = [Crossing(str(each.source), read=True, wrote=True, owner=(ME.uid, ME.gid)) for each in folders]
    assert list(found) == good
    assert len(engine.commands) == 1
    assert left(root) == []
    assert crossed(folders) == [None, None]


def test_folder_that_is_mounted_twice_gets_one_probe(root: Path, folders: list[Mount], engine: Engine) -> None:
    """A disk may be at its own path for links, and beside the six folders: both ways are good, and nothing stays."""
    (root / "again").symlink_to(root / "data")

    assert crossed([*folders, *declared(root, "again")]) == [None, None, None]
    assert left(root) == []


def test_folder_that_is_not_mounted_is_told(root: Path, folders: list[Mount], engine: Engine) -> None:
    """A mount that is declared and not there is one fault; the other mount is still good."""
    found = crossed(folders, binds={folders[1].target: str(folders[1].source)})

    assert found == [("data is not mounted in the container", AGAIN, ExitCode.CONFIG), None]
    assert left(root) == []


DESKTOP = {
    "macOS": "/host_mnt/Users/ada/study/{}",
    "Windows": "/run/desktop/mnt/host/c/Users/ada/study/{}",
    "WSL": "/run/desktop/mnt/host/wsl/docker-desktop-bind-mounts/Debian/0f{}",
    "somewhere": "/elsewhere/{}",
}


@pytest.mark.parametrize("named", DESKTOP.values(), ids=DESKTOP)
def test_path_that_only_the_engine_knows_is_no_other_source(folders: list[Mount], engine: Engine, named: str) -> None:
    """Docker Desktop names folders by paths of its own machine: where the probes cross, that is this very folder."""
    assert crossed(folders, binds={each.target: named.format(each.source.name) for each in folders}) == [None, None]


def test_other_source_is_named(root: Path, tmp_path: Path, engine: Engine) -> None:
    """A container that was started from another folder does not have the probe: it is told, with the path it has."""
    (root / "data").mkdir()
    (tmp_path / "stale").mkdir()
    mount = Mount(root / "data", str(tmp_path / "stale"), read_only=False)

    found = crossed([mount], binds={mount.target: "/elsewhere/data"})

    cause = f"data is not what the container has at {mount.target}, which the engine calls /elsewhere/data"
    assert found == [(cause, AGAIN, ExitCode.CONFIG)]
    assert left(root) == []


def test_way_through_a_link_is_the_same_source(
    root: Path, folders: list[Mount], tmp_path: Path, engine: Engine
) -> None:
    """A container that was started through a link to the clone has the same folders."""
    (tmp_path / "link").symlink_to(root)

    found = crossed(folders, binds={each.target: str(tmp_path / "link" / each.source.name) for each in folders})

    assert found == [None, None]


def test_file_from_outside_that_cannot_be_read_inside_is_told(root: Path, tmp_path: Path, engine: Engine) -> None:
    """Where the container shows another folder than the host, the probe from outside is missing there."""
    (root / "data").mkdir()
    (tmp_path / "stale").mkdir()

    found = crossed([Mount(root / "data", str(tmp_path / "stale"), read_only=False)])

    assert found == [("data has a file from outside that cannot be read inside", "invoke restart", ExitCode.CONFIG)]


def test_file_from_inside_that_does_not_show_outside_is_told(root: Path, tmp_path: Path, engine: Engine) -> None:
    """A folder that can be read, but into which nothing is written back, would lose everything."""
    (root / "data").mkdir()
    copy = tmp_path / "copy"
    engine.before = lambda: shutil.copytree(root / "data", copy)

    found = crossed([Mount(root / "data", str(copy), read_only=False)])

    assert found == [("data does not show outside what is written inside", "invoke restart", ExitCode.CONFIG)]
    assert left(root) == []


@pytest.mark.parametrize("read_only", [False, True], ids=["read-write", "read-only"])
def test_folder_that_cannot_be_written_inside_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine, *, read_only: bool
) -> None:
    """Where the probe cannot be written inside the fault is 77 with the chown; a read-only mount may be so."""
    monkeypatch.setattr(secrets, "token_hex", lambda _: "x")
    (root / "data" / ".probe-x.inside").mkdir(parents=True)

    found = crossed(declared(root, "data", read_only=read_only))

    fix = f"sudo chown -R {ME.uid}:{ME.gid} data"
    assert found == [None if read_only else ("data cannot be written inside", fix, ExitCode.PERMISSION)]


@pytest.mark.parametrize(
    ("owner", "mode", "platform", "fits"),
    [
        pytest.param((1815, 1852), 0o755, "linux", True, id="the caller's"),
        pytest.param((1816, 1852), 0o777, "linux", False, id="another uid"),
        pytest.param((1815, 1853), 0o777, "linux", False, id="another gid"),
        pytest.param((1815, 50), 0o2775, "linux", True, id="setgid folder gives its group"),
        pytest.param((1815, 51), 0o2775, "linux", False, id="setgid folder, a third group"),
        pytest.param((1815, 50), 0o775, "linux", False, id="folder's group without setgid"),
        pytest.param((501, 20), 0o755, "darwin", True, id="macOS shows all as the caller's: the probe decides alone"),
    ],
)
def test_owner_of_a_file_from_inside_is_the_callers(
    root: Path, owner: tuple[int, int], mode: int, platform: str, *, fits: bool
) -> None:
    """What shows outside as somebody else's ends in 77, with both pairs."""
    place = folder(root, mode=mode, gid=50)
    crossing = Crossing(str(place.mount.source), owner=owner)

    found = told(mounts.crossed(place, crossing, ADA, platform))

    cause = f"data shows a file from inside as {owner[0]}:{owner[1]}, but you are 1815:1852"
    assert found == (None if fits else (cause, AGAIN, ExitCode.PERMISSION))


def test_probes_are_removed_when_the_engine_fails(root: Path, folders: list[Mount], engine: Engine) -> None:
    """An engine that goes away amid the check leaves no probe behind, not even one written inside."""
    engine.fails = ConnectionError("the engine went away")

    with pytest.raises(ConnectionError):
        crossed(folders)

    assert left(root) == []
    assert len(engine.commands) == 1


def test_probe_that_only_the_container_may_remove_is_removed_by_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, folders: list[Mount], engine: Engine
) -> None:
    """Where the caller may not delete what was written inside, the container does."""
    unlink = Path.unlink

    def refused(path: Path, *, missing_ok: bool = False) -> None:
        if path.name.endswith(".inside"):
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)

    crossed(folders)

    assert left(root) == []
    assert [argv[0] for argv in engine.commands] == ["/bin/sh", "/bin/rm"]


def test_only_a_folder_gets_a_probe(root: Path, folders: list[Mount], engine: Engine) -> None:
    """A mounted file is asked for its source alone, and stays as it is."""
    (root / "settings").touch()

    found = crossed([*folders, *declared(root, "settings")])

    assert found == [None, None, None]
    assert (root / "settings").read_bytes() == b""
    assert str(root / "settings") not in engine.commands[0]


def old_folders(root: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Callable[..., list[Held]]:
    """Return what a server has of these folders, which gets them as they are now, and sees nothing later."""
    found = declared(root, *names)
    seen = {each.target: each.source.stat() for each in found}
    inside = lambda server, paths: {path: seen[path] for path in paths if path in seen}  # noqa: E731
    monkeypatch.setattr(containers, "status_inside", inside)

    def look(*mounted: str) -> list[Held]:
        server = container(declared(root, *(mounted or names)))
        return list(probes.held(loop.Seen({containers.ours: (server,)})))

    return look


def test_folder_that_was_replaced_is_told_from_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its inode, whatever its path says; one that was removed is told from one that is elsewhere."""
    for name in ("same", "renamed", "gone"):
        (root / name).mkdir()
    look = old_folders(root, monkeypatch, "same", "renamed", "gone")
    (root / "renamed").rename(root / "old")
    (root / "renamed").mkdir()
    (root / "gone").rmdir()

    found = {each.source.name: (each.same, each.is_there) for each in look()}

    assert found == {"same": (True, True), "renamed": (False, True), "gone": (False, False)}


def test_file_that_was_replaced_is_no_fault(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor and a package replace a file as they write it: nothing is saved there by the container."""
    (root / "settings").write_text("old")
    look = old_folders(root, monkeypatch, "settings")
    (root / "settings").unlink()

    assert look() == []


@pytest.mark.parametrize("at", ["data/disk", "elsewhere"])
def test_disk_that_was_mounted_since_the_start_is_seen(root: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """The container still sees the folder below it; one that lies elsewhere is none of its mounts."""
    (root / "data" / "disk").mkdir(parents=True)
    look = old_folders(root, monkeypatch, "data", "data/disk")
    (root / "data" / "disk").rename(root / "below")
    (root / "data" / "disk").mkdir()
    monkeypatch.setattr(probes, "mount_points", lambda: frozenset([str(root / at)]))

    told = [(each.source.name, each.same, each.below) for each in look("data")]

    assert told == [("data", True, False), *([("disk", False, True)] if at == "data/disk" else [])]


def test_probes_of_a_run_that_was_killed_are_removed(folders: list[Mount]) -> None:
    """Those that nobody holds locked any longer; one of another run, and a file of a person's, stay as they are."""
    data = folders[0].source
    kinds = (f"{'a' * 16}.inside", f"{'a' * 16}.outside", f"{'b' * 16}.inside")
    left, theirs = [f".probe-{kind}" for kind in kinds], [f".probe-{'c' * 16}.{side}" for side in ("outside", "inside")]
    mine = {f".probe-{'d' * 16}.outside": "a person's", ".probe-mine.inside": ".probe-mine", ".probe": ""}
    for name in (*left, *theirs):
        (data / name).write_text(name[: len(".probe-") + 16])
    for name, text in mine.items():
        (data / name).write_text(text)

    with (data / theirs[0]).open("r+") as held:
        assert try_lock(held.fileno())
        model = {"services": {SERVICE: {"volumes": [{"type": "bind", "source": str(data), "target": "/data"}]}}}
        mounts.places(loop.Seen({compose.model: model, clone.is_root: False}))

    assert sorted(path.name for path in data.iterdir()) == sorted([*theirs, *mine])


def test_container_that_answers_nothing_is_no_traceback(folders: list[Mount], engine: Engine) -> None:
    """A container without a shell answers nothing: that is a fault of every mount."""
    engine.silent = True

    assert [each and each[0] for each in crossed(folders)] == [
        f"{name} has a file from outside that cannot be read inside" for name in ("data", "it's here")
    ]


@pytest.mark.parametrize("refused", ["fchmod", "chmod"])
def test_disk_without_modes_is_no_fault(
    folders: list[Mount], engine: Engine, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """On exFAT, where a person keeps large data, no mode can be changed: the probe goes through without it."""

    def without_modes(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, refused, without_modes)

    assert crossed(folders) == [None, None]


def test_full_disk_is_told_from_a_folder_that_is_not_writable(
    folders: list[Mount], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe that finds no room ends with 74 and says so; one that is not permitted is judged by what comes back."""
    error = OSError(errno.ENOSPC, "No space left on device")

    def refused(*_: object) -> int:
        raise error

    monkeypatch.setattr(probes.os, "open", refused)  # type: ignore[attr-defined]
    with pytest.raises(HostError) as raised:
        crossed(folders)
    error = PermissionError(errno.EACCES, "Permission denied")

    assert (raised.value.code, raised.value.problem) == (74, "data cannot be written: No space left on device")
    assert [each and each[2] for each in crossed(folders)] == [ExitCode.CONFIG, ExitCode.CONFIG]
