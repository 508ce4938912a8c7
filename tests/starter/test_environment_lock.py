"""The lock without an engine: when it fits, on the host and in the image alike, and what is added to the files."""

import io
import json
import re
import tarfile
from pathlib import Path

import lock_files
import pytest
from observed import STAND_IN, Seen, base, healthy

from host_tasks import loop
from host_tasks.extras.record import CONDA, NAME, PIP, Package, by_hand, unrecorded
from host_tasks.kit.words import HostError
from host_tasks.loop import Ended, plan
from host_tasks.subjects import environment, environment_lock, package_lines
from host_tasks.subjects.environment_lock import Line, Lock, differences, read_archive

RECORD = {"name": "a", "version": "1", "build": "0", "build_number": 0, "depends": [], "subdir": "noarch", "md5": "m"}
CHANNELS = ["https://conda.example/forge"]
LINES = (Line("environment.yml", "  - python", 4), Line("requirements.txt", "tabulate", 2))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, which is this clone for the tasks."""
    (tmp_path / "environment.yml").write_bytes(b"\xef\xbb\xbf# mine\r\ndependencies:\r\n  - python # 3\r\n\r\n")
    (tmp_path / "requirements.txt").write_text("-i https://ada:pw@x.example/\n", encoding="utf-8")
    (tmp_path / "requirements-more.txt").write_text("tabulate  \n   # no\n", encoding="utf-8")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "ENVIRONMENT_YML", tmp_path / "environment.yml")
    monkeypatch.setattr(environment_lock, "LOCK_DIR", tmp_path / "environment.lock")
    return tmp_path


def write_lock(project: Path, name: str = "environment.lock") -> Path:
    """Write a lock of the project as it is, and return its folder."""
    folder = project / name
    folder.mkdir(parents=True)
    inputs = lock_files.inputs(project)
    (folder / "inputs.txt").write_text(inputs, encoding="utf-8")
    record = {**RECORD, "url": "https://conda.example/forge/noarch/a-1-0.conda"}
    comment, subdir = lock_files.first_comment(inputs), lock_files.native()
    (folder / f"conda-{subdir}.txt").write_text(comment + lock_files.explicit([record], subdir), encoding="utf-8")
    (folder / f"pip-{subdir}.txt").write_text(f"{comment}tabulate==1 --hash=sha256:0\n", encoding="utf-8")
    return folder


def test_host_and_image_read_the_same_lines(project: Path) -> None:
    """The tasks and a plain Docker build agree on what a lock was made from: no comment, no end of a line counts."""
    (project / "src").mkdir()
    (project / "src" / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    of_the_host = [str(each) for each in environment_lock.lines_now(loop.Seen())]
    (project / "src" / "pyproject.toml").rename(project / "pyproject.toml")  # where the build has it

    assert lock_files.inputs(project).splitlines() == of_the_host
    assert of_the_host == [
        *("environment.yml: dependencies:", "environment.yml:   - python # 3"),
        *("requirements-more.txt: tabulate", "requirements.txt: -i https://x.example/", "pyproject.toml: [project]"),
    ]


def test_fresh_lock_fits_on_both_sides(project: Path) -> None:
    """The host finds it whole, and the image takes its packages and pip's lines."""
    write_lock(project)
    lock = environment_lock.find("")
    found = lock_files.read(project, CHANNELS)

    assert lock == Lock(
        tuple(Line(each.file, each.text) for each in environment_lock.lines_now(loop.Seen())), whole=True
    )
    record = {**RECORD, "url": "https://conda.example/forge/noarch/a-1-0.conda"}
    assert found == ([record], "tabulate==1 --hash=sha256:0\n")


def test_lock_is_what_stock_conda_reads(project: Path) -> None:
    """Comments, `@EXPLICIT`, and an address with its MD5 (conda 24.7, misc.explicit, knows no other digest)."""
    folder = write_lock(project)
    text = (folder / f"conda-{lock_files.native()}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]

    assert lines == ["@EXPLICIT", "https://conda.example/forge/noarch/a-1-0.conda#m"]


def test_stale_lock_is_refused_in_the_image(project: Path) -> None:
    """It is never used silently, whatever builds."""
    write_lock(project)
    (project / "requirements.txt").write_text("humanize\n", encoding="utf-8")

    with pytest.raises(SystemExit, match="made from other files"):
        lock_files.read(project, CHANNELS)


def test_lock_for_another_architecture_is_refused(project: Path) -> None:
    """A build that the lock does not know would solve, which nobody has agreed to."""
    folder = write_lock(project)
    (folder / f"pip-{lock_files.native()}.txt").unlink()

    with pytest.raises(SystemExit, match="is not for linux-"):
        lock_files.read(project, CHANNELS)


def test_stand_in_says_that_it_uses_no_committed_lock(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its packages are files; it takes a lock of these only."""
    write_lock(project)

    assert lock_files.read(project, ["file:///opt/conda/channels/conda-forge"]) is None
    assert "environment.lock is not used" in capsys.readouterr().out

    write_lock(project, "environment.lock/stand-in")
    assert lock_files.read(project, ["file:///opt/conda/channels/conda-forge"])


def test_half_of_a_lock_is_seen(project: Path) -> None:
    """A merge that took one file of each side is no lock."""
    folder = write_lock(project)
    (folder / "pip-linux-aarch64.txt").write_text("# inputs: sha256:0\n", encoding="utf-8")

    lock = environment_lock.find("")

    assert lock == Lock(
        tuple(Line(each.file, each.text) for each in environment_lock.lines_now(loop.Seen())), whole=False
    )


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        (Lock(LINES), []),
        (Lock(LINES, whole=False), ["its files are not all of one lock"]),
        (Lock(LINES[::-1]), ["they stand in another order"]),
        (Lock(LINES[:1]), ["requirements.txt:2 `tabulate` is new"]),
        (Lock((*LINES, Line("environment.yml", "  - scipy"))), ["`- scipy` of environment.yml is gone"]),
        (
            Lock(tuple(Line("environment.yml", f"  - {each}") for each in "abc")),
            [
                *("environment.yml:4 `- python` is new", "requirements.txt:2 `tabulate` is new"),
                *("`- a` of environment.yml is gone", "and 2 more"),
            ],
        ),
    ],
    ids=["none", "half", "order", "added", "gone", "many"],
)
def test_line_that_differs_is_named(lock: Lock, said: list[str]) -> None:
    """With its file and, where it stands there now, its number."""
    assert differences(healthy(lock_inputs=LINES), lock) == said


def judged(**differs: object) -> list[tuple[str, str]]:
    """Return the states and causes that the rule of the lock finds."""
    seen = healthy(**{"lock_inputs": LINES, "environment_yml": "channels: [conda-forge]\ndependencies: [a]", **differs})
    return [(each.state, each.cause) for each in environment_lock.environment_lock.found(seen)]


def test_rule_of_the_lock() -> None:
    """A stand-in ignores a committed lock and says so; its own is asked to fit; none is no fault."""
    on_stand_in = {"base": base(name=STAND_IN, chosen=True)}
    by_address = "channels: ['https://c.example/x', nodefaults]\ndependencies: [a]"
    fits = ("ok", "environment.lock was made from the files as they are")
    unused = (
        "warn",
        f"{STAND_IN} is a stand-in, which has none of the packages that environment.lock names: it is not used here",
    )

    assert judged() == [("ok", "there is no environment.lock: a build takes the newest packages that fit")]
    assert judged(lock=Lock(LINES)) == [fits]
    assert judged(lock=Lock(LINES), **on_stand_in) == [unused]
    assert judged(lock=Lock(LINES), stand_in_lock=Lock(LINES), **on_stand_in) == [fits]
    assert judged(lock=Lock(LINES), environment_yml=by_address, **on_stand_in) == [fits]


def test_lock_that_was_asked_for_is_written_once() -> None:
    """`lock` writes one whatever there is; where that failed, the build's words say why, and it is not tried again."""
    rules = [environment_lock.write_lock("*")]
    step = "write environment.lock, all of it anew"
    failed = Ended(ok=False, said="#9 1.2 error: no such package: pandsa\n#9 ERROR: process x")

    assert [(each.what, each.why) for each in plan(healthy(), rules).steps] == [(step, "a lock was asked for")]
    assert str(plan(healthy(tried=(step,)), rules)) == "Nothing to do."
    problem = plan(healthy(tried={step: failed}, requirement_texts={}), rules).problem
    assert problem
    assert "no such package: pandsa" in problem.cause


INSERTIONS = {
    "block": ("dependencies:\n  - a # b\n  - pip\n", "dependencies:\n  - a # b\n  - n >=1\n  - pip\n"),
    "flow": ("dependencies: [a, pip, pip: [x]]\n", "dependencies: [a, n >=1, pip, pip: [x]]\n"),
    "no end of line": ("dependencies:\n- a", "dependencies:\n- a\n- n >=1\n"),
    "of Windows": ("dependencies:\r\n- 'a >=1'\r\n# end\r\n", "dependencies:\r\n- 'a >=1'\r\n- n >=1\r\n# end\r\n"),
    "pip alone": ("dependencies:\n- pip\n", "dependencies:\n- pip\n- n >=1\n"),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), INSERTIONS.values(), ids=INSERTIONS)
def test_conda_package_is_added_after_the_last(before: str, after: str) -> None:
    """Every other byte stays: comments, order, quotes and ends of lines."""
    assert package_lines.with_conda(before, ["n >=1"]) == after


def test_pip_package_is_added_where_the_pip_section_is() -> None:
    """To requirements.txt where the section reads it, else to the section; without one, the fix is to add it."""
    assert package_lines.with_pip("dependencies: [a, pip: [--requirement requirements.txt]]", ["n >=1"]) is None
    assert (
        package_lines.with_pip("dependencies:\n- pip:\n  - x\n", ["n >=1"])
        == "dependencies:\n- pip:\n  - x\n  - n >=1\n"
    )
    assert package_lines.appended("x", ["n >=1"]) == "x\nn >=1\n"
    with pytest.raises(HostError, match="no list to add to"):
        package_lines.with_pip("dependencies: [a]", ["n >=1"])


def unnamed(**differs: object) -> Seen:
    """Return an observation in which two packages were installed by hand."""
    found = (Package("conda", "wheel", "0.4"), Package("pip", "More_Itertools", "1.0"))
    return healthy(**{"by_hand": found, "lock_inputs": (), "environment_yml": "dependencies: [a]", **differs})


def test_what_a_file_names_is_recorded() -> None:
    """A name counts, in whatever spelling and with whatever version; what no file names is a step of `record`."""
    requirements = (Line("requirements.txt", "more.itertools ==2", 1),)

    assert [each.name for each in unrecorded(unnamed())] == ["wheel", "More_Itertools"]
    assert unrecorded(unnamed(lock_inputs=requirements, environment_yml="dependencies: ['x::wheel >=1']")) == ()
    (found,) = by_hand.found(unnamed())
    assert (found.state, found.step and found.step.what) == (
        *("fail", "add `wheel >=0.4` (conda), `More_Itertools >=1.0` (pip)"),
    )


def test_only_names_and_versions_come_out_of_a_container() -> None:
    """What a container calls its files is put into the person's files: nothing but a name and a version is."""
    site = "/opt/env/lib/python3.12/site-packages"
    conda, pip = (
        re.fullmatch(CONDA, "/opt/env/conda-meta/a-b-1.0-h0_0.json"),
        re.fullmatch(PIP, f"{site}/a_b-1.dist-info/REQUESTED"),
    )

    assert conda
    assert (conda["name"], conda["version"]) == ("a-b", "1.0")
    assert pip
    assert (pip["name"], pip["version"]) == ("a_b", "1")
    assert not re.fullmatch(CONDA, "/opt/env/conda-meta/a, evil-1-0.json")
    assert not re.fullmatch(PIP, f"{site}/a -r x-1.dist-info/REQUESTED")
    text = """# update specs: ['wheel', "conda-forge::scipy >=1", 'a[md5=0,url=file:///tmp/a.conda]']"""
    assert re.findall(NAME, text) == [("wheel", ""), ("scipy", ""), ("a", "[md5=0,url=")]


def test_archive_of_a_build_is_not_trusted(tmp_path: Path) -> None:
    """Files of a lock are taken by their names; links, other names and other folders are not."""
    path = tmp_path / "lock.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("inputs.txt", "stand-in/pip-linux-64.txt", "other.txt", "../inputs.txt", "/etc/inputs.txt"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
        link = tarfile.TarInfo("conda-linux-64.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)

    assert dict(read_archive(path)) == {"inputs.txt": b"x", "stand-in/pip-linux-64.txt": b"x"}


def test_record_of_a_package_survives_the_lock() -> None:
    """What the channel says of a package is there without the channel, apart from where it was."""
    record = {
        **RECORD,
        "url": "https://c.example/noarch/a-1-0.conda",
        "fn": "a-1-0.conda",
        "channel": "https://c.example/",
    }

    found = lock_files.packages(lock_files.explicit([json.loads(json.dumps(record))], "linux-64"))

    assert found == [{**RECORD, "url": record["url"]}]
