"""Run a command in the environment: in the running server, or in a container of its own that is removed afterwards."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from host_tasks.kit import report, runner
from host_tasks.kit.paths import STARTER_TESTS, TESTS
from host_tasks.loop import Rule, Seen, achieve
from host_tasks.subjects import clone, compose, containers, settings

Wanted = Callable[[], Iterable[Rule]]  # what a container needs that is started for a command
NO_TESTS = 5  # pytest's exit code where it has collected none (pytest documentation, "Exit codes")

# repair


def run_inside(words: Sequence[str], wanted: Wanted, *, yes: bool) -> runner.Finished:
    """Run a command in the running server, else beside it, and return how it ended."""
    seen = Seen()
    server, mark = containers.server(seen), containers.mark()
    if server is None or server.status != "running":
        return run_beside(words, wanted, yes=yes)
    # exec passes by the entrypoint, so it is named: it activates the environment.
    call = ("exec", "--env", mark, *_terminal(), compose.SERVICE, "entrypoint.sh", *words)
    return compose.call(settings.now(seen).values, *call, interactive=True, also_stop=containers.stop(server.id, mark))


def run_beside(
    words: Sequence[str], wanted: Wanted, *, yes: bool, mounts: Mapping[Path, str] | None = None
) -> runner.Finished:
    """Run a command in a container of its own, with further folders mounted read-only in ~/app; return how it ended."""
    seen = achieve(wanted(), yes=yes)
    home = f"/home/{settings.now(seen).identity.user}/app"
    more = [f"--volume={source}:{home}/{name}:ro" for source, name in (mounts or {}).items()]
    name = f"{clone.project(seen)}-run-{uuid.uuid4().hex[:8]}"
    call = ("run", "--rm", "--no-deps", "--name", name, *more, *_terminal(), compose.SERVICE, *words)
    return compose.call(settings.now(seen).values, *call, interactive=True, also_stop=["docker", "stop", name])


def run_tests(words: Sequence[str], wanted: Wanted, *, yes: bool) -> runner.Finished:
    """Run the person's tests in a container of their own, which cannot change tests/; the words go to pytest."""
    if not any(path for path in TESTS.rglob("*.py") if STARTER_TESTS not in path.parents):
        report.note("tests/ has no test of yours yet: write tests/test_*.py")
        return runner.Finished((), 0, "", "")
    command = ["python", "-m", "pytest", "-p", "no:cacheprovider", "--ignore=tests/starter", "tests", *words]
    finished = run_beside(command, wanted, mounts={TESTS: "tests"}, yes=yes)
    return replace(finished, returncode=0) if finished.returncode == NO_TESTS else finished


def _terminal() -> tuple[str, ...]:
    """Return the option without which Compose asks for a terminal that is not there."""
    return () if sys.stdin.isatty() and sys.stdout.isatty() else ("--no-TTY",)
