"""One screen of what there is; it always prints, whatever state things are in."""

import contextlib
import datetime
from collections.abc import Callable, Iterator

from host_tasks.decide.image import differences
from host_tasks.decide.services import described
from host_tasks.ground import report
from host_tasks.ground.errors import HostError
from host_tasks.observe import containers, server
from host_tasks.observe.observation import Observation

GIB = 1024**3


def print_status(seen: Observation, *, json: bool) -> None:
    """Print what runs, on which image, as whom, and where."""
    facts = {name: _told(look, seen) for name, look in ROWS.items()}
    report.as_json(facts) if json else report.result(report.table(("", ""), facts.items()).lstrip("\n"))


def _told(look: Callable[[Observation], str], seen: Observation) -> str:
    """Return a fact, or why it is not known."""
    try:
        return look(seen)
    except HostError as err:
        return f"unknown: {err.problem}"


def _server(seen: Observation) -> str:
    if seen.server is None:
        return "not started"
    return "healthy" if seen.server.serves and seen.server.health == "healthy" else described(seen.server)


def _link(seen: Observation) -> str:
    with contextlib.suppress(HostError):
        return server.link(seen.server, seen.port)
    return ""


def _hardened(seen: Observation) -> str:
    return "yes: nothing of the container's own can be written" if seen.settings.values.get("HARDENED") else "no"


def _others(seen: Observation) -> str:
    others = [each for each in seen.services if each != seen.server]
    return ", ".join(f"{each.service} {described(each)}" for each in others) or "none"


def _identity(seen: Observation) -> str:
    who = seen.settings.identity
    return f"{who.user} {who.uid}:{who.gid} ({who.reason})"


def _base(seen: Observation) -> str:
    note = " (a stand-in made here)" if seen.base.is_stand_in else ""
    return f"{seen.base.name}{note}" + ("" if seen.base.image else ", not on this engine")


def _stand_ins(seen: Observation) -> str:
    if not (found := seen.stand_ins):
        return "none"
    size = sum(each.size_bytes for each in found) / GIB
    return f"{len(found)}, at most {size:.1f} GiB; `clean` removes those that this clone made and nothing needs"


def _image(seen: Observation) -> str:
    if seen.image is None:
        return "none"
    changed = differences(seen.built.inputs, seen.inputs) if seen.built.image == seen.image.id else ["not known"]
    fits = f"changed since: {', '.join(changed)}" if changed else "made from what is here now"
    return f"{seen.image.size_bytes / GIB:.1f} GiB, {_age(seen.image.created)}, {fits}"


def _age(created: str) -> str:
    """Return how long ago a time of RFC 3339 is, in its largest unit."""
    with contextlib.suppress(ValueError):
        then = datetime.datetime.fromisoformat(created[:19] + "+00:00")
        minutes = int((datetime.datetime.now(datetime.timezone.utc) - then).total_seconds() // 60)
        days, hours = minutes // 1440, minutes // 60
        return (
            f"{days} days old" if days > 1 else f"{hours} hours old" if hours > 1 else f"{max(minutes, 0)} minutes old"
        )
    return "of unknown age"


def _memory(seen: Observation) -> str:
    if seen.server is None or seen.server.status != "running":
        return "none"
    used, limit = containers.memory(seen.server)
    return f"{used / GIB:.1f} of {limit / GIB:.1f} GiB" if limit else f"{used / GIB:.1f} GiB"


def _disk(seen: Observation) -> str:
    return ", ".join(_free(seen))


def _free(seen: Observation) -> Iterator[str]:
    for whose, folder in (("the clone", seen.root), ("the engine", seen.engine_folder)):
        free = seen.free_bytes(folder) if folder else None
        if free is not None:
            yield f"{free / GIB:.0f} GiB free for {whose}"


def _env_file(seen: Observation) -> str:
    return "out of date" if seen.settings.plan.changed else "up to date"


ROWS: dict[str, Callable[[Observation], str]] = {
    "project": lambda seen: seen.project,
    "server": _server,
    "link": _link,
    "hardened": _hardened,
    "other services": _others,
    "identity": _identity,
    "base image": _base,
    "stand-ins": _stand_ins,
    "image": _image,
    "memory": _memory,
    "disk": _disk,
    "docker/.env": _env_file,
}
