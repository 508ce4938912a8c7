"""Part what the project asks for by the layer of the image that it makes.

read_files.py PROJECT OUT

OUT/conda.json   channels, conda packages and variables of environment.yml: no comment or pip package changes it;
                 with a lock, the packages that it names
OUT/apt.txt      names of system packages
OUT/pip/         the pip section as section.txt, and the files and wheels that it may name; what src/pyproject.toml
                 requires as source.txt; with a lock, what that names as locked.txt, source.txt and options.txt
OUT/own/         the project of src/pyproject.toml, for kernels, terminals, `run` and tests (own_project.py)
OUT/post-build/  postBuild, with its run bit and without the CR of a checkout of Windows
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from re import Pattern
from typing import Any

import lock_files
import own_project
import person_files
from channels import conda_settings, sources
from person_files import BESIDE, NAME, WHEELS, FaultError

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

from pip._vendor.packaging.requirements import InvalidRequirement, Requirement
from pip._vendor.packaging.utils import canonicalize_name

SOURCE_BYTES = 2**20  # of src/pyproject.toml
# Of pip's options, those that say where packages are; the others say of which kind.
PLACE = re.compile(r"\s*(?:-i|-f|--(?:extra-)?index-url|--find-links|--no-index|--trusted-host)\b")
WHERE = re.compile(rf"{PLACE.pattern}|\s*--(?:no|only)-binary\b")


def plain(dependency: str) -> str | None:
    """Return a requirement as pip is told it: a name, extras, versions and a marker; None where it is more, or none.

    Nothing in it can be a path, an address, an option or a variable to pip ("Requirements File Format").
    """
    try:
        asked = Requirement(dependency)
    except InvalidRequirement:
        return None
    marker = f" ; {asked.marker}" if asked.marker else ""
    if asked.url or not dependency.isprintable() or re.search(r"[\\$#]|\s-", f"{asked.specifier}{marker}"):
        return None
    extras = f"[{','.join(sorted(map(canonicalize_name, asked.extras)))}]" if asked.extras else ""
    return f"{canonicalize_name(asked.name)}{extras}{asked.specifier}{marker}"


def source_project(pyproject: Path) -> tuple[dict[str, Any], str]:
    """Return what an installable src/ says of itself (PEP 621), and the text; its code is no part of it.

    A notebook can write this file: it is read as data, and none of its other tables is.

    Raises:
        FaultError: the file is not in UTF-8.
        SystemExit: it is not TOML, or too large.
    """
    if not pyproject.is_file():
        return {}, ""
    if pyproject.stat().st_size > SOURCE_BYTES:
        sys.exit(f"error: {lock_files.SOURCE}: it has more than {SOURCE_BYTES} bytes")
    text = person_files.decoded(pyproject.read_bytes(), lock_files.SOURCE)
    try:
        project = tomllib.loads(text).get("project", {})
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        sys.exit(f"error: {lock_files.SOURCE}: {err}")
    return project if isinstance(project, dict) else {}, text


def source_dependencies(project: dict[str, Any], text: str) -> list[str]:
    """Return what an installable src/ requires; its code needs no installation, for src/ is on the path.

    Raises:
        SystemExit: it requires what is no plain requirement.
    """
    found = {str(each): plain(str(each)) for each in project.get("dependencies", [])}
    for each in (each for each, requirement in found.items() if requirement is None):
        number = next((number for number, line in enumerate(text.splitlines(), 1) if each in line), 1)
        allowed = "a name with extras, versions and a marker is all that can stand there"
        sys.exit(f"error: {lock_files.SOURCE}:{number}: {each!a}: {allowed}")
    return [requirement for requirement in found.values() if requirement]


def where_lines(folder: Path, lines: Pattern[str] = WHERE, name: str = "section.txt") -> Iterator[str]:
    """Yield the lines of a requirement file, and of those that it names, that say where packages are."""
    for line in (folder / name).read_text(encoding="utf-8").splitlines():
        if lines.match(line):
            yield f"{line.strip()}\n"
        elif (named := person_files.NAMES_A_FILE.match(line.strip())) and (folder / named[1]).is_file():
            yield from where_lines(folder, lines, named[1])


def source_file(folder: Path, requirements: Sequence[str]) -> str:
    """Return source.txt: from where pip's other packages are, and wheels only, which run nothing of their own."""
    lines = "".join(f"{each}\n" for each in requirements)
    return "".join(where_lines(folder, PLACE)) + f"--only-binary :all:\n{lines}" if lines else ""


def use_lock(project: Path, out: Path) -> None:
    """Put what the lock names in the place of what is asked for, where there is a lock."""
    if not any((project / lock_files.FOLDER).rglob("*.txt")):
        return
    asked = json.loads((out / "conda.json").read_text(encoding="utf-8"))
    if found := lock_files.read(project, sources(asked["channels"], conda_settings())):
        asked["locked"], text = found
        (out / "conda.json").write_text(json.dumps(asked, indent=1), encoding="utf-8")
        text, _, of_source = text.partition(lock_files.OF_SOURCE)
        (out / "pip" / "source.txt").write_text(source_file(out / "pip", of_source.splitlines()), encoding="utf-8")
        # Where packages are is read from the person's own lines: a lock has no login.
        locked = [line for line in text.splitlines(keepends=True) if not WHERE.match(line)]
        (out / "pip" / "locked.txt").write_text("".join([*where_lines(out / "pip"), *locked]), encoding="utf-8")
        (out / "pip" / "options.txt").write_text("--no-deps --require-hashes\n", encoding="utf-8")


def checked(project: Path) -> tuple[person_files.Environment, Mapping[str, str]]:
    """Return what is asked for, and the texts beside environment.yml.

    Raises:
        FaultError: a file cannot be read.
        SystemExit: there is no environment.yml, or lines for pip cannot be done as they are meant.
    """
    source = project / NAME
    if not source.is_file():
        sys.exit(f"error: there is no {NAME}")
    environment = person_files.read_environment(person_files.decoded(source.read_bytes(), NAME))
    paths = (path for pattern in (*BESIDE, *person_files.OTHERS) for path in project.glob(pattern))
    beside = {path.name: person_files.decoded(path.read_bytes(), path.name) for path in paths}
    if faults := list(person_files.pip_faults(environment, beside, lambda path: (project / path).exists())):
        sys.exit("\n".join(f"error: {fault}" for fault in faults))
    return environment, beside


def write_parts(project: Path, out: Path) -> None:
    """Write the parts, as they are asked for.

    Raises:
        SystemExit: a line of the project's files is wrong.
    """
    try:
        environment, beside = checked(project)
        source, text = source_project(project / "pyproject.toml")
        required = source_dependencies(source, text)
        own_project.write(source, required, text, out / "own")
    except FaultError as fault:
        sys.exit(f"error: {fault}")
    (out / "pip").mkdir(parents=True)
    (out / "pip" / "options.txt").touch()
    conda = {"channels": [*environment.channels], "dependencies": [*environment.conda]}
    asked = {**conda, "variables": environment.variables}
    (out / "conda.json").write_text(json.dumps(asked, indent=1), encoding="utf-8")
    for name in beside.keys() - person_files.OTHERS:
        (out / "pip" / name).write_text(beside[name], encoding="utf-8")
    (out / "pip" / WHEELS).mkdir()
    for wheel in project.glob(f"{WHEELS}/*.whl"):
        (out / "pip" / WHEELS / wheel.name).write_bytes(wheel.read_bytes())
    (out / "pip" / "section.txt").write_text("".join(f"{line}\n" for line in environment.pip), encoding="utf-8")
    (out / "pip" / "requirements.txt").touch()  # who deletes it asks pip for nothing
    (out / "post-build").mkdir()
    if "postBuild" in beside:
        script = out / "post-build" / "postBuild"
        script.write_text(beside["postBuild"].replace("\r\n", "\n"), encoding="utf-8")
        script.chmod(0o755)
    names = [word for line in beside.get("apt.txt", "").splitlines() for word in line.partition("#")[0].split()]
    (out / "apt.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    (out / "pip" / "source.txt").write_text(source_file(out / "pip", required), encoding="utf-8")


def main(project: Path, out: Path) -> None:
    """Write the parts, by the lock where there is one."""
    write_parts(project, out)
    use_lock(project, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
