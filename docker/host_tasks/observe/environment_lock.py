"""The locks of the environment, and the files that they are made from.

docker/environment/lock_files.py says what a lock is; it reads the same lines in the image, for plain Docker builds.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from host_tasks.ground.paths import LOCK_DIR, ROOT

STAND_IN = "stand-in"  # the folder in it for a lock that is good on this machine only
LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
PATTERNS = ("environment.yml", "requirements*.txt", "constraints*.txt", "src/pyproject.toml")


@dataclass(frozen=True)
class Line:
    """A line of a file that a lock is made from."""

    file: str  # its name, without folders
    text: str
    number: int = 0  # from 1; 0 where the file is not here

    def __str__(self) -> str:
        """Return the line as inputs.txt has it."""
        return f"{self.file}: {self.text}"


@dataclass(frozen=True)
class Lock:
    """A lock: what it was made from, and whether all of its files are of that."""

    lines: tuple[Line, ...]
    whole: bool = True


def inputs() -> tuple[Line, ...]:
    """Return the lines that a lock would be made from now: no comment or empty one, and no password in an address."""
    return tuple(
        Line(path.name, LOGIN.sub("", line.rstrip()), number)
        for pattern in PATTERNS
        for path in sorted(ROOT.glob(pattern))
        for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    )


def find(name: str = "") -> Lock | None:
    """Return the lock that is to be committed, or the one in a folder of it; None where there is none."""
    folder = LOCK_DIR / name
    if not (folder / "inputs.txt").is_file():
        return None
    text = (folder / "inputs.txt").read_text(encoding="utf-8", errors="replace")
    parts = (line.partition(": ") for line in text.splitlines())
    files = [*folder.glob("conda-*.txt"), *folder.glob("pip-*.txt")]
    return Lock(
        tuple(Line(file, rest) for file, _, rest in parts), all(_first(each) == _comment(text) for each in files)
    )


def _first(path: Path) -> str:
    """Return the first line of a file."""
    return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]


def _comment(text: str) -> str:
    """Return what stands first in each file of a lock."""
    return f"# inputs: sha256:{hashlib.sha256(text.encode()).hexdigest()}"
