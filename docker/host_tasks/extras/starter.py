"""The starter's own checkers, tests and benchmarks: tests/starter/suite.py runs them, and goes with that folder."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from types import ModuleType
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from host_tasks import extras, goals
from host_tasks.kit import report
from host_tasks.kit.paths import STARTER_TESTS, shown
from host_tasks.kit.task import YES, after_dashes, task
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.setup.basics import error_text
from host_tasks.subjects import run

if TYPE_CHECKING:
    from invoke.context import Context

SUITE = STARTER_TESTS / "suite.py"


def suite() -> ModuleType:
    """Return the module that runs the starter's own tests.

    Raises:
        HostError: they were deleted (78).
    """
    spec = importlib.util.spec_from_file_location(SUITE.stem, SUITE)
    if not SUITE.is_file() or not spec or not spec.loader:
        problem = f"{shown(STARTER_TESTS)} is not here: the starter's tests were deleted"
        raise HostError(problem, fix=task_command("test"), code=ExitCode.CONFIG)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@task(
    name="test",
    elsewhere=extras.elsewhere(),
    help={
        "yes": YES,
        "starter": "The starter's own checkers and tests instead of yours.",
        "all": "Yours and the starter's, where those are here.",
        "fast": "The starter's, without what needs an engine or patience.",
        "lint": "The starter's checkers only.",
    },
)
def run_all(
    c: Context, *, yes: bool = False, starter: bool = False, all_: bool = False, fast: bool = False, lint: bool = False
) -> None:
    """Run the tests in tests/ inside the environment.

    In a container of its own, which cannot change them. Everything after -- goes to pytest.
    """
    words, others, failed = after_dashes(default=()), starter or fast or lint, []
    beside = all_ and not others and SUITE.is_file()
    with suite().checking(yes=yes) if beside else nullcontext() as passed:
        if all_ or not others:
            failed += [] if run.run_tests(words, goals.runnable, yes=yes).ok else ["your tests"]
        if passed and not passed():
            failed.append("the checkers")
    if others or beside:
        failed += suite().run_starters(words, yes=yes, fast=fast, lint=lint, checked=beside, engines=all_ and not words)
    if failed:
        raise Exit(message=error_text(f"failed: {', '.join(failed)}", fix="see the lines of each above"), code=1)
    report.note("All that was run has passed.")


@task(hidden=True)
def bench(c: Context) -> None:
    """Measure a bare machine's first start, and the tasks' cost.

    In clones of their own, which are removed afterwards; some eight minutes. The first is a table of its parts; the
    others are ratios to Docker's own commands, and it ends with 1 where one is over its bound.
    """
    suite().bench()


TASKS = (run_all, bench)  # the first takes the place of the core's `test`
