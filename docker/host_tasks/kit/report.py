"""What a person reads: progress on stderr, results on stdout, commands dimmed on a terminal.

Names and texts come from anywhere: what is printed here is one line each, and what a terminal would obey is shown.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from host_tasks.setup.basics import visible


def note(text: str) -> None:
    """Print one line of progress on stderr."""
    print(visible(text), file=sys.stderr, flush=True)


def command(text: str) -> None:
    """Print a command on stderr, before it runs; dimmed on a terminal where NO_COLOR is unset (no-color.org)."""
    dim = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    print(f"\x1b[2m$ {visible(text)}\x1b[0m" if dim else f"$ {visible(text)}", file=sys.stderr, flush=True)


def result(text: str) -> None:
    """Print a result of one line on stdout."""
    lines(visible(text))


def lines(text: str) -> None:
    """Print a result on stdout that was made of parts of one line each."""
    print(text, flush=True)


def as_json(value: Any) -> None:
    """Print a value on stdout as JSON, for programs."""
    lines(json.dumps(value, indent=2, default=str).replace("\x7f", "\\u007f"))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows under their header in aligned columns, without trailing blanks."""
    cells = [[visible(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def agreed(question: str, *, yes: bool) -> bool:
    """Return whether a person agrees: --yes answers for them; no terminal to ask on means no."""
    if yes:
        note(f"{question} yes (--yes)")
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{visible(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
