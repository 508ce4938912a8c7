"""Part what the project asks for by the layer of the image that it makes.

read_files.py PROJECT OUT

OUT/conda.json   channels, conda packages and variables of environment.yml: no comment or pip package changes it;
                 with a lock, the packages that it names
OUT/apt.txt      names of system packages
OUT/pip/         the pip section as section.txt, and the files that it may name; what src/pyproject.toml requires as
                 source.txt; with a lock, what that names as both, and options.txt for pip
OUT/post-build/  postBuild, with its run bit and without the CR of a checkout of Windows
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from re import Pattern
from typing import Any

import lock_files
import yaml
from channels import conda_settings, sources

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

from pip._vendor.packaging.requirements import InvalidRequirement, Requirement
from pip._vendor.packaging.utils import canonicalize_name

SOURCE_BYTES = 2**20  # of src/pyproject.toml
BESIDE = ("requirements*.txt", "constraints*.txt")
# pip 26, "Requirements File Format": these options name a file, relative to the one that they stand in.
NAMES_A_FILE = re.compile(r"\s*(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)")
# Of these lines, those that say where packages are; the others say of which kind.
PLACE = re.compile(r"\s*(?:-i|-f|--(?:extra-)?index-url|--find-links|--no-index|--trusted-host)\b")
WHERE = re.compile(rf"{PLACE.pattern}|\s*--(?:no|only)-binary\b")
IS_A_FOLDER = re.compile(r"\s*(?:-e\b|--editable\b|\.{0,2}/|file:|\.\s*$)")


def read_environment(text: str) -> dict[str, Any]:
    """Return environment.yml; every scalar as it is written, so that 3.10 stays 3.10.

    Raises:
        SystemExit: it is not YAML, or no mapping with a list of dependencies.
    """
    try:
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 # it makes strings, lists and mappings only
    except yaml.MarkedYAMLError as err:
        line = err.problem_mark.line + 1 if err.problem_mark else 1
        sys.exit(f"error: environment.yml:{line}: {err.problem}")
    if not isinstance(document, dict) or not isinstance(document.get("dependencies"), list):
        sys.exit("error: environment.yml: there is no list `dependencies:`")
    return document


def conda_part(document: dict[str, Any]) -> dict[str, Any]:
    """Return what the conda packages depend on."""
    return {
        "channels": document.get("channels") or [],
        "dependencies": [each for each in document["dependencies"] if isinstance(each, str)],
        "variables": document.get("variables") or {},
    }


def pip_lines(document: dict[str, Any]) -> list[str]:
    """Return the lines of the pip section."""
    sections = [each["pip"] for each in document["dependencies"] if isinstance(each, dict) and each.get("pip")]
    return [line for section in sections for line in section]


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


def source_dependencies(pyproject: Path) -> list[str]:
    """Return what an installable src/ requires (PEP 621); its code needs no installation, for src/ is on the path.

    A notebook can write this file: it is read as data, and none of its other tables is.

    Raises:
        SystemExit: the file is not TOML, too large, or requires what is no plain requirement.
    """
    if not pyproject.is_file():
        return []
    if pyproject.stat().st_size > SOURCE_BYTES:
        sys.exit(f"error: src/pyproject.toml: it has more than {SOURCE_BYTES} bytes")
    try:
        text = pyproject.read_text(encoding="utf-8")
        project = tomllib.loads(text).get("project", {})
        dependencies = project.get("dependencies", []) if isinstance(project, dict) else []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        sys.exit(f"error: src/pyproject.toml: {err}")
    found = {str(each): plain(str(each)) for each in dependencies}
    for each in (each for each, requirement in found.items() if requirement is None):
        number = next((number for number, line in enumerate(text.splitlines(), 1) if each in line), 1)
        allowed = "a name with extras, versions and a marker is all that can stand there"
        sys.exit(f"error: src/pyproject.toml:{number}: {each!a}: {allowed}")
    return [requirement for requirement in found.values() if requirement]


def where_lines(folder: Path, lines: Pattern[str] = WHERE, name: str = "section.txt") -> Iterator[str]:
    """Yield the lines of a requirement file, and of those that it names, that say where packages are."""
    for line in (folder / name).read_text(encoding="utf-8-sig").splitlines():
        if lines.match(line):
            yield f"{line.strip()}\n"
        elif (named := NAMES_A_FILE.match(line)) and (folder / named[1]).is_file():
            yield from where_lines(folder, lines, named[1])


def source_file(folder: Path, requirements: str) -> str:
    """Return source.txt: from where pip's other packages are, and wheels only, which run nothing of their own."""
    return "".join(where_lines(folder, PLACE)) + f"--only-binary :all:\n{requirements}" if requirements else ""


def not_taken(folder: Path) -> Iterator[str]:
    """Yield one line for each file or folder that a requirement file names and the build does not have."""
    for path in sorted(folder.iterdir()):
        shown = "environment.yml, pip section" if path.name == "section.txt" else path.name
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
            named = NAMES_A_FILE.match(line)
            if named and "://" not in named[1] and not (folder / named[1]).is_file():
                yield f"{shown}:{number}: {named[1]} is not in the build: it takes {' and '.join(BESIDE)} beside it"
            elif IS_A_FOLDER.match(line):
                yield f"{shown}:{number}: `{line.strip()}` is not in the build: src/ can be imported without it"


def use_lock(project: Path, out: Path) -> None:
    """Put what the lock names in the place of what is asked for, where there is a lock."""
    if not (project / lock_files.FOLDER).is_dir():
        return
    asked = json.loads((out / "conda.json").read_text(encoding="utf-8"))
    if found := lock_files.read(project, sources(asked["channels"], conda_settings())):
        asked["locked"], text = found
        (out / "conda.json").write_text(json.dumps(asked, indent=1), encoding="utf-8")
        text, _, of_source = text.partition(lock_files.OF_SOURCE)
        (out / "pip" / "source.txt").write_text(source_file(out / "pip", of_source), encoding="utf-8")
        (out / "pip" / "section.txt").write_text(text, encoding="utf-8")
        (out / "pip" / "options.txt").write_text("--no-deps --require-hashes\n", encoding="utf-8")


def write_parts(project: Path, out: Path) -> None:
    """Write the parts, as they are asked for."""
    source = project / "environment.yml"
    if not source.is_file():
        sys.exit("error: there is no environment.yml")
    document = read_environment(source.read_text(encoding="utf-8-sig"))
    (out / "pip").mkdir(parents=True)
    (out / "pip" / "options.txt").touch()
    (out / "conda.json").write_text(json.dumps(conda_part(document), indent=1), encoding="utf-8")
    for pattern in BESIDE:
        for path in project.glob(pattern):
            (out / "pip" / path.name).write_bytes(path.read_bytes())
    (out / "pip" / "section.txt").write_text("".join(f"{line}\n" for line in pip_lines(document)), encoding="utf-8")
    (out / "pip" / "requirements.txt").touch()  # who deletes it asks pip for nothing
    (out / "post-build").mkdir()
    if (project / "postBuild").is_file():
        script = out / "post-build" / "postBuild"
        script.write_bytes((project / "postBuild").read_bytes().replace(b"\r\n", b"\n"))
        script.chmod(0o755)
    packages = project / "apt.txt"
    text = packages.read_text(encoding="utf-8-sig") if packages.is_file() else ""
    names = [word for line in text.splitlines() for word in line.partition("#")[0].split()]
    (out / "apt.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    if faults := list(not_taken(out / "pip")):
        sys.exit("\n".join(f"error: {fault}" for fault in faults))
    required = "".join(f"{each}\n" for each in source_dependencies(project / "pyproject.toml"))
    (out / "pip" / "source.txt").write_text(source_file(out / "pip", required), encoding="utf-8")


def main(project: Path, out: Path) -> None:
    """Write the parts, by the lock where there is one."""
    write_parts(project, out)
    use_lock(project, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
