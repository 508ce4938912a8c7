"""What `invoke test` runs: the checkers of every kind of file, then the test suite."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from invoke.exceptions import Exit

from host_tasks.act.remove import require_engine
from host_tasks.act.run import achieve
from host_tasks.decide.engine import engine
from host_tasks.ground import report, runner
from host_tasks.ground.paths import DOCKER_DIR, DOCKERFILE, ROOT, SCRIPTS, STAND_IN_DIR, STARTER_TESTS, TASKS_PY
from host_tasks.observe.observation import Observation
from host_tasks.setup import bootstrap
from host_tasks.setup.basics import error_text

SETTINGS = DOCKER_DIR / "pyproject.toml"  # of ruff, mypy and pytest; a person's own is never read
HOST_CODE = (TASKS_PY, DOCKER_DIR, STARTER_TESTS)


def checkers() -> list[list[str]]:
    """Return the commands that read the files and run nothing of them."""
    return [
        ["ruff", "check", "--config", str(SETTINGS), *map(str, HOST_CODE)],
        ["ruff", "format", "--check", "--config", str(SETTINGS), *map(str, HOST_CODE)],
        ["mypy", "--config-file", str(SETTINGS)],
        ["shellcheck", "--external-sources", "--shell=bash", *map(str, SCRIPTS)],
        ["hadolint", str(DOCKERFILE), str(STAND_IN_DIR / "Dockerfile")],
    ]


def run(*, yes: bool, fast: bool, pytest_words: Sequence[str]) -> None:
    """Run every checker and the tests, all of them even where one fails.

    Raises:
        Exit: one of them failed (1).
    """
    bootstrap.ensure(bootstrap.TESTS, yes=yes)
    if not fast:
        achieve([engine], yes=yes)
    tools = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    pytest = ["pytest", f"--config-file={SETTINGS}", f"--rootdir={ROOT}", *pytest_words]
    if fast:
        pytest += ["--ignore", str(STARTER_TESTS / "image"), "-m", "not slow"]
    failed = [
        argv[0] for argv in [*checkers(), pytest] if not runner.run(argv, cwd=ROOT, env=environ, interactive=True).ok
    ]
    if failed:
        raise Exit(message=error_text(f"failed: {', '.join(failed)}", fix="see the lines of each above"), code=1)
    report.note("All checkers and tests passed.")


def bench() -> None:
    """Run the benchmarks.

    Raises:
        Exit: a ratio is over its bound (1).
    """
    bootstrap.ensure(bootstrap.TESTS)
    require_engine(Observation())
    script = STARTER_TESTS / "benchmarks" / "overhead.py"
    if not runner.run([sys.executable, str(script)], cwd=ROOT, interactive=True).ok:
        raise Exit(message=error_text("a ratio is over its bound", fix="see the lines above"), code=1)
