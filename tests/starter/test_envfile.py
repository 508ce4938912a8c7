"""Tests of host_tasks.kit.envfile, with real files, real processes and the real Compose as the second reader."""

import itertools
import json
import multiprocessing
import os
import random
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from aids import as_person
from hypothesis import given, settings, strategies as st

from host_tasks.kit import envfile, files, lock
from host_tasks.kit.envfile import Change, EnvFile, Plan
from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.setup import basics
from host_tasks.subjects.settings import HEADER, own_keys

ComposeReads = Callable[[bytes, Sequence[str]], dict[str, str]]

OWN_KEYS = own_keys()
UNSET = "<unset>"
POST = b"USER=al-khawarizmi\nUID=1000\nGID=100\n"
TEMPORARY = ".env.invoke-tmp"
CI = bool(os.environ.get("CI"))
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
RANDOM = settings(max_examples=1000, derandomize=True, database=None)

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="writers are forked processes")
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")

SAME_IN_BOTH = (
    *("al-khawarizmi", "1000", "", "0123", "true", "null", "~", "a b", " lead", "trail ", "a #b", "#x", "a#b", "a=b"),
    *("a:b", "jdoe@corp", 'say "hi"', '"quoted"', "`id`", "$(id)", "$HOME", "${USER}", "a$b", "$$x", "cost$", "${"),
    *("jos\u00e9", "e\u0301", "\u65e5\u672c", "\U0001f389", "100%", "hi!", "~/x", "a;b&c|d"),
)
REFUSED = ("CORP\\jdoe", "end\\", "\\$x", "it's", "'quoted'", "a\nb", "a\r\nb", "a\tb")


def read_from(path: Path) -> dict[str, str]:
    """Return what a file with our keys holds."""
    return EnvFile(path, OWN_KEYS, HEADER).read()


def lines_of(path: Path) -> dict[str, int]:
    """Return on which lines a file with our keys holds them."""
    return EnvFile(path, OWN_KEYS, HEADER).line_numbers()


def plan_of(values: Mapping[str, str | None], path: Path) -> Plan:
    """Return what would change in a file with our keys."""
    return EnvFile(path, OWN_KEYS, HEADER).plan(values)


def update(values: Mapping[str, str | None], path: Path) -> Plan:
    """Change a file with our keys, under the lock, as a task does."""
    with lock.held(path.with_name(".lock")):
        planned = plan_of(values, path)
        envfile.write(planned)
    return planned


def code_of(act: Callable[..., object], *arguments: object) -> int:
    """Return the exit code of the error that act ends with; 0 for none."""
    try:
        act(*arguments)
    except HostError as err:
        return int(err.code)
    return 0


def parted(values: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the values that the writer takes, and those that it refuses with 65."""
    codes = [code_of(envfile.render, value) for value in values]
    assert set(codes) <= {0, ExitCode.DATA}
    taken, refused = (
        [v for v, code in zip(values, codes, strict=True) if bool(code) == each] for each in (False, True)
    )
    return taken, refused


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def written_and_read(values: Sequence[str], path: Path) -> list[str]:
    """Return the values as `read` gives them after `plan` put them into files, a few in each."""
    found: list[str] = []
    for start in range(0, len(values), len(OWN_KEYS)):
        wanted = dict(zip(OWN_KEYS, values[start:], strict=False))
        path.write_bytes(plan_of(wanted, path.with_name("none")).after)
        found += read_from(path).values()
    return found


def listed(values: Sequence[str]) -> dict[str, str]:
    """Return the values under keys K0, K1, ..."""
    return {f"K{number}": value for number, value in enumerate(values)}


@pytest.fixture(scope="session")
def compose(tmp_path_factory: pytest.TempPathFactory) -> ComposeReads:
    """Return what Compose reads for some keys of an env file; it needs no engine for that."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        (pytest.fail if CI else pytest.skip)("`docker compose version` fails")
    folder = tmp_path_factory.mktemp("compose")
    model, env_file = folder / "compose.json", folder / "env"

    def reads(content: bytes, keys: Sequence[str]) -> dict[str, str]:
        environment = {key: f"${{{key}-{UNSET}}}" for key in keys}
        model.write_text(json.dumps({"name": "x", "services": {"s": {"image": "x", "environment": environment}}}))
        env_file.write_bytes(content)
        argv = [docker, "compose", "--env-file", str(env_file), "--file", str(model), "config", "--format", "json"]
        env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, f"{content!r}: {done.stderr}"
        found: dict[str, str] = json.loads(done.stdout)["services"]["s"]["environment"]
        return {key: value.replace("$$", "$") for key, value in found.items()}

    return reads


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """Return the post's three-line file."""
    path = tmp_path / ".env"
    path.write_bytes(POST)
    return path


# --- values: refused, or the same for both readers


def test_render_table_is_read_alike_or_refused(compose: ComposeReads, tmp_path: Path) -> None:
    """Each of 42 awkward values is refused, or comes back exactly from Compose and from python-dotenv."""
    taken, refused = parted(SAME_IN_BOTH + REFUSED)

    lines = "".join(f"{key}={envfile.render(value)}\n" for key, value in listed(taken).items())

    assert (len(taken) + len(refused), tuple(refused)) == (42, REFUSED)
    assert compose(lines.encode(), list(listed(taken))) == listed(taken)
    assert written_and_read(taken, tmp_path / ".env") == taken


def test_render_random_values_are_read_alike_or_refused(compose: ComposeReads, tmp_path: Path) -> None:
    """Each of 1000 random values is refused, or comes back exactly from Compose and from python-dotenv."""
    values: list[str] = []

    @RANDOM
    @given(st.text("ab0 #${}'\"\\=:;e-\u00e9~`!%@/\t\n"))
    def collect(value: str) -> None:
        values.append(value)

    collect()
    taken, refused = parted(values)
    lines = "".join(f"{key}={envfile.render(value)}\n" for key, value in listed(taken).items())

    assert (len(values), len(taken) > 300, len(refused) > 300) == (1000, True, True)
    assert compose(lines.encode(), list(listed(taken))) == listed(taken)
    assert written_and_read(taken, tmp_path / ".env") == taken


@pytest.mark.parametrize("key", ["USER", "CA_BUNDLE"])  # in the file, and not
@pytest.mark.parametrize("value", REFUSED)
def test_plan_names_key_of_refused_value(key: str, value: str, env_file: Path) -> None:
    """A value that cannot be written is refused by its key, and the file is as it was."""
    with pytest.raises(HostError, match=f"^{key} holds a ") as refusal:
        update({key: value}, env_file)

    assert (refusal.value.code, env_file.read_bytes()) == (ExitCode.DATA, POST)


def test_plan_refuses_foreign_key(env_file: Path) -> None:
    """A key that is not ours is never written: it is a bug in the caller."""
    with pytest.raises(ValueError, match="FOO"):
        plan_of({"FOO": "1"}, env_file)


# --- reading: what the two readers take differently is refused


@pytest.mark.slow
def test_read_random_own_lines_as_compose_does(compose: ComposeReads, tmp_path: Path) -> None:
    """Whatever stands behind an own key's `=` by hand is refused, or read as Compose reads it."""
    path = tmp_path / ".env"
    taken: dict[str, str] = {}  # what stands there -> what was read
    refused: set[str] = set()

    @RANDOM
    @given(st.text("ab0 #${}'\"\\=:\t\u00a0\u2003\x1c\x85\u00e9"))
    def collect(raw: str) -> None:
        path.write_bytes(f"USER={raw}\n".encode())
        if code_of(read_from, path) == ExitCode.CONFIG:
            refused.add(raw)
        else:
            taken[raw] = read_from(path)["USER"]

    collect()
    lines = "".join(f"{key}={raw}\n" for key, raw in listed(list(taken)).items())

    assert (len(taken) > 100, len(refused) > 100) == (True, True)
    assert compose(lines.encode(), list(listed(list(taken)))) == listed(list(taken.values()))


TOKENS = [
    "USER=",
    "UID=",
    "FOO=",
    "B",
    "1",
    " ",
    "#",
    "'",
    '"',
    "\\",
    "$",
    "${",
    "}",
    "\n",
    "\n",
    "\r\n",
    "export ",
    "=",
    ":",
]


def legal_files(path: Path, count: int) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Yield those of count files made of TOKENS, always the same, that `read` takes, with what it returns."""
    dice = random.Random(1)  # noqa: S311
    for _ in range(count):
        content = "".join(dice.choices(TOKENS, k=dice.randint(1, 14))).encode()
        path.write_bytes(content)
        if code_of(read_from, path) == 0:
            yield content, read_from(path)


@pytest.mark.slow
def test_read_random_files_as_compose_does(compose: ComposeReads, tmp_path: Path) -> None:
    """A file that `read` takes, Compose takes too, and both find the same own keys."""
    written = [
        (content, found) for content, found in legal_files(tmp_path / ".env", 1000) if {"USER", "UID"} & set(found)
    ]

    for content, found in written[:20]:
        assert compose(content, ["USER", "UID"]) == {key: found.get(key, UNSET) for key in ("USER", "UID")}, content

    assert len(written) >= 20


MALFORMED = {  # content, line, what the message names
    "space in key": (b"UID=1\nUSER X=bob\n", 2, "this line"),
    "unterminated quote": (b"\n# who\nUSER='bob\nUID=1\n", 3, "the line of USER is"),
    "merge marker": (b"<<<<<<< HEAD\nUSER=bob\n=======\n", 1, "this line"),
    "latin-1": (b"UID=1\nUSER=jos\xe9\n", 2, "UTF-8"),
    "latin-1 in foreign": (b"NAME=jos\xe9\n", 1, "UTF-8"),
    "UTF-16": ("USER=bob\n".encode("utf-16"), 1, "UTF-8"),
    "own key alone": (b"USER\nUID=1\n", 1, "USER has no value"),
    "digit first": (b"1USER=x\n", 1, "this line"),
    "no key": (b"UID=1\n=x\n", 2, "KEY=value"),
    "colon": (b"USER: bob\n", 1, "the line of USER is"),
    "colon in key": (b"USER:X=bob\n", 1, "the line of USER is"),
    "two on a line": (b"FOO='x' USER=bob\n", 1, "the line of FOO is"),
    "own key expands": (b"GID=1\n\nUSER=$USER\n", 3, "USER holds a $"),
    "own key expands in double quotes": (b'USER="$USER"\n', 1, "USER holds a $"),
    "own backslash": (b"USER=CORP\\jdoe\n", 1, "USER holds a backslash"),
    "own escape in double quotes": (b'USER="\\$x"\n', 1, "USER holds a "),
    "it's in single quotes": (b"FOO='it's'\n", 1, "the line of FOO is"),
    "backslash ends single quotes": (b"FOO='end\\'\nUID=1\n", 1, "the line of FOO is"),
    "own line break": (b"UID='1\n2'\n", 1, "UID holds a control character"),
    "own hash": (b"USER= #bob\n", 1, "USER holds a #"),
    "own tab": (b"USER=bob\t#me\n", 1, "USER holds a control character"),
    "own no-break space": ("USER=bob\u00a0#me\n".encode(), 1, "USER holds a # or a blank"),
    "broken expansion": (b"UID=1\nFOO=${\n", 2, "expand the value of FOO"),
    "broken inner expansion": (b"FOO=${A-${B}\n", 1, "expand the value of FOO"),
    "broken expansion in double quotes": (b'FOO="${A-x" # }\n', 1, "expand the value of FOO"),
    "foreign key alone, no line end": (b"UID=1\nFOO", 2, "this line"),
    "lone carriage return": (b"UID=1\rUSER=bob\n", 1, "carriage return"),
    "NUL": (b"UID=1\nFOO=\0\n", 2, "NUL"),
    "quoted key": (b"'USER'=bob\n", 1, "this line"),
}


@pytest.mark.parametrize(("content", "line", "named"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_file_is_refused_by_line_and_kept(content: bytes, line: int, named: str, env_file: Path) -> None:
    """A file that Compose cannot read, or reads differently, is refused with 78 by file:line, and not touched."""
    env_file.write_bytes(content)

    for act in (read_from, lines_of, lambda path: update({"UID": "2"}, path)):
        with pytest.raises(HostError) as refusal:
            act(env_file)
        assert refusal.value.code == ExitCode.CONFIG
        assert refusal.value.problem.startswith(f"{env_file}:{line}: ")
        assert named in refusal.value.problem
        assert refusal.value.fix == f"correct or remove line {line}, then run: invoke env"

    assert env_file.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [b"API TOKEN=hush\n", b"DB_PASSWORD: hush\n", b"hush", b"hush/+==\n", b"HTTP_PROXY=http://me:hu'sh@proxy\n"],
    ids=["two words", "YAML", "a line of a key file", "another", "an own key"],
)
def test_malformed_line_is_named_without_its_value(content: bytes, env_file: Path) -> None:
    """What stands in a malformed line may be a secret: the key is named, where there is one, and the line."""
    env_file.write_bytes(content)

    with pytest.raises(HostError) as refusal:
        read_from(env_file)

    assert "hush" not in str(refusal.value.message)
    assert "hu'sh" not in str(refusal.value.message)


def test_change_is_shown_without_a_password(env_file: Path) -> None:
    """What `env` prints may end in a bug report: the password of a proxy's address does not."""
    plan = plan_of({"HTTP_PROXY": "http://me:hush@proxy:3128"}, env_file)

    assert list(map(str, plan.changes)) == ["add HTTP_PROXY='http://****@proxy:3128'"]
    assert b"hush" in plan.after


LEGAL = {  # content -> what read returns
    "post": (POST, {"USER": "al-khawarizmi", "UID": "1000", "GID": "100"}),
    "empty": (b"", {}),
    "comments and blanks": (b"\n # a 'b\n\n\t\n", {}),
    "spaces, export, CRLF, BOM": (b"\xef\xbb\xbfexport USER = bob\r\n  UID= 1 \r\n", {"USER": "bob", "UID": "1"}),
    "inline comments": (b"USER=bob # me\nUID='1'#2\n", {"USER": "bob", "UID": "1"}),
    "last one wins": (b"UID=1\nUID=2\n", {"UID": "2"}),
    "empty value": (b"USER=\nUID=''\n", {"USER": "", "UID": ""}),
    "dollar in single quotes": (b"USER='a$b'\n", {"USER": "a$b"}),
    "foreign values Compose expands": (
        b'FOO=$HOME\nB="${HOME:-x}/$USER"\nC=${HOME}$${\n',
        {"FOO": "$HOME", "B": "${HOME:-x}/$USER", "C": "${HOME}$${"},
    ),
    "foreign dollar in single quotes": (b"FOO='${'\nUID=1\n", {"FOO": "${", "UID": "1"}),
    "foreign key alone": (b"FOO\nUID=1\n", {"UID": "1"}),
    "foreign lines": (b'FOO="a\nUSER=bob\nb"\nUID=1\n', {"FOO": "a\nUSER=bob\nb", "UID": "1"}),
}


@pytest.mark.parametrize(("content", "found"), LEGAL.values(), ids=LEGAL)
def test_read_legal_file(content: bytes, found: dict[str, str], env_file: Path, compose: ComposeReads) -> None:
    """What the two readers take alike, and what a person may want Compose to expand, is read."""
    env_file.write_bytes(content)
    own = ("USER", "UID", "GID")

    assert read_from(env_file) == found
    assert compose(content, own) == {key: found.get(key, UNSET) for key in own}


def test_read_missing_file_is_empty(tmp_path: Path) -> None:
    """No file is no keys, not an error."""
    assert read_from(tmp_path / ".env") == {}
    assert lines_of(tmp_path / ".env") == {}


def test_line_numbers_are_those_of_the_last_value(env_file: Path) -> None:
    """Each key has the line that an editor shows, also behind blank lines, CRLF and values of several lines."""
    env_file.write_bytes(b"\xef\xbb\xbfUID=1\r\n\r\n# who\r\n\r\nFOO='a\r\nb'\r\n\r\nUSER=bob\r\nUID=2\r\nBAR\r\n")

    assert lines_of(env_file) == {"UID": 9, "FOO": 5, "USER": 8}


def test_read_directory_is_refused(tmp_path: Path) -> None:
    """A folder called .env, as Docker makes one for a missing mount, is one error with 73."""
    (tmp_path / ".env").mkdir()

    with pytest.raises(HostError) as refusal:
        read_from(tmp_path / ".env")

    assert (refusal.value.code, refusal.value.problem) == (73, f"{tmp_path}/.env is not a file")


# --- changing: every other byte survives

REWRITES = {  # before, values, after
    "post's file": (POST, {"USER": "bob", "UID": "1001"}, b"USER=bob\nUID=1001\nGID=100\n"),
    "missing keys": (POST, {"JUPYTER_PORT": "8888"}, POST + f"{HEADER}\nJUPYTER_PORT=8888\n".encode()),
    "header once": (f"{HEADER}\nUID=1\n".encode(), {"GID": "2"}, f"{HEADER}\nUID=1\nGID=2\n".encode()),
    "empty file": (b"", {"UID": "1"}, f"{HEADER}\nUID=1\n".encode()),
    "CRLF": (b"# who\r\nUID=1\r\n", {"UID": "2", "GID": "3"}, f"# who\r\nUID=2\r\n{HEADER}\r\nGID=3\r\n".encode()),
    "mixed line ends": (b"UID=1\r\nGID=2\nFOO=3\r\n", {"UID": "4", "GID": "5"}, b"UID=4\r\nGID=5\nFOO=3\r\n"),
    "BOM": (b"\xef\xbb\xbfUID=1\n", {"UID": "2"}, b"\xef\xbb\xbfUID=2\n"),
    "no final newline": (b"FOO=1\nUID=1", {"UID": "2", "GID": "3"}, f"FOO=1\nUID=2\n{HEADER}\nGID=3".encode()),
    "export, indent and blanks": (b"\n \n  export UID = 1 \n", {"UID": "2"}, b"\n \n  export UID = 2 \n"),
    "inline comments": (b"USER=bob  # me\nUID='1'#x\n", {"USER": "a b", "UID": "2"}, b"USER='a b'  # me\nUID=2 #x\n"),
    "tab before a comment": (b"UID='1'\t#x\n", {"UID": "2"}, b"UID=2\t #x\n"),
    "empty before a comment": (b"USER=bob # me\n", {"USER": ""}, b"USER='' # me\n"),
    "quotes": (b"USER=\"bob\"\nUID='1'\n", {"USER": "al", "UID": "1"}, b"USER=al\nUID='1'\n"),
    "duplicates": (b"UID=1\nFOO=\nUID=2\n", {"UID": "3"}, b"UID=3\nFOO=\nUID=3\n"),
    "duplicates, last one right": (b"UID=1\nUID=2\n", {"UID": "2"}, b"UID=1\nUID=2\n"),
    "removed": (b"# a\n\nUID=1 # x\nFOO=2\nUID=3\n", {"UID": None, "GID": None}, b"# a\n\nFOO=2\n"),
    "own key inside a foreign value": (b"FOO='\nUID=1\n'\nUID=1\n", {"UID": "2"}, b"FOO='\nUID=1\n'\nUID=2\n"),
    "foreign key whose end is ours": (b"XUID=1\nUIDX=1\nUID=1\n", {"UID": "2"}, b"XUID=1\nUIDX=1\nUID=2\n"),
    "nothing": (POST, {"USER": "al-khawarizmi", "CA_BUNDLE": None}, POST),
}


@pytest.mark.parametrize(("before", "values", "after"), REWRITES.values(), ids=REWRITES)
def test_update_changes_own_values_only(
    before: bytes, values: Mapping[str, str | None], after: bytes, env_file: Path
) -> None:
    """An own key is changed where it stands, a missing one goes to the end, and every other byte survives."""
    env_file.write_bytes(before)

    update(values, env_file)

    assert env_file.read_bytes() == after
    assert {key: read_from(env_file).get(key) for key in values} == values


def test_update_keeps_50_foreign_lines(env_file: Path) -> None:
    """Fifty lines of another tool come back byte by byte, whatever we write between them."""
    foreign = [f'  TOOL_{number} = "${{HOME}}/x y {number}"\t# caf\u00e9 \'\r\n'.encode() for number in range(50)]
    env_file.write_bytes(b"".join([*foreign[:25], b"UID=1\n", *foreign[25:]]))

    update(dict.fromkeys(OWN_KEYS, "a b"), env_file)

    lines = env_file.read_bytes().splitlines(keepends=True)
    assert [line for line in lines if b"TOOL_" in line] == foreign
    assert len(lines) == len(foreign) + len(OWN_KEYS) + 1


def test_update_random_files_changes_nothing_else(tmp_path: Path) -> None:
    """In any file that is legal, a change of own keys changes these, only these, and once."""
    path, values = tmp_path / ".env", {"UID": "a $b", "USER": None}
    taken = 0
    for content, found in legal_files(path, 2000):
        taken += 1

        path.write_bytes(plan_of(values, path).after)

        assert read_from(path) == {**{key: found[key] for key in found if key != "USER"}, "UID": "a $b"}, content
        assert not plan_of(values, path).changes, content
    assert taken > 200


def test_plan_text_is_what_dry_run_prints(env_file: Path) -> None:
    """The plan says each change with both values; the file is not touched."""
    env_file.write_bytes(POST + b"PIP_CONFIG=/x\n")

    plan = plan_of({"USER": "a b", "UID": "1000", "PIP_CONFIG": None, "JUPYTER_PORT": "8888"}, env_file)

    assert list(map(str, plan.changes)) == ["USER al-khawarizmi -> 'a b'", "remove PIP_CONFIG", "add JUPYTER_PORT=8888"]
    assert plan.changes[0] == Change("USER", "al-khawarizmi", "a b")
    assert (plan.before, env_file.read_bytes()) == (POST + b"PIP_CONFIG=/x\n", plan.before)


def test_plan_without_change_says_so(env_file: Path) -> None:
    """A plan with nothing to do says so."""
    plan = plan_of({"UID": "1000"}, env_file)

    assert (plan.changes, plan.after) == ((), POST)


# --- the file itself: mode, owner, link, and nothing written without need


def test_write_unchanged_file_is_not_rewritten(env_file: Path) -> None:
    """A file that is right already keeps its inode and its time."""
    before = env_file.stat()

    update({"UID": "1000"}, env_file)

    after = env_file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_write_nothing_makes_no_file(tmp_path: Path) -> None:
    """Removing a key from a file that does not exist makes no file."""
    update({"UID": None}, tmp_path / ".env")

    assert not (tmp_path / ".env").exists()


def test_write_new_file_is_private(tmp_path: Path) -> None:
    """A new file is the person's alone (0600), whatever the umask."""
    umask = os.umask(0)
    try:
        update({"UID": "1"}, tmp_path / ".env")
    finally:
        os.umask(umask)

    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


@pytest.mark.parametrize(("mode", "after"), [(0o644, 0o600), (0o664, 0o600), (0o700, 0o700), (0o400, 0o400)])
def test_write_leaves_the_file_to_its_owner_only(mode: int, after: int, env_file: Path) -> None:
    """What the person may do stays; what others might read may be a password, and is closed to them."""
    env_file.chmod(mode)

    update({"UID": "1"}, env_file)

    assert (stat.S_IMODE(env_file.stat().st_mode), read_from(env_file)["UID"]) == (after, "1")


def test_write_keeps_symbolic_link(tmp_path: Path) -> None:
    """A linked .env stays a link; its target, in another folder, is what changes."""
    (tmp_path / "shared").mkdir()
    target = tmp_path / "shared" / "team.env"
    target.write_bytes(POST)
    (tmp_path / ".env").symlink_to("shared/team.env")

    update({"UID": "1001"}, tmp_path / ".env")

    assert (tmp_path / ".env").readlink() == Path("shared/team.env")
    assert target.read_bytes() == POST.replace(b"1000", b"1001")
    assert names(target.parent) == ["team.env"]


@needs_root
def test_write_by_root_keeps_owner(env_file: Path) -> None:
    """A person's file that root changes stays the person's."""
    os.chown(env_file, 1234, 1235)

    update({"UID": "1"}, env_file)

    assert (env_file.stat().st_uid, env_file.stat().st_gid) == (1234, 1235)


SUDO = [("1234", "1235", (1234, 1235)), ("", "", (0, 0)), ("1234", "x", (0, 0))]


@needs_root
@pytest.mark.parametrize(("uid", "gid", "owner"), SUDO)
def test_write_under_sudo_gives_new_file_to_the_person(
    uid: str, gid: str, owner: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that `sudo invoke env` makes belongs to the person behind sudo; root alone keeps it."""
    monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setenv("SUDO_GID", gid)

    update({"UID": "1"}, tmp_path / ".env")

    made = (tmp_path / ".env").stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (*owner, 0o600)


@needs_root
@pytest.mark.parametrize("there", [False, True], ids=["new", "root's own from before"])
def test_write_by_root_gives_the_file_to_the_owner_of_the_folder(there: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Root once, then the person: what root made in a person's clone is the person's to change."""
    if there:
        (tmp_path / ".env").write_bytes(POST)
    os.chown(tmp_path, 1234, 1235)

    update({"UID": "1"}, tmp_path / ".env")

    made = (tmp_path / ".env").stat()
    assert (made.st_uid, made.st_gid) == (1234, 1235)


# --- what may go wrong outside


def try_write(path: Path) -> tuple[int, str, str]:
    """Return the code, the problem and the fix of the error that a change ends with; 0 and blanks for none."""
    try:
        envfile.write(plan_of({"UID": "7"}, path))
    except HostError as err:
        return err.code, err.problem, err.fix
    return 0, "", ""


@pytest.fixture
def persons_folder() -> Iterator[Path]:
    """Yield a folder that uid 1234 can reach (pytest's own cannot be), with a file that it may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ".env").write_bytes(POST)
        (folder / ".env").chmod(0o666)
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o755)


@needs_fork
def test_write_in_writable_folder_as_person(persons_folder: Path) -> None:
    """Where the folder is writable, the change is made: what the next two tests deny."""
    assert as_person(try_write, persons_folder / ".env") == (0, "", "")
    assert read_from(persons_folder / ".env")["UID"] == "7"


@needs_fork
def test_write_in_unwritable_folder_ends_with_73(persons_folder: Path) -> None:
    """A folder that the person may not write is one error with 73, and the file is as it was."""
    persons_folder.chmod(0o555)

    code, problem, fix = as_person(try_write, persons_folder / ".env")

    theirs = f"git clone {ROOT} ~/{ROOT.name} # this one is somebody else's"
    assert (code, fix) == (73, theirs if IS_ROOT else f"chmod u+rwX {persons_folder}")
    assert problem == f"{persons_folder}/.env cannot be written: Permission denied"
    assert (persons_folder / ".env").read_bytes() == POST


@needs_fork
def test_read_unreadable_file_ends_with_77(persons_folder: Path) -> None:
    """A file that the person may not read is one error with 77, and the file is as it was."""
    (persons_folder / ".env").chmod(0)

    code, problem, fix = as_person(try_write, persons_folder / ".env")

    theirs = f"git clone {ROOT} ~/{ROOT.name} # this one is somebody else's"
    assert (code, fix) == (77, theirs if IS_ROOT else f"chmod u+rwX {persons_folder}/.env")
    assert problem == f"{persons_folder}/.env cannot be read: Permission denied"
    assert names(persons_folder) == [".env"]


def test_write_in_missing_folder_ends_with_73(tmp_path: Path) -> None:
    """A folder that is gone is one error with 73."""
    assert try_write(tmp_path / "none" / ".env")[0] == ExitCode.CANNOT_CREATE


ON_FULL_DISK = """
import json, os, sys
from pathlib import Path
from host_tasks.kit import envfile
from host_tasks.kit.words import HostError
path = Path(sys.argv[1], ".env")
path.write_bytes(b"USER=al-khawarizmi\\nUID=1000\\nGID=100\\n")
answer = {}
if sys.argv[2] == "full":
    with open(path.with_name("full"), "wb", buffering=0) as full:
        try:
            while full.write(bytes(1024)):
                pass
        except OSError as err:
            answer["filled"] = err.strerror
try:
    envfile.write(envfile.EnvFile(path, ("UID",), "#").plan({"UID": "7"}))
except HostError as err:
    answer.update(code=err.code, problem=err.problem)
answer.update(content=path.read_text(), names=sorted(os.listdir(path.parent)))
print(json.dumps(answer))
"""


def on_tmpfs(folder: Path, *arguments: str) -> dict[str, Any]:
    """Return what ON_FULL_DISK prints on a file system of 64 KiB, seen by that process only."""
    private = ["unshare", "--mount", "--propagation", "private"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*private, *mount], check=False).returncode:
        (pytest.fail if CI else pytest.skip)("no tmpfs can be mounted in a namespace of its own")
    script = f"{shlex.join(mount)} && exec {shlex.join([sys.executable, '-c', ON_FULL_DISK, str(folder), *arguments])}"
    env = {**os.environ, "PYTHONPATH": str(Path(envfile.__file__).parents[2])}
    done = subprocess.run([*private, "sh", "-c", script], env=env, capture_output=True, check=True, timeout=600)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.skipif(not IS_ROOT, reason="only root mounts a tmpfs")
def test_write_on_full_disk_ends_with_74(tmp_path: Path) -> None:
    """On a full disk the old file stays whole, nothing else stays, and the error is 74."""
    answer = on_tmpfs(tmp_path, "full")

    problem = f"{tmp_path}/.env cannot be written: No space left on device"
    assert answer == {
        "filled": "No space left on device",
        "code": 74,
        "problem": problem,
        "content": POST.decode(),
        "names": [".env", "full"],
    }


@pytest.mark.skipif(not IS_ROOT, reason="only root mounts a tmpfs")
def test_write_on_disk_with_room(tmp_path: Path) -> None:
    """With room on that same disk the change is made."""
    answer = on_tmpfs(tmp_path, "empty")

    assert answer == {"content": POST.decode().replace("1000", "7"), "names": [".env"]}


# --- writers at once, and writers that are killed


def write_at_once(path: Path, key: str, rounds: int, barrier: Barrier) -> None:
    """Write each round's number under a key, starting together with the other writer."""
    for number in range(rounds):
        barrier.wait()
        update({key: str(number)}, path)
        barrier.wait()


@needs_fork
def test_update_by_two_at_once_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two processes that change different keys at the same time, 100 times, neither loses a change."""
    monkeypatch.setattr(basics, "POLL_S", 0.001)
    rounds, path, fork = 100, tmp_path / ".env", multiprocessing.get_context("fork")
    barrier = fork.Barrier(3, timeout=600)
    writers = [fork.Process(target=write_at_once, args=(path, key, rounds, barrier)) for key in ("UID", "GID")]
    for writer in writers:
        writer.start()
    lost = []

    for number in range(rounds):
        barrier.wait()  # both start
        barrier.wait()  # both have written
        if read_from(path) != {"UID": str(number), "GID": str(number)}:
            lost.append(number)
    for writer in writers:
        writer.join()

    assert lost == []
    assert [writer.exitcode for writer in writers] == [0, 0]


def write_until_killed(path: Path) -> None:
    """Write one number under two keys, then the next, for ever."""
    for number in itertools.count():
        update({"UID": str(number), "GID": str(number)}, path)


@pytest.mark.slow
@needs_fork
def test_update_killed_200_times_leaves_whole_file(env_file: Path) -> None:
    """A writer that kill -9 ends at any moment leaves the old file or the new one, and the next leaves nothing else."""
    foreign = "".join(f"TOOL_{number}={'x' * 100}\n" for number in range(200))
    env_file.write_text(f"UID=0\n{foreign}GID=0\n")
    fork, dice = multiprocessing.get_context("fork"), random.Random(1)  # noqa: S311

    for _ in range(200):
        writer = fork.Process(target=write_until_killed, args=(env_file,))
        writer.start()
        time.sleep(dice.uniform(0, 0.006))  # the moment of the kill, not a wait for something
        writer.kill()
        writer.join()
        found = env_file.read_text()
        number = read_from(env_file)["UID"]
        assert (writer.exitcode, found) == (-signal.SIGKILL, f"UID={number}\n{foreign}GID={number}\n")

    update({"UID": "last"}, env_file)
    assert names(env_file.parent) == [".env", ".lock"]


def write_and_die(plan: envfile.Plan, step: int) -> None:
    """Write, and end as kill -9 does before the step-th line of the code that touches the disk."""
    left = itertools.count(step - 1, -1)

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        ours = frame.f_code.co_filename == files.__file__ and frame.f_code.co_name in (
            "write",
            "_replace",
        )
        if ours and event == "line" and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace if ours else None

    sys.settrace(trace)
    envfile.write(plan)


@needs_fork
def test_write_killed_at_each_line_leaves_whole_file(env_file: Path) -> None:
    """Killed before any line, a writer leaves the old file or the new one; the next write tidies up."""
    fork, left_behind = multiprocessing.get_context("fork"), []

    for step in itertools.count(1):
        env_file.write_bytes(POST)
        plan = plan_of({"UID": "7"}, env_file)
        writer = fork.Process(target=write_and_die, args=(plan, step))
        writer.start()
        writer.join()
        if writer.exitcode == 0:
            break
        assert writer.exitcode == -signal.SIGKILL
        assert env_file.read_bytes() in (POST, plan.after)
        with suppress(FileNotFoundError):
            left_behind.append((env_file.parent / TEMPORARY).read_bytes())
        envfile.write(plan_of({"UID": "8"}, env_file))
        assert names(env_file.parent) == [".env"]

    assert step > 10
    assert env_file.read_bytes() == plan.after
    assert set(left_behind) == {b"", plan.after}
