"""environment.yml: what it asks for, or which line of it is wrong, before anything is built; and the files beside it.

The image reads them again by itself (docker/environment/read_files.py), for plain Docker builds without us.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import yaml

from host_tasks.kit.paths import ENVIRONMENT_YML, ROOT
from host_tasks.kit.words import ExitCode, HostError, path_word, task_command
from host_tasks.loop import Finding, Seen, fact, ok, rule

NAME = "environment.yml"
OTHER_NAMES = ("environment.yaml", "environment.YML", "Environment.yml", "env.yml", "conda.yml")

# A conda package specification (conda 24.7, match_spec.py): [channel::]name[version[build]], or name[key=value, ...].
_NAME = re.compile(r"(?:(?P<channel>\S+)::)?(?P<name>[\w.*-]+)\s*(?P<rest>.*)")
_CLAUSE = re.compile(r"\(*(?:==|!=|>=|<=|~=|=|<|>)?\s*[\w.*+!-]+\)*")


class _FaultError(Exception):
    """What is wrong with environment.yml, and in which line."""

    def __init__(self, where: yaml.Node | int, what: str) -> None:
        """Take the node that is wrong, or its line from 1."""
        self.line = where if isinstance(where, int) else _line(where)
        super().__init__(f"{NAME}:{self.line}: {what}")


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


# look


@fact
def text(seen: Seen) -> str | None:
    """Return the text of environment.yml; None where there is none."""
    return ENVIRONMENT_YML.read_text(encoding="utf-8", errors="replace") if ENVIRONMENT_YML.is_file() else None


@fact
def beside(seen: Seen) -> Mapping[str, str]:
    """Return the texts of the files beside environment.yml that a build reads for packages, by their names."""
    paths = (path for pattern in ("requirements*.txt", "constraints*.txt", "apt.txt") for path in ROOT.glob(pattern))
    return {path.name: path.read_text(encoding="utf-8", errors="replace") for path in paths if path.is_file()}


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
    return read_environment(written)


def asked_packages(seen: Seen) -> str:
    """Return what environment.yml, and the files beside it that pip reads, say without their comments."""
    return re.sub(r"#.*", "", "\n".join([text(seen) or "", *beside(seen).values()]))


def missing(beside: Collection[str]) -> HostError:
    """Return the error of a project without environment.yml, by the names that lie where it should."""
    other = next((name for name in OTHER_NAMES if name in beside), "")
    fix = f"mv {path_word(ROOT / other)} {path_word(ENVIRONMENT_YML)}"
    problem = f"there is no {NAME}" + (f", but {other}" if other else "")
    return HostError(
        problem, fix=fix if other else f"git checkout -- {path_word(ENVIRONMENT_YML)}", code=ExitCode.CONFIG
    )


def read_environment(text: str) -> Environment:
    """Return what an environment.yml asks for.

    Raises:
        HostError: a line of it is wrong (65).
    """
    try:
        return _read(_parsed(text))
    except _FaultError as fault:
        fix = f"correct line {fault.line} of {NAME}, then: {task_command('up')}"
        raise HostError(str(fault), fix=fix, code=ExitCode.DATA) from fault


def _parsed(text: str) -> dict[str, yaml.Node]:
    """Return the values of the file's one mapping by their names; their nodes know their lines."""
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.reader.ReaderError as err:
        line = text.count("\n", 0, err.position) + 1
        raise _FaultError(line, f"the character {err.character!r} is not text") from err
    except yaml.MarkedYAMLError as err:
        mark, what = err.problem_mark or err.context_mark, str(err.problem)
        number = mark.line if mark else 0
        line_text = "".join(text.splitlines()[number : number + 1])
        if "\t" in line_text[: len(line_text) - len(line_text.lstrip())]:
            what = "a tab: indent with spaces"
        elif isinstance(err, yaml.parser.ParserError) or "mapping values are not allowed" in what:
            what = f"`{line_text.strip()}` does not fit the lines above: see its indentation, its `-` and its `:`"
        raise _FaultError(number + 1, what) from err
    if node is None:
        raise _FaultError(1, "the file is empty: it needs `dependencies:` and a list of packages")
    return _mapping(node, "this file", "there is no `dependencies:` and no `channels:` here")


def _read(keys: Mapping[str, yaml.Node]) -> Environment:
    """Return what the file asks for."""
    if "dependencies" not in keys:
        raise _FaultError(1, "there is no `dependencies:`")
    conda: dict[str, int] = {}
    pip: list[yaml.Node] = []
    for item in _items(keys["dependencies"], "dependencies"):
        if isinstance(item, yaml.ScalarNode):
            conda[_specification(item)] = _line(item)
        else:
            pip += _pip_section(item)
    if not conda and not pip:
        raise _FaultError(keys["dependencies"], "`dependencies:` has no packages")
    channels, variables = _items(keys.get("channels"), "channels"), keys.get("variables")
    named = (
        {} if _is_null(variables) else _mapping(variables, "variables", "`variables:` is not lines of `NAME: value`")
    )
    return Environment(
        channels=tuple(_scalar(channel, "a channel") for channel in channels),
        conda=tuple(conda),
        pip=tuple(_scalar(line, "a pip package") for line in pip),
        variables={name: _scalar(value, f"the variable {name}") for name, value in named.items()},
        lines=conda,
        pip_lines=tuple(map(_line, pip)),
        channel_lines=tuple(map(_line, channels)),
    )


def _pip_section(item: yaml.Node) -> list[yaml.Node]:
    """Return the lines of the pip section; another mapping or a list is none."""
    keys = _mapping(item, "the pip section", "a list in the list: a package is one line, `- name`")
    for name, value in keys.items():
        if name != "pip":
            version = str(value.value) if isinstance(value, yaml.ScalarNode) else ""
            package = f"{name}{' ' if version[:1] in '<>=!~' else '='}{version}" if version else name
            written = f"{name}: {version}".rstrip()
            raise _FaultError(item, f"`{written}` is a mapping: a package is written `{package}`")
    return _items(keys["pip"], "pip")


def _mapping(node: yaml.Node | None, what: str, otherwise: str) -> dict[str, yaml.Node]:
    """Return a mapping's values by their names, each of which stands once; otherwise = what a node is that is none."""
    if not isinstance(node, yaml.MappingNode):
        raise _FaultError(node or 1, otherwise)
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _scalar(key, f"a name in {what}")
        if name in found:
            raise _FaultError(key, f"`{name}:` is there twice, first in line {_line(found[name])}")
        found[name] = value
    return found


def _items(node: yaml.Node | None, name: str) -> list[yaml.Node]:
    """Return the items of a list; a name without a value is an empty one."""
    if node is None or _is_null(node):
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise _FaultError(node, f"`{name}:` is not a list: write each of its lines as `- ...`")
    return list(node.value)


def _scalar(node: yaml.Node, what: str) -> str:
    """Return a plain value."""
    if not isinstance(node, yaml.ScalarNode) or not str(node.value).strip():
        raise _FaultError(node, f"{what} has to be one word or line")
    return str(node.value)


def _specification(node: yaml.ScalarNode) -> str:
    """Return a conda package specification."""
    spec = _scalar(node, "a package").strip()
    if "://" in spec or "[" in spec:  # an address of a package, or name[version='>=1']: conda's business
        return spec
    match = _NAME.fullmatch(spec)
    # The rest is a version and a build: `1.2 py_0`, `=1.2=py_0`, `>=1, <2`.
    version, _, build = re.sub(r"\s*([,|<>=!~]+)\s*", r"\1", match["rest"] if match else "?").partition(" ")
    clauses = re.split(r"[,|]", re.sub(r"(?<=[\w*])=(?=[\w*]+$)", ",", version)) if version else []
    if not match or not all(map(_CLAUSE.fullmatch, clauses)) or not re.fullmatch(r"[\w.*+ ]*", build):
        raise _FaultError(node, f"`{spec}` is no package: write `name`, `name=1.2` or `name >=1.2,<2`")
    return spec


def _is_null(node: yaml.Node | None) -> bool:
    """Return whether nothing is written, or YAML's word for it."""
    null = ("", "~", "null", "Null", "NULL")
    return node is None or (isinstance(node, yaml.ScalarNode) and node.style is None and node.value in null)


def _line(node: yaml.Node) -> int:
    """Return the line of a node, from 1."""
    return int(node.start_mark.line) + 1


# judge


@rule("environment-yml")
def environment_yml(seen: Seen) -> Iterator[Finding]:
    """Ask for an environment.yml that can be read, before anything is built of it."""
    yield ok(f"conda packages: {len(asked(seen).conda)}, lines for pip: {len(asked(seen).pip)}")
