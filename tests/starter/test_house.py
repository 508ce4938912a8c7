"""The house of docker/host_tasks, as CONTRIBUTING.md draws it: what stands where, and what each part may do."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from host_tasks import extras
from host_tasks.kit.paths import DOCKER_DIR, ROOT, TASKS_PY

HOUSE = DOCKER_DIR / "host_tasks"
FLOORS = {"setup": 0, "kit": 1, "loop": 2, "subjects": 3, "choices": 3, "goals": 4, "extras": 5, "tasks": 6}
MODULES = {
    ".".join(["host_tasks", *path.relative_to(HOUSE).with_suffix("").parts]): path
    for path in sorted(HOUSE.rglob("*.py"))
    if path.stem != "__init__"
}
SOURCES: dict[str, Path] = {**MODULES, "tasks": TASKS_PY}
SUBJECTS = {name: path for name, path in MODULES.items() if name.split(".")[1] in ("subjects", "extras")}
PARTS = ("look", "judge", "repair", "show", "tasks")  # the last one of extras only
# What changes the world, by the names of functions and methods.
CHANGES = {
    *("write", "write_in_place", "write_text", "write_bytes", "unlink", "mkdir", "rmdir", "rmtree", "touch", "rename"),
    *("chmod", "chown", "fchown", "fchmod", "symlink_to", "unpause", "restart", "kill", "truncate"),
    *("remove", "symlink", "hardlink_to", "execvp", "copy", "copytree", "move", "removedirs", "makedirs"),
}
# A probe is the one look that needs a file of its own; what fetches keeps it in a folder that ends with the look.
PROBES = {"host_tasks.subjects.mounts", "host_tasks.subjects.probes", "host_tasks.extras.upgrade"}


def room(module: str) -> str:
    """Return the room of a module."""
    return module.split(".")[1]


def used(path: Path) -> Iterator[str]:
    """Yield the modules of the house that a module imports."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
            yield from (name for name in names if name in MODULES)


def parts(path: Path) -> dict[str, list[ast.stmt]]:
    """Return what stands under each comment of a subject."""
    text = path.read_text(encoding="utf-8")
    lines = {part: match.start() for part in PARTS if (match := re.search(rf"^# {part}$", text, re.MULTILINE))}
    starts = {part: text.count("\n", 0, at) + 1 for part, at in lines.items()}
    found: dict[str, list[ast.stmt]] = {part: [] for part in PARTS}
    for node in ast.parse(text).body:
        above = [part for part in PARTS if part in starts and starts[part] < node.lineno]
        if above:
            found[above[-1]].append(node)
    return found


def functions(path: Path, part: str) -> set[str]:
    """Return the names of the functions under a comment."""
    return {node.name for node in parts(path)[part] if isinstance(node, ast.FunctionDef)}


REPAIRS = {f"{path.stem}.{name}" for path in SUBJECTS.values() for name in functions(path, "repair")}


def mentioned(node: ast.AST, module: str) -> Iterator[str]:
    """Yield the functions of subjects that a piece of code names, as `subject.function`; its own variables are none."""
    own = {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    own |= {argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)}
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            yield f"{each.value.id}.{each.attr}"
        elif isinstance(each, ast.Name) and each.id not in own:
            yield f"{module.rpartition('.')[2]}.{each.id}"


def calls(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a piece of code calls."""
    yield from (each.func for each in ast.walk(node) if isinstance(each, ast.Call))


def called(node: ast.AST) -> Iterator[str]:
    """Yield the names of what a piece of code calls, of methods without that of their object."""
    yield from (each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in calls(node))


def test_rooms_are_those_of_the_picture() -> None:
    """Every room has a floor, and CONTRIBUTING.md, where it is still there, tells of it."""
    rooms = {room(module) for module in MODULES}
    guide = ROOT / "CONTRIBUTING.md"

    assert rooms == set(FLOORS) - {"tasks"}
    if guide.is_file() and guide.read_text(encoding="utf-8").startswith("# How the starter is built"):
        picture = guide.read_text(encoding="utf-8").partition("```")[2].partition("```")[0]
        assert {name for name in rooms if not re.search(rf"^{name}\b", picture, re.MULTILINE)} == set()


@pytest.mark.parametrize("module", MODULES)
def test_module_uses_its_own_room_and_lower_floors(module: str) -> None:
    """The kit knows no rule, the loop knows no subject, and no subject knows a goal."""
    above = [name for name in used(MODULES[module]) if FLOORS[room(name)] > FLOORS[room(module)]]

    assert above == []


def test_core_names_no_extra() -> None:
    """What can be deleted is named by nothing that stays: three lists are all that it hangs on."""
    core = [path for name, path in MODULES.items() if room(name) != "extras"]

    assert [path for path in [*core, TASKS_PY] for name in used(path) if room(name) == "extras"] == []


def strings(path: Path) -> Iterator[str]:
    """Yield the strings of a module that are no docstrings."""
    tree = ast.parse(path.read_bytes())
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))]
    told = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def commands(path: Path) -> Iterator[str]:
    """Yield the tasks that a module tells a person to call."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "task_command":
            first = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
            if isinstance(first, ast.Constant):
                yield from str(first.value).removeprefix("--help ").split()[:1]


def test_core_needs_nothing_that_extras_bring() -> None:
    """A fix that names a task or an option of what was deleted would be no fix; nor is its Compose file read then."""
    core = [TASKS_PY, *(path for name, path in MODULES.items() if room(name) != "extras")]
    own = {node.name for node in ast.parse(TASKS_PY.read_bytes()).body if isinstance(node, ast.FunctionDef)}
    tasks = {task.name for task in extras.tasks()} - own
    words = {word for choice in extras.choices() for word in (f"--{choice.option}", choice.key, choice.file) if word}

    assert [(path.name, name) for path in core for name in commands(path) if name in tasks] == []
    assert [(path.name, text) for path in core for text in strings(path) if words & set(text.split())] == []


def test_lower_floors_use_each_other_in_no_circle() -> None:
    """Reading a module of setup, kit or loop, and what it uses, comes to an end."""
    low = {name: path for name, path in MODULES.items() if FLOORS[room(name)] < 3}
    TopologicalSorter({name: set(used(path)) & set(low) for name, path in low.items()}).prepare()  # CycleError names it


@pytest.mark.parametrize("module", SUBJECTS)
def test_look_changes_nothing(module: str) -> None:
    """What stands under `# look` names no repair, and calls nothing that writes, removes or starts."""
    looks = parts(SUBJECTS[module])["look"]
    repairs = [name for node in looks for name in mentioned(node, module) if name in REPAIRS]
    changes = [name for node in looks for name in called(node) if name in CHANGES]

    assert repairs == []
    assert changes == [] or module in PROBES


@pytest.mark.parametrize("module", SUBJECTS)
def test_judge_calls_no_repair(module: str) -> None:
    """A rule names what its step does, and does not do it."""
    judges = parts(SUBJECTS[module])["judge"]
    repairs = [name for node in judges for call in calls(node) for name in mentioned(call, module) if name in REPAIRS]

    assert repairs == []
    assert [name for node in judges for name in called(node) if name in CHANGES] == []


@pytest.mark.parametrize("module", SOURCES)
def test_nothing_but_the_loop_asks_a_rule_or_does_a_step(module: str) -> None:
    """There is one loop."""
    tree = ast.parse(SOURCES[module].read_bytes())
    subjects = {name.rpartition(".")[2] for name in SUBJECTS}
    asked = [
        ast.unparse(call)
        for call in calls(tree)
        if isinstance(call, ast.Attribute)
        and call.attr in ("found", "judge", "do")  # those of Rule and of Step; a subject may have functions named so
        and not (isinstance(call.value, ast.Name) and call.value.id in subjects)
    ]

    assert asked == [] or module == "host_tasks.loop"


def test_own_modules_are_imported_at_the_top() -> None:
    """Laziness has one place, the package itself; only the setup, which has no package yet, waits with one import."""
    late = [
        (path.name, node.lineno)
        for path in SOURCES.values()
        for top in ast.parse(path.read_bytes()).body
        if isinstance(top, (ast.FunctionDef, ast.ClassDef))
        for node in ast.walk(top)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("host_tasks")
    ]

    assert {name for name, _ in late} <= {"bootstrap.py"}, late
