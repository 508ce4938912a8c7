"""What carries a Compose project's label on the engine, by kind."""

from collections.abc import Mapping
from typing import Any

from host_tasks.observe.client import asking, client
from host_tasks.observe.containers import ONEOFF_LABEL, PROJECT_LABEL

RUNNING = ("containers", "networks")
ALL = (*RUNNING, "images", "volumes")


def of_project(project: str, kinds: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the names of a project's containers, networks, images and volumes, as far as they are asked for.

    Raises:
        UnreachableError: the engine gives no answer.
    """
    return {kind: [_name(each) for each in _listed(project, kind)] for kind in kinds}


def remove_images(project: str) -> None:
    """Remove a project's images; Compose finds them only where their containers still are.

    Raises:
        UnreachableError: the engine gives no answer, or does not remove one.
    """
    for each in _listed(project, "images"):
        with asking():
            client().images.remove(each["Id"], force=True)


def _listed(project: str, kind: str) -> list[Mapping[str, Any]]:
    """Return what the engine lists of one kind."""
    labels = [f"{PROJECT_LABEL}={project}", *([ONEOFF_LABEL] if kind == "containers" else [])]
    filters = {"label": labels}
    with asking():
        api = client().api
        if kind == "containers":
            return list(api.containers(all=True, filters=filters))
        if kind == "networks":
            return list(api.networks(filters=filters))
        if kind == "images":
            return list(api.images(filters=filters))
        return list(api.volumes(filters=filters)["Volumes"] or [])


def _name(listed: Mapping[str, Any]) -> str:
    """Return the name of what the engine lists; a container has a list of them."""
    names = listed.get("Names") or listed.get("RepoTags") or [listed.get("Name") or listed.get("Id")]
    return str(names[0]).removeprefix("/")
