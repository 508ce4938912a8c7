"""The mounts as people and programs read them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from host_tasks.decide import mounts
from host_tasks.decide.plan import FAIL, WARN, Finding
from host_tasks.ground import report
from host_tasks.observe.observation import Observation


@dataclass(frozen=True)
class Row:
    """One mount as it was found."""

    source: str
    target: str
    owner: str  # uid:gid of the source; "-" where it is missing
    outside: str  # "ok", or what is wrong on this machine
    inside: str  # "ok", "not running", "-", or what is wrong between container and host
    fix: str


def rows(seen: Observation) -> list[Row]:
    """Return each declared mount, judged on both sides."""
    outside = mounts.outside(seen)
    runs = seen.server is not None and seen.server.status == "running"
    inside = mounts.inside(seen) if runs else [None] * len(seen.places)
    return [
        Row(
            place.shown,
            place.mount.target,
            f"{place.uid}:{place.gid}" if place.uid >= 0 else "-",
            here.cause.removeprefix(f"{place.shown} ") if here else "ok",
            "not running" if not runs else through.cause.removeprefix(f"{place.shown} ") if through else "ok",
            (here or through or Finding("", "", "")).fix,
        )
        for place, here, through in zip(seen.places, outside, inside, strict=True)
    ]


def table(found: Iterable[Row]) -> str:
    """Return the rows as people read them."""
    return report.table(
        ("SOURCE", "TARGET", "OWNER", "OUTSIDE", "INSIDE"),
        [(each.source, each.target, each.owner, each.outside, each.inside) for each in found],
    )


def print_mounts(seen: Observation, *, json: bool) -> None:
    """Print the mounts.

    Raises:
        HostError: the first one that has a fault (77 or 78).
    """
    found = rows(seen)
    report.as_json([asdict(each) for each in found]) if json else report.result(table(found))
    for finding in mounts.planted(seen):
        if finding.state == WARN:
            report.note(f"warning: {finding.cause}.")
    for rule in (mounts.mounts_outside, mounts.mounts_inside):
        for finding in rule(seen):
            if finding.state == FAIL:
                raise finding.error()
