"""Rules about environment.yml: what it asks for, or which line of it is wrong, before anything is built.

The image reads the file again by itself (docker/environment/read_files.py), for plain Docker builds without us.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import yaml

from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError

NAME = "environment.yml"
OTHER_NAMES = ("environment.yaml", "environment.YML", "Environment.yml", "env.yml", "conda.yml")

# A conda package specification (conda 24.7, match_spec.py): [channel::]name[version[build]], or name[key=value, ...].
_NAME = re.compile(r"(?:(?P<channel>\S+)::)?(?P<name>[\w.*-]+)\s*(?P<rest>.*)")
_CLAUSE = re.compile(r"\(*(?:==|!=|>=|<=|~=|=|<|>)?\s*[\w.*+!-]+\)*")


class FaultError(Exception):
    """What is wrong with environment.yml, and in which line."""

    def __init__(self, line: int, what: str) -> None:
        self.line = line
        super().__init__(f"{NAME}:{line}: {what}")


@dataclass(frozen=True)
class Environment:
    """What environment.yml asks for; every scalar as it is written, so that 3.10 stays 3.10."""

    channels: tuple[str, ...]
    conda: tuple[str, ...]  # the package specifications, without the pip section
    pip: tuple[str, ...]  # the lines of the pip section
    variables: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)  # of each conda specification, from 1
    pip_lines: tuple[int, ...] = ()  # of each line of the pip section
    channel_lines: tuple[int, ...] = ()  # of each channel


def read_environment(text: str) -> Environment:
    """Return what an environment.yml asks for.

    Raises:
        HostError: a line of it is wrong (65).
    """
    try:
        return _read(_parsed(text))
    except FaultError as fault:
        fix = f"correct line {fault.line} of {NAME}, then: {task_command('up')}"
        raise HostError(str(fault), fix=fix, code=ExitCode.DATA) from fault


def missing(beside: Collection[str]) -> HostError:
    """Return the error of a project without environment.yml, by the names that lie where it should."""
    for name in OTHER_NAMES:
        if name in beside:
            return HostError(f"there is no {NAME}, but {name}", fix=f"mv {name} {NAME}", code=ExitCode.CONFIG)
    return HostError(f"there is no {NAME}", fix=f"git checkout -- {NAME}", code=ExitCode.CONFIG)


def _parsed(text: str) -> yaml.MappingNode:
    """Return the file's one mapping, whose nodes know their lines.

    Raises:
        FaultError: it is no YAML, or not a mapping.
    """
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.reader.ReaderError as err:
        raise FaultError(text.count("\n", 0, err.position) + 1, f"the character {err.character!r} is not text") from err
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        raise FaultError(mark.line + 1 if mark else 1, _words(err, text)) from err
    if node is None:
        raise FaultError(1, "the file is empty: it needs `dependencies:` and a list of packages")
    if not isinstance(node, yaml.MappingNode):
        raise FaultError(_line(node), "there is no `dependencies:` and no `channels:` here")
    return node


def _words(err: yaml.MarkedYAMLError, text: str) -> str:
    """Return what is wrong with a file that is no YAML."""
    lines = text.splitlines()
    mark = err.problem_mark or err.context_mark
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "a tab: indent with spaces"
    if isinstance(err, yaml.parser.ParserError) or "mapping values are not allowed" in str(err.problem):
        return f"`{line.strip()}` does not fit the lines above: see its indentation, its `-` and its `:`"
    return str(err.problem)


def _read(root: yaml.MappingNode) -> Environment:
    """Return what the file asks for.

    Raises:
        FaultError: a value is not of the kind it has to be.
    """
    keys = _mapping(root, "this file")
    if "dependencies" not in keys:
        raise FaultError(1, "there is no `dependencies:`")
    conda: dict[str, int] = {}
    pip: list[yaml.Node] = []
    for item in _items(keys["dependencies"], "dependencies"):
        if isinstance(item, yaml.ScalarNode):
            conda[_specification(item)] = _line(item)
        else:
            pip += _pip_section(item)
    if not conda and not pip:
        raise FaultError(_line(keys["dependencies"]), "`dependencies:` has no packages")
    channels = list(_items(keys.get("channels"), "channels"))
    return Environment(
        channels=tuple(_scalar(each, "a channel") for each in channels),
        conda=tuple(conda),
        pip=tuple(_scalar(each, "a pip package") for each in pip),
        variables=_variables(keys.get("variables")),
        lines=conda,
        pip_lines=tuple(map(_line, pip)),
        channel_lines=tuple(map(_line, channels)),
    )


def _pip_section(item: yaml.Node) -> Iterator[yaml.Node]:
    """Return the lines of the pip section; another mapping or a list is none."""
    if not isinstance(item, yaml.MappingNode):
        raise FaultError(_line(item), "a list in the list: a package is one line, `- name`")
    keys = _mapping(item, "the pip section")
    for name, value in keys.items():
        if name != "pip":
            written = f"{name}: {value.value}" if isinstance(value, yaml.ScalarNode) else f"{name}:"
            raise FaultError(
                _line(item), f"`{written}` is a mapping: a package is written `{_as_package(name, value)}`"
            )
    return _items(keys["pip"], "pip")


def _as_package(name: str, value: yaml.Node) -> str:
    """Return how a package is written that somebody wrote as `name: version`."""
    version = value.value if isinstance(value, yaml.ScalarNode) else ""
    if not version:
        return name
    return f"{name} {version}" if version[0] in "<>=!~" else f"{name}={version}"


def _variables(node: yaml.Node | None) -> dict[str, str]:
    """Return the environment's variables."""
    if node is None or _is_null(node):
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise FaultError(_line(node), "`variables:` is not lines of `NAME: value`")
    return {name: _scalar(value, f"the variable {name}") for name, value in _mapping(node, "variables").items()}


def _mapping(node: yaml.MappingNode, what: str) -> dict[str, yaml.Node]:
    """Return a mapping's values by their names, each of which stands once."""
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _scalar(key, f"a name in {what}")
        if name in found:
            raise FaultError(_line(key), f"`{name}:` is there twice, first in line {_line(found[name])}")
        found[name] = value
    return found


def _items(node: yaml.Node | None, name: str) -> Iterator[yaml.Node]:
    """Yield the items of a list; a name without a value is an empty one."""
    if node is None or _is_null(node):
        return
    if not isinstance(node, yaml.SequenceNode):
        raise FaultError(_line(node), f"`{name}:` is not a list: write each of its lines as `- ...`")
    yield from node.value


def _scalar(node: yaml.Node, what: str) -> str:
    """Return a plain value."""
    if not isinstance(node, yaml.ScalarNode) or not str(node.value).strip():
        raise FaultError(_line(node), f"{what} has to be one word or line")
    return str(node.value)


def _specification(node: yaml.ScalarNode) -> str:
    """Return a conda package specification."""
    spec = _scalar(node, "a package").strip()
    if "://" in spec or "[" in spec:  # an address of a package, or name[version='>=1']: conda's business
        return spec
    match = _NAME.fullmatch(spec)
    parts = match["rest"] if match else "?"
    # The parts are a version and a build: `1.2 py_0`, `=1.2=py_0`, `>=1, <2`.
    version = re.sub(r"\s*([,|<>=!~]+)\s*", r"\1", parts)
    version, _, build = version.partition(" ")
    clauses = re.split(r"[,|]", re.sub(r"(?<=[\w*])=(?=[\w*]+$)", ",", version)) if version else []
    if not match or not all(_CLAUSE.fullmatch(each) for each in clauses) or not re.fullmatch(r"[\w.*+ ]*", build):
        raise FaultError(_line(node), f"`{spec}` is no package: write `name`, `name=1.2` or `name >=1.2,<2`")
    return spec


def _is_null(node: yaml.Node) -> bool:
    """Return whether nothing is written, or YAML's word for it."""
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in ("", "~", "null", "Null", "NULL")


def _line(node: yaml.Node) -> int:
    """Return the line of a node, from 1."""
    return int(node.start_mark.line) + 1
