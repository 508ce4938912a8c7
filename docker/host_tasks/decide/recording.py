"""Where a line is added to environment.yml: every other byte of it stays."""

import re
from collections.abc import Iterable, Sequence

import yaml

from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError

REQUIREMENTS = "requirements.txt"
_READS_IT = re.compile(rf"(?:-r|--requirement)[\s=]*{re.escape(REQUIREMENTS)}\s*")


def with_conda(text: str, lines: Iterable[str]) -> str:
    """Return an environment.yml with further conda packages, after the last of them."""
    conda = [each for each in _dependencies(text).value if isinstance(each, yaml.ScalarNode)]
    before_pip = [each for each in conda if each.value.strip() != "pip"]
    return _inserted(text, before_pip or conda, lines)


def with_pip(text: str, lines: Iterable[str]) -> str | None:
    """Return an environment.yml with further lines for pip; None where its pip section reads requirements.txt.

    Raises:
        HostError: it has no pip section (65).
    """
    sections = [each for each in _dependencies(text).value if isinstance(each, yaml.MappingNode)]
    items = [each for section in sections for _, value in section.value for each in value.value]
    if any(_READS_IT.fullmatch(each.value) for each in items):
        return None
    return _inserted(text, items, lines)


def appended(text: str, lines: Iterable[str]) -> str:
    """Return a requirement file with further lines at its end."""
    end = _line_end(text)
    return text + ("" if not text or text.endswith("\n") else end) + "".join(f"{each}{end}" for each in lines)


def _dependencies(text: str) -> yaml.SequenceNode:
    """Return the list of dependencies, which is there: decide.environment has read the file."""
    root = yaml.compose(text, Loader=yaml.BaseLoader)
    found = {key.value: value for key, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    if not isinstance(listed := found.get("dependencies"), yaml.SequenceNode):
        raise TypeError("decide.environment has let an environment.yml pass that has no dependencies")
    return listed


def _inserted(text: str, items: Sequence[yaml.Node], lines: Iterable[str]) -> str:
    """Return a text with further items after the last of some: in their column, or on their line in [a, b].

    Raises:
        HostError: there is none (65).
    """
    if not items:
        fix = f"add `- pip: [--requirement {REQUIREMENTS}]` to its dependencies, then: {task_command('record')}"
        raise HostError("environment.yml has no list to add to", fix=fix, code=ExitCode.DATA)
    last = items[-1]
    start = text.rfind("\n", 0, last.start_mark.index) + 1
    dash = text[start : last.start_mark.index]
    if dash.strip() != "-":
        at = last.end_mark.index
        return text[:at] + "".join(f", {each}" for each in lines) + text[at:]
    at = text.find("\n", last.end_mark.index) + 1 or len(text)
    end = _line_end(text)
    head = text[:at] if text[:at].endswith("\n") else text[:at] + end
    return head + "".join(f"{dash}{each}{end}" for each in lines) + text[at:]


def _line_end(text: str) -> str:
    """Return how the lines of a text end."""
    return "\r\n" if "\r\n" in text else "\n"
