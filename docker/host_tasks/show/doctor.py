"""The observation, judged: every check, with what it saw and the command that repairs what is wrong."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from host_tasks.decide import goals
from host_tasks.decide.plan import FAIL, OK, WARN, Finding, Rule, code_of, judged, warn
from host_tasks.ground import report
from host_tasks.ground.errors import ExitCode
from host_tasks.observe.observation import Observation

HEALTHY, PROBLEM, COULD_NOT_LOOK = 0, 1, 2


def examined(seen: Observation, rules: Iterable[Rule] = goals.DOCTOR) -> list[Finding]:
    """Return what each rule finds, without what fails for a reason that is told already, or stands on what fails."""
    findings: list[Finding] = []
    for rule in rules:
        failed = [each for each in findings if each.state == FAIL]
        if not any(code_of(rule) in goals.UPON.get(each.code, ()) for each in failed):
            told = {each.cause for each in failed}
            findings += [each for each in _findings(seen, rule) if each.cause not in told]
    return findings


def _findings(seen: Observation, rule: Rule) -> Iterator[Finding]:
    """Yield what a rule finds. What `up` does unasked is no fault of today: it is a warning."""
    try:
        for each in judged(seen, rule):
            yield replace(each, state=WARN) if each.state == FAIL and _done_unasked(each) else each
    except OSError as err:
        yield warn(code_of(rule), f"could not look: {err}", "")


def _done_unasked(finding: Finding) -> bool:
    """Return whether `up` cures it without a question, and nothing has broken down."""
    curable = finding.step is not None and not finding.step.question
    return curable and finding.exit_code in (ExitCode.CONFIG, ExitCode.TRY_AGAIN)


def verdict(findings: Iterable[Finding]) -> int:
    """Return the exit code: 0 healthy, 1 a problem, 2 something could not be looked at."""
    found = list(findings)
    if any(each.state == FAIL for each in found):
        return PROBLEM
    return COULD_NOT_LOOK if any(each.cause.startswith("could not look") for each in found) else HEALTHY


def text(findings: Iterable[Finding]) -> str:
    """Return the findings as people read them."""
    lines = []
    for each in findings:
        lines.append(f"{each.state:4}  {each.code}: {each.cause}")
        if each.state != OK and each.fix:
            lines.append(f"      fix: {each.fix}")
    return "\n".join(lines)


def print_judged(seen: Observation, rule: Rule) -> int:
    """Print what a rule finds as it is, and return the exit code."""
    found = list(judged(seen, rule))
    report.result(text(found))
    return verdict(found)


def print_findings(seen: Observation, *, json: bool) -> int:
    """Print every finding and return the exit code."""
    found = examined(seen)
    if json:
        report.as_json(
            [{"code": each.code, "state": each.state, "cause": each.cause, "fix": each.fix} for each in found]
        )
    else:
        report.result(text(found))
    return verdict(found)
