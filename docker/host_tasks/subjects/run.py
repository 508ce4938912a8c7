"""Run a command in the environment: in the running server, or in a container of its own that is removed afterwards."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from host_tasks.kit import report, runner
from host_tasks.kit.paths import STARTER_TESTS, TESTS
from host_tasks.loop import Rule, Seen, achieve
from host_tasks.subjects import clone, compose, containers, settings

Wanted = Callable[[], Iterable[Rule]]  # what a container needs that is started for a command
KILLED = 137  # 128 + SIGKILL, as a shell tells it (POSIX.1-2017, 2.8.2)
NO_TESTS = 5  # pytest's exit code where it has collected none (pytest documentation, "Exit codes")

# look


def folder_inside(here: Path, mounts: Mapping[str, Path]) -> str:
    """Return where a folder of this machine is in a container with mounts, target to source; "" where it is not."""
    for target, source in sorted(mounts.items(), key=lambda mount: len(str(mount[1])), reverse=True):
        with contextlib.suppress(ValueError):
            return f"{target}/{here.resolve().relative_to(source.resolve()).as_posix()}".removesuffix("/.")
    return ""


# repair


def run_inside(words: Sequence[str], wanted: Wanted, *, yes: bool) -> runner.Finished:
    """Run a command in the running server, else beside it, in the caller's folder, and return how it ended."""
    seen = Seen()
    server, mark = containers.server(seen), containers.mark()
    if server is None or server.status != "running":
        return run_beside(words, wanted, yes=yes, here=True)
    # exec passes by the entrypoint, so it is named: it activates the environment.
    mounts = {target: Path(source) for target, source in server.binds.items()}
    if not any(source.exists() for source in mounts.values()):  # Docker Desktop names its own machine's paths
        mounts = {mount.target: mount.source for mount in compose.declared_mounts(compose.model(seen))}
    where = _where(mounts)
    call = ("exec", "--env", mark, *where, *_terminal(), compose.SERVICE, "entrypoint.sh", *words)
    return _run(seen, *call, also_stop=containers.stop(server.id, mark))


def run_beside(
    words: Sequence[str],
    wanted: Wanted,
    *,
    yes: bool,
    mounts: Mapping[Path, str] = MappingProxyType({}),
    here: bool = False,
) -> runner.Finished:
    """Run a command in a container of its own, with further folders mounted read-only in ~/app; return how it ended.

    It starts in ~/app, or in the caller's folder.
    """
    seen = achieve(wanted(), yes=yes)
    home = f"/home/{settings.now(seen).identity.user}/app"
    more = [f"--volume={source}:{home}/{name}:ro" for source, name in mounts.items()]
    declared = compose.declared_mounts(compose.model(seen)) if here else ()
    where = _where({mount.target: mount.source for mount in declared})
    name = f"{clone.project(seen)}-run-{uuid.uuid4().hex[:8]}"
    call = ("run", "--rm", "--no-deps", "--name", name, *more, *where, *_terminal(), compose.SERVICE, *words)
    return _run(seen, *call, also_stop=["docker", "stop", name])


def _run(seen: Seen, *call: str, also_stop: Sequence[str]) -> runner.Finished:
    """Have Compose run a command for the person, and say why it may have been killed."""
    values = settings.now(seen).values
    finished = compose.call(values, *call, interactive=True, also_stop=also_stop)
    if finished.returncode == KILLED:
        limit = f"MEMORY_LIMIT={values.get('MEMORY_LIMIT', 'none')} in docker/.env"
        report.note(f"warning: it was killed (exit code {KILLED}), as it is where memory runs out: {limit}")
    return finished


def _where(mounts: Mapping[str, Path]) -> tuple[str, ...]:
    """Return the option that starts a command where the caller is, if that is a folder which the container has."""
    with contextlib.suppress(FileNotFoundError):  # the folder was deleted
        folder = folder_inside(Path.cwd(), mounts)
        return ("--workdir", folder) if folder else ()
    return ()


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
