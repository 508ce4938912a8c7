"""What a person's files ask for, as the host and the build read them; and files of a mounted folder that lead astray."""

# ruff: noqa: E501 # a line is a case
import codecs
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import person_files
import pytest
from observed import healthy

from host_tasks.kit import files
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import Seen
from host_tasks.subjects import environment, environment_lock
from host_tasks.subjects.environment import environment_yml

SECRET = "root:$6$secret\n"  # noqa: S105 # the first line of a file that nobody may be shown


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone for the reader, with an environment.yml and a file of the host that is none of its business."""
    (tmp_path / "clone" / "src").mkdir(parents=True)
    monkeypatch.setattr(environment, "ROOT", tmp_path / "clone")
    monkeypatch.setattr(environment, "ENVIRONMENT_YML", tmp_path / "clone" / "environment.yml")
    (tmp_path / "clone" / "environment.yml").write_text("dependencies: [python]\n", encoding="utf-8")
    (tmp_path / "shadow").write_text(SECRET, encoding="utf-8")
    return tmp_path / "clone"


def sparse(path: Path) -> None:
    """Write a file of 8 GB that takes no room."""
    with path.open("wb") as file:
        file.truncate(8 * 1024**3)


PLANTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "it is no file"),
    "folder": (Path.mkdir, "it is no file"),
    "8 GB": (sparse, "it has more than 1048576 bytes"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "it is a link"),
    "link out": (lambda path: path.symlink_to(path.parents[2] / "shadow"), "it is a link"),
    "link in": (lambda path: path.symlink_to("../environment.yml"), "it is a link"),
    "link to nothing": (lambda path: path.symlink_to("gone"), "it is a link"),
    "binary": (lambda path: path.write_bytes(b"a\n\x7fELF\xff\xfe"), "the byte 0xff is no UTF-8"),
    "UTF-16": (lambda path: path.write_text(SECRET, encoding="utf-16"), "the file is in UTF-16"),
    "NUL": (lambda path: path.write_text(f"{SECRET}\0", encoding="utf-8"), "a NUL"),
}


@pytest.mark.parametrize(("plant", "says"), PLANTED.values(), ids=PLANTED)
def test_file_of_a_mounted_folder_leads_nobody_astray(clone: Path, plant: Callable[[Path], object], says: str) -> None:
    """Whoever reads src/pyproject.toml on the host ends at once with its name and the reason, and shows none of it."""
    plant(clone / "src" / "pyproject.toml")

    with pytest.raises(HostError) as refusal:
        environment_lock.lines_now(Seen())
    (judged,) = environment_yml.found(Seen())

    assert refusal.value.problem.startswith("src/pyproject.toml")
    assert (says in refusal.value.problem, refusal.value.code) == (True, ExitCode.DATA)
    assert (judged.cause, judged.exit_code) == (refusal.value.problem, ExitCode.DATA)
    assert "secret" not in str(refusal.value.message)


@pytest.mark.parametrize("plant", [plant for plant, _ in PLANTED.values()], ids=PLANTED)
def test_digest_of_a_file_of_a_mounted_folder_takes_no_time(
    clone: Path, plant: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file cannot be read, which its rule says, there is nothing to be digested."""
    monkeypatch.setattr(files, "ROOT", clone)
    plant(clone / "src" / "pyproject.toml")

    assert len(files.content(clone / "src" / "pyproject.toml")) < 100


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this Python reads no TOML")
@pytest.mark.parametrize("text", ["[project]\na = secret", f"\na = {'[' * 100_000}"], ids=["none", "deep"])
def test_file_that_is_no_toml_is_told_before_a_build(clone: Path, text: str) -> None:
    """By its line alone."""
    (clone / "src" / "pyproject.toml").write_text(text, encoding="utf-8")

    assert [finding.cause for finding in environment_yml.found(Seen())] == ["src/pyproject.toml:2: it is no TOML"]


def test_difference_of_a_lock_repeats_nothing_of_a_mounted_folder(clone: Path) -> None:
    """File and line; what others wrote is shown as it stands there."""
    (clone / "src" / "pyproject.toml").write_text("\n[project]\n", encoding="utf-8")
    (clone / "requirements.txt").write_text("-i https://ada:p@w@x.example/t/tok/\n", encoding="utf-8")
    now = Seen()
    before = environment_lock.Lock(
        (environment_lock.Line("pyproject.toml", "old"), *environment_lock.lines_now(now)[:1])
    )

    assert environment_lock.differences(now, before) == [
        "requirements.txt:1 `-i https://x.example/` is new",
        "src/pyproject.toml:2 is new",
        "a line of src/pyproject.toml is gone",
    ]


def test_src_that_is_a_link_is_none_of_the_builds(clone: Path) -> None:
    """BuildKit follows no link out of the clone: src/pyproject.toml is not there for a build, nor for the tasks."""
    (clone / "src").rmdir()
    (clone / "src").symlink_to(clone.parent)
    (clone.parent / "pyproject.toml").write_text("[project]\n", encoding="utf-8")

    assert [line.file for line in environment_lock.lines_now(Seen())] == ["environment.yml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dependencies: [a]\npip:\n- b\n", "environment.yml:2: `pip:` is no key of environment.yml: its place is in"),
        ("name: x\ndependancies: [a]\n", "environment.yml:2: `dependancies:` is no key of environment.yml: write `dep"),
        ("dependencies: [a]\nchannel: [b]\n", "environment.yml:2: `channel:` is no key of environment.yml: write `chan"),
        ("dependencies: [a]\nauthors: x\n", "environment.yml:2: `authors:` is no key of environment.yml, and conda wo"),
        ("dependencies:\n- a\n- pywin32  # [win]\n", "environment.yml:3: `[win]` is a comment to conda, which takes"),
        ("dependencies:\n- b  # [osx and arm64]\n", "environment.yml:2: `[osx and arm64]` is a comment to conda"),
        ("dependencies:\n- a\n- sel(linux): b\n", "environment.yml:3: `sel(linux): b` is a selector, which conda does not read: write `b`"),
        ("dependencies:\n- sel(win): b\n", "environment.yml:2: `sel(win): b` is a selector, which conda does not read: remove"),
    ],
)  # fmt: skip
def test_line_that_conda_would_pass_over_is_named(text: str, says: str) -> None:
    """Keys that it does not know, and selectors, which are conda-build's."""
    with pytest.raises(person_files.FaultError) as fault:
        person_files.read_environment(text)

    assert str(fault.value).startswith(says)


@pytest.mark.parametrize(
    "text",
    [
        "name: x\nprefix: /home/x\nplatforms: [linux-64]\ndependencies: [a]\n",
        "# \x85# \u2028# three lines of YAML\r\ndependencies:\r\n- a\r\n",
        "dependencies:\n- a  # [linux]\n- b  # [not win]\n- c  # [unix or win]\n- d  # see [window]\n",
    ],
)
def test_line_that_counts_on_linux_too_is_taken(text: str) -> None:
    """What an export writes, and selectors that hold."""
    assert person_files.read_environment(text).conda


HERE = {"requirements-dev.txt", "constraints.txt", "wheels", "wheels/a-1-py3-none-any.whl"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-e git+https://h.example/x.git#egg=x", "an image keeps no working copy: write `git+https://h.example/x.git#egg=x` without -e"),
        ("a @ file:///home/conda/feedstock_root/a/work", "`file:///home/conda/feedstock_root/a/work` is a file of another machine: write `a`"),
        ("b[x] @ file:///b.whl ; python_version > '3'", "`file:///b.whl` is a file of another machine: write `b`"),
        ("../lib", "`../lib` is not in the build"),
        ("wheels/b.whl", "`wheels/b.whl` is not in the build: src/ can be imported without it, and the place of a wheel"),
        ("b.whl", "`b.whl` is not in the build"),
        ("C:\\pkg", "`C:\\pkg` is not in the build"),
        (".[dev]", "`.[dev]` is not in the build"),
        ("--find-links packages", "packages is not in the build, and pip would take its packages from PyPI: put the wheels"),
        ("-i https://h.example/ -f ./dist", "./dist is not in the build, and pip would take"),
        ("--extra-index-url https://me:${TOKEN}@h.example/", "${TOKEN} is not set in a build"),
        ("-r dev/x.txt", "dev/x.txt is not in the build: it takes requirements*.txt and constraints*.txt beside"),
    ],
)  # fmt: skip
def test_line_for_pip_that_a_build_cannot_do_is_named(line: str, says: str) -> None:
    """All of them at once, with the lines of environment.yml and of the files beside it."""
    asked = person_files.read_environment(f"dependencies:\n- a\n- pip:\n  - ok\n  - {json.dumps(line)}\n")
    beside = {"requirements.txt": f"# {line}\n{line}  # why\n"}

    first, second = map(str, person_files.pip_faults(asked, beside, HERE.__contains__))

    assert first.startswith(f"environment.yml:5: {says}")
    assert second.startswith(f"requirements.txt:2: {says}")


@pytest.mark.parametrize(
    "line",
    [
        *(
            "-r requirements.txt",
            "-r ./requirements-dev.txt",
            "-c constraints.txt",
            "-f wheels",
            "--find-links=./wheels/",
        ),
        *("./wheels/a-1-py3-none-any.whl", "a @ file:wheels/a-1-py3-none-any.whl", "git+https://h.example/x.git@v1"),
        *("a @ https://h.example/a-1.whl", "-f https://h.example/", "a ; os_name == 'x/y'", "a==1 \\", "a\\"),
        *("--hash=sha256:a/b", "-r https://h.example/r.txt", "a[b]>=1", "--require-hashes", "a # ${X} ./y"),
    ],
)
def test_line_for_pip_that_a_build_can_do_is_taken(line: str) -> None:
    """Files and wheels that enter it, addresses, and what only looks like a path."""
    asked = person_files.read_environment("dependencies: [a]\n")

    assert list(person_files.pip_faults(asked, {"requirements-all.txt": f"{line}\n"}, HERE.__contains__)) == []


@pytest.mark.parametrize(
    ("beside", "lines"),
    [
        pytest.param({"requirements.txt": "a\n-r requirements.txt"}, ["requirements.txt:2"], id="itself"),
        pytest.param(
            {"requirements.txt": "-r ./requirements.txt"}, ["requirements.txt:1"], id="itself, in other words"
        ),
        pytest.param({"constraints.txt": "-c constraints.txt"}, ["constraints.txt:1"], id="constraints"),
        pytest.param(
            {"requirements.txt": "-r requirements-dev.txt", "requirements-dev.txt": "\n-r requirements.txt # all"},
            ["requirements.txt:1", "requirements-dev.txt:2"],
            id="two that name each other",
        ),
        pytest.param(
            {
                "requirements.txt": "-r requirements-dev.txt\n-c constraints.txt",
                "requirements-dev.txt": "-c constraints.txt",
            },
            [],
            id="one that two name is no circle",
        ),
    ],
)
def test_circle_of_files_is_told_before_pip_refuses_it(beside: dict[str, str], lines: list[str]) -> None:
    """Each line of it, by its file; what the reader finds there is never followed round and round."""
    asked = person_files.read_environment("dependencies:\n- pip:\n  - -r requirements.txt\n")
    there = {*HERE, *beside}

    faults = [str(fault) for fault in person_files.pip_faults(asked, beside, there.__contains__)]

    assert [fault.rpartition(": `")[0] for fault in faults] == lines
    assert all("leads back to" in fault for fault in faults)


def test_rule_names_all_lines_before_a_build(clone: Path) -> None:
    """The finding that `up --dry-run` and `doctor` have; a wheel beside environment.yml is found."""
    texts = {
        "requirements.txt": "".join(f"./x{number}\n" for number in range(7)),
        "apt.txt": "./a\n",
        "postBuild": "./b\n",
    }

    (wrong,) = environment_yml.found(healthy(requirement_texts=texts))
    (good,) = environment_yml.found(healthy(requirement_texts={"requirements.txt": "-f wheels"}, wheels={"a.whl"}))

    assert (wrong.cause.count("is not in the build"), wrong.cause[-10:]) == (5, "and 2 more")
    assert (wrong.fix[:60], wrong.exit_code) == (
        "correct line 1 of requirements.txt and line 2 of requirement",
        ExitCode.DATA,
    )
    assert good.state == "ok"


@pytest.mark.parametrize(
    ("line", "warned"),
    [
        ("Pandas[sql] ==2.2.3 # ours", True),
        ("python_dateutil>=2; python_version > '3'", True),
        ("pandas", False),  # conda's is there, and pip leaves it
        ("pandas-stubs ==2", False),
        ("--only-binary pandas", False),
    ],
)
def test_pip_in_the_place_of_conda_is_warned_of(line: str, warned: bool) -> None:  # noqa: FBT001
    """A version for pip of what conda is asked for is told with both lines, by `doctor`; a build goes on."""
    text = "channels: [c]\ndependencies:\n- c::pandas >=3\n- python-dateutil\n"

    first, *more = environment_yml.found(
        healthy(
            environment_yml=text, requirement_texts={"requirements.txt": f"\n{line}\n", "constraints.txt": "pandas==1"}
        )
    )

    asked = "c::pandas >=3` of environment.yml:3" if "andas" in line else "python-dateutil` of environment.yml:4"
    cause = (
        f"requirements.txt:2: pip puts `{line[:-7] if '#' in line else line}` in the place of conda's `{asked} where"
    )
    assert first.state == "ok"
    assert [(finding.state, finding.cause, finding.fix) for finding in more] == [
        (
            "warn",
            f"{cause} that does not fit",
            "say the version in environment.yml, and delete line 2 of requirements.txt",
        )
    ] * warned


@pytest.mark.parametrize("name", ["environment.yml", "requirements.txt", "constraints.txt", "apt.txt", "postBuild"])
@pytest.mark.parametrize(
    ("content", "says", "fix"),
    [
        (codecs.BOM_UTF16_LE + "a".encode("utf-16-le"), ":1: the file is in UTF-16, and has", "iconv -f UTF-16 -t UTF-8 "),
        ("a\nb".encode("utf-16-be"), ":1: a NUL", "correct line 1 of "),
        ("a\ncaf\u00e9".encode("latin-1"), ":2: the byte 0xe9 is no UTF-8", "correct line 2 of "),
    ],
)  # fmt: skip
def test_file_in_another_encoding_is_refused_by_name(
    clone: Path, name: str, content: bytes, says: str, fix: str
) -> None:
    """One rule for all files of a person, and a mark of UTF-8 is none of an encoding's."""
    (clone / name).write_bytes(content)

    (judged,) = environment_yml.found(Seen())

    assert judged.cause.startswith(f"{name}{says}")
    assert judged.fix.startswith(fix)

    (clone / name).write_bytes(codecs.BOM_UTF8 + b"dependencies: [python]\n")
    assert [finding.state for finding in environment_yml.found(Seen())] == ["ok"]


def test_file_at_the_top_that_is_a_link_is_refused_with_its_cure(clone: Path) -> None:
    """A build does not follow it."""
    (clone / "environment.yml").rename(clone / "envs.yml")
    (clone / "environment.yml").symlink_to("envs.yml")

    with pytest.raises(HostError, match=r"environment\.yml cannot be read: it is a link") as refusal:
        environment.text(Seen())

    assert refusal.value.fix.startswith("cp --remove-destination $(realpath ")
