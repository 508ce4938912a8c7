"""What `invoke test` runs: the checkers of every kind of file, then the test suite."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from invoke.exceptions import Exit

from host_tasks import bootstrap, install, report, runner
from host_tasks.paths import DOCKER_DIR, DOCKERFILE, ROOT, STAND_IN_DIR

SCRIPTS = ("activate.sh", "create-user.sh", "entrypoint.sh", "install-engine.sh")


def checkers() -> list[list[str]]:
    """Return the commands that read the files and run nothing of them."""
    shell_files = [DOCKER_DIR / name for name in SCRIPTS] + sorted(STAND_IN_DIR.glob("*.sh")) + [ROOT / "postBuild"]
    return [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["shellcheck", "--external-sources", "--shell=bash", *map(str, shell_files)],
        ["hadolint", str(DOCKERFILE), str(STAND_IN_DIR / "Dockerfile")],
    ]


def run(*, yes: bool, fast: bool, pytest_words: Sequence[str]) -> None:
    """Run every checker and the tests, all of them even where one fails.

    Raises:
        Exit: one of them failed (1).
    """
    bootstrap.ensure(bootstrap.TESTS, yes=yes)
    if not fast:
        install.ensure(yes=yes)
    tools = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    pytest = ["pytest", *(["--ignore", "tests/image", "-m", "not slow"] if fast else []), *pytest_words]
    failed = [
        argv[0] for argv in [*checkers(), pytest] if not runner.run(argv, cwd=ROOT, env=environ, interactive=True).ok
    ]
    if failed:
        raise Exit(message=f"error: failed: {', '.join(failed)}; fix: see the lines of each above", code=1)
    report.note("All checkers and tests passed.")


def bench() -> None:
    """Run the benchmarks.

    Raises:
        Exit: a ratio is over its bound (1).
    """
    bootstrap.ensure(bootstrap.TESTS)
    install.require()
    script = ROOT / "tests" / "benchmarks" / "overhead.py"
    if not runner.run([sys.executable, str(script)], cwd=ROOT, interactive=True).ok:
        raise Exit(message="error: a ratio is over its bound; fix: see the lines above", code=1)
