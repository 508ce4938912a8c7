"""What a Compose project has on the engine, by kind: what carries its label, its environments, its old stand-ins."""

from collections.abc import Iterator, Mapping
from typing import Any

from host_tasks.observe import images
from host_tasks.observe.client import asking, client
from host_tasks.observe.containers import ONEOFF_LABEL, PROJECT_LABEL

RUNNING = ("containers", "networks")
ALL = (*RUNNING, "images", "volumes")


def of_project(project: str, kinds: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the names of a project's containers, networks, images and volumes, as far as they are asked for.

    Raises:
        UnreachableError: the engine gives no answer.
    """
    found = {kind: [_name(each) for each in _listed(project, kind)] for kind in kinds}
    if "images" in kinds:
        found["images"] += _beside(project)
    return found


def remove_images(project: str) -> None:
    """Remove a project's images; Compose finds them only where their containers still are.

    Raises:
        UnreachableError: the engine gives no answer, or does not remove one.
    """
    for name in [*(each["Id"] for each in _listed(project, "images")), *_beside(project)]:
        with asking():
            client().images.remove(name, force=True)


def _beside(project: str) -> list[str]:
    """Return the names of a project's environments, and of the stand-ins that it made and nothing needs any more."""
    with asking():
        api = client().api
        own = list(_tags(api.images(name=images.environment_repository(project)), f"{project}-"))
        made = _tags(api.images(filters={"label": f"{images.MADE_BY}={project}"}), images.STAND_IN)
        old = [name for name in made if name != images.stand_in()]
        others = [
            _layers(name)
            for name in (_tags(api.images()) if old else ())
            if not name.startswith((f"{project}-", images.STAND_IN))
        ]
        return own + [name for name in old if not any(_begins(each, _layers(name)) for each in others)]


def _layers(name: str) -> list[str]:
    """Return the layers of an image, the lowest first; none of one that holds nothing."""
    return client().images.get(name).attrs["RootFS"].get("Layers") or []


def _begins(layers: list[str], others: list[str]) -> bool:
    """Return whether layers begin with others, so that their image was built on that one."""
    return bool(others) and layers[: len(others)] == others


def _tags(listed: list[Mapping[str, Any]], beginning: str = "") -> Iterator[str]:
    """Yield the names of images that begin so; an image may have those of other clones too."""
    for each in listed:
        yield from (name for name in each.get("RepoTags") or () if name.startswith(beginning))


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
