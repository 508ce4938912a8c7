"""One screen of what there is; it always prints, whatever state things are in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from host_tasks import choices
from host_tasks.kit import report
from host_tasks.kit.words import HostError
from host_tasks.loop import Seen, examined
from host_tasks.subjects import base, clone, containers, idmap, images, link, machine, services, settings

GIB = 1024**3
OF_ENGINE = ("server", "other services", "base image", "stand-ins", "image", "memory")  # rows that only it can tell


# show


def print_status(seen: Seen, *, json: bool) -> None:
    """Print the server's state, its image, its user and its link; a row that is not known tells why."""
    # Where the engine does not answer a server is not known, rather than not started.
    try:
        containers.known(seen)
        silent = ""
    except HostError as err:
        silent = f"unknown: {err.problem}"
    facts = {name: silent if silent and name in OF_ENGINE else _told(row, seen) for name, row in _rows().items()}
    report.as_json(facts) if json else report.lines(report.table(("", ""), facts.items()).lstrip("\n"))


def _told(row: Callable[[Seen], str], seen: Seen) -> str:
    """Return what a row tells, or why it is not known."""
    try:
        return row(seen)
    except HostError as err:
        return f"unknown: {err.problem}"


def _rows() -> Mapping[str, Callable[[Seen], str]]:
    """Return what is told, by its name; a row for each choice too."""
    return {
        "project": clone.project,
        "server": _server,
        "link": _link,
        **{choice.option: _chosen(choice) for choice in choices.table() if choice.file},
        "other services": _others,
        "identity": _identity,
        "base image": _base,
        "stand-ins": _stand_ins,
        "image": _image,
        "memory": _memory,
        "disk": _disk,
        "docker/.env": lambda seen: "out of date" if settings.now(seen).plan.changes else "up to date",
    }


def _chosen(choice: choices.Choice) -> Callable[[Seen], str]:
    """Return what tells a choice: what docker/.env holds, and "no" for nothing."""
    return lambda seen: settings.now(seen).values.get(choice.key) or "no"


def _server(seen: Seen) -> str:
    server = containers.server(seen)
    if server is None:
        return "not started"
    wrong = next((f", but {finding.cause}" for finding in examined(seen, services.sound())), "")
    return ("healthy" if server.serves and server.health == "healthy" else services.described(server)) + wrong


def _link(seen: Seen) -> str:
    with contextlib.suppress(HostError):
        return "" if examined(seen, services.sound()) else link.link(seen)
    return ""


def _others(seen: Seen) -> str:
    others = [container for container in containers.services(seen) if container != containers.server(seen)]
    return ", ".join(f"{container.service} {services.described(container)}" for container in others) or "none"


def _identity(seen: Seen) -> str:
    person = settings.now(seen).identity
    return f"{person.user} {person.uid}:{person.gid} ({person.reason})"


def _base(seen: Seen) -> str:
    image = base.now(seen)
    note = " (a stand-in made here)" if image.is_stand_in else ""
    return f"{image.name}{note}" + ("" if image.image else ", not on this engine")


def _stand_ins(seen: Seen) -> str:
    if not (made := base.stand_ins(seen)):
        return "none"
    size = sum(image.size_bytes for image in made) / GIB
    return f"{len(made)}, at most {size:.1f} GiB; `clean` removes those that this clone made and nothing needs"


def _image(seen: Seen) -> str:
    image, last = images.own(seen), images.last_build(seen)
    if image is None:
        return "none"
    changed = images.differences(last.inputs, images.inputs(seen)) if last.image == image.id else ["not known"]
    fits = f"changed since: {', '.join(changed)}" if changed else "from what is here now"
    when = f"{image.created[:16].replace('T', ' ')} UTC" if image.created else "at a time that is not known"
    return f"{image.size_bytes / GIB:.1f} GiB, made {when}, {fits}"


def _memory(seen: Seen) -> str:
    server = containers.server(seen)
    if server is None or server.status != "running":
        return "none"
    if idmap.info(seen).get("MemoryLimit") is False:
        return "not measured: the engine enforces no limit of memory"
    used, limit = containers.memory(server)
    return f"{used / GIB:.1f} of {limit / GIB:.1f} GiB" if limit else f"{used / GIB:.1f} GiB"


def _disk(seen: Seen) -> str:
    return ", ".join(f"{left / GIB:.0f} GiB free for {whose}" for whose, (_, left) in machine.free(seen).items())
