"""The starter's checkers, which read its files and run nothing of them."""

import os
import shutil
import sys
from pathlib import Path

from host_tasks.ground import report, runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import (
    COMPOSE_FILE,
    DOCKER_DIR,
    DOCKERFILE,
    LINT_DIR,
    LINT_ENVIRONMENT,
    ROOT,
    SCRIPTS,
    STAND_IN_DIR,
    STARTER_TESTS,
    STARTERS_SETTINGS,
    TASKS_PY,
    WORKFLOWS_DIR,
)
from host_tasks.setup import host_packages

HOST_CODE = (TASKS_PY, DOCKER_DIR, STARTER_TESTS)
HARDENED_FILE = DOCKER_DIR / "docker-compose.hardened.yml"
PINS = ("requirements.txt", "package-lock.json", "package.json")
NEEDED = (3, 11)  # by compose-lint


def checkers() -> list[list[str]]:
    """Return the commands whose programs come with the packages of the tests."""
    scripts = [*map(str, SCRIPTS), str(ROOT / ".ci" / "run")]
    dockerfiles = [str(DOCKERFILE), str(STAND_IN_DIR / "Dockerfile"), str(ROOT / ".binder" / "Dockerfile")]
    return [
        ["ruff", "check", "--config", str(STARTERS_SETTINGS), *map(str, HOST_CODE)],
        ["ruff", "format", "--check", "--config", str(STARTERS_SETTINGS), *map(str, HOST_CODE)],
        ["mypy", "--config-file", str(STARTERS_SETTINGS)],
        ["shellcheck", "--norc", "--external-sources", "--shell=bash", *filter(os.path.isfile, scripts)],
        ["shfmt", "--diff", "--indent=4", "--language-dialect=bash", *filter(os.path.isfile, scripts)],
        ["hadolint", "--config", str(DOCKER_DIR / "hadolint.yaml"), *filter(os.path.isfile, dockerfiles)],
    ]


def audits() -> list[list[str]]:
    """Return the commands whose programs are in an environment of their own, which is made where it is missing.

    Raises:
        HostError: it cannot be made (69).
    """
    if sys.version_info < NEEDED:
        report.note(f"checkov, compose-lint and others need Python {NEEDED[0]}.{NEEDED[1]}: they are left out.")
        return []
    _make_environment()
    compose_lint = ["compose-lint", "--fail-on", "low"]
    exceptions = ["--strict-config", "--config", str(LINT_DIR / "compose-lint.yml")]
    found = [path for path in sorted(DOCKER_DIR.rglob("*")) if path.suffix in (".py", ".sh", ".yml", ".toml", ".md")]
    checkov = ["checkov", "--skip-download", "--quiet", "--compact", "--framework", "dockerfile", "github_actions"]
    return [
        [*checkov, "--file", *map(str, (DOCKERFILE, STAND_IN_DIR / "Dockerfile", *WORKFLOWS_DIR.glob("*.yml")))],
        [*compose_lint, *exceptions, str(COMPOSE_FILE)],
        [*compose_lint, str(HARDENED_FILE)],  # no exceptions there
        ["dclint", "--max-warnings", "0", str(COMPOSE_FILE), str(HARDENED_FILE)],
        ["detect-secrets-hook", str(TASKS_PY), *map(str, found)],  # the tests plant secrets, to see that none leaks
        *([["zizmor", "--offline", "--persona", "auditor", str(WORKFLOWS_DIR)]] if WORKFLOWS_DIR.is_dir() else []),
    ]


def _make_environment() -> None:
    """Have the packages of the audits beside those of .venv, by hash, as LINT_DIR pins them."""
    pins = "".join((LINT_DIR / name).read_text(encoding="utf-8") for name in PINS)
    stamp = LINT_ENVIRONMENT / "stamp"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == pins:
        return
    shutil.rmtree(LINT_ENVIRONMENT, ignore_errors=True)
    bundle = next(filter(os.path.isfile, host_packages.CA_BUNDLES), "")
    environ = host_packages.child_environment(os.environ, bundle)
    tools, own = Path(sys.executable).parent, LINT_ENVIRONMENT / Path(sys.executable).parent.name
    install = ["install", *host_packages.FIXED, "--quiet", "--no-compile", "--requirement", str(LINT_DIR / PINS[0])]
    node = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(LINT_ENVIRONMENT)]
    for argv in (
        [sys.executable, "-m", "venv", str(LINT_ENVIRONMENT)],
        [str(own / "python"), "-m", "pip", *install],
        ["cp", *(str(LINT_DIR / name) for name in PINS[1:]), str(LINT_ENVIRONMENT)],
        [str(tools / "npm"), *node],
    ):
        if not runner.run(argv, cwd=LINT_ENVIRONMENT.parent, env=environ).ok:
            raise HostError("the checkers' packages cannot be installed", fix="see above", code=ExitCode.UNAVAILABLE)
    stamp.write_text(pins, encoding="utf-8")
