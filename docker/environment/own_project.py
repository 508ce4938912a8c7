"""The project of src/pyproject.toml as an editable one that is installed: its metadata and commands, as data.

A notebook can write that file, so no build backend runs: what PEP 621 has of it is read, and its code stays in src/.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from re import Pattern
from typing import Any

from lock_files import SOURCE
from person_files import FaultError
from pip._vendor.packaging.version import InvalidVersion, Version

WHERE = "file:///workspace/src"  # a link of the image to ~/app, since a layer that all share knows no user
# What a backend would make up at each build, and no data tells.
UNKNOWN = "0+unknown"
NAME = re.compile(r"(?ai)[a-z0-9](?:[\w.-]*[a-z0-9])?")  # PyPA, "Names and normalization"
# PyPA, "Entry points specification"; a command is a file too.
_MODULE = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
COMMAND = re.compile(r"(?a)\w[\w.-]*")
GROUP = re.compile(r"(?a)\w+(?:\.\w+)*")
ENTRY = re.compile(r"[^\s=\[][^=]*")
FUNCTION = re.compile(rf"(?a)(?P<module>{_MODULE}):(?P<called>(?P<name>[^\W\d]\w*)(?:\.[^\W\d]\w*)*)")
OBJECT = re.compile(rf"(?a){_MODULE}(?::{_MODULE})?")
SCRIPTS = {"scripts": "console_scripts", "gui-scripts": "gui_scripts"}
SCRIPT = """\
#!/opt/env/bin/python
import sys

from {module} import {name}

if __name__ == "__main__":
    sys.exit({called}())
"""


def _checked(value: Any, pattern: Pattern[str], what: str, text: str) -> str:
    """Return a value that is as it has to be.

    Raises:
        FaultError: it is not.
    """
    if not isinstance(value, str) or not value.isprintable() or not pattern.fullmatch(value):
        number = next((number for number, line in enumerate(text.splitlines(), 1) if str(value) in line), 1)
        raise FaultError(SOURCE, number, f"{value!a} is no {what}")
    return value


def _version(project: dict[str, Any], text: str) -> str:
    """Return the version in its normal form."""
    if "version" not in project:
        return UNKNOWN
    try:
        return str(Version(_checked(project["version"], re.compile(r".+"), "version", text)))
    except InvalidVersion:
        return _checked(project["version"], re.compile(r"(?!)"), "version", text)


def _entries(project: dict[str, Any], text: str) -> dict[str, dict[str, str]]:
    """Return the entry points that there are, by group and name."""
    others = project.get("entry-points")
    tables = {_checked(key, GROUP, "group of entry points", text): table for key, table in _items(others)}
    tables |= {group: project.get(key) for key, group in SCRIPTS.items()}
    found = {}
    for group, table in tables.items():
        name, value, what = ENTRY, OBJECT, "`module` or `module:object`"
        if group in SCRIPTS.values():
            name, value, what = COMMAND, FUNCTION, "`module:function`"
        found[group] = {
            _checked(key, name, "name of a command or an entry point", text): _checked(each, value, what, text)
            for key, each in _items(table)
        }
    return {group: table for group, table in found.items() if table}


def _items(table: Any) -> Iterable[tuple[str, Any]]:
    """Return the items of a table, none of what is no table."""
    return table.items() if isinstance(table, dict) else ()


def write(project: dict[str, Any], requirements: list[str], text: str, out: Path) -> None:
    """Write lib/ with the project's metadata, for Python's path, and bin/ with its commands; both empty without a name.

    Raises:
        FaultError: its name, version or entry points are none.
    """
    for folder in ("lib", "bin"):
        (out / folder).mkdir(parents=True)
    if "name" not in project:
        return
    name, version = _checked(project["name"], NAME, "name of a project", text), _version(project, text)
    entries = _entries(project, text)
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requirements]
    files = {
        "METADATA": "".join(f"{line}\n" for line in metadata),
        "INSTALLER": "conda-pip-docker\n",
        # PEP 610: `pip list` and `pip freeze` then say that it is editable, and where.
        "direct_url.json": json.dumps({"url": WHERE, "dir_info": {"editable": True}}),
    }
    if entries:
        lines = (
            [f"[{group}]", *(f"{key} = {value}" for key, value in table.items())] for group, table in entries.items()
        )
        files["entry_points.txt"] = "".join(f"{line}\n" for group in lines for line in group)
    info = out / "lib" / f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}.dist-info"
    info.mkdir()
    for file, content in files.items():
        (info / file).write_text(content, encoding="utf-8")
    commands = {key: value for group in SCRIPTS.values() for key, value in entries.get(group, {}).items()}
    for command, value in commands.items():
        if parts := FUNCTION.fullmatch(value):
            script = out / "bin" / command
            script.write_text(SCRIPT.format(**parts.groupdict()), encoding="utf-8")
            script.chmod(0o755)
    # PEP 376: each file that belongs to it; those in src/ are the person's.
    record = [f"{info.name}/{file},," for file in (*files, "RECORD")] + [f"../bin/{command},," for command in commands]
    (info / "RECORD").write_text("".join(f"{line}\n" for line in record), encoding="utf-8")
