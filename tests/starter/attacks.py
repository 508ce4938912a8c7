"""What has been tried against a clone, and what held: the tables are in attacks_*.py, one for each thing attacked."""

import importlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Attack:
    """Something that a hostile notebook, program or page did, or that a clumsy person met."""

    tried: str
    channel: str  # by which it came
    held: str  # what keeps it off
    tests: tuple[str, ...]  # `file.py::test`, below this folder

    @property
    def name(self) -> str:
        """What it is called in a list of tests."""
        return f"{self.channel}: {self.tried}"


def attacks() -> list[Attack]:
    """Return the attacks of all tables; each is called ATTACKS in its module."""
    modules = [importlib.import_module(path.stem) for path in sorted(FOLDER.glob("attacks_*.py"))]
    return [attack for module in modules for attack in module.ATTACKS]
