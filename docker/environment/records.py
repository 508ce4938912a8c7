"""What conda keeps of an environment in its conda-meta folder."""

import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from channels import without_login


def import_names(records: dict[str, dict[str, Any]], requested: set[str]) -> list[str]:
    """Return the modules and packages of Python that the requested conda packages bring."""
    names: dict[str, None] = {}
    for package in sorted(requested & set(records)):
        record = records[package]
        # A metapackage has no files: what it stands for is what it depends on.
        needed = record["depends"] if not record["files"] else []
        files = [
            *record["files"],
            *(file for each in needed for file in records.get(each.split()[0], {"files": []})["files"]),
        ]
        for file in files:
            inside = file.partition("/site-packages/")[2]
            top = inside.removesuffix("/__init__.py") if inside.endswith("/__init__.py") else inside.removesuffix(".py")
            if top and top.isidentifier() and not top.startswith("_") and (top != inside):
                names[top] = None
    return list(names)


def needed(records: dict[str, dict[str, Any]], names: Iterable[str]) -> set[str]:
    """Return the names of packages, and of all that they depend on, as far as there are records of them."""
    found: set[str] = set()
    rest = list(names)
    while rest:
        name = rest.pop()
        if name in records and name not in found:
            found.add(name)
            rest += [each.split()[0] for each in records[name]["depends"]]
    return found


def compiled_files(prefix: Path) -> dict[str, str]:
    """Return the compiled files of an environment by the source files that they are of: both as paths in the prefix."""
    found: dict[str, str] = {}
    for folder, _, names in os.walk(prefix):
        above, _, last = os.path.relpath(folder, prefix).rpartition("/")
        if last == "__pycache__":
            found |= {f"{above}/{name.partition('.')[0]}.py": f"{above}/{last}/{name}" for name in names}
    return found


def path(record: dict[str, Any], prefix: Path) -> Path:
    """Return where the record of a package is."""
    return prefix / "conda-meta" / f"{record['name']}-{record['version']}-{record['build']}.json"


def read(prefix: Path) -> dict[str, dict[str, Any]]:
    """Return the record of each package by its name."""
    found = (json.loads(each.read_text(encoding="utf-8")) for each in (prefix / "conda-meta").glob("*.json"))
    return {each["name"]: each for each in found}


def unmet(specs: Iterable[Any], known: Iterable[Any]) -> Iterator[str]:
    """Yield a line for each specification that none of the known packages meets, and why: rattler names one of them."""
    packages = list(known)
    versions: dict[str, dict[str, Any]] = {}
    for each in packages:
        versions.setdefault(each.name.normalized, {})[str(each.version)] = each.version
    for spec in specs:
        if not any(spec.matches(each) for each in packages):
            there = versions.get(spec.name.normalized, {})
            newest = sorted(there, key=there.__getitem__)[-3:]
            why = f"no such version or build, but {', '.join(newest)}" if newest else "no package of this name"
            yield f"- {spec}: {why}"


def complete(records: Iterable[dict[str, Any]], prefix: Path) -> None:
    """Make the records say what conda's own would: compiled files, and no login of a channel."""
    found = compiled_files(prefix)
    for each in records:
        extra = sorted({found[file] for file in each["files"] if file in found} - set(each["files"]))
        each["files"] += extra
        each["paths_data"]["paths"] += [{"_path": file, "path_type": "pyc_file"} for file in extra]
        each["channel"], each["url"] = without_login(each["channel"]), without_login(each["url"])
        path(each, prefix).write_text(json.dumps(each), encoding="utf-8")


def history(specs: list[str], records: Iterable[dict[str, Any]], words: dict[str, str], version: str) -> str:
    """Return conda-meta/history of an environment just made, as conda writes it (conda 24.7, history.py)."""
    names = {without_login(where).rstrip("/"): without_login(word) for where, word in words.items()}
    asked = [
        f"{without_login(channel)}{mark}{rest}" for channel, mark, rest in (spec.rpartition("::") for spec in specs)
    ]
    lines = []
    for each in records:
        channel = without_login(each["channel"]).rstrip("/")
        lines.append(
            f"+{names.get(channel, channel)}/{each['subdir']}::{each['name']}-{each['version']}-{each['build']}"
        )
    return "\n".join(
        [
            f"==> {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} <==",
            "# cmd: conda env create --file environment.yml",
            f"# conda version: {version}",
            *sorted(lines),
            f"# update specs: {json.dumps(asked)}",
            "",
        ]
    )
