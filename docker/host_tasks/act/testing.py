"""What `invoke test` runs: the person's tests inside the environment, and the starter's checkers and tests outside."""

import os
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from invoke.exceptions import Exit

from host_tasks.act import linting
from host_tasks.act.inside import run_beside
from host_tasks.act.remove import require_engine
from host_tasks.act.run import achieve
from host_tasks.decide import goals
from host_tasks.ground import report, runner
from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import LINT_ENVIRONMENT, ROOT, STARTER_TESTS, STARTERS_SETTINGS, TESTS, shown
from host_tasks.observe.observation import Observation
from host_tasks.setup import bootstrap
from host_tasks.setup.basics import error_text

SHOWN_CHARACTERS = 160  # of a command; some name every file
NO_TESTS = 5  # pytest's exit code where it has collected none (pytest documentation, "Exit codes")


def run(*, words: Sequence[str], yes: bool, starter: bool, both: bool, fast: bool, lint: bool) -> None:
    """Run the tests that were asked for, all of them even where one fails; the words go to pytest.

    Raises:
        Exit: one of them failed (1).
    """
    failed = [] if (starter or fast or lint) and not both else own_tests(words, yes=yes)
    if starter or fast or lint or both:
        failed += starters(words, yes=yes, fast=fast, lint=lint, engines=both and not words)
    if failed:
        raise Exit(message=error_text(f"failed: {', '.join(failed)}", fix="see the lines of each above"), code=1)
    report.note("All that was run has passed.")


def own_tests(words: Sequence[str], *, yes: bool) -> list[str]:
    """Run the person's tests in a container of their own, which sees tests/ and cannot change it."""
    if not any(path for path in TESTS.rglob("*.py") if STARTER_TESTS not in path.parents):
        report.note("tests/ has no test of yours yet: write tests/test_*.py")
        return []
    command = ["python", "-m", "pytest", "-p", "no:cacheprovider", "--ignore=tests/starter", "tests", *words]
    finished = run_beside(command, mounts={TESTS: "tests"}, yes=yes)
    return [] if finished.returncode in (0, NO_TESTS) else ["your tests"]


def starters(words: Sequence[str], *, yes: bool, fast: bool, lint: bool, engines: bool) -> list[str]:
    """Run the checkers, and the starter's tests unless only the checkers are asked for; return what failed.

    With `engines`, what has to hold on each engine is tried on those too that this machine has not installed.
    """
    if not STARTER_TESTS.is_dir():
        problem = f"{shown(STARTER_TESTS)} is not here: the starter's tests were deleted"
        raise HostError(problem, fix=task_command("test"), code=ExitCode.CONFIG)
    bootstrap.ensure(bootstrap.TESTS, yes=yes)
    if not (fast or lint):
        achieve(goals.READY, yes=yes)  # the base image too: two tests that need it would both make it
    if fast:
        how = ["--ignore", str(STARTER_TESTS / "image"), "-m", "not slow", "--numprocesses=auto"]
    else:  # a file at a time, for its tests share a clone; two files, for with an engine a test mostly waits
        how = ["--numprocesses=2", "--dist=loadfile"]
    pytest = ["pytest", f"--config-file={STARTERS_SETTINGS}", f"--rootdir={ROOT}", *how, *words]
    commands = [*linting.checkers(), *([] if fast else linting.audits()), *([] if lint else [pytest])]
    commands += [[sys.executable, str(STARTER_TESTS / "engines.py")]] if engines and not (fast or lint) else []
    tools = Path(sys.executable).parent
    path = [tools, LINT_ENVIRONMENT / tools.name, LINT_ENVIRONMENT / "node_modules" / ".bin"]
    environ = {**os.environ, "PATH": os.pathsep.join([*map(str, path), os.environ.get("PATH", os.defpath)])}
    failed = []
    for argv in commands:
        report.command(textwrap.shorten(shlex.join(argv), SHOWN_CHARACTERS, placeholder=" ..."))
        if not runner.run(argv, cwd=ROOT, env=environ, interactive=True, announce=False).ok:
            failed.append(Path(argv[-1] if argv[0] == sys.executable else argv[0]).name)
    return failed


def bench() -> None:
    """Run the benchmarks.

    Raises:
        Exit: a ratio is over its bound (1).
    """
    bootstrap.ensure(bootstrap.TESTS)
    require_engine(Observation())
    scripts = [STARTER_TESTS / "benchmarks" / name for name in ("bare.py", "overhead.py")]
    if not all(runner.run([sys.executable, str(script)], cwd=ROOT, interactive=True).ok for script in scripts):
        raise Exit(message=error_text("a ratio is over its bound", fix=task_command("bench")), code=1)
