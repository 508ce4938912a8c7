"""Where each value of the Compose call comes from: docker/.env, the shell, or a default; secrets are masked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from host_tasks.kit import report
from host_tasks.kit.paths import DOCKER_DIR, DOCKERFILE, ENV_FILE, shown
from host_tasks.kit.words import masked
from host_tasks.loop import Seen
from host_tasks.subjects import base, compose, settings

# ${NAME}, ${NAME:-default}, ${NAME?message} and $NAME (Compose specification, 12 "Interpolation"); $$ is a plain $.
_REFERENCE = re.compile(
    r"\$\$|\$(?:\{(?P<braced>[A-Za-z_]\w*)(?:(?P<dash>:?-)(?P<default>[^}]*)|:?[?+][^}]*)?\}|(?P<plain>[A-Za-z_]\w*))"
)


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


# look


def explain(
    kept: settings.Settings, environ: Mapping[str, str] = os.environ, folder: Path = DOCKER_DIR
) -> list[Explanation]:
    """Return every variable of docker/.env, of the Compose files, and of those that the shell exports in vain."""
    file, defaults = _file_values(kept, folder / ENV_FILE.name), _defaults(kept, folder)
    unheard = sorted(name for name in environ if compose.pinned(name))
    keys = dict.fromkeys([*settings.own_keys(), *defaults, *file, *unheard])
    return [_explained(key, environ.get(key), file.get(key), defaults.get(key)) for key in keys]


def _explained(key: str, exported: str | None, file: _Place | None, default: _Place | None) -> Explanation:
    """Return one variable, by Compose's order of precedence: the shell where it is heard, docker/.env, a default."""
    heard = exported is not None and not compose.pinned(key)
    place = _Place(exported or "", "the shell") if heard else file
    if default and (place is None or (default.for_empty and not place.value)):
        place = default
    ignored = (
        f"ignored: {masked(key, exported)} of the shell" if exported not in (None, place and place.value) else None
    )
    value, origin = (masked(key, place.value), place.origin) if place else (None, "nowhere")
    return Explanation(key, value, origin, ignored)


def _file_values(kept: settings.Settings, path: Path) -> dict[str, _Place]:
    """Return what docker/.env says, with what the tasks derive it from."""
    reasons = dict.fromkeys(("USER", "UID", "GID"), f", from {kept.identity.reason}")
    reasons["COMPOSE_PROJECT_NAME"] = ", from this folder and its path"
    env_file = settings.env(path)
    lines, values = env_file.line_numbers(), env_file.read()
    return {key: _Place(values[key], f"{shown(path)}:{lines[key]}{reasons.get(key, '')}") for key in values}


def _defaults(kept: settings.Settings, folder: Path) -> dict[str, _Place | None]:
    """Return each variable that the Compose files name, with its first default; None = it has none."""
    found: dict[str, _Place | None] = {}
    for path in compose.files(kept.values, folder):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        for number, line in enumerate(text.splitlines(), start=1):
            for match in _REFERENCE.finditer(line.partition("# ")[0]):
                key, default = match["braced"] or match["plain"], match["default"]
                place = _Place(default, f"default in {shown(path)}:{number}", match["dash"] == ":-")
                if key:
                    found[key] = found.get(key) or (None if default is None else place)
    found["BASE_IMAGE"] = found.get("BASE_IMAGE") or _Place(base.published(), f"default in {shown(DOCKERFILE)}")
    return found


# show


def print_explained(seen: Seen, *, json: bool) -> None:
    """Print every value with its origin."""
    told = explain(settings.now(seen))
    report.as_json(list(map(asdict, told))) if json else report.lines(table(told))


def print_config(seen: Seen) -> None:
    """Print what `docker compose config` prints, byte for byte.

    Raises:
        HostError: Compose cannot read its files (78).
    """
    finished = compose.call(settings.now(seen).values, "config", interactive=True, watched=False)
    if not finished.ok:
        compose.model(seen)  # says why
        raise compose.unreadable(settings.now(seen).values, f"exit code {finished.returncode}")


def table(explanations: list[Explanation]) -> str:
    """Return the explanations as people read them."""
    rows = (
        (
            told.key,
            "(unset)" if told.value is None else told.value,
            "; ".join(filter(None, (told.origin, told.ignored))),
        )
        for told in explanations
    )
    return report.table(("VARIABLE", "VALUE", "ORIGIN"), rows)
