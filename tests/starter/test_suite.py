"""The checkers of `test --all`, which run while an image is built."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import suite
from aids import alive, number_in, wait_until

from host_tasks.kit import paths, runner
from host_tasks.kit.runner import Finished


@pytest.fixture
def checkers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the place of tasks.py, for a test to write."""
    path = tmp_path / "tasks.py"
    monkeypatch.setattr(paths, "TASKS_PY", path)
    return path


@pytest.mark.parametrize("code", [0, 1])
def test_what_the_checkers_say_is_printed_once_they_are_waited_for(
    checkers: Path, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    """Nothing comes amid a build; whether they found something is known then."""
    checkers.write_text(f"import sys; print(*sys.argv[1:], flush=True); sys.exit({code})", encoding="utf-8")

    with suite.checking(yes=True) as passed:
        before = capsys.readouterr().err
        ended = passed()

    assert (before, ended, capsys.readouterr().err) == ("", code == 0, "test --lint --yes\n")


def test_checkers_end_with_what_they_run_beside(checkers: Path, tmp_path: Path) -> None:
    """Nobody waits for them where a build failed, and none is left behind."""
    pid = tmp_path / "pid"
    script = f"import os, time; open({str(pid)!r}, 'w').write(f'{{os.getpid()}}\\n'); time.sleep(600)"
    checkers.write_text(script, encoding="utf-8")

    with suite.checking(yes=False):
        number = number_in(pid)

    wait_until(lambda: not alive(number), what="the end of the checkers")


def test_packages_of_the_audits_are_installed_once_by_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, and takes nothing of it away."""
    called: list[str] = []

    def run(argv: list[str], **_: object) -> Finished:
        called.append(argv[0])
        (tmp_path / "lint").mkdir(exist_ok=True)
        time.sleep(0.05)  # as an installer, that another run could meet
        return Finished(tuple(argv), 0, "", "")

    monkeypatch.setattr(suite, "LINT_ENVIRONMENT", tmp_path / "lint")
    monkeypatch.setattr(suite, "NEEDED", (3, 10))
    monkeypatch.setattr(runner, "run", run)

    with ThreadPoolExecutor() as threads:
        both = list(threads.map(lambda _: suite.have_auditors(), range(2)))

    assert (both, len(called)) == ([True, True], 4)
