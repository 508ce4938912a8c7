"""What was installed by hand in a running environment: what its container has added to its image."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from host_tasks.observe.client import asking, client
from host_tasks.observe.containers import Container, run_in

ADDED = 1  # Engine API 1.45, ContainerChanges
HISTORY = "/opt/env/conda-meta/history"
# What comes out of a container is not trusted: these are the characters of a name and of a version.
CONDA = re.compile(r"/opt/env/conda-meta/(?P<name>[\w.-]+)-(?P<version>[\w.!+]+)-[\w.]+\.json", re.ASCII)
PIP = re.compile(r"/opt/env/lib/[\w./-]+/(?P<name>[\w.]+)-(?P<version>[\w.!+]+)\.dist-info/REQUESTED", re.ASCII)
NAME = re.compile(r"['\"](?:[\w:/.-]+::)?([\w.-]+)", re.ASCII)  # of a specification: "pandas >=2"


@dataclass(frozen=True)
class Package:
    """A package that somebody asked conda or pip for."""

    by: str  # conda or pip
    name: str
    version: str


def installed(container: Container) -> tuple[Package, ...]:
    """Return what was asked for in a running container, without what that depends on.

    Raises:
        UnreachableError: the engine gives no answer.
    """
    with asking():
        changes = client().api.diff(container.id) or []
    paths = [str(each["Path"]) for each in changes if each["Kind"] == ADDED]
    return (*_by_conda(container, paths), *_by_pip(container, paths))


def _by_conda(container: Container, paths: Sequence[str]) -> Iterator[Package]:
    """Yield what conda was asked for: its history has a line for each time, the first one by the image's build."""
    found = [each for path in paths if (each := CONDA.fullmatch(path))]
    if not found:
        return
    lines = run_in(container, ["grep", "^# update specs:", HISTORY]).decode(errors="replace").splitlines()
    asked = {name for line in lines[1:] for name in NAME.findall(line)}
    yield from (Package("conda", each["name"], each["version"]) for each in found if each["name"] in asked)


def _by_pip(container: Container, paths: Sequence[str]) -> Iterator[Package]:
    """Yield what pip was asked for: it leaves a file REQUESTED (PEP 376), as conda's packages may have it too."""
    found = {path: each for path in paths if (each := PIP.fullmatch(path))}
    if not found:
        return
    files = [path.replace("/REQUESTED", "/INSTALLER") for path in found]
    said = run_in(container, ["grep", "--files-with-matches", "--line-regexp", "pip", *files])
    ours = {line.replace("/INSTALLER", "/REQUESTED") for line in said.decode(errors="replace").splitlines()}
    yield from (Package("pip", each["name"], each["version"]) for path, each in found.items() if path in ours)
