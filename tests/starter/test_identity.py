"""Who the container runs as: exactly the host's ids, under a name that an image can hold."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from unittest import mock

import invoke
import pytest
from hypothesis import example, given, strategies as st

from host_tasks import loop
from host_tasks.kit.paths import DOCKER_DIR, ROOT
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.setup.basics import sudo_caller
from host_tasks.subjects import clone, identity
from host_tasks.subjects.identity import MAX_ID, Identity, decide, safe_user_name

VALID_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
OBSERVE = "from host_tasks.subjects.identity import observe; who = observe(); print(who.user, who.uid, who.gid)"


def facts(
    uid: int | None = 1000,
    gid: int | None = 1000,
    *,
    owner: tuple[int, int] = (0, 0),
    names: Mapping[int, str] = MappingProxyType({}),
    sudo: tuple[int, int] | None = None,
) -> Callable[[], Identity]:
    """Return what decides from these facts, with a user database of these names."""
    caller = None if uid is None or gid is None else (uid, gid)
    return lambda: decide(caller, owner, sudo, lambda uid: names.get(uid, ""))


def ids(found: Callable[[], Identity]) -> tuple[str, int, int]:
    """Return what was decided, without its reason."""
    who = found()
    return who.user, who.uid, who.gid


# 28 identities were tried on the post's `adduser`, which made 5 of them; those without a valid uid follow below.
@pytest.mark.parametrize(
    ("name", "uid", "gid", "user"),
    [
        pytest.param("al-khawarizmi", 1000, 100, "al-khawarizmi", id="the post's own"),
        pytest.param("jdoe", 501, 20, "jdoe", id="macOS 501:20"),
        pytest.param("jdoe", 1500000000, 100, "jdoe", id="directory uid"),
        pytest.param("a$", 1001, 100, "a", id="dollar"),
        pytest.param("jdoe", 1000, 1000, "jdoe", id="gid 1000"),
        pytest.param("jdoe", 1000, 985, "jdoe", id="gid 985"),
        pytest.param("daemon", 1, 1, "daemon", id="uid 1"),
        pytest.param("nobody", 65534, 65534, "nobody", id="uid 65534"),
        pytest.param("root", 1001, 100, "u-root", id="name root"),
        pytest.param("daemon", 1001, 100, "daemon", id="name daemon"),
        pytest.param("www-data", 1001, 100, "www-data", id="name www-data"),
        pytest.param("", 1001, 100, "u1001", id="empty name"),
        pytest.param("john.doe", 1001, 100, "john-doe", id="dot"),
        pytest.param("John", 1001, 100, "john", id="capital"),
        pytest.param("JOHN.DOE", 1001, 100, "john-doe", id="capitals and dot"),
        pytest.param("CORP\\jdoe", 1001, 100, "jdoe", id="Windows domain"),
        pytest.param("jdoe@corp", 1001, 100, "jdoe", id="Kerberos realm"),
        pytest.param("john doe", 1001, 100, "john-doe", id="space"),
        pytest.param("1john", 1001, 100, "u1john", id="digit first"),
        pytest.param("12345", 1001, 100, "u12345", id="digits only"),
        pytest.param("_svc", 1001, 100, "u_svc", id="underscore first"),
        pytest.param("-x", 1001, 100, "x", id="hyphen first"),
        pytest.param("josé", 1001, 100, "jose", id="accent"),
        pytest.param("a" * 33, 1001, 100, "a" * 32, id="33 characters"),
    ],
)
def test_decide_for_an_ordinary_account_keeps_its_ids(name: str, uid: int, gid: int, user: str) -> None:
    """Whoever runs this has exactly their own uid and gid inside, under a valid name."""
    found = facts(uid, gid, names={uid: name})

    assert ids(found) == (user, uid, gid)
    assert VALID_NAME.fullmatch(user)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(facts(4294967294, 100), id="uid 4294967294"),
        pytest.param(facts(4294967295, 100), id="uid 4294967295"),
        pytest.param(facts(1000, MAX_ID + 1), id="gid above the limit"),
        pytest.param(facts(0, 0, sudo=(4294967294, 100)), id="through sudo"),
        pytest.param(facts(0, 0, owner=(4294967294, 100)), id="owner of the folder"),
    ],
)
def test_decide_above_what_the_engine_runs_is_refused(found: Callable[[], Identity]) -> None:
    """A uid or gid that the engine refuses is refused here, in one line with both values and a fix."""
    with pytest.raises(HostError) as refused:
        found()

    assert refused.value.code == ExitCode.CONFIG
    assert str(MAX_ID) in refused.value.problem
    assert ":" in refused.value.problem
    assert "\n" not in f"{refused.value.problem}{refused.value.fix}"


def test_decide_at_the_limit_is_kept() -> None:
    """The highest ids that the engine runs are kept."""
    assert ids(facts(MAX_ID, MAX_ID)) == (f"u{MAX_ID}", MAX_ID, MAX_ID)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(facts(54321, 54321), ("u54321", 54321, 54321), id="no account"),
        pytest.param(facts(0, 0, owner=(7, 8), names={7: "Bob"}), ("bob", 7, 8), id="root: owner of the folder"),
        pytest.param(facts(0, 0, owner=(7, 8), sudo=(1234, 1235)), ("u7", 7, 8), id="sudo: owner of the folder"),
        pytest.param(
            facts(0, 0, sudo=(1234, 1235), names={1234: "Alice"}), ("alice", 1234, 1235), id="sudo: root's folder"
        ),
        pytest.param(facts(0, 0, sudo=(1234, 1235)), ("u1234", 1234, 1235), id="sudo: no account"),
        pytest.param(facts(0, 0, sudo=(1234, 0)), ("u1234", 1234, 0), id="sudo: group root"),
        pytest.param(facts(0, 0), ("al-khawarizmi", 1000, 100), id="root owns all"),
        pytest.param(facts(0, 1000), ("al-khawarizmi", 1000, 100), id="root with another group"),
        pytest.param(facts(1000, 1000, sudo=(7, 7)), ("u1000", 1000, 1000), id="sudo to an ordinary user"),
        pytest.param(facts(None, None), ("al-khawarizmi", 1000, 100), id="Windows"),
    ],
)
def test_decide_for_the_unusual_caller(found: Callable[[], Identity], expected: tuple[str, int, int]) -> None:
    """Without an account, under sudo, as root and on Windows there is one documented answer.

    It is the one as whom root writes the files of the clone: the folder's owner, and the caller of sudo where that
    is root.
    """
    assert ids(found) == expected


@pytest.mark.parametrize(
    ("uid", "gid", "caller"),
    [
        ("1234", "1235", (1234, 1235)),
        ("1234", "0", (1234, 0)),
        *(("0", "0", None), ("-5", "5", None), ("9" * 5000, "1", None), ("\u0661", "1", None), ("\u00b2", "1", None)),
        *(("1234", "", None), ("", "", None)),
    ],
)
def test_caller_of_sudo_is_a_person(
    uid: str, gid: str, caller: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ids are there and are numbers, as sudo writes them, or there is no caller."""
    monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setenv("SUDO_GID", gid)

    assert sudo_caller() == caller


@given(
    uid=st.integers(0, 3) | st.integers(0, 2**32 - 1),
    owner=st.integers(0, 3) | st.integers(0, 2**32 - 1),
    sudo_uid=st.sampled_from(["", "0", "1", "00", "x", "\n1"]) | st.text(st.characters(codec="utf-8"), max_size=12),
)
def test_decide_never_answers_root(uid: int, owner: int, sudo_uid: str) -> None:
    """Whatever is found, the answer is an ordinary user with a valid name, or a refusal."""
    with mock.patch.dict(os.environ, {"SUDO_UID": sudo_uid.replace("\0", ""), "SUDO_GID": "5"}):
        sudo = sudo_caller()
    try:
        who = facts(uid, 5, owner=(owner, 5), sudo=sudo)()
    except HostError:
        return

    assert 0 < who.uid <= MAX_ID
    assert VALID_NAME.fullmatch(who.user)


def test_decide_says_why_it_is_the_default() -> None:
    """The caller reads from the reason that the folders have to be made writable for someone else."""
    assert facts(0, 0)().reason == "the default, because root runs this and owns the project folder"


@given(st.text())
@example("-" * 40)
@example("___")
@example("@corp")
@example("a" * 31 + "--b")
@example("9" * 40)
@example("田中")
@example("\u212a")
@example("RÖÖT")
def test_safe_user_name_is_valid_for_any_name(name: str) -> None:
    """Any name at all becomes a name that an image can hold, never root, and the rule keeps its own results."""
    safe = safe_user_name(name)

    assert VALID_NAME.fullmatch(safe)
    assert safe != "root"
    assert safe_user_name(safe) == safe


def _observed(*prefix: str, env: dict[str, str]) -> tuple[str, int, int]:
    """Return what a process with this environment observes: name, uid, gid."""
    command = [*prefix, sys.executable, "-c", OBSERVE]
    done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=600, check=True)
    user, uid, gid = done.stdout.split()
    return user, int(uid), int(gid)


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({}, id="env -i"),
        pytest.param({"USER": "bob", "LOGNAME": "bob", "UID": "7", "GID": "7"}, id="USER LOGNAME UID exported"),
        pytest.param({"HOME": ""}, id="HOME empty"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no numeric ids")
def test_observe_ignores_the_environment(extra: dict[str, str]) -> None:
    """Exported variables do not change who you are."""
    owner = ROOT.stat()
    expected = (os.getuid(), os.getgid()) if os.getuid() else (owner.st_uid, owner.st_gid)
    expected = expected if expected[0] else (1000, 100)

    user, uid, gid = _observed(env={"PYTHONPATH": str(DOCKER_DIR), **extra})

    assert (uid, gid) == expected
    assert user != "bob"


def _someone(uid: int) -> tuple[str, int, int]:
    """Return what a process of another user observes, with misleading variables exported."""
    someone = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    if subprocess.run([*someone, sys.executable, "-c", ""], capture_output=True, timeout=600, check=False).returncode:
        pytest.skip("another user cannot start this Python")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        # Copies, for the clone and its .venv may lie where only root reads.
        installed = Path(invoke.__file__).parents[1]
        for package in (DOCKER_DIR / "host_tasks", *installed.glob("invoke*")):
            shutil.copytree(package, Path(folder, "docker", package.name))
        return _observed(*someone, env={"PYTHONPATH": str(Path(folder, "docker")), "USER": "bob", "SUDO_UID": "7"})


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) is not on the PATH")
def test_observe_as_another_user() -> None:
    """A uid that the user database does not know keeps its ids and gets a valid name; one that it knows has its own."""
    assert _someone(54321) == ("u54321", 54321, 54321)
    assert _someone(1) == ("daemon", 1, 1)


@pytest.fixture
def read_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with what the container only reads, closed to others, and a key of the person's."""
    for name in ("docker/pip.conf", "docker/secrets/README.md", "docker/secrets/key", "tests/test_mine.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for path in tmp_path.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    monkeypatch.setattr(identity, "DOCKER_DIR", tmp_path / "docker")
    monkeypatch.setattr(identity, "TESTS", tmp_path / "tests")
    return tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's files are closed to the container's user")
def test_what_root_has_closed_is_opened_and_nothing_else(read_inside: Path) -> None:
    """Files are read, folders entered too, nothing can be written by others, and a key stays its owner's only."""
    seen = loop.Seen({clone.is_root: True})
    [finding] = identity.readable_inside.found(seen)
    assert finding.step

    finding.step.do(seen)

    modes = {str(path.relative_to(read_inside)): path.stat().st_mode & 0o777 for path in read_inside.rglob("*")}
    assert modes == {
        "docker": 0o700,
        "docker/pip.conf": 0o644,
        "docker/secrets": 0o755,
        "docker/secrets/README.md": 0o644,
        "docker/secrets/key": 0o600,
        "tests": 0o755,
        "tests/test_mine.py": 0o644,
    }
    assert list(identity.readable_inside.found(loop.Seen({clone.is_root: True}))) == []


def test_person_who_is_not_root_has_files_that_the_container_reads(read_inside: Path) -> None:
    """Its user is the person: nothing is opened."""
    assert list(identity.readable_inside.found(loop.Seen({clone.is_root: False}))) == []
