"""Rules about what was installed by hand in the running environment: `down` forgets what no file names."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from host_tasks.decide.plan import Finding, Step, fail, ok
from host_tasks.ground.commands import task_command

if TYPE_CHECKING:
    from host_tasks.observe.by_hand import Package
    from host_tasks.observe.observation import Observation

CODE = "by-hand"


def by_hand(seen: "Observation") -> Iterator[Finding]:
    """Ask for a line for each package that was installed by hand."""
    found = unrecorded(seen)
    if not found:
        yield ok(CODE, "nothing was installed by hand that no file names")
        return
    lines = ", ".join(f"`{line(each)}` ({each.by})" for each in found)
    step = Step("record", f"add {lines}", "environment.yml, requirements.txt")
    names = ", ".join(f"{each.name} {each.version}" for each in found)
    yield fail(CODE, f"installed by hand and named in no file: {names}", task_command("record"), step=step)


def unrecorded(seen: "Observation") -> tuple["Package", ...]:
    """Return the packages that were installed by hand and that no file names."""
    if not seen.by_hand:
        return ()
    from host_tasks.decide.environment import read_environment  # late: it loads YAML

    asked = read_environment(seen.environment_yml or "")
    required = (each.text for each in seen.lock_inputs if each.file.startswith("requirements"))
    named = {_name(each) for each in (*asked.conda, *asked.pip, *required)}
    return tuple(each for each in seen.by_hand if _name(each.name) not in named)


def line(package: "Package") -> str:
    """Return the line that asks for a package, or a newer one, in environment.yml and in a requirement file."""
    return f"{package.name} >={package.version}"


def _name(requirement: str) -> str:
    """Return the name of a requirement, as PyPI compares names (PEP 503); conda's are written so already."""
    name = re.match(r"\s*(?:\S+::)?([\w.-]*)", requirement)
    return re.sub(r"[-_.]+", "-", name[1] if name else "").lower()
