"""The files by which a person asks for packages: what they ask for, or which line of them is wrong, before a build.

docker/environment/person_files.py reads them, here and in the image.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import lock_files
import person_files
from person_files import Environment, FaultError

from host_tasks.kit import files
from host_tasks.kit.paths import ENVIRONMENT_YML, ROOT
from host_tasks.kit.words import ExitCode, HostError, path_word, task_command
from host_tasks.loop import Finding, Seen, fact, fail, ok, rule, warn
from host_tasks.setup.basics import fix_access
from host_tasks.subjects import package_lines

NAME, SOURCE = person_files.NAME, lock_files.SOURCE
OTHER_NAMES = ("environment.yaml", "environment.YML", "Environment.yml", "env.yml", "conda.yml")
LARGEST_BYTES = 2**24  # of what the container cannot write: a file of hashes is long
SHOWN = 5  # faults are told at most


# look


@fact
def text(seen: Seen) -> str | None:
    """Return the text of environment.yml; None where there is none.

    Raises:
        HostError: it cannot be read (65).
    """
    return _read(ENVIRONMENT_YML)


@fact
def beside(seen: Seen) -> Mapping[str, str]:
    """Return the texts of the files beside environment.yml that enter a build, by their names.

    Raises:
        HostError: one of them cannot be read (65).
    """
    paths = (path for pattern in (*person_files.BESIDE, *person_files.OTHERS) for path in sorted(ROOT.glob(pattern)))
    return {path.name: text for path in paths if (text := _read(path)) is not None}


@fact
def source(seen: Seen) -> str | None:
    """Return the text of src/pyproject.toml, which the container can write; None where a build has none.

    Raises:
        HostError: it cannot be read (65).
    """
    return None if (ROOT / "src").is_symlink() else _read(ROOT / SOURCE, files.LARGEST_BYTES)


@fact
def wheels(seen: Seen) -> frozenset[str]:
    """Return the wheels that enter a build."""
    return frozenset(path.name for path in (ROOT / person_files.WHEELS).glob("*.whl"))


def _read(path: Path, most: int = LARGEST_BYTES) -> str | None:
    """Return the text of a file, None where there is none; its content is in no message."""
    name = str(path.relative_to(ROOT))
    try:
        return person_files.decoded(files.read(path, below=ROOT, most=most), name)
    except FileNotFoundError:
        return None
    except FaultError as fault:
        raise _wrong(fault) from fault
    except OSError as err:
        word, fix = path_word(path), fix_access(str(path))
        if err.errno == errno.ELOOP and path.parent == ROOT:
            fix = f"cp --remove-destination $(realpath {word}) {word}"
        elif not isinstance(err, PermissionError):
            fix = f"mv {word} {word}.off"
        raise HostError(f"{name} cannot be read: {err.strerror}", fix=fix, code=ExitCode.DATA) from err


@fact
def names_at_top(seen: Seen) -> tuple[str, ...]:
    """Return the names that stand at the top of the clone."""
    return tuple(sorted(path.name for path in ROOT.iterdir()))


@fact
def asked(seen: Seen) -> Environment:
    """Return what environment.yml asks for.

    Raises:
        HostError: there is none (78), or a line of it is wrong (65).
    """
    if (written := text(seen)) is None:
        raise missing(names_at_top(seen))
    try:
        return person_files.read_environment(written)
    except FaultError as fault:
        raise _wrong(fault) from fault


def asked_packages(seen: Seen) -> str:
    """Return what environment.yml, and the files beside it that pip reads, say without their comments."""
    read_by_pip = (text for name, text in beside(seen).items() if name not in person_files.OTHERS)
    return re.sub(r"#.*", "", "\n".join([text(seen) or "", *read_by_pip]))


def missing(beside: Collection[str]) -> HostError:
    """Return the error of a project without environment.yml, by the names that lie where it should."""
    other = next((name for name in OTHER_NAMES if name in beside), "")
    fix = f"mv {path_word(ROOT / other)} {path_word(ENVIRONMENT_YML)}"
    problem = f"there is no {NAME}" + (f", but {other}" if other else "")
    return HostError(
        problem, fix=fix if other else f"git checkout -- {path_word(ENVIRONMENT_YML)}", code=ExitCode.CONFIG
    )


def _wrong(*faults: FaultError) -> HostError:
    """Return the error of lines that are wrong."""
    more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    places = " and ".join(dict.fromkeys(f"line {fault.line} of {fault.file}" for fault in faults[:SHOWN]))
    fix = f"correct {places}, then: {task_command('up')}"
    if faults[0].of_encoding:
        word = path_word(ROOT / faults[0].file)
        fix = f"iconv -f {faults[0].of_encoding} -t UTF-8 {word} >{word}.utf-8 && mv {word}.utf-8 {word}"
    return HostError("; ".join([*map(str, faults[:SHOWN]), *more]), fix=fix, code=ExitCode.DATA)


# judge


@rule("environment-yml")
def environment_yml(seen: Seen) -> Iterator[Finding]:
    """Ask for files that a build can read, and do as they are meant, before anything is built of them."""
    packages, texts = asked(seen), beside(seen)
    here = {*texts, *(f"{person_files.WHEELS}/{name}" for name in wheels(seen))}
    here |= {person_files.WHEELS} if wheels(seen) else set()
    if faults := list(person_files.pip_faults(packages, texts, here.__contains__)):
        raise _wrong(*faults)
    if line := _no_toml(source(seen) or ""):
        yield fail(f"{SOURCE}:{line}: it is no TOML", f"correct line {line} of {SOURCE}", ExitCode.DATA)
    else:
        yield ok(f"conda packages: {len(packages.conda)}, lines for pip: {len(packages.pip)}")
        yield from _of_both(packages, texts)


def _of_both(packages: Environment, texts: Mapping[str, str]) -> Iterator[Finding]:
    """Warn of each version for pip of a package that environment.yml asks of conda, which pip would replace."""

    def name(line: str, behind: str = "") -> str:
        found = re.match(rf"(?:\S+::)?([\w.-]+){behind}", line)
        return package_lines.name_of(found[1]) if found else ""

    conda = {name(spec): f"`{spec}` of {NAME}:{number}" for spec, number in packages.conda.items()}
    lines = [(NAME, number, line) for line, number in packages.pip.items()]
    for file in (file for file in texts if file.startswith("requirements")):
        lines += [(file, number, line.strip()) for number, line in enumerate(texts[file].splitlines(), 1)]
    for file, number, line in lines:
        if of_conda := conda.get(name(line, r"\s*(?:\[[^]]*\])?\s*[<>=!~]")):
            asked = line.partition("#")[0].strip()
            cause = f"{file}:{number}: pip puts `{asked}` in the place of conda's {of_conda} where that does not fit"
            yield warn(cause, f"say the version in {NAME}, and delete line {number} of {file}")


def _no_toml(text: str) -> str:
    """Return the line in which a text is no TOML, "" where it is or this Python cannot tell (before 3.11)."""
    if sys.version_info >= (3, 11):
        import tomllib

        try:
            tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as err:
            line = re.search(r"at line (\d+)", str(err))
            return line[1] if line else str(text.count("\n") + 1)
    return ""
