"""Where each value of the Compose call comes from: docker/.env, the shell, or a default; secrets are masked."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from host_tasks import envfile, report, stand_in
from host_tasks.paths import COMPOSE_FILE, DOCKER_DIR, ENV_FILE, shown
from host_tasks.settings import Settings

# ${NAME}, ${NAME:-default}, ${NAME?message} and $NAME (Compose specification, 12 "Interpolation").
REFERENCE = re.compile(
    r"(?<!\$)\$(?:\{(?P<braced>[A-Za-z_]\w*)(?::?-(?P<default>[^}]*)|:?[?+][^}]*)?\}|(?P<plain>[A-Za-z_]\w*))"
)
SECRET = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|(^|_)KEY(_|$)", re.IGNORECASE)
URL_PASSWORD = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True)
class Explanation:
    """One variable, as Compose gets it."""

    key: str
    value: str | None  # None = unset
    origin: str
    ignored: str | None  # what would have won in plain Compose, and does not here


def explain(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[Explanation]:
    """Return every variable of docker/.env and of the Compose files, with its value and its origin."""
    lines = envfile.line_numbers()
    file_values = envfile.read()
    defaults = dict(_references())
    keys = dict.fromkeys([*envfile.OWN_KEYS, *defaults, *file_values])
    return [_explained(key, settings, environ, file_values, lines, defaults) for key in keys]


def table(explanations: list[Explanation]) -> str:
    """Return the explanations as people read them."""
    rows = [
        (
            each.key,
            "(unset)" if each.value is None else each.value,
            "; ".join(filter(None, (each.origin, each.ignored))),
        )
        for each in explanations
    ]
    return report.table(("VARIABLE", "VALUE", "ORIGIN"), rows)


def masked(key: str, value: str) -> str:
    """Return a value without what must not land in a bug report: passwords of URLs, and values of secret-like names."""
    return "****" if SECRET.search(key) and value else URL_PASSWORD.sub("****", value)


def _explained(
    key: str,
    settings: Settings,
    environ: Mapping[str, str],
    file_values: Mapping[str, str],
    lines: Mapping[str, int],
    defaults: Mapping[str, str | None],
) -> Explanation:
    """Return one variable, by Compose's order of precedence; our own keys are pinned to docker/.env (D3)."""
    own = key in envfile.OWN_KEYS
    exported = environ.get(key)
    value: str | None
    if exported is not None and not own and not key.startswith("COMPOSE_"):
        value, origin = exported, "the shell"
    elif key in file_values:
        value, origin = file_values[key], f"{shown(ENV_FILE)}:{lines[key]}{_derived(key, settings)}"
    elif key == "BASE_IMAGE":
        value, origin = stand_in.published(), "default in docker/Dockerfile"
    else:
        value, origin = defaults.get(key), f"default in {shown(COMPOSE_FILE)}" if defaults.get(key) else "nowhere"
    ignored = f"ignored: {masked(key, exported)} of the shell" if own and exported not in (None, value) else None
    return Explanation(key, None if value is None else masked(key, value), origin, ignored)


def _derived(key: str, settings: Settings) -> str:
    """Return what the tasks derive a key of docker/.env from."""
    reasons = {
        **dict.fromkeys(("USER", "UID", "GID"), settings.identity.reason),
        "COMPOSE_PROJECT_NAME": "this folder and its path",
    }
    return f", from {reasons[key]}" if key in reasons else ""


def _references() -> Iterator[tuple[str, str | None]]:
    """Yield each variable that the Compose files name, with its default; the last default wins."""
    for path in sorted(DOCKER_DIR.glob("docker-compose*.y*ml")):
        for line in path.read_text(encoding="utf-8").splitlines():
            for match in REFERENCE.finditer(line.partition("# ")[0]):
                yield match["braced"] or match["plain"], match["default"]
