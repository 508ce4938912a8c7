"""The rooms of docker/host_tasks: what each may use, as CONTRIBUTING.md draws it."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from host_tasks.ground.paths import DOCKER_DIR, ROOT, TASKS_PY

HOUSE = DOCKER_DIR / "host_tasks"
FLOORS = {"setup": 0, "ground": 1, "observe": 2, "decide": 3, "act": 4, "show": 4, "tasks": 5}
MODULES = {
    f"host_tasks.{path.parent.name}.{path.stem}": path
    for path in sorted(HOUSE.glob("*/*.py"))
    if path.stem != "__init__"
} | {"host_tasks.tasks.tasks": TASKS_PY}


def room(module: str) -> str:
    """Return the room of a module."""
    return module.split(".")[1]


def used(path: Path) -> Iterator[str]:
    """Yield the modules of the house that a module imports, at its top or late."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
            yield from (name for name in names if name in MODULES)


def test_rooms_are_those_of_the_picture() -> None:
    """Every folder is a room with a floor of its own, and CONTRIBUTING.md, where it is still there, tells of it."""
    rooms = {room(each) for each in MODULES} - {"tasks"}
    guide = ROOT / "CONTRIBUTING.md"

    assert rooms == set(FLOORS) - {"tasks"}
    if guide.is_file() and guide.read_text(encoding="utf-8").startswith("# How the starter is built"):
        assert {each for each in rooms if f"| `{each}` |" not in guide.read_text(encoding="utf-8")} == set()


@pytest.mark.parametrize("module", MODULES)
def test_module_uses_its_own_room_and_lower_floors(module: str) -> None:
    """Nothing that looks knows a rule, nothing that decides acts, and act and show know nothing of each other."""
    own = room(module)
    above = [name for name in used(MODULES[module]) if room(name) != own and FLOORS[room(name)] >= FLOORS[own]]

    assert above == []


def test_modules_use_each_other_in_no_circle() -> None:
    """Whoever reads a module and what it uses gets to an end."""
    TopologicalSorter({name: set(used(path)) for name, path in MODULES.items()}).prepare()  # CycleError names it
