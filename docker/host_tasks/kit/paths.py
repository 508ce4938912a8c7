"""The tree of this clone: the only module that knows where things are. All paths are absolute and resolved."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCKER_DIR = ROOT / "docker"
ENV_FILE = DOCKER_DIR / ".env"
COMPOSE_FILE = DOCKER_DIR / "docker-compose.yml"
# compose-go 2, cli/options.go: of those that are there it takes the first, unless COMPOSE_FILE names others.
BEFORE_COMPOSE_FILE = (DOCKER_DIR / "compose.yaml", DOCKER_DIR / "compose.yml")
OVERRIDE_FILES = tuple(
    DOCKER_DIR / f"{name}.override.{ending}" for name in ("compose", "docker-compose") for ending in ("yml", "yaml")
)
DOCKERFILE = DOCKER_DIR / "Dockerfile"
STAND_IN_DIR = DOCKER_DIR / "stand-in"
INSTALL_ENGINE = DOCKER_DIR / "install-engine.sh"
TASKS_PY = ROOT / "tasks.py"
TESTS = ROOT / "tests"
STARTER_TESTS = TESTS / "starter"
STARTER_SETTINGS = DOCKER_DIR / "pyproject.toml"  # of ruff, mypy and pytest; a person's own is never read
LINT_DIR = STARTER_TESTS / "lint"
LINT_ENVIRONMENT = ROOT / ".venv" / "lint"
WORKFLOWS_DIR = ROOT / ".github" / "workflows"
ENVIRONMENT_YML = ROOT / "environment.yml"
LOCK_FILE = DOCKER_DIR / ".lock"
REDIRECT_FILE = DOCKER_DIR / ".open.html"
PIP_CONFIG = DOCKER_DIR / ".pip.conf"
CA_BUNDLE = DOCKER_DIR / ".ca-bundle.pem"
PROXY_CONFIG = DOCKER_DIR / ".proxies.conf"
SECRETS_DIR = DOCKER_DIR / "secrets"
LOCK_DIR = ROOT / "environment.lock"
BUILT_FILE = DOCKER_DIR / ".built.json"
DOCKERIGNORE = ROOT / ".dockerignore"
SCRIPTS = (
    *sorted(DOCKER_DIR.glob("*.sh")),
    *sorted(DOCKER_DIR.glob("environment/*.sh")),
    *sorted(STAND_IN_DIR.glob("*.sh")),
    ROOT / "postBuild",
)

STARTER_FILES = ("tasks.py", "docker", "tests/starter", ".dockerignore", ".binder", ".ci", ".devcontainer", ".github")
YOURS = ("bin", "data", "doc", "notebooks", "results", "src")


def shown(path: Path) -> str:
    """Return the path as a person would write it: relative inside the clone, absolute outside."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
