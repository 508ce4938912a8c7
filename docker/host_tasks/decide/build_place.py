"""Which line of which file a failed build is about: by what a program names in its own form of words, never by search.

A word such as `pip` stands in many a message; a line is blamed only for the package, file or channel that is at fault.
The forms are those of decide/build_failure.py's programs.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from host_tasks.decide.environment import NAME, Environment

Place = tuple[str, int]  # a file, from the clone's root, and a line of it, from 1

_WORD = r"[A-Za-z0-9][\w.+-]*"
# "(from -r b.txt (line 2))", "-r b.txt (line 2)", "(from line 1 of d.txt)": pip 26, req_file.py and factory.py.
_FROM = re.compile(r"-[rc] (?:\S*/)?(\S+) \(line (\d+)\)")
_FROM_LINE = re.compile(r"\(from line (\d+) of (?:\S*/)?(\S+)\)")
_PIP = re.compile(
    rf"requirement [^(]*\(from ({_WORD})\)|No matching distribution found for ({_WORD})"
    rf"|(?:Failed to build|Failed building wheel for) '?({_WORD})|({_WORD}) has to be compiled"
)
_CONFLICT = re.compile(r"Cannot install (.+?) because")
_APT = re.compile(rf"Unable to locate package ({_WORD})|Package '({_WORD})' has no installation candidate")
_CONDA = re.compile(rf"No candidates were found for ({_WORD})|nothing provides requested ({_WORD})")
_ROOT = re.compile(rf"[├└]─ ({_WORD})")  # rattler's and libmamba's trees: what was asked for; its branches were not
_LISTED = re.compile(r"(?:ResolvePackageNotFound|not available from current channels): (.*)")
_ADDRESS = re.compile(r"https?://[^\s)'\"]+")


@dataclass(frozen=True)
class Files:
    """What a build is made from, as far as a line of it can be at fault."""

    environment: Environment
    texts: Mapping[str, str]  # of requirements*.txt, constraints*.txt and apt.txt


def places(cause: str, said: Sequence[str], files: Files) -> list[Place]:
    """Return the lines that a cause is about, the first one first; `said` is all that the failed step printed."""
    found = [
        *(_in_file(name, int(line), files) for name, line in _FROM.findall(cause)),
        *(_in_file(name, int(line), files) for line, name in _FROM_LINE.findall("\n".join(said))),
        *_of_pip([*_named(_PIP, _parent(said) or cause), *_in_conflict(cause)], files),
        *_of_conda(cause, [match[1] for match in map(_ROOT.match, said) if match], files),
        *_of_texts(_named(_APT, cause), {"apt.txt": files.texts.get("apt.txt", "")}, str),
        *_of_channel(_ADDRESS.findall(cause), files.environment),
    ]
    return list(dict.fromkeys(place for place in found if place))


def readable(cause: str, files: Files) -> str:
    """Return a cause in which pip's names of our files are those of the clone."""

    def written(match: "re.Match[str]") -> str:
        place = _in_file(match[1], int(match[2]), files)
        return f"{place[0]}:{place[1]}" if place else match[0]

    return _FROM.sub(written, cause)


def _in_file(name: str, line: int, files: Files) -> Place | None:
    """Return where a line of a file is that the build has; section.txt is the pip section (read_files.py)."""
    if name != "section.txt":
        return (name, line) if name in files.texts else None
    lines = files.environment.pip_lines
    return (NAME, lines[line - 1]) if line <= len(lines) else ("src/pyproject.toml", 1)


def _parent(said: Sequence[str]) -> str:
    """Return the line of pip that names who requires what cannot be found, "" where the files do."""
    lines = [line for line in said if "satisfies the requirement" in line]
    return lines[-1] if lines and re.search(rf"\(from (?!versions:){_WORD}\)", lines[-1]) else ""


def _in_conflict(cause: str) -> list[str]:
    """Return the names that pip cannot install together: `a==1, b and c>=2`."""
    items = [item for text in _CONFLICT.findall(cause) for item in re.split(r", | and ", text)]
    return [match[0] for match in map(re.compile(_WORD).match, items) if match]


def _named(pattern: "re.Pattern[str]", text: str) -> list[str]:
    """Return what the groups of a pattern hold, in the order of the text."""
    return [next(filter(None, match.groups())) for match in pattern.finditer(text)]


def _of_pip(names: Iterable[str], files: Files) -> Iterator[Place]:
    """Yield the lines that ask pip for packages."""
    section = dict(zip(files.environment.pip_lines, files.environment.pip, strict=True))
    texts = {name: text for name, text in files.texts.items() if name != "apt.txt"}
    for name in map(_normalized, names):
        yield from ((NAME, line) for line, text in section.items() if _requirement(text) == name)
        yield from _of_texts([name], texts, _requirement)


def _of_texts(names: Iterable[str], texts: Mapping[str, str], read: Callable[[str], str]) -> Iterator[Place]:
    """Yield the lines of files on which one of the names stands, as `read` reads a line."""
    for name in names:
        for file, text in texts.items():
            for number, line in enumerate(text.splitlines(), 1):
                if read(line.partition("#")[0].strip()) == name:
                    yield file, number


def _of_conda(cause: str, roots: Sequence[str], files: Files) -> Iterator[Place]:
    """Yield the lines of environment.yml that ask for what conda's solvers name, and for the roots of their trees."""
    listed = [item.strip() for text in _LISTED.findall(cause) for item in text.split(";")]
    names = [*roots, *_named(_CONDA, cause), *(match[0] for item in listed if (match := re.match(_WORD, item)))]
    asked = {_conda_name(spec): line for spec, line in files.environment.lines.items()}
    yield from ((NAME, asked[name.lower()]) for name in names if name.lower() in asked)


def _of_channel(addresses: Iterable[str], environment: Environment) -> Iterator[Place]:
    """Yield the lines of the channels that addresses belong to."""
    for address in addresses:
        for channel, line in zip(environment.channels, environment.channel_lines, strict=True):
            if address.startswith(f"{channel.rstrip('/')}/") or f"/{channel}/" in address:
                yield NAME, line


def _conda_name(spec: str) -> str:
    """Return the name in a conda package specification: [channel::]name[ version]."""
    match = re.match(_WORD, spec.rpartition("::")[2])
    return match[0].lower() if match else ""


def _requirement(line: str) -> str:
    """Return the name in a requirement (PEP 508), normalized; "" in an option, a path or an address."""
    match = re.match(r"([A-Za-z0-9][\w.-]*)\s*(?:$|[\[<>=!~;@(\s])", line)
    return _normalized(match[1]) if match else ""


def _normalized(name: str) -> str:
    """Return a name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
