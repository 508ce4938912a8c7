"""Rules about the clone itself: a path that Compose can read, and nothing left of where it was before."""

import os
import re
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from host_tasks.decide.engine import compose_version
from host_tasks.decide.plan import Finding, fail, ok
from host_tasks.observe.clone import is_bad

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

# What Compose does not take from a version on (2.40.3 and 2.26.1 were tried), and why. From 5 on it builds by bake
# only, which observe/compose.py forbids those before it.
_URL_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SYNTAX_OF_BAKE = re.compile(r'[,"]|\$\{')
_SINCE = (
    ((2, 37), _URL_ESCAPE.search, "a percent sign, and Compose {} takes it for an escape of a URL"),
    ((5, 0), _SYNTAX_OF_BAKE.search, "a comma, a double quote or ${{, and Compose {} takes it for syntax of bake"),
    (
        (5, 0),
        lambda name: unicodedata.normalize("NFC", name) != name,
        "a decomposed accent, and Compose {} composes it",
    ),
)


def path(seen: "Observation") -> Iterator[Finding]:
    """Refuse a clone whose path Compose cannot read."""
    part, why = seen.unreadable_part, "has a control character (TAB, line break) or is not UTF-8"
    if part:
        why += ", and Compose reads its own path as a URL"
    else:
        part, why = _not_taken(seen)
    if part is None:
        yield ok("path", f"{seen.root}")
        return
    fix = f"mv {_for_bash(str(part))} {shlex.quote(str(part.with_name(_readable(part.name))))}"
    yield fail("path", f"the path {str(seen.root)!a} {why}", fix)


def _not_taken(seen: "Observation") -> tuple[Path | None, str]:
    """Return the first part of the path that this Compose does not take, and why; it is asked only about suspects."""
    for part in (*reversed(seen.root.parents), seen.root):
        for since, suspect, why in _SINCE:
            if suspect(part.name) and (compose_version(seen.engine) or (0, 0)) >= since:
                return part, f"has {why.format(seen.engine.compose)}"
    return None, ""


def moved(seen: "Observation") -> Iterator[Finding]:
    """Refuse to go on beside containers that this clone started before it was moved or renamed."""
    left = seen.left_behind
    if not left:
        yield ok("moved", "nothing is left of another place")
        return
    old = left[0].project
    yield fail(
        "moved",
        f"this clone was moved, and what it started in {left[0].folder} is still there: "
        f"{', '.join(each.name for each in left)}",
        f"docker compose --project-name {old} down",
    )


def _readable(name: str) -> str:
    """Return a name without what Compose cannot read."""
    text = _SYNTAX_OF_BAKE.sub("-", _URL_ESCAPE.sub("-", unicodedata.normalize("NFC", name)))
    return "".join("-" if is_bad(char) else char for char in text)


def _for_bash(part: str) -> str:
    """Return a path as one bash word on one line (bash 5.2, ANSI-C Quoting)."""
    return (
        "$'" + "".join(chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in os.fsencode(part)) + "'"
    )
