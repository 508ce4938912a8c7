"""What the starter was tried on: engines.py writes it down, and the texts say it as it is written here."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

FILE = Path(__file__).with_name("tried.json")
COLUMNS = ("engine", "Compose", "buildx", "image store", "Python", "system")
HEADING = f"| {' | '.join(COLUMNS)} |"


def rows() -> list[dict[str, str]]:
    """Return what was last tried, oldest versions first, and Podman's behind Docker's."""
    versions = ("engine", "Compose", "buildx")
    return sorted(
        _written().values(),
        key=lambda row: (row["engine"].startswith("Podman"), *(_numbers(row[each]) for each in versions)),
    )


def record(name: str, versions: Mapping[str, str]) -> None:
    """Write down what a row was that has passed; the other rows are what they were."""
    FILE.write_text(json.dumps({**_written(), name: versions}, indent=2) + "\n", encoding="utf-8")


def said(text: str) -> str:
    """Return a text that says what was tried: its table of engines, and a cell with the versions of a shorter one."""
    table = "".join(f"| {' | '.join(row[each] for each in COLUMNS)} |\n" for row in rows())
    heading = f"{HEADING}\n{'|---' * len(COLUMNS)}|\n"
    text = re.sub(rf"^{re.escape(HEADING)}\n(?:\|.*\n)*", lambda _: heading + table, text, flags=re.MULTILINE)
    cell = "; ".join(f"{each} {', '.join(dict.fromkeys(row[each] for row in rows()))}" for each in COLUMNS[:3])
    cell = f"Docker {cell[0].upper()}{cell[1:]}"
    return re.sub(r"^\| engine \| Docker Engine [^|]+ \|", lambda _: f"| engine | {cell} |", text, flags=re.MULTILINE)


def _written() -> dict[str, dict[str, str]]:
    """Return the file's rows by their names."""
    written: dict[str, dict[str, str]] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return written


def _numbers(version: str) -> list[int]:
    """Return what versions are compared by."""
    return [int(number) for number in re.findall(r"\d+", version)]
