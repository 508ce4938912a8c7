"""What was installed by hand in the running environment: it is told, and written to the files that name packages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from host_tasks.kit import files, report
from host_tasks.kit.paths import ENVIRONMENT_YML, ROOT, shown
from host_tasks.kit.task import DRY_RUN, JSON, task
from host_tasks.kit.words import ExitCode, HostError, path_word, task_command
from host_tasks.loop import Finding, Seen, Step, achieve, fact, fail, ok, rule, warn
from host_tasks.subjects import clone, containers, engine, environment, environment_lock

if TYPE_CHECKING:
    import yaml
    from invoke.context import Context

# What is younger than its container, for the engine's own list of changes (`docker diff`) takes ten seconds. The engine
# makes /.dockerenv with a container (moby 26, daemon/initlayer), and no start or restart touches it.
YOUNGER = (
    *("find", "/opt/env/conda-meta", "/opt/env/lib", "-maxdepth", "4", "-cnewer", "/.dockerenv"),
    *("(", "-path", "/opt/env/conda-meta/*.json", "-o", "-name", "REQUESTED", ")"),
)
HISTORY = "/opt/env/conda-meta/history"
# What comes out of a container is not trusted: these are the characters of a name and of a version. Expressions are
# compiled where they are used, since each start of a task loads this module.
CONDA = r"(?a)/opt/env/conda-meta/(?P<name>[\w.-]+)-(?P<version>[\w.!+]+)-[\w.]+\.json"
PIP = r"(?a)(/opt/env/lib/[\w./-]+/(?P<name>[\w.]+)-(?P<version>[\w.!+]+)\.dist-info/)REQUESTED"
# Where a package comes from that is of no index (PEP 610): an address without a password, and the state there.
ADDRESS = r"(?a)(?:https?|ssh)://(?:git@)?[\w.:-]+/[\w./~%+-]+"
STATE = r"(?a)[0-9a-f]{40,64}"
INDEX, NOWHERE = "an index", "no address that a build reaches"
NAME = r"(?a)['\"](?:[\w:/.-]+::)?([\w.-]+)"  # of a specification: "pandas >=2"
READS_IT = r"(?:-r|--requirement)[\s=]*requirements\.txt\s*"
REQUIREMENTS_TXT = ROOT / "requirements.txt"

# look


class Package(NamedTuple):
    """A package that somebody asked conda or pip for."""

    by: str  # conda or pip
    name: str
    version: str
    source: str = INDEX  # or where it came from, as pip takes it, or NOWHERE

    @property
    def line(self) -> str:
        """The line that asks for it, in environment.yml and in a requirement file; "" = there is none.

        By its name alone, what is of no index would become a stranger's package of that name.
        """
        return {INDEX: f"{self.name} >={self.version}", NOWHERE: ""}.get(self.source, f"{self.name} @ {self.source}")


@fact
def installed_by_hand(seen: Seen) -> tuple[Package, ...]:
    """Return what was asked for in the running environment, without what that depends on."""
    server = containers.server(seen)
    if not server or server.status != "running":
        return ()
    paths = containers.run_in(server, YOUNGER).decode(errors="replace").splitlines()
    return (*_by_conda(server, paths), *_by_pip(server, paths))


def _by_conda(server: containers.Container, paths: Sequence[str]) -> Iterator[Package]:
    """Yield what conda was asked for: its history has a line for each time, the first one by the image's build."""
    records = [record for path in paths if (record := re.fullmatch(CONDA, path))]
    if records:
        text = containers.run_in(server, ["grep", "^# update specs:", HISTORY]).decode(errors="replace")
        asked = {name for line in text.splitlines()[1:] for name in re.findall(NAME, line)}
        yield from (Package("conda", each["name"], each["version"]) for each in records if each["name"] in asked)


def _by_pip(server: containers.Container, paths: Sequence[str]) -> Iterator[Package]:
    """Yield what pip was asked for: it leaves a file REQUESTED (PEP 376), as conda's packages may have it too."""
    records = [record for path in paths if (record := re.fullmatch(PIP, path))]
    if records:
        names = [f"{record[1]}{name}" for record in records for name in ("direct_url.json", "INSTALLER")]
        output = containers.run_in(server, ["grep", "--text", "--no-messages", "--with-filename", "", *names])
        told = dict(line.partition(":")[::2] for line in output.decode(errors="replace").splitlines())
        for record in records:
            if told.get(f"{record[1]}INSTALLER") == "pip":
                origin = told.get(f"{record[1]}direct_url.json")
                yield Package("pip", record["name"], record["version"], INDEX if origin is None else source(origin))


def source(origin: str) -> str:
    """Return where a package came from, as pip takes it, by its direct_url.json; a subdirectory is told to no build."""
    try:
        read: Mapping[str, Any] = json.loads(origin)
        if re.fullmatch(ADDRESS, read["url"]) and "subdirectory" not in read:
            git = read.get("vcs_info", {})
            state = git["commit_id"] if git else read["archive_info"]["hashes"]["sha256"]
            if re.fullmatch(STATE, state) and git.get("vcs", "git") == "git":
                return f"git+{read['url']}@{state}" if git else f"{read['url']}#sha256={state}"
    except (ValueError, LookupError, TypeError, AttributeError):
        pass  # nothing that pip has written
    return NOWHERE


# judge


@rule("by-hand", upon=("engine",))
def by_hand(seen: Seen) -> Iterator[Finding]:
    """Ask for a line for each package that was installed by hand."""
    lines = ", ".join(f"`{package.line}` ({package.by})" for package in unrecorded(seen) if package.line)
    if lines:
        step = Step(record, f"add {lines}", "environment.yml, requirements.txt")
        names = ", ".join(f"{package.name} {package.version}" for package in unrecorded(seen) if package.line)
        yield fail(f"installed by hand and named in no file: {names}", task_command("record"), step=step)
    elif not unrecorded(seen):
        yield ok("nothing was installed by hand that no file names")
    for package in unrecorded(seen):
        if not package.line:
            cause = (
                f"{package.name} {package.version} is of {package.source}, so no file can name it, and `down` ends it"
            )
            yield warn(cause, f"bring it to an index, or its code to src/, then: {task_command('down')}")


def unrecorded(seen: Seen) -> tuple[Package, ...]:
    """Return the packages that were installed by hand and that no file names."""
    if not installed_by_hand(seen):
        return ()
    asked = environment.asked(seen)
    required = (line.text for line in environment_lock.lines_now(seen) if line.file.startswith("requirements"))
    named = {_name(text) for text in (*asked.conda, *asked.pip, *required)}
    return tuple(package for package in installed_by_hand(seen) if _name(package.name) not in named)


def _name(requirement: str) -> str:
    """Return the name of a requirement, as PyPI compares names (PEP 503); conda's are written so already."""
    name = re.match(r"\s*(?:\S+::)?([\w.-]*)", requirement)
    return re.sub(r"[-_.]+", "-", name[1] if name else "").lower()


# repair


def record(seen: Seen) -> None:
    """Add a line for each package that no file names; every other byte of the files stays.

    Raises:
        HostError: environment.yml has no list to add to, or would not be itself and these lines (65), or a file cannot
            be written.
    """
    packages = [package for package in unrecorded(seen) if package.line]
    conda = [package.line for package in packages if package.by == "conda"]
    pip = [package.line for package in packages if package.by == "pip"]
    text = old = _text(ENVIRONMENT_YML)
    requirements = ""
    if conda:
        text = with_conda(text, conda)
    if pip and (changed := with_pip(text, pip)) is not None:
        text = changed
    elif pip:
        requirements = appended(_text(REQUIREMENTS_TXT), pip)
    if text != old:
        files.write(ENVIRONMENT_YML, text.encode(), private=False)
    if requirements:
        files.write(REQUIREMENTS_TXT, requirements.encode(), private=False)


def _text(path: Path) -> str:
    """Return the text of a file, with its ends of lines as they are; "" where there is none.

    Raises:
        HostError: it is not UTF-8 (65).
    """
    try:
        return path.read_bytes().decode("utf-8") if path.exists() else ""
    except UnicodeDecodeError as err:
        fix = f"save {path_word(path)} as UTF-8, then: {task_command('record')}"
        raise HostError(f"{shown(path)} is not UTF-8", fix=fix, code=ExitCode.DATA) from err


def with_conda(text: str, lines: Sequence[str]) -> str:
    """Return an environment.yml with further conda packages, after the last of them, and before pip."""
    conda = [node for node in _dependencies(text) if not isinstance(node.value, list)]
    return _inserted(text, [node for node in conda if node.value.strip() != "pip"] or conda, lines, "dependencies")


def with_pip(text: str, lines: Sequence[str]) -> str | None:
    """Return an environment.yml with further lines for pip; None where its pip section reads requirements.txt.

    Raises:
        HostError: it has no pip section (65).
    """
    sections = [node for node in _dependencies(text) if isinstance(node.value, list)]
    items = [item for section in sections for _, value in section.value for item in value.value]
    reads_it = any(re.fullmatch(READS_IT, item.value) for item in items)
    return None if reads_it else _inserted(text, items, lines, "dependencies", "pip")


def appended(text: str, lines: Sequence[str]) -> str:
    """Return a requirement file with further lines at its end."""
    end = _line_end(text)
    after = text + ("" if not text or text.endswith("\n") else end) + "".join(f"{line}{end}" for line in lines)
    _prove("requirements.txt", _requirements(text), _requirements(after), lines)
    return after


def _requirements(text: str) -> list[str]:
    """Return the lines of a requirement file, as pip joins and parts them (pip 26, req_file.py)."""
    return [line for line in re.sub(r"\\(\r\n|\r|\n)", "", text).splitlines() if line]


def _prove(name: str, before: Sequence[Any], after: Sequence[Any], added: Sequence[Any]) -> None:
    """See to it that what is read of a file is what was read of it before, and what was added, in one place.

    Raises:
        HostError: it is not: the file is written in a way that is not known here (65).
    """
    pairs = enumerate(zip(before, after, strict=False))
    at = next((number for number, (old, new) in pairs if old != new), len(before))
    if list(after) != [*before[:at], *added, *before[at:]]:
        line = added[0] if isinstance(added[0], str) else added[0][-1]
        fix = f"add `{line}` there by hand, then: {task_command('record')}"
        raise HostError(f"{name} is written in a way that `record` cannot add to", fix=fix, code=ExitCode.DATA)


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
        fix = f"add `- pip: [--requirement requirements.txt]` to its dependencies, then: {task_command('record')}"
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
    _prove("environment.yml", _read(text), _read(after), [(*names, line) for line in lines])
    return after


def _line_end(text: str) -> str:
    """Return how the lines of a text end."""
    return "\r\n" if "\r\n" in text else "\n"


# tasks


@task(help={"json": JSON})
def diff(c: Context, *, json: bool = False) -> None:
    """Print what was installed by hand, and is in no file.

    In the running container, by conda and by pip, without what that depends on. `down` forgets it.
    """
    seen = Seen()
    containers.known(seen)  # where no engine answers, that is the answer
    packages = unrecorded(seen)
    if json:
        report.as_json([package._asdict() for package in packages])
    elif packages:
        rows = [(package.name, package.version, package.by, package.source) for package in packages]
        report.lines(report.table(("package", "version", "installed by", "from"), rows))
    else:
        report.result("Nothing was installed by hand that no file names.")


@task(name="record", help={"dry-run": DRY_RUN})
def record_task(c: Context, *, dry_run: bool = False) -> None:
    """Add to the files what was installed by hand.

    A line for each package, in environment.yml or requirements.txt; every other line stays. Safe to repeat.
    """
    seen = achieve((clone.path, environment.environment_yml, engine.engine, by_hand), dry_run=dry_run)
    for package in unrecorded(seen):
        if not package.line:
            report.note(f"Left out: {package.name} {package.version}, of {package.source}.")


TASKS = (diff, record_task)
RULES = ((by_hand, "shared-memory", ("doctor",)),)
