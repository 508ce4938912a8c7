"""What this clone has on the engine, found by its project's label, which no broken file hides; and its removal."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from host_tasks.kit import report, runner
from host_tasks.kit.client import UnreachableError, asking, client
from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Ended, Finding, Rule, Seen, Step, fact, fail, ok
from host_tasks.subjects import base, clone, compose, containers, images

RUNNING = ("containers", "networks")
# Each kind, and what says why one thing of it cannot go, where neither Compose nor the engine has removed it.
REMOVAL = {
    "containers": "docker rm --force",
    "networks": "docker network rm",
    "images": "docker image rm --force",
    "volumes": "docker volume rm",
}

# look


def everything(*projects: str, kinds: Iterable[str] = REMOVAL) -> dict[str, list[str]]:
    """Return the names of what projects have on the engine, by kind, where there is any."""
    named = {kind: [_name(listed) for project in projects for listed in _listed(project, kind)] for kind in kinds}
    if "images" in named:
        named["images"] += [name for project in projects for name in _beside(project)]
    return {kind: names for kind, names in named.items() if names}


@fact
def of_former(seen: Seen) -> Mapping[str, list[str]] | None:
    """Return the names of what this clone has by the name of another place, by kind; no network outlives containers.

    None = it was elsewhere, and no engine answers what it has.
    """
    if old := clone.former(seen):
        with contextlib.suppress(UnreachableError):
            left = everything(old, kinds=("containers", "volumes", "images"))
            left["volumes"] = [name for name in left.get("volumes", ()) if name.startswith(f"{old}_")]  # no other's
            return {kind: names for kind, names in left.items() if names}
        return None
    return {}


def _projects(seen: Seen, words: tuple[str, ...]) -> list[str]:
    """Return whose things go: this clone's, and with further words also those by the name that it had elsewhere."""
    return list(filter(None, (clone.project(seen), clone.former(seen) if words else "")))


def _listed(project: str, kind: str) -> list[Mapping[str, Any]]:
    """Return what the engine lists of one kind with a project's label."""
    which: dict[str, Any] = {"filters": {"label": [f"{containers.PROJECT_LABEL}={project}"]}}
    if kind == "containers":
        which = {"all": True, "filters": {"label": [f"{containers.PROJECT_LABEL}={project}", containers.ONEOFF_LABEL]}}
    with asking():
        listed = getattr(client().api, kind)(**which)
    return list(listed["Volumes"] or [] if kind == "volumes" else listed)


def _name(listed: Mapping[str, Any]) -> str:
    """Return the name of what the engine lists; a container has a list of them."""
    tags = list(map(images.familiar, listed.get("RepoTags") or ()))
    names = tags or listed.get("Names") or [listed.get("Name") or listed.get("Id")]
    return str(names[0]).removeprefix("/")


def _beside(project: str) -> list[str]:
    """Return the names of a project's environments, and of the stand-ins that it made and nothing needs.

    An image whose layers begin with all of another's was built on it.
    """
    with asking():
        own = environments(project)
        made = _tags(base.STAND_IN, filters={"label": f"{base.MADE_BY}={project}"})
        old = {name: _layers(name) for name in made if name != base.stand_in_name()}
        others = [name for name in (_tags() if old else ()) if not name.startswith((f"{project}-", base.STAND_IN))]
        needed = {layers[:count] for layers in map(_layers, others) for count in range(1, len(layers) + 1)}
    return [*own, *(name for name, layers in old.items() if layers not in needed)]


def environments(project: str) -> list[str]:
    """Return the names of a project's environments."""
    with asking():
        return _tags(f"{project}-", name=images.environment_repository(project))


def _tags(beginning: str = "", **which: Any) -> list[str]:
    """Return the names of images that begin so; an image may have those of other clones too."""
    listed = client().api.images(**which)
    names = [images.familiar(name) for image in listed for name in image.get("RepoTags") or ()]
    return [name for name in names if name.startswith(beginning)]


def _layers(name: str) -> tuple[str, ...]:
    """Return the layers of an image, the lowest first; none of one that holds nothing."""
    return tuple(client().images.get(name).attrs["RootFS"].get("Layers") or ())


# judge


def command(left: Mapping[str, list[str]]) -> str:
    """Return the command that removes what is left of each kind."""
    return " && ".join(f"{REMOVAL[kind]} {' '.join(names)}" for kind, names in left.items())


def _gone(code: str, kinds: Iterable[str], what: str, *words: str) -> Rule:
    """Return the rule of a task that removes what is there: nothing of these kinds is left."""

    def gone(seen: Seen) -> Iterator[Finding]:
        left = everything(*_projects(seen, words), kinds=kinds)
        named = [f"the {kind.removesuffix('s')} {name}" for kind, names in left.items() for name in names]
        if not left:
            yield ok(f"nothing of {clone.project(seen)} is there")
        elif what not in seen.tried:
            step = Step(functools.partial(remove, words=words), what, named[0], further=named[1:])
            yield fail("it was asked for", task_command(code), step=step)
        else:
            said = ", ".join(f"{kind} {' '.join(names)}" for kind, names in left.items())
            yield fail(f"still there: {said}", command(left), ExitCode.UNAVAILABLE)

    return Rule(code, gone)


nothing_runs = _gone("down", RUNNING, "stop what runs, and remove it with its network")
nothing_is_left = _gone("clean", REMOVAL, "delete what this clone has on the engine", "--volumes")

# repair


def remove(seen: Seen, *, words: tuple[str, ...]) -> Ended:
    """Have Compose remove what carries the project's label, and with `--volumes` the engine all images as well.

    Compose finds them only where their containers still are. The next round sees what could not be removed.
    """
    well = True
    for project in _projects(seen, words):
        well &= compose.call_by_name(project, "down", "--remove-orphans", *words, timeout_s=compose.REMOVE_S).ok
        for image in (*(image["Id"] for image in _listed(project, "images")), *_beside(project)) if words else ():
            with contextlib.suppress(HostError):  # Podman removes in the time that its disk takes
                argv = ["docker", "image", "rm", "--force", image]
                runner.run(argv, cwd=ROOT, capture=True, announce=False, timeout_s=compose.REMOVE_S)
    return Ended(well)


# show


def tell(seen: Seen) -> None:
    """Say where there was nothing to remove."""
    if not seen.tried:
        report.note(f"Nothing of {clone.project(seen)} is there.")
