"""`add` and `remove` without an engine: which lines change, what is refused, and what a failure leaves."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies
from observed import Seen, examined, server
from test_extras import Task, task as task, tree as tree
from test_record import ODD, PIECES, PLAIN, read

from host_tasks.extras import packages
from host_tasks.extras.packages import Change, asked_for, edited
from host_tasks.kit.paths import DOCKER_DIR
from host_tasks.kit.runner import Finished
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import plan
from host_tasks.subjects import containers, environment_lock, package_lines

sys.path.append(str(DOCKER_DIR / "environment"))
import change

YML = (
    "# mine\nchannels: [conda-forge]\ndependencies:\n  - python\n  - pandas  # tables\n  - pip\n  - pip:\n      - {}\n"
)
READS_FILE, OWN_LINES = YML.format("-r requirements.txt"), YML.format("tabulate >=0.9\n      - humanize")
TXT = "# pip's\ntabulate >=0.9  # text\nDask[complete]==1 \\\n    --hash=sha256:00\nlast"
Files = Callable[..., Path]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Put both files into a folder that stands for the clone."""

    def write(environment: str = READS_FILE, requirements: str = TXT) -> Path:
        for name, constant, text in (
            ("environment.yml", "ENVIRONMENT_YML", environment),
            ("requirements.txt", "REQUIREMENTS_TXT", requirements),
        ):
            path = tmp_path / name
            path.write_text(text, encoding="utf-8")
            old = getattr(package_lines, constant)
            places = [(by, path if place == old else place, changed) for by, place, changed in packages.PLACES]
            monkeypatch.setattr(packages, "PLACES", tuple(places))
            monkeypatch.setattr(package_lines, constant, path)
            if hasattr(packages, constant):
                monkeypatch.setattr(packages, constant, path)
        monkeypatch.setattr(packages, "shown", lambda path: path.name)
        return tmp_path

    return write


def texts(folder: Path) -> tuple[str, str]:
    """Return both files."""
    return tuple((folder / name).read_text(encoding="utf-8") for name in ("environment.yml", "requirements.txt"))  # type: ignore[return-value]


# What is asked for, the environment.yml it is asked of, and both files afterwards.
EDITS: dict[str, tuple[Change, str, str, str]] = {
    "conda package": (
        Change(("scipy >=1.15", "h5py"), adds=True),
        READS_FILE,
        READS_FILE.replace("# tables\n", "# tables\n  - scipy >=1.15\n  - h5py\n"),
        TXT,
    ),
    "another version": (
        Change(("pandas>=2,<3",), adds=True),
        READS_FILE,
        READS_FILE.replace("pandas ", "pandas>=2,<3 "),
        TXT,
    ),
    "a build": (
        Change(("numpy=2=py_0",), adds=True),
        YML.format("a"),
        YML.format("a").replace("tables\n", "tables\n  - numpy=2=py_0\n"),
        TXT,
    ),
    "pip package": (
        Change(("httpx[http2]==1.*",), adds=True, by="pip"),
        READS_FILE,
        READS_FILE,
        f"{TXT}\nhttpx[http2]==1.*\n",
    ),
    "pip's own list": (
        Change(("httpx",), adds=True, by="pip"),
        OWN_LINES,
        OWN_LINES.replace("humanize\n", "humanize\n      - httpx\n"),
        TXT,
    ),
    "pip package, another version": (
        Change(("tabulate<1",), adds=True, by="pip"),
        READS_FILE,
        READS_FILE,
        TXT.replace("tabulate >=0.9", "tabulate<1"),
    ),
    "pip package with hashes, another version": (
        Change(("dask",), adds=True, by="pip"),
        READS_FILE,
        READS_FILE,
        TXT.replace("Dask[complete]==1 \\\n    --hash=sha256:00", "dask"),
    ),
    "conda package away": (
        Change(("pandas",), adds=False),
        READS_FILE,
        READS_FILE.replace("  - pandas  # tables\n", ""),
        TXT,
    ),
    "pip packages away": (
        Change(("DASK", "last"), adds=False),
        READS_FILE,
        READS_FILE,
        "# pip's\ntabulate >=0.9  # text\n",
    ),
    "away from both": (
        Change(("tabulate",), adds=False),
        OWN_LINES,
        OWN_LINES.replace("      - tabulate >=0.9\n", ""),
        TXT.replace("tabulate >=0.9  # text\n", ""),
    ),
}


@pytest.mark.parametrize(("change", "before", "environment", "requirements"), EDITS.values(), ids=EDITS)
def test_line_is_written_and_every_other_byte_stays(
    files: Files, change: Change, before: str, environment: str, requirements: str
) -> None:
    """A package that is named already gets its line changed, where it stands."""
    files(before)

    after = edited(change)

    assert tuple(after.values()) == (environment, requirements)


WORDS = (
    *("", "-r", "--index-url=x", "a b", "a;b", "a@b", "a @ https://x.example/a.whl", "./a.whl", "a\nb", "a: b", "a #b"),
    *("git+https://x.example/a", "${A}", "$(a)", "a,b", "[a]", "{a}", "&a", "*a", "!a", "a >=1 -r b", "a]", "é", "a>="),
    *("a\u2028b", "a\r", "a\n", 'a"', "a'", "a|b", "a\\", "a>=1;b", "a>=1 \\", "conda::a"),
)


@pytest.mark.parametrize("by", ["conda", "pip"])
@pytest.mark.parametrize("word", WORDS)
def test_word_that_is_no_package_is_refused(files: Files, word: str, by: str) -> None:
    """Nothing that a shell, YAML or pip reads as more than a name and its versions comes to a file."""
    files()

    for adds in (True, False):
        with pytest.raises(HostError) as refused:
            edited(Change((word,), adds=adds, by=by))
        assert refused.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("change", "problem", "fix"),
    [
        (
            Change(("tabulate",), adds=True),
            "requirements.txt names tabulate already, for pip",
            "invoke remove tabulate",
        ),
        (
            Change(("pandas",), adds=True, by="pip"),
            "environment.yml names pandas already, for conda",
            "invoke remove pandas",
        ),
        (Change(("a",), adds=False), "neither environment.yml nor requirements.txt names a", "invoke --help remove"),
        (Change((), adds=True), "no package is named", "invoke --help add"),
    ],
)
def test_contradiction_is_told(files: Files, change: Change, problem: str, fix: str) -> None:
    """By which file, and the task that ends it."""
    files()

    with pytest.raises(HostError) as refused:
        edited(change)

    assert (refused.value.problem, refused.value.fix) == (problem, fix)


def without(text: str, name: str) -> str | None:
    """Return a file without a conda package; None where that is refused."""
    try:
        return package_lines.without_conda(text, name)
    except HostError:
        return None


def is_without(before: str, after: str, name: str) -> bool:
    """Return whether a file is another one without a package, and with every other byte as it was."""
    (old, rest), (new, rest_after) = read(before), read(after)
    at = old.index(next(item for item in old if isinstance(item, str) and package_lines.name_of(item) == name))
    kept = any(before.startswith(after[:cut]) and before.endswith(after[cut:]) for cut in range(len(after) + 1))
    return ([*old[:at], *old[at + 1 :]], rest, kept) == (new, rest_after, True)


@pytest.mark.parametrize("before", [*PLAIN.values(), *ODD.values()], ids=[*PLAIN, *ODD])
def test_file_loses_the_line_or_is_refused(before: str) -> None:
    """However it is written, no other item goes, and none becomes another."""
    after = without(before, "a")

    assert after is None or is_without(before, after, "a")
    plain = "\n  - a" in before and before in PLAIN.values()
    assert not (plain and after is None and before.count("- ") > 1)


@given(strategies.lists(PIECES, max_size=12).map("".join))
def test_any_file_loses_the_line_or_is_refused(middle: str) -> None:
    """Whatever it is made of, where it can be read as an environment.yml."""
    before = f"dependencies:{middle}"
    try:
        items, _ = read(before)
        assert isinstance(items, list)
    except Exception:  # the reader of the files has refused it before
        return

    after = without(before, "a")

    assert after is None or is_without(before, after, "a")


RUNNING: Mapping[str, Any] = {"environment_yml": READS_FILE, "containers": (server(),)}


@pytest.mark.parametrize(
    ("seen", "touches"),
    [
        (examined(**RUNNING), "environment.yml, the environment that runs"),
        (
            examined(**RUNNING, lock=environment_lock.Lock(())),
            "environment.yml, the environment that runs, environment.lock",
        ),
        (examined(environment_yml=READS_FILE, containers=()), "environment.yml"),
        (examined(environment_yml=READS_FILE, containers=(server(is_fixed=True),)), "environment.yml"),
        (examined(environment_yml=READS_FILE, containers=(server(status="exited"),)), "environment.yml"),
    ],
    ids=["runs", "runs by a lock", "nothing runs", "hardened", "stopped"],
)
def test_plan_names_what_is_touched(files: Files, seen: Seen, touches: str) -> None:
    """Where nothing runs that can be changed, only the files are."""
    folder = files()

    planned = str(plan(seen, [asked_for(Change(("scipy",), adds=True))]))

    assert planned == f"1. add scipy\n   why: it was asked for\n   touches: {touches}"
    assert texts(folder) == (READS_FILE, TXT)


def test_what_the_files_say_already_is_no_step(files: Files) -> None:
    """To repeat it is safe."""
    files()

    assert str(plan(examined(**RUNNING), [asked_for(Change(("python",), adds=True))])) == "Nothing to do."
    assert edited(Change(("last",), adds=True, by="pip")) == package_lines.texts()


@pytest.mark.parametrize("text", ["dependencies:\n  - python\n", "dependencies: [python]\n"])
def test_file_without_packages_is_not_left(files: Files, text: str) -> None:
    """The last line stays: a build could not read the rest."""
    files(text)

    planned = plan(examined(**RUNNING), [asked_for(Change(("python",), adds=False))])

    assert planned.steps == ()
    assert planned.problem


def finished(code: int, said: str = "") -> Finished:
    """Return how a command ended."""
    return Finished((), code, "", said)


NO = "error: the environment cannot be made: the channels do not have, for linux-64:\n- a >=2: no such version\n"
# What the program in the container ended with and said, and what a person is told.
ENDS = {
    "unsolvable": (
        1,
        NO,
        "the environment cannot be made: the channels do not have, for linux-64: a >=2: no such version",
    ),
    "of pip": (4, "", "conda's channels do not have scipy, and pip's index does"),
    "full disk": (1, "error: No space left on device\n", "the disk is full"),
    "not undone": (3, "error: x\n", "x; the environment that runs is not as it was"),
}
FIXES = {
    "unsolvable": "correct what the lines above name, then: invoke add scipy",
    "of pip": "invoke add --pip scipy",
    "full disk": "docker system df",
    "not undone": "invoke down && invoke up",
}


@pytest.fixture
def do(files: Files, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Add a package where both the lock and the container end as it is said."""

    def act(inside: Callable[[], Finished], lock: Finished | None = None) -> Path:
        folder = files()
        (folder / "lock").write_text("old", encoding="utf-8")
        seen = examined(**RUNNING, lock=environment_lock.Lock(()) if lock else None)
        change = Change(("scipy",), adds=True)

        def locked(_: object) -> Finished:
            (folder / "lock").write_text("new", encoding="utf-8")
            return lock or finished(0)

        monkeypatch.setattr(environment_lock, "paths", lambda: [folder / "lock", folder / "more"])
        monkeypatch.setattr(environment_lock, "locked", locked)
        monkeypatch.setattr(packages, "_change_inside", lambda *_: inside())
        packages.do(seen, change=change, after=edited(change))
        return folder

    return act


@pytest.mark.parametrize("name", ENDS)
def test_failure_leaves_the_files_as_they_were(do: Callable[..., Path], tmp_path: Path, name: str) -> None:
    """And says why, in two lines, with a way out."""
    code, said, problem = ENDS[name]

    with pytest.raises(HostError) as refused:
        do(lambda: finished(code, said), finished(0))

    assert (refused.value.problem, refused.value.fix) == (problem, FIXES[name])
    assert (*texts(tmp_path), (tmp_path / "lock").read_text(encoding="utf-8")) == (READS_FILE, TXT, "old")


def test_lock_that_fails_changes_nothing_that_runs(do: Callable[..., Path], tmp_path: Path) -> None:
    """It comes first, for what is installed is what it names."""
    with pytest.raises(HostError, match="no solution"):
        do(lambda: pytest.fail("the container was changed"), finished(1, "error: no solution\n"))

    assert (*texts(tmp_path), (tmp_path / "lock").read_text(encoding="utf-8")) == (READS_FILE, TXT, "old")


def test_interruption_leaves_the_files_as_they_were(do: Callable[..., Path], tmp_path: Path) -> None:
    """Ctrl-C while the container is changed, which undoes that itself."""

    def interrupted() -> Finished:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(interrupted)

    assert texts(tmp_path) == (READS_FILE, TXT)


def test_success_leaves_the_lines(do: Callable[..., Path]) -> None:
    """Of the files and of the lock."""
    folder = do(lambda: finished(0), finished(0))

    assert "  - scipy\n" in texts(folder)[0]
    assert (folder / "lock").read_text(encoding="utf-8") == "new"


def test_read_only_container_is_known() -> None:
    """As the engine describes it (Engine API 1.45)."""
    told = [containers.parsed({"Id": "a", "HostConfig": {"ReadonlyRootfs": each}}).is_fixed for each in (True, False)]

    assert told == [True, False]


KNOWN: dict[str, dict[str, Any]] = {
    "asked": {"depends": ["shared", "own"]},
    "own": {"depends": ["deep", "Missing"]},
    "deep": {"depends": ["own"]},
    "shared": {"depends": []},
    "other": {"depends": ["shared"]},
}


@pytest.mark.parametrize(
    ("gone", "roots", "unneeded"),
    [
        ({"asked"}, {"asked", "other"}, {"asked", "own", "deep"}),
        ({"asked"}, {"asked", "other", "deep"}, {"asked"}),
        ({"shared"}, {"asked", "shared"}, set()),
        ({"nobody"}, {"asked"}, set()),
    ],
    ids=["what only it needed goes too", "what was asked for stays", "what is needed stays", "unknown"],
)
def test_what_nothing_needs_any_longer_goes(gone: set[str], roots: set[str], unneeded: set[str]) -> None:
    """In conda's and in pip's records alike, circles too."""
    assert change.orphans(KNOWN, gone, roots) == unneeded


@pytest.mark.parametrize("words", [("a", "b >=2", "--dry-run"), ("--dry-run", "a", "--", "b >=2")])
def test_words_after_the_task_are_packages(task: Task, words: tuple[str, ...]) -> None:
    """Invoke itself would take the second one for a task."""
    done = task("add", *words)

    assert done.stdout.splitlines()[:1] == ["1. add a, b >=2"], done.stderr
