"""Rules about the clone itself: a path that Compose can read, and nothing left of where it was before."""

import os
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from host_tasks.decide.plan import Finding, fail, ok
from host_tasks.observe.clone import is_bad

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation


def path(seen: "Observation") -> Iterator[Finding]:
    """Refuse a clone whose path Compose cannot read."""
    part = seen.unreadable_part
    if part is None:
        yield ok("path", f"{seen.root}")
        return
    yield fail(
        "path",
        f"the path {str(seen.root)!a} has a control character (TAB, line break) or is not UTF-8, "
        "and Compose reads its own path as a URL",
        f"mv {_for_bash(str(part))} {shlex.quote(_readable(str(part)))}",
    )


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


def _readable(part: str) -> str:
    """Return a path without what Compose cannot read."""
    return "".join("-" if is_bad(char) else char for char in part)


def _for_bash(part: str) -> str:
    """Return a path as one bash word on one line (bash 5.2, ANSI-C Quoting)."""
    return (
        "$'" + "".join(chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in os.fsencode(part)) + "'"
    )
