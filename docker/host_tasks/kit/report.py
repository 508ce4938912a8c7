"""What a person reads: progress on stderr, results on stdout, commands dimmed on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO


def dimmed(text: str, stream: TextIO) -> str:
    """Return text dimmed where the stream is a terminal and NO_COLOR is unset (no-color.org)."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[2m{text}\x1b[0m"


def note(text: str) -> None:
    """Print one line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def command(text: str) -> None:
    """Print a command on stderr, before it runs."""
    note(dimmed(f"$ {text}", sys.stderr))


def result(text: str) -> None:
    """Print a result on stdout."""
    print(text, flush=True)


def as_json(value: Any) -> None:
    """Print a value on stdout as JSON, for programs."""
    result(json.dumps(value, indent=2, default=str))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows under their header in aligned columns, without trailing blanks."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def agreed(question: str, *, yes: bool) -> bool:
    """Return whether a person agrees: --yes answers for them; no terminal to ask on means no."""
    if yes:
        note(f"{question} yes (--yes)")
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
