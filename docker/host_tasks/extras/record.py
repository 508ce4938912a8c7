"""What was installed by hand in the running environment: it is told, and written to the files that name packages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from host_tasks.kit import files, report
from host_tasks.kit.paths import ENVIRONMENT_YML, ROOT
from host_tasks.kit.task import DRY_RUN, JSON, task
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Finding, Seen, Step, achieve, fact, fail, ok, rule
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
NAME = r"(?a)['\"](?:[\w:/.-]+::)?([\w.-]+)"  # of a specification: "pandas >=2"
READS_IT = r"(?:-r|--requirement)[\s=]*requirements\.txt\s*"
REQUIREMENTS_TXT = ROOT / "requirements.txt"

# look


class Package(NamedTuple):
    """A package that somebody asked conda or pip for."""

    by: str  # conda or pip
    name: str
    version: str

    @property
    def line(self) -> str:
        """The line that asks for it, or a newer one, in environment.yml and in a requirement file."""
        return f"{self.name} >={self.version}"


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
    records = {f"{record[1]}INSTALLER": record for path in paths if (record := re.fullmatch(PIP, path))}
    if records:
        grep = ["grep", "--files-with-matches", "--line-regexp", "pip", *records]
        by_pip = containers.run_in(server, grep).decode(errors="replace").splitlines()
        yield from (Package("pip", each["name"], each["version"]) for path, each in records.items() if path in by_pip)


# judge


@rule("by-hand", upon=("engine",))
def by_hand(seen: Seen) -> Iterator[Finding]:
    """Ask for a line for each package that was installed by hand."""
    packages = unrecorded(seen)
    if not packages:
        yield ok("nothing was installed by hand that no file names")
        return
    lines = ", ".join(f"`{package.line}` ({package.by})" for package in packages)
    step = Step(record, f"add {lines}", "environment.yml, requirements.txt")
    names = ", ".join(f"{package.name} {package.version}" for package in packages)
    yield fail(f"installed by hand and named in no file: {names}", task_command("record"), step=step)


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
        HostError: environment.yml has no list to add to (65), or a file cannot be written.
    """
    conda = [package.line for package in unrecorded(seen) if package.by == "conda"]
    pip = [package.line for package in unrecorded(seen) if package.by == "pip"]
    before = text = ENVIRONMENT_YML.read_bytes().decode("utf-8")
    if conda:
        text = with_conda(text, conda)
    if pip and (changed := with_pip(text, pip)) is not None:
        text = changed
    elif pip:
        old = REQUIREMENTS_TXT.read_bytes().decode("utf-8") if REQUIREMENTS_TXT.exists() else ""
        files.write(REQUIREMENTS_TXT, appended(old, pip).encode(), private=False)
    if text != before:
        files.write(ENVIRONMENT_YML, text.encode(), private=False)


def with_conda(text: str, lines: Iterable[str]) -> str:
    """Return an environment.yml with further conda packages, after the last of them, and before pip."""
    conda = [node for node in _dependencies(text) if not isinstance(node.value, list)]
    return _inserted(text, [node for node in conda if node.value.strip() != "pip"] or conda, lines)


def with_pip(text: str, lines: Iterable[str]) -> str | None:
    """Return an environment.yml with further lines for pip; None where its pip section reads requirements.txt.

    Raises:
        HostError: it has no pip section (65).
    """
    sections = [node for node in _dependencies(text) if isinstance(node.value, list)]
    items = [item for section in sections for _, value in section.value for item in value.value]
    return None if any(re.fullmatch(READS_IT, item.value) for item in items) else _inserted(text, items, lines)


def appended(text: str, lines: Iterable[str]) -> str:
    """Return a requirement file with further lines at its end."""
    end = _line_end(text)
    return text + ("" if not text or text.endswith("\n") else end) + "".join(f"{line}{end}" for line in lines)


def _dependencies(text: str) -> Sequence[yaml.Node]:
    """Return the items of the list of dependencies, which is there: subjects/environment.py has read the file."""
    import yaml

    root: Any = yaml.compose(text, Loader=yaml.BaseLoader)
    items: Sequence[yaml.Node] = next(value.value for key, value in root.value if key.value == "dependencies")
    return items


def _inserted(text: str, items: Sequence[yaml.Node], lines: Iterable[str]) -> str:
    """Return a text with further items after the last of some: in their column, or on their line in [a, b].

    Raises:
        HostError: there is none (65).
    """
    if not items:
        fix = f"add `- pip: [--requirement requirements.txt]` to its dependencies, then: {task_command('record')}"
        raise HostError("environment.yml has no list to add to", fix=fix, code=ExitCode.DATA)
    last = items[-1]
    dash = text[text.rfind("\n", 0, last.start_mark.index) + 1 : last.start_mark.index]
    if dash.strip() != "-":
        at = last.end_mark.index
        return text[:at] + "".join(f", {line}" for line in lines) + text[at:]
    at = text.find("\n", last.end_mark.index) + 1 or len(text)
    end = _line_end(text)
    head = text[:at] if text[:at].endswith("\n") else text[:at] + end
    return head + "".join(f"{dash}{line}{end}" for line in lines) + text[at:]


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
        rows = [(package.name, package.version, package.by) for package in packages]
        report.lines(report.table(("package", "version", "installed by"), rows))
    else:
        report.result("Nothing was installed by hand that no file names.")


@task(name="record", help={"dry-run": DRY_RUN})
def record_task(c: Context, *, dry_run: bool = False) -> None:
    """Add to the files what was installed by hand.

    A line for each package, in environment.yml or requirements.txt; every other line stays. Safe to repeat.
    """
    achieve((clone.path, environment.environment_yml, engine.engine, by_hand), dry_run=dry_run)


TASKS = (diff, record_task)
RULES = ((by_hand, "shared-memory", ("doctor",)),)
