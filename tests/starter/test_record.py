"""What was installed by hand: where it came from, and that a file gets its line or stays as it is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, strategies
from observed import Seen, server

from host_tasks import loop
from host_tasks.extras import record
from host_tasks.extras.record import NOWHERE, Package, by_hand, source
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.subjects import containers, package_lines

LINE = "n >=1"
# Files as people write them, and as a hostile one may; `record` adds to these ...
PLAIN = {
    "comment": "dependencies:\n  - a # b\n  - c\n\n# end\n",
    "quotes": "dependencies:\n  - 'a'\n  - \"b\"\n",
    "no end of line": "dependencies:\n- a",
    "of Windows": "dependencies:\r\n  - a\r\nchannels: []\r\n",
    "flow": "dependencies: [a, pip: [b]]\n",
    "flow over lines": "dependencies: [\n  a,\n  b\n]\n",
    "anchor": "dependencies:\n  - &x a\n",
    "tag": "dependencies:\n  - !!str a\n",
    "byte order mark": "\ufeffdependencies:\n  - a\n",
    "document": "---\ndependencies:\n  - a\n...\n",
    "key in quotes": "'dependencies':\n  - a\n",
    "key of its own": "dependencies:\n- a\nvariables:\n  dependencies: b\n",
}
# ... and in these its line would be part of another value, or of another list.
ODD = {
    "block scalar": "dependencies:\n  - |\n    a\n",
    "block scalar, kept": "dependencies:\n  - >+\n    a\n\n",
    "dash on a line of its own": "dependencies:\n  -\n    a\n",
    "carriage returns": "dependencies:\r  - a\rchannels:\r  - b\r",
    "alias of another key": "a: &x\n  - b\ndependencies: *x\n",
    "alias of an item elsewhere": "channels: [&x a]\ndependencies: [b, *x]\n",
    "alias of pip's": "dependencies:\n  - pip: [&x a]\n  - *x\n",
    "quotes over lines": "dependencies:\n  - 'a\n\n    b'\n  - a: 'x'\n",
    "two lines of one": "dependencies:\n  - a\n    b\n",
    "flow with a comma": "dependencies: [a # b\n]\n",
    "NEL": "dependencies:\u0085  - a\u0085channels: [b]\n",
    "LS": "dependencies:\u2028  - a\u2028channels:\u2028  - b\n",
}


def read(text: str) -> tuple[list[object], dict[str, object]]:
    """Return the dependencies that a file names, and the rest of it."""
    data = json.loads(json.dumps(yaml.load(text, Loader=yaml.BaseLoader)))  # noqa: S506
    return data.pop("dependencies"), data


def added(text: str) -> str | None:
    """Return a file with a further package; None where that is refused."""
    try:
        return package_lines.with_conda(text, [LINE])
    except HostError:
        return None


def is_old_and_line(before: str, after: str) -> bool:
    """Return whether a file is another one and one package more, with every other byte as it was."""
    (old, rest), (new, rest_after) = read(before), read(after)
    new.remove(LINE)
    lengths = range(len(before) + 1)
    kept = any(after.startswith(before[:at]) and after.endswith(before[at:]) for at in lengths)
    return (new, rest_after, kept) == (old, rest, True)


@pytest.mark.parametrize("before", PLAIN.values(), ids=PLAIN)
def test_plain_file_gets_the_line(before: str) -> None:
    """Every other byte stays, and so does everything else that is read of it."""
    after = added(before)

    assert after
    assert is_old_and_line(before, after)


@pytest.mark.parametrize("before", ODD.values(), ids=ODD)
def test_odd_file_gets_the_line_or_is_refused(before: str) -> None:
    """No line becomes a part of another, or of another list."""
    after = added(before)

    assert after is None or is_old_and_line(before, after)


PIECES = strategies.sampled_from(
    [*"\n\r\t-:[]{},#&*!|>'\"\\\u0085\u2028 ", "\n  - ", "\n- ", "- a", " a", "pip", "\n  - pip:\n    - b", "&x ", "*x"]
)


@given(
    strategies.lists(PIECES, max_size=12).map("".join), strategies.sampled_from(["", "channels: [c]\n", "x: &x [d]\n"])
)
def test_any_file_gets_the_line_or_is_refused(middle: str, first: str) -> None:
    """Whatever it is made of, where it can be read as an environment.yml."""
    before = f"{first}dependencies:{middle}"
    try:
        items, _ = read(before)
        assert isinstance(items, list)
        assert any(isinstance(item, str) for item in items)
    except (yaml.YAMLError, AssertionError, AttributeError, KeyError, ValueError, TypeError):
        return

    after = added(before)

    assert after is None or is_old_and_line(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "n >=1\n"),
        ("a", "a\nn >=1\n"),
        ("a\r\n", "a\r\nn >=1\r\n"),
        ("a \\\n  --hash=x\n", "a \\\n  --hash=x\nn >=1\n"),
        ("a \\", None),
        ("a \\\n", None),
    ],
)
def test_requirement_is_a_line_of_its_own(before: str, after: str | None) -> None:
    """A line that goes on into the next one does not take it in."""
    if after is None:
        with pytest.raises(HostError, match="cannot add to"):
            package_lines.appended(before, [LINE])
    else:
        assert package_lines.appended(before, [LINE]) == after


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, bytes], Path]:
    """Put both files into a folder that stands for the clone."""

    def write(environment: bytes, requirements: bytes) -> Path:
        for name, constant, content in (
            ("environment.yml", "ENVIRONMENT_YML", environment),
            ("requirements.txt", "REQUIREMENTS_TXT", requirements),
        ):
            (tmp_path / name).write_bytes(content)
            monkeypatch.setattr(package_lines, constant, tmp_path / name)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("environment", "requirements"),
    [
        (b"dependencies:\n- a\n- pip: [-r requirements.txt]\n", b"b \\\n"),
        (b"dependencies:\n- a\n- pip: [-r requirements.txt]\n", b"# \xe4\n"),
        (b"dependencies:\n- a\n# \xe4\n- pip: [-r requirements.txt]\n", b"b\n"),
    ],
)
def test_one_file_that_is_refused_leaves_both(
    written: Callable[[bytes, bytes], Path], environment: bytes, requirements: bytes
) -> None:
    """Neither is written where one cannot be."""
    folder = written(environment, requirements)
    text = environment.decode(errors="replace")
    found = (Package("conda", "c", "1"), Package("pip", "d", "1"))

    with pytest.raises(HostError) as refused:
        record.record(Seen(by_hand=found, lock_inputs=(), environment_yml=text))

    assert refused.value.code == ExitCode.DATA
    assert (folder / "environment.yml").read_bytes() == environment
    assert (folder / "requirements.txt").read_bytes() == requirements


COMMIT, DIGEST = "a" * 40, "b" * 64
ORIGINS = {
    "git": (
        {"url": "https://x.example/p.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
        f"git+https://x.example/p.git@{COMMIT}",
    ),
    "archive": (
        {"url": "https://x.example/p-1.tar.gz", "archive_info": {"hashes": {"sha256": DIGEST}}},
        f"https://x.example/p-1.tar.gz#sha256={DIGEST}",
    ),
    "wheel here": ({"url": "file:///home/ada/app/data/p.whl", "archive_info": {"hashes": {"sha256": DIGEST}}}, NOWHERE),
    "folder here": ({"url": "file:///home/ada/app/src", "dir_info": {"editable": True}}, NOWHERE),
    "password": (
        {"url": "https://ada:secret@x.example/p.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
        NOWHERE,
    ),
    "a second line": ({"url": "https://x.example/p\n- evil", "archive_info": {"hashes": {"sha256": DIGEST}}}, NOWHERE),
    "state is none": ({"url": "https://x.example/p.git", "vcs_info": {"vcs": "git", "commit_id": "main"}}, NOWHERE),
    "another system": ({"url": "https://x.example/p", "vcs_info": {"vcs": "hg", "commit_id": COMMIT}}, NOWHERE),
    "part of it": (
        {"url": "https://x.example/p.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}, "subdirectory": "a"},
        NOWHERE,
    ),
    "a list": ([], NOWHERE),
    "without a digest": ({"url": "https://x.example/p-1.tar.gz", "archive_info": {}}, NOWHERE),
}


@pytest.mark.parametrize(("origin", "told"), ORIGINS.values(), ids=ORIGINS)
def test_origin_is_told_as_pip_takes_it_or_not_at_all(origin: object, told: str) -> None:
    """By its name alone pip would take a stranger's package of that name from the index."""
    assert source(json.dumps(origin)) == told


def test_no_package_of_a_path_becomes_one_of_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip wrote of each: one of the index, one of git, one of a folder, and one that another program installed."""
    site = "/opt/env/lib/python3.12/site-packages"
    files = {
        "a-1.dist-info": {"INSTALLER": "pip"},
        "b-1.dist-info": {"INSTALLER": "pip", "direct_url.json": json.dumps(ORIGINS["git"][0])},
        "c-1.dist-info": {"INSTALLER": "pip", "direct_url.json": json.dumps(ORIGINS["folder here"][0])},
        "d-1.dist-info": {"INSTALLER": "conda"},
    }
    requested = [f"{site}/{folder}/REQUESTED" for folder in files]
    told = [f"{site}/{folder}/{name}:{text}" for folder, names in files.items() for name, text in names.items()]
    monkeypatch.setattr(
        containers, "run_in", lambda _, argv: "\n".join(requested if argv[0] == "find" else told).encode()
    )

    packages = record.installed_by_hand(loop.Seen({containers.ours: (server(),)}))
    seen = Seen(by_hand=packages, lock_inputs=(), environment_yml="dependencies: [x]")
    findings = [(finding.state, finding.cause) for finding in by_hand.found(seen)]

    assert [package.line for package in packages] == ["a >=1", f"b @ git+https://x.example/p.git@{COMMIT}", ""]
    assert findings == [
        ("fail", "installed by hand and named in no file: a 1, b 1"),
        ("warn", f"c 1 is of {NOWHERE}, so no file can name it, and `down` ends it"),
    ]


def test_conda_package_of_a_file_becomes_none_of_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """What conda was given as a file has that address in its history; what it found in a channel has none."""
    found = "".join(f"/opt/env/conda-meta/{name}-1-0.json\n" for name in ("mine", "theirs"))
    history = (
        "# update specs: []\n# update specs: ['mine[url=file:///tmp/mine-1-0.conda]']\n# update specs: ['theirs']\n"
    )
    monkeypatch.setattr(containers, "run_in", lambda _, argv: (found if argv[0] == "find" else history).encode())

    packages = record.installed_by_hand(loop.Seen({containers.ours: (server(),)}))

    assert [package.line for package in packages] == ["", "theirs >=1"]
