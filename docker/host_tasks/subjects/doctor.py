"""Findings as people and programs read them."""

from __future__ import annotations

from collections.abc import Iterable

from host_tasks.kit import report
from host_tasks.loop import FAIL, OK, Finding, Rule, Seen, examined
from host_tasks.setup.basics import pasted, visible

HEALTHY, PROBLEM, COULD_NOT_LOOK = 0, 1, 2  # exit codes


# show


def print_findings(seen: Seen, rules: Iterable[Rule], *, json: bool = False, as_is: bool = False) -> int:
    """Print what rules find, and return the exit code; as it is = what `up` would do unasked is a fault too."""
    findings = examined(seen, rules, as_is=as_is)
    if json:
        report.as_json([{name: getattr(each, name) for name in ("code", "state", "cause", "fix")} for each in findings])
    else:
        report.lines(text(findings))
    return verdict(findings)


def text(findings: Iterable[Finding]) -> str:
    """Return findings as people read them."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:4}  {finding.code}: {visible(finding.cause)}")
        if finding.state != OK and finding.fix:
            lines.append(f"      fix: {pasted(finding.fix)}")
    return "\n".join(lines)


def verdict(findings: Iterable[Finding]) -> int:
    """Return the exit code: 0 healthy, 1 a problem, 2 something could not be looked at."""
    found = list(findings)
    if any(finding.state == FAIL for finding in found):
        return PROBLEM
    return COULD_NOT_LOOK if any(finding.cause.startswith("could not look") for finding in found) else HEALTHY
