"""Where each value of the Compose call comes from: docker/.env, the shell, or a default; secrets are masked."""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from host_tasks.ground import report
from host_tasks.ground.masking import masked
from host_tasks.ground.paths import DOCKER_DIR, DOCKERFILE, ENV_FILE, shown
from host_tasks.observe import compose, images
from host_tasks.observe.observation import Observation
from host_tasks.observe.settings import ENV, OWN_KEYS, Settings

# ${NAME}, ${NAME:-default}, ${NAME?message} and $NAME (Compose specification, 12 "Interpolation"); $$ is a plain $.
REFERENCE = (
    r"\$\$|\$(?:\{(?P<braced>[A-Za-z_]\w*)(?:(?P<dash>:?-)(?P<default>[^}]*)|:?[?+][^}]*)?\}|(?P<plain>[A-Za-z_]\w*))"
)
UNSET = "(unset)"


@dataclass(frozen=True)
class Explanation:
    """One variable, as Compose gets it."""

    key: str
    value: str | None  # None = unset
    origin: str
    ignored: str | None  # what the shell exports and is not used


@dataclass(frozen=True)
class _Place:
    """A value, and where it stands."""

    value: str
    origin: str
    for_empty: bool = False  # whether this default also takes the place of an empty value: ${NAME:-default}


def print_explained(settings: Settings, *, json: bool) -> None:
    """Print every value with its origin."""
    found = explain(settings)
    report.as_json([asdict(each) for each in found]) if json else report.result(table(found))


def print_config(seen: Observation) -> None:
    """Print what `docker compose config` prints, byte for byte.

    Raises:
        HostError: Compose cannot read its files (78).
    """
    finished = compose.call(seen.settings.values, "config", interactive=True, watched=False)
    if not finished.ok:
        _ = seen.model  # says why
        raise compose.unreadable(seen.settings.values, f"exit code {finished.returncode}")


def explain(
    settings: Settings, environ: Mapping[str, str] = os.environ, folder: Path = DOCKER_DIR
) -> list[Explanation]:
    """Return every variable of docker/.env, of the Compose files, and of those that the shell exports in vain."""
    file = _file_values(settings, folder / ENV_FILE.name)
    defaults = _defaults(settings, folder)
    unheard = sorted(name for name in environ if compose.pinned(name))
    keys = dict.fromkeys([*OWN_KEYS, *defaults, *file, *unheard])
    return [_explained(key, environ.get(key), file.get(key), defaults.get(key)) for key in keys]


def table(explanations: list[Explanation]) -> str:
    """Return the explanations as people read them."""
    rows = [
        (e.key, e.value if e.value is not None else UNSET, "; ".join(filter(None, (e.origin, e.ignored))))
        for e in explanations
    ]
    return report.table(("VARIABLE", "VALUE", "ORIGIN"), rows)


def _explained(key: str, exported: str | None, file: _Place | None, default: _Place | None) -> Explanation:
    """Return one variable, by Compose's order of precedence: the shell where it is heard, docker/.env, a default."""
    heard = exported is not None and not compose.pinned(key)
    found = _Place(exported or "", "the shell") if heard else file
    if default and (found is None or (default.for_empty and not found.value)):
        found = default
    value = found.value if found else None
    ignored = f"ignored: {masked(key, exported)} of the shell" if exported not in (None, value) else None
    return Explanation(
        key, None if value is None else masked(key, value), found.origin if found else "nowhere", ignored
    )


def _file_values(settings: Settings, path: Path) -> dict[str, _Place]:
    """Return what docker/.env says, with what the tasks derive it from."""
    reasons = dict.fromkeys(("USER", "UID", "GID"), f", from {settings.identity.reason}")
    reasons["COMPOSE_PROJECT_NAME"] = ", from this folder and its path"
    env_file = replace(ENV, path=path)
    lines, values = env_file.line_numbers(), env_file.read()
    return {key: _Place(values[key], f"{shown(path)}:{lines[key]}{reasons.get(key, '')}") for key in values}


def _defaults(settings: Settings, folder: Path) -> dict[str, _Place | None]:
    """Return each variable that the Compose files name, with its first default; None = it has none."""
    found: dict[str, _Place | None] = {}
    for path in compose.files(settings.values, folder):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        for number, line in enumerate(text.splitlines(), start=1):
            for match in re.finditer(REFERENCE, line.partition("# ")[0]):
                key, default = match["braced"] or match["plain"], match["default"]
                place = _Place(default, f"default in {shown(path)}:{number}", match["dash"] == ":-")
                if key:
                    found[key] = found.get(key) or (None if default is None else place)
    found["BASE_IMAGE"] = found.get("BASE_IMAGE") or _Place(images.published(), f"default in {shown(DOCKERFILE)}")
    return found
