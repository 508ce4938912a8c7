"""What was installed by hand in the running environment: it is told, and written to the files that name packages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from host_tasks.kit import report
from host_tasks.kit.task import DRY_RUN, JSON, task
from host_tasks.kit.words import task_command
from host_tasks.loop import Finding, Seen, Step, achieve, fact, fail, ok, rule, warn
from host_tasks.subjects import clone, containers, engine, environment, environment_lock, package_lines
from host_tasks.subjects.package_lines import name_of

if TYPE_CHECKING:
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
# Of a specification, "pandas >=2"; what was installed as a file has its address, "a[url=file:///tmp/a-1-0.conda]".
NAME = r"(?a)['\"](?:[\w:/.-]+::)?([\w.-]+)(\[(?:[^\]'\"]*,)?url=)?"

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
        asked = {name: url for line in text.splitlines()[1:] for name, url in re.findall(NAME, line)}
        for record in records:
            if (url := asked.get(record["name"])) is not None:
                yield Package("conda", record["name"], record["version"], NOWHERE if url else INDEX)


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
            yield warn(
                cause, f"bring it to an index, its wheel to wheels/ or its code to src/, then: {task_command('down')}"
            )


def unrecorded(seen: Seen) -> tuple[Package, ...]:
    """Return the packages that were installed by hand and that no file names."""
    if not installed_by_hand(seen):
        return ()
    asked = environment.asked(seen)
    required = (line.text for line in environment_lock.lines_now(seen) if line.file.startswith("requirements"))
    named = {name_of(text) for text in (*asked.conda, *asked.pip, *required)}
    return tuple(package for package in installed_by_hand(seen) if name_of(package.name) not in named)


# repair


def record(seen: Seen) -> None:
    """Add a line for each package that no file names; every other byte of the files stays.

    Raises:
        HostError: environment.yml has no list to add to, or would not be itself and these lines (65), or a file cannot
            be written.
    """
    packages = [package for package in unrecorded(seen) if package.line]
    by = {by: [package.line for package in packages if package.by == by] for by in ("conda", "pip")}
    package_lines.write(package_lines.with_lines(package_lines.texts(), **by))


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
