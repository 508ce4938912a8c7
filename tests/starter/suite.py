"""The starter's own checkers, which read its files and run nothing of them, its tests and its benchmarks."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from invoke.exceptions import Exit

from host_tasks import goals
from host_tasks.kit import lock, paths, report, runner
from host_tasks.kit.paths import DOCKER_DIR, LINT_DIR, LINT_ENVIRONMENT, ROOT, STARTER_SETTINGS, STARTER_TESTS
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import achieve
from host_tasks.setup import bootstrap, host_packages
from host_tasks.setup.basics import error_text

SHOWN_CHARACTERS = 160  # of a command; some name every file
PINS = ("requirements.txt", "package-lock.json", "package.json")
NEEDED = (3, 11)  # by compose-lint

# look


def checkers() -> list[list[str]]:
    """Return the commands whose programs come with the packages of the tests."""
    code = [str(path) for path in (paths.TASKS_PY, DOCKER_DIR, STARTER_TESTS)]
    scripts = [str(script) for script in (*paths.SCRIPTS, ROOT / ".ci" / "run") if script.is_file()]
    files = (paths.DOCKERFILE, paths.STAND_IN_DIR / "Dockerfile", ROOT / ".binder" / "Dockerfile")
    return [
        ["ruff", "check", "--config", str(STARTER_SETTINGS), *code],
        ["ruff", "format", "--check", "--config", str(STARTER_SETTINGS), *code],
        ["mypy", "--config-file", str(STARTER_SETTINGS)],
        ["shellcheck", "--norc", "--external-sources", "--shell=bash", *scripts],
        ["shfmt", "--diff", "--indent=4", "--language-dialect=bash", *scripts],
        ["hadolint", "--config", str(DOCKER_DIR / "hadolint.yaml"), *(str(file) for file in files if file.is_file())],
    ]


def audits() -> list[list[str]]:
    """Return the commands whose programs are in an environment of their own."""
    compose_lint, workflows = ["compose-lint", "--fail-on", "low"], paths.WORKFLOWS_DIR
    exceptions = ["--strict-config", "--config", str(LINT_DIR / "compose-lint.yml")]
    hardened = [str(file) for file in DOCKER_DIR.glob("docker-compose.hardened.yml")]
    texts = [path for path in sorted(DOCKER_DIR.rglob("*")) if path.suffix in (".py", ".sh", ".yml", ".toml", ".md")]
    checkov = ["checkov", "--skip-download", "--quiet", "--compact", "--framework", "dockerfile", "github_actions"]
    files = (paths.DOCKERFILE, paths.STAND_IN_DIR / "Dockerfile", *workflows.glob("*.yml"))
    return [
        [*checkov, "--file", *map(str, files)],
        [*compose_lint, *exceptions, str(paths.COMPOSE_FILE)],
        *([*compose_lint, file] for file in hardened),  # no exceptions there
        ["dclint", "--max-warnings", "0", str(paths.COMPOSE_FILE), *hardened],
        ["detect-secrets-hook", str(paths.TASKS_PY), *map(str, texts)],  # the tests plant secrets: none may leak
        *([["zizmor", "--offline", "--persona", "auditor", str(workflows)]] if workflows.is_dir() else []),
    ]


# repair


@contextmanager
def checking(*, yes: bool) -> Iterator[Callable[[], bool]]:
    """Run the checkers in a process of their own, which needs no engine and waits for none.

    Yield a function that waits for their end, prints what they have said, and returns whether they found nothing.
    """
    argv = [sys.executable, str(paths.TASKS_PY), "test", "--lint", *(["--yes"] if yes else [])]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

        def passed() -> bool:
            process.wait()
            said.seek(0)
            shutil.copyfileobj(said, sys.stderr)
            return process.returncode == 0

        try:
            yield passed
        finally:
            process.terminate()
            process.wait()


def run_starters(words: Sequence[str], *, yes: bool, fast: bool, lint: bool, checked: bool, engines: bool) -> list[str]:
    """Run the checkers unless they ran, and the starter's tests unless only checkers are asked for; return what failed.

    With `engines`, what has to hold on each engine is tried on those too that this machine has not installed.

    Raises:
        HostError: what they need cannot be had.
    """
    bootstrap.ensure(bootstrap.TESTS, yes=yes)
    if not (fast or lint):
        achieve(goals.ready(), yes=yes)  # the base image too: two tests that need it would both make it
    if fast:
        how = ["--ignore", str(STARTER_TESTS / "image"), "-m", "not slow", "--numprocesses=auto"]
    else:  # a file at a time, for its tests share a clone, in the order of tests/starter/image/conftest.py
        # Three files on two cores: a test with an engine also waits, for a silent one, a job's time, a download.
        how = ["--numprocesses=3", "--dist=loadfile", "--no-loadscope-reorder"]
    pytest = ["pytest", f"--config-file={STARTER_SETTINGS}", f"--rootdir={ROOT}", *how, *words]
    commands = [] if checked else [*checkers(), *(audits() if not fast and have_auditors() else [])]
    commands += [] if lint else [pytest]
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


def have_auditors() -> bool:
    """Have the packages of the audits beside those of .venv, by hash, as LINT_DIR pins them; return whether it can be.

    Raises:
        HostError: they cannot be installed (69).
    """
    if sys.version_info < NEEDED:
        report.note(f"checkov, compose-lint and others need Python {NEEDED[0]}.{NEEDED[1]}: they are left out.")
        return False
    with lock.held(LINT_ENVIRONMENT.with_name(".lint.lock")):
        _audited()
    return True


def _audited() -> None:
    """Have the packages of the audits; two runs at once would take them away from each other."""
    pins = "".join((LINT_DIR / name).read_text(encoding="utf-8") for name in PINS)
    stamp = LINT_ENVIRONMENT / "stamp"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == pins:
        return
    shutil.rmtree(LINT_ENVIRONMENT, ignore_errors=True)
    os.umask(os.umask(0o022) | 0o022)  # what runs from there is written by its owner only
    bundle = next(filter(os.path.isfile, host_packages.CA_BUNDLES), "")
    environ = host_packages.child_environment(os.environ, bundle)
    tools = Path(sys.executable).parent
    install = ["install", "--quiet", "--no-compile", *host_packages.fixed([str(LINT_DIR / PINS[0])])]
    node = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(LINT_ENVIRONMENT)]
    for argv in (
        [sys.executable, "-m", "venv", str(LINT_ENVIRONMENT)],
        [str(LINT_ENVIRONMENT / tools.name / "python"), "-m", "pip", *install],
        ["cp", *(str(LINT_DIR / name) for name in PINS[1:]), str(LINT_ENVIRONMENT)],
        [str(tools / "npm"), *node],
    ):
        if not runner.run(argv, cwd=LINT_ENVIRONMENT.parent, env=environ).ok:
            raise HostError("the checkers' packages cannot be installed", fix="see above", code=ExitCode.UNAVAILABLE)
    stamp.write_text(pins, encoding="utf-8")


def bench() -> None:
    """Measure a bare machine's first start, and the tasks' cost.

    Raises:
        Exit: a ratio is over its bound (1).
    """
    bootstrap.ensure(bootstrap.TESTS)
    achieve(goals.stopped())
    scripts = [STARTER_TESTS / "benchmarks" / name for name in ("bare.py", "overhead.py")]
    if not all(runner.run([sys.executable, str(script)], cwd=ROOT, interactive=True).ok for script in scripts):
        raise Exit(message=error_text("a ratio is over its bound", fix=task_command("bench")), code=1)
