"""The clone itself: its place, its name for Compose, which no two clones share, and what is left of another place."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from host_tasks.kit import runner
from host_tasks.kit.client import asking, client
from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import HostError, task_command
from host_tasks.loop import Finding, Seen, Step, fact, fail, ok, rule, warn
from host_tasks.setup.basics import shell_word
from host_tasks.subjects import base, compose, containers, engine, images, removal, settings

SLUG_LENGTH = 30  # characters
HASH_LENGTH = 8  # hexadecimal digits: that two of 1,000 clones share one has a chance of 1 in 8,600
TAKEN = ("", "docker")  # "docker" is what Compose itself names every project whose file is in docker/
# What Compose does not take in its own path from 2.37 on (2.40.3 was tried): it reads an escape of a URL.
_URL_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPES_SINCE = (2, 37)


# look


@fact
def root(seen: Seen) -> Path:
    """Return the folder of the clone."""
    return ROOT


@fact
def is_root(seen: Seen) -> bool:
    """Return whether this process is root, who can repair what belongs to root."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


@fact
def project(seen: Seen) -> str:
    """Return the name of this clone for Compose; it needs neither docker/.env nor an engine."""
    return project_name()


def project_name(root: Path = ROOT) -> str:
    """Return slug-hash: the folder's name and its real path, the same through a link and in every run.

    It is letters, digits and single `-`: a Compose project name (Compose specification, "Name top-level element")
    and, with a suffix, an image name (distribution reference grammar, path-component).
    """
    real = root.resolve()
    ascii_only = unicodedata.normalize("NFKD", real.name).encode("ascii", "ignore").decode("ascii").lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:SLUG_LENGTH].rstrip("-")
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:HASH_LENGTH]
    return f"{'project' if slug in TAKEN else slug}-{digest}"


def _is_bad(text: str) -> bool:
    """Return whether a text has such a character; PEP 383 decodes bytes that are not UTF-8 to U+DC80..DCFF."""
    return any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


@fact
def former(seen: Seen) -> str:
    """Return the name that this clone had before it was moved or renamed; "" where it was not.

    Where the place that docker/.env or a container names is still there, this is a copy, and that name another's.
    """
    with contextlib.suppress(HostError):
        old, place = (settings.now(seen).kept.get(key, "") for key in ("COMPOSE_PROJECT_NAME", "PROJECT_FOLDER"))
        if old not in ("", project(seen)):
            started = (Path(container.folder).parent for container in containers.of_project(old) if not place)
            place = place or str(next(started, ""))
            if place and old == project_name(Path(place)) and not os.path.lexists(place):
                return old
    return ""


# judge


@rule("path")
def path(seen: Seen) -> Iterator[Finding]:
    """Refuse a clone whose path Compose cannot read: it reads its own path as a URL."""
    place = root(seen).resolve()
    part = next((path for path in (*reversed(place.parents), place) if _is_bad(str(path))), None)
    why = "has a control character (TAB, line break) or is not UTF-8, and Compose reads its own path as a URL"
    suspects = [part for part in (*reversed(place.parents), place) if _URL_ESCAPE.search(part.name)]
    # Compose is asked for its version only about suspects.
    if part is None and suspects and (engine.numbers(engine.state(seen).compose or "") or (0, 0)) >= _ESCAPES_SINCE:
        part = suspects[0]
        why = f"has a percent sign, and Compose {engine.state(seen).compose} takes it for an escape of a URL"
    if part is None:
        yield ok(f"{place}")
        return
    plain = _URL_ESCAPE.sub("-", "".join("-" if _is_bad(character) else character for character in part.name))
    moved = f"mv {shell_word(str(part))} {shell_word(str(part.with_name(plain)))}"
    yield fail(f"the path {str(place)!a} {why}", moved)


@rule("moved")
def moved(seen: Seen) -> Iterator[Finding]:
    """Refuse to go on beside containers that this clone started before it was moved or renamed."""
    if left := removal.of_former(seen).get("containers"):
        cause = f"this clone was moved, and what it started as {former(seen)} is still there: {', '.join(left)}"
        yield fail(cause, f"docker compose --project-name {former(seen)} down")
    else:
        yield ok("nothing is left of another place")


@rule("moved", upon=("moved",))
def taken_over(seen: Seen) -> Iterator[Finding]:
    """Ask for nothing to have the name that this clone had at another place: settings come along, the rest goes."""
    left = removal.of_former(seen)
    names = ", ".join(f"the {kind.removesuffix('s')} {name}" for kind, named in left.items() for name in named)
    if not names:
        return
    step = Step(take_over, f"take over what {former(seen)} has", f"{names}; JupyterLab's settings are copied first")
    cause = f"this clone was moved, and under its old name there is still {names}"
    done = step.name in seen.tried
    yield warn(cause, removal.command(left)) if done else fail(cause, task_command("up"), step=step)


# repair


def take_over(seen: Seen) -> None:
    """Copy the volumes that had the old name to the new one, name its environments anew, and remove what had the old.

    A container of the clone's own image copies, which sees nothing but the two.
    """
    import docker.errors

    old, new = former(seen), project(seen)
    left, image = removal.of_former(seen), images.find(f"{old}-{compose.SERVICE}") or base.now(seen).image
    with contextlib.suppress(docker.errors.NotFound), asking():
        for name in left.get("volumes", ()):
            labels = client().volumes.get(name).attrs["Labels"]
            own = {key: new if value == old else value for key, value in labels.items() if "config-hash" not in key}
            copy = client().volumes.create(f"{new}{name.removeprefix(old)}", labels=own).name
            rights = (f"--cap-add={right}" for right in ("CHOWN", "DAC_OVERRIDE", "FOWNER"))
            words = ("docker", "run", "--rm", "--pull=never", "--network=none", "--user=0:0", "--cap-drop=ALL", *rights)
            places = (f"--volume={name}:/from:ro", f"--volume={copy}:/to", "--entrypoint=/bin/cp")
            argv = [*words, *places, image.id if image else "none", "--archive", "/from/.", "/to"]
            if runner.run(argv, cwd=ROOT, env=compose.environment({})).ok:
                client().volumes.get(name).remove()
        for name in left.get("images", ()):
            if name.startswith(environment := images.environment_repository(old)):
                client().images.get(name).tag(f"{images.environment_repository(new)}{name.removeprefix(environment)}")
            client().images.remove(name, force=True)
