"""The lines of environment.yml and requirements.txt that name packages: added, changed or taken away, and nothing else.

What is read of a file afterwards is proved to be what was read of it before, but for these lines; else it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host_tasks.kit import files
from host_tasks.kit.paths import ENVIRONMENT_YML, ROOT, shown
from host_tasks.kit.words import ExitCode, HostError, path_word, task_command

if TYPE_CHECKING:
    import yaml

READS_IT = r"(?:-r|--requirement)[\s=]*requirements\.txt\s*"
REQUIREMENTS_TXT = ROOT / "requirements.txt"
ENVIRONMENT, REQUIREMENTS = "environment.yml", "requirements.txt"

# look


def texts() -> dict[Path, str]:
    """Return the texts of both files."""
    return {path: _text(path) for path in (ENVIRONMENT_YML, REQUIREMENTS_TXT)}


def _text(path: Path) -> str:
    """Return the text of a file, with its ends of lines as they are; "" where there is none.

    Raises:
        HostError: it is not UTF-8 (65).
    """
    try:
        return path.read_bytes().decode("utf-8") if path.exists() else ""
    except UnicodeDecodeError as err:
        fix = f"save {path_word(path)} as UTF-8, then: {task_command('up')}"
        raise HostError(f"{shown(path)} is not UTF-8", fix=fix, code=ExitCode.DATA) from err


# judge


def name_of(requirement: str) -> str:
    """Return the name of a requirement, as PyPI compares names (PEP 503); conda's are written so already."""
    name = re.match(r"\s*(?:\S+::)?([\w.-]*)", requirement)
    return re.sub(r"[-_.]+", "-", name[1] if name else "").lower()


def with_lines(texts: Mapping[Path, str], conda: Sequence[str] = (), pip: Sequence[str] = ()) -> dict[Path, str]:
    """Return the texts of the files with further lines for conda and for pip.

    Raises:
        HostError: environment.yml has no list to add to, or a file would not be itself and these lines (65).
    """
    after = dict(texts)
    if conda:
        after[ENVIRONMENT_YML] = with_conda(after[ENVIRONMENT_YML], conda)
    if pip and (changed := with_pip(after[ENVIRONMENT_YML], pip)) is not None:
        after[ENVIRONMENT_YML] = changed
    elif pip:
        after[REQUIREMENTS_TXT] = appended(after[REQUIREMENTS_TXT], pip)
    return after


def with_conda(text: str, lines: Sequence[str]) -> str:
    """Return an environment.yml with further conda packages, after the last of them, and before pip."""
    conda = _conda(text)
    return _inserted(text, [node for node in conda if node.value.strip() != "pip"] or conda, lines, "dependencies")


def with_pip(text: str, lines: Sequence[str]) -> str | None:
    """Return an environment.yml with further lines for pip; None where its pip section reads requirements.txt.

    Raises:
        HostError: it has no pip section (65).
    """
    items = _pip(text)
    reads_it = any(re.fullmatch(READS_IT, item.value) for item in items)
    return None if reads_it else _inserted(text, items, lines, "dependencies", "pip")


def appended(text: str, lines: Sequence[str]) -> str:
    """Return a requirement file with further lines at its end."""
    end = _line_end(text)
    after = text + ("" if not text or text.endswith("\n") else end) + "".join(f"{line}{end}" for line in lines)
    _prove(REQUIREMENTS, _requirements(text), _requirements(after), [], lines)
    return after


def without_conda(text: str, name: str, instead: str = "") -> str | None:
    """Return an environment.yml without a conda package, or with another line for it; None where it names none."""
    return _changed(text, _conda(text), name, instead, "dependencies")


def without_pip(text: str, name: str, instead: str = "") -> str | None:
    """Return an environment.yml without a line of its pip section, or with another; None where that names none."""
    return _changed(text, _pip(text), name, instead, "dependencies", "pip")


def without_requirement(text: str, name: str, instead: str = "") -> str | None:
    """Return a requirement file without a line, with all that it goes on into, or with another; None = it names none.

    Its name stands first: an option, a comment or a path names nothing.
    """
    for line in re.finditer(r"(?:[^\n]*\\\r?\n)*[^\n]*\n?", text):
        if re.match(r"\s*\w", line[0]) and name_of(line[0]) == name:
            end = re.search(r"(\s+#[^\r\n]*)?(\r?\n)?\Z", line[0])  # a comment, and the end of the line
            new = instead + end[0] if instead and end else ""
            after = text[: line.start()] + new + text[line.end() :]
            if after != text:
                old = _requirements(line[0])
                _prove(REQUIREMENTS, _requirements(text), _requirements(after), old, _requirements(new))
            return after
    return None


def _conda(text: str) -> list[yaml.Node]:
    """Return the items of environment.yml that are conda packages."""
    return [node for node in _dependencies(text) if not isinstance(node.value, list)]


def _pip(text: str) -> list[yaml.Node]:
    """Return the items of environment.yml that are lines for pip."""
    sections = [node for node in _dependencies(text) if isinstance(node.value, list)]
    return [item for section in sections for _, value in section.value for item in value.value]


def _requirements(text: str) -> list[str]:
    """Return the lines of a requirement file, as pip joins and parts them (pip 26, req_file.py)."""
    return [line for line in re.sub(r"\\(\r\n|\r|\n)", "", text).splitlines() if line]


def _prove(name: str, before: Sequence[Any], after: Sequence[Any], old: Sequence[Any], new: Sequence[Any]) -> None:
    """See to it that what is read of a file is what was read of it before, with new lines for old ones in one place.

    Raises:
        HostError: it is not: the file is written in a way that is not known here (65).
    """
    pairs = enumerate(zip(before, after, strict=False))
    at = next((number for number, (was, now) in pairs if was != now), min(len(before), len(after)))
    rest = before[at + len(old) :]
    if [*after] != [*before[:at], *new, *rest] or [*before[at : at + len(old)]] != [*old]:
        line = (new or old)[0]
        said = line if isinstance(line, str) else line[-1]
        what, by_hand = ("add to", "add") if new else ("take from", "delete")
        fix = f"{by_hand} `{said}` there by hand, then: {task_command('up')}"
        raise HostError(f"{name} is written in a way that the tasks cannot {what}", fix=fix, code=ExitCode.DATA)


def _dependencies(text: str) -> Sequence[yaml.Node]:
    """Return the items of the list of dependencies, which is there: subjects/environment.py has read the file."""
    import yaml

    root: Any = yaml.compose(text, Loader=yaml.BaseLoader)
    items: Sequence[yaml.Node] = next(value.value for key, value in root.value if key.value == "dependencies")
    return items


def _read(text: str) -> list[Any]:
    """Return all that YAML reads in a text, each value behind its names; an alias is read as what it stands for."""
    import yaml

    def parts(node: Any, *names: str) -> Iterator[Any]:
        if isinstance(node, yaml.ScalarNode):
            yield *names, node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                yield from parts(value, *names, str(key.value))
        else:
            for item in node.value:
                yield from parts(item, *names)

    try:
        return list(parts(yaml.compose(text, Loader=yaml.BaseLoader)))
    except (yaml.YAMLError, RecursionError):
        return []


def _inserted(text: str, items: Sequence[yaml.Node], lines: Sequence[str], *names: str) -> str:
    """Return a text with further items after the last of some: in their column, or on their line in [a, b].

    Raises:
        HostError: there is none, or the text would not be itself and these items (65).
    """
    if not items:
        fix = f"add `- pip: [--requirement requirements.txt]` to its dependencies, then: {task_command('up')}"
        raise HostError("environment.yml has no list to add to", fix=fix, code=ExitCode.DATA)
    last = items[-1]
    at, dash = last.end_mark.index, text[text.rfind("\n", 0, last.start_mark.index) + 1 : last.start_mark.index]
    if dash.strip() == "-":
        end = _line_end(text)
        at = text.find("\n", at) + 1 or len(text)
        added = "".join(f"{dash}{line}{end}" for line in lines)
        if not text[:at].endswith("\n"):
            added = end + added
    else:
        added = "".join(f", {line}" for line in lines)
    after = text[:at] + added + text[at:]
    _prove(ENVIRONMENT, _read(text), _read(after), [], [(*names, line) for line in lines])
    return after


def _changed(text: str, items: Sequence[yaml.Node], name: str, instead: str, *names: str) -> str | None:
    """Return a text with another item for the first that names a package, or without it and its line; None = none does.

    Raises:
        HostError: the text would not be itself but for this item (65).
    """
    at = next((number for number, item in enumerate(items) if name_of(item.value) == name), None)
    if at is None:
        return None
    start, end = items[at].start_mark.index, items[at].end_mark.index
    line = text.rfind("\n", 0, start) + 1
    if not instead and text[line:start].strip() == "-":
        start, end = line, text.find("\n", end) + 1 or len(text)
    elif not instead and at:  # in [a, b]
        start = items[at - 1].end_mark.index
    elif not instead and len(items) > 1:
        end = items[1].start_mark.index
    after = text[:start] + instead + text[end:]
    if after == text:
        return text
    old, new = [(*names, items[at].value)], [(*names, instead)] if instead else []
    _prove(ENVIRONMENT, _read(text), _read(after), old, new)
    return after


def _line_end(text: str) -> str:
    """Return how the lines of a text end."""
    return "\r\n" if "\r\n" in text else "\n"


# repair


def write(after: Mapping[Path, str]) -> None:
    """Write the files whose text is another one."""
    for path, text in after.items():
        if text != _text(path):
            files.write(path, text.encode(), private=False)
