"""Where each value of the Compose call comes from: docker/.env, the shell, or a default; secrets are masked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
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


# look


def explain(
    kept: settings.Settings, environ: Mapping[str, str] = os.environ, folder: Path = DOCKER_DIR
) -> Iterator[Explanation]:
    """Yield every variable of docker/.env, of the Compose files, and of those that the shell exports in vain.

    Compose goes by the shell where it is heard, by docker/.env, and by a default, in this order.
    """
    path = folder / ENV_FILE.name
    values, lines = settings.env(path).read(), settings.env(path).line_numbers()
    reasons = dict.fromkeys(("USER", "UID", "GID"), kept.identity.reason)
    reasons["COMPOSE_PROJECT_NAME"] = "this folder and its path"
    defaults = _defaults(kept, folder)
    for key in dict.fromkeys([*settings.own_keys(), *defaults, *values, *sorted(filter(compose.pinned, environ))]):
        value, origin, exported = values.get(key), "nowhere", environ.get(key)
        if key in values:
            origin = f"{shown(path)}:{lines[key]}" + (f", from {reasons[key]}" if key in reasons else "")
        if exported is not None and not compose.pinned(key):
            value, origin = exported, "the shell"
        if (default := defaults.get(key)) and (value is None or (default[2] and not value)):
            value, origin, _ = default
        ignored = None if exported in (None, value) else f"ignored: {masked(key, exported)} of the shell"
        yield Explanation(key, None if value is None else masked(key, value), origin, ignored)


def _defaults(kept: settings.Settings, folder: Path) -> dict[str, tuple[str, str, bool] | None]:
    """Return the first default of each variable that the Compose files name, its place, and whether "" gives way to it.

    None = it has none.
    """
    found: dict[str, tuple[str, str, bool] | None] = {}
    for path in compose.files(kept.values, folder):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        for number, line in enumerate(text.splitlines(), start=1):
            for match in _REFERENCE.finditer(line.partition("# ")[0]):
                key, default = match["braced"] or match["plain"], match["default"]
                place = (
                    None if default is None else (default, f"default in {shown(path)}:{number}", match["dash"] == ":-")
                )
                if key:
                    found[key] = found.get(key) or place
    found["BASE_IMAGE"] = found.get("BASE_IMAGE") or (base.published(), f"default in {shown(DOCKERFILE)}", False)
    return found


# show


def print_explained(seen: Seen, *, json: bool) -> None:
    """Print every value with its origin."""
    told = list(explain(settings.now(seen)))
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
