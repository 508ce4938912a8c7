"""What a person's files ask for, or which of their lines is wrong: one reader, on the host and in the build."""

import codecs
import difflib
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import yaml

NAME = "environment.yml"
BESIDE = ("requirements*.txt", "constraints*.txt")
WHEELS = "wheels"  # the folder beside environment.yml whose wheels enter the build
OTHERS = ("apt.txt", "postBuild")  # further files of text that enter it
# Those of conda 24.7 (env/env.py), which passes over any other, and two of conda-lock's.
KEYS = ("name", "channels", "dependencies", "variables", "prefix", "platforms", "category")

# A conda package specification (conda 24.7, match_spec.py): [channel::]name[version[build]], or name[key=value, ...].
_SPECIFICATION = re.compile(r"(?:(?P<channel>\S+)::)?(?P<name>[\w.*-]+)\s*(?P<rest>.*)")
_CLAUSE = re.compile(r"\(*(?:==|!=|>=|<=|~=|=|<|>)?\s*[\w.*+!-]+\)*")
# conda-build's selectors ("Preprocessing selectors") of what is not Linux; conda takes them for comments.
_SELECTOR = re.compile(r"#\s*(\[(?!.*\b(?:not|linux|unix)\b)[^\]]*\b(?:win|osx)(?:32|64)?\b[^\]]*\])\s*$")

# pip 26, "Requirements File Format": comments, options that name a file or a folder, and variables.
_COMMENT = re.compile(r"(?:^|\s+)#.*$")
NAMES_A_FILE = re.compile(r"(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)")
_FINDS_LINKS = re.compile(r"(?:^|\s)(?:-f|--find-links)[\s=]*(\S+)")
_EDITABLE = re.compile(r"(?:-e|--editable)[\s=]*(\S+)")
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")
_PATH = re.compile(
    r"(?:(?P<name>[\w.-]+)\s*(?:\[[^\]]*\])?\s*@\s*)?(?P<path>file:\S*|[^\s;@<>=!~\[]*[/\\][^\s;]*|\.|\S+\.whl)"
)


class FaultError(Exception):
    """What is wrong with a file, and in which line, from 1."""

    def __init__(self, file: str, line: int, what: str, of_encoding: str = "") -> None:
        self.file, self.line, self.of_encoding = file, line, of_encoding  # "" where that is not what is wrong
        super().__init__(f"{file}:{line}: {what}")


@dataclass(frozen=True)
class Environment:
    """What environment.yml asks for, each with its line from 1, and as it is written, so that 3.10 stays 3.10."""

    channels: Mapping[str, int]
    conda: Mapping[str, int]  # the package specifications, without the pip section
    pip: Mapping[str, int]  # the lines of the pip section
    variables: Mapping[str, str]


def decoded(content: bytes, name: str) -> str:
    """Return the text of a file: UTF-8, with a byte order mark or without.

    Raises:
        FaultError: it is in another encoding.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FaultError(name, 1, "the file is in UTF-16, and has to be in UTF-8", "UTF-16")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = content.count(b"\n", 0, err.start) + 1
        what = f"the byte {content[err.start]:#x} is no UTF-8, which the file has to be in"
        raise FaultError(name, line, what) from err
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise FaultError(name, line, "a NUL: the file is no text, or in UTF-16, and has to be in UTF-8")
    return text


def read_environment(text: str) -> Environment:
    """Return what an environment.yml asks for.

    Raises:
        FaultError: a line of it is wrong.
    """
    keys = _parsed(text)
    if "dependencies" not in keys:
        raise FaultError(NAME, 1, "there is no `dependencies:`")
    items, pip = _items(keys["dependencies"], "dependencies"), list[yaml.Node]()
    for item in items:
        pip += [] if isinstance(item, yaml.ScalarNode) else _pip_section(item)
    asked = Environment(
        channels={_scalar(node, "a channel"): _line(node) for node in _items(keys.get("channels"), "channels")},
        conda={_specification(node): _line(node) for node in items if isinstance(node, yaml.ScalarNode)},
        pip={_scalar(node, "a pip package"): _line(node) for node in pip},
        variables=_variables(keys.get("variables")),
    )
    if not asked.conda and not asked.pip:
        raise _fault(keys["dependencies"], "`dependencies:` has no packages")
    lines = re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text)  # as YAML 1.1 counts them
    for number in (*asked.conda.values(), *asked.pip.values()):
        if selector := _SELECTOR.search(lines[number - 1]):
            what = f"`{selector[1]}` is a comment to conda, which takes the line everywhere: remove the line"
            raise FaultError(NAME, number, f"{what}, for the image is Linux")
    return asked


def _variables(node: yaml.Node | None) -> dict[str, str]:
    """Return the variables by their names."""
    if node is None or _is_null(node):
        return {}
    named = _mapping(node, "variables", "`variables:` is not lines of `NAME: value`")
    return {name: _scalar(value, f"the variable {name}") for name, value in named.items()}


def _parsed(text: str) -> dict[str, yaml.Node]:
    """Return the values of the file's one mapping by their names; their nodes know their lines."""
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.reader.ReaderError as err:
        line = text.count("\n", 0, err.position) + 1
        raise FaultError(NAME, line, f"the character {err.character!r} is not text") from err
    except yaml.MarkedYAMLError as err:
        mark, what = err.problem_mark or err.context_mark, str(err.problem)
        number = mark.line if mark else 0
        line_text = "".join(text.splitlines()[number : number + 1])
        if "\t" in line_text[: len(line_text) - len(line_text.lstrip())]:
            what = "a tab: indent with spaces"
        elif isinstance(err, yaml.parser.ParserError) or "mapping values are not allowed" in what:
            what = f"`{line_text.strip()}` does not fit the lines above: see its indentation, its `-` and its `:`"
        raise FaultError(NAME, number + 1, what) from err
    if node is None:
        raise FaultError(NAME, 1, "the file is empty: it needs `dependencies:` and a list of packages")
    return _mapping(node, "this file", "there is no `dependencies:` and no `channels:` here", known=KEYS)


def _pip_section(item: yaml.Node) -> list[yaml.Node]:
    """Return the lines of the pip section; another mapping or a list is none."""
    keys = _mapping(item, "the pip section", "a list in the list: a package is one line, `- name`")
    for name, value in keys.items():
        if name != "pip":
            version = str(value.value) if isinstance(value, yaml.ScalarNode) else ""
            package = f"{name}{' ' if version[:1] in '<>=!~' else '='}{version}" if version else name
            written = f"{name}: {version}".rstrip()
            what = f"`{written}` is a mapping: a package is written `{package}`"
            if re.match(r"sel\(", name):
                right = f"write `{version}`" if re.search("linux|unix", name) else "remove the line"
                what = f"`{written}` is a selector, which conda does not read: {right}, for the image is Linux"
            raise _fault(item, what)
    return _items(keys["pip"], "pip")


def _mapping(node: yaml.Node | None, what: str, otherwise: str, known: tuple[str, ...] = ()) -> dict[str, yaml.Node]:
    """Return a mapping's values by their names, each of which stands once; otherwise = what a node is that is none."""
    if not isinstance(node, yaml.MappingNode):
        raise _fault(node, otherwise)
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _scalar(key, f"a name in {what}")
        if name in found:
            raise _fault(key, f"`{name}:` is there twice, first in line {_line(found[name])}")
        if known and name not in known:
            meant = difflib.get_close_matches(name, known, 1, 0.8)
            instead = f": write `{meant[0]}:`" if meant else ", and conda would pass over it"
            if name == "pip":
                instead = ": its place is in the list of `dependencies:`, as `- pip:`"
            raise _fault(key, f"`{name}:` is no key of environment.yml{instead}")
        found[name] = value
    return found


def _items(node: yaml.Node | None, name: str) -> list[yaml.Node]:
    """Return the items of a list; a name without a value is an empty one."""
    if node is None or _is_null(node):
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise _fault(node, f"`{name}:` is not a list: write each of its lines as `- ...`")
    return list(node.value)


def _scalar(node: yaml.Node, what: str) -> str:
    """Return a plain value."""
    if not isinstance(node, yaml.ScalarNode) or not str(node.value).strip():
        raise _fault(node, f"{what} has to be one word or line")
    return str(node.value)


def _specification(node: yaml.ScalarNode) -> str:
    """Return a conda package specification."""
    spec = _scalar(node, "a package").strip()
    if "://" in spec or "[" in spec:  # an address of a package, or name[version='>=1']: conda's business
        return spec
    match = _SPECIFICATION.fullmatch(spec)
    # The rest is a version and a build: `1.2 py_0`, `=1.2=py_0`, `>=1, <2`.
    version, _, build = re.sub(r"\s*([,|<>=!~]+)\s*", r"\1", match["rest"] if match else "?").partition(" ")
    clauses = re.split(r"[,|]", re.sub(r"(?<=[\w*])=(?=[\w*]+$)", ",", version)) if version else []
    if not match or not all(map(_CLAUSE.fullmatch, clauses)) or not re.fullmatch(r"[\w.*+ ]*", build):
        raise _fault(node, f"`{spec}` is no package: write `name`, `name=1.2` or `name >=1.2,<2`")
    return spec


def _is_null(node: yaml.Node) -> bool:
    """Return whether nothing is written, or YAML's word for it."""
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in ("", "~", "null", "Null", "NULL")


def _line(node: yaml.Node) -> int:
    """Return the line of a node, from 1."""
    return int(node.start_mark.line) + 1


def _fault(node: yaml.Node | None, what: str) -> FaultError:
    """Return what is wrong with a node of environment.yml."""
    return FaultError(NAME, _line(node) if node else 1, what)


def pip_faults(environment: Environment, beside: Mapping[str, str], has: Callable[[str], bool]) -> Iterator[FaultError]:
    """Yield the lines for pip that a build cannot do as they are meant.

    Beside environment.yml are texts by name; `has` tells whether a path from there, with /, enters the build.
    """
    written = [(NAME, number, line) for line, number in environment.pip.items()]
    for name, text in beside.items():
        if name not in OTHERS:
            written += [(name, number, line) for number, line in enumerate(text.splitlines(), 1)]
    named: dict[str, list[str]] = {}
    for name, _, line in written:
        if leads := NAMES_A_FILE.match(line.strip()):
            named.setdefault(name, []).append(posixpath.normpath(leads[1]))
    for name, number, line in written:
        said = _COMMENT.sub("", line).rstrip("\\ ").strip()
        leads, what = NAMES_A_FILE.match(said), _pip_fault(said, has)
        if leads and name in _reached(posixpath.normpath(leads[1]), named):
            what = f"`{said}` leads back to {name}, which pip refuses: remove the line"
        if what:
            yield FaultError(name, number, what)


def _reached(name: str, named: Mapping[str, list[str]]) -> set[str]:
    """Return a file and all that it leads to."""
    reached, left = set[str](), [name]
    while left:
        if (file := left.pop()) not in reached:
            reached.add(file)
            left += named.get(file, [])
    return reached


def _pip_fault(line: str, has: Callable[[str], bool]) -> str:
    """Return what is wrong with a line for pip, "" where nothing is."""

    def lacks(path: str) -> bool:
        own = path.removeprefix("file:").removeprefix("./").rstrip("/")
        return own.startswith("//") or ("://" not in own and not has(own))

    if variable := _VARIABLE.search(line):
        return (
            f"{variable[0]} is not set in a build, which is handed no variable but this machine's pip settings: "
            "name the index there, with its login"
        )
    # A project that has deleted requirements.txt asks pip for nothing.
    if (named := NAMES_A_FILE.match(line)) and named[1] != "requirements.txt" and lacks(named[1]):
        return f"{named[1]} is not in the build: it takes {' and '.join(BESIDE)} beside {NAME}"
    if (links := _FINDS_LINKS.search(line)) and lacks(links[1]):
        return (
            f"{links[1]} is not in the build, and pip would take its packages from PyPI: put the wheels into {WHEELS}/"
        )
    if editable := _EDITABLE.match(line):
        if "://" in editable[1]:
            return f"an image keeps no working copy: write `{editable[1]}` without -e"
        return f"`{line}` is not in the build: src/ can be imported without it"
    if line.startswith("-") or not (local := _PATH.match(line)) or not lacks(local["path"]):
        return ""
    if local["name"]:
        return f"`{local['path']}` is a file of another machine: write `{local['name']}` and its version"
    return f"`{line}` is not in the build: src/ can be imported without it, and the place of a wheel is {WHEELS}/"
