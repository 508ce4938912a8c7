"""The checkers of `test --all`, which run while an image is built."""

from pathlib import Path

import pytest
import suite
from aids import alive, number_in, wait_until

from host_tasks.kit import paths


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
