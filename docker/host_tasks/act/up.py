"""Bring everything up, and tell the link, before another task may take it down again."""

from collections.abc import Mapping

from host_tasks.act.aftermath import give_up
from host_tasks.act.run import rounds
from host_tasks.decide.choices import hardened
from host_tasks.decide.plan import WARN, Rule
from host_tasks.decide.ports import reach
from host_tasks.ground import lock, report
from host_tasks.observe import server
from host_tasks.observe.observation import Observation


def up(rules: tuple[Rule, ...], asked: Mapping[str, str | None], *, yes: bool) -> Observation:
    """Do what is missing, print the link and what was chosen with it, and return the last observation.

    Raises:
        HostError: something cannot be brought up, or the server does not answer.
    """
    with lock.held():
        seen = rounds(Observation(asked=asked), rules, yes=yes, gave_up=give_up)
        report.result(server.link(seen.server, seen.port))
        for finding in (*reach(seen), *(hardened(seen) if "HARDENED" in asked else ())):
            if finding.state == WARN or finding.code == "hardened":
                report.note(f"{finding.code}: {finding.cause}.")
    return seen
