"""The one loop: look, judge, do the first step that is missing, and look again, until nothing is left to do.

A *fact* is a function that looks; what it told is remembered for one round. A *rule* judges facts: a part of the world
is as it should be, or works and may not go on, or fails, with the command that repairs it and, where there is one, the
step that does so. `invoke doctor` prints what all rules find. A task is a list of rules: its plan is the steps of those
that fail.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

from host_tasks.kit import lock, report
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.setup.basics import pasted, visible

OK, WARN, FAIL = "ok", "warn", "fail"
NOTHING: Mapping[str, str | None] = MappingProxyType({})
T = TypeVar("T")


@dataclass(frozen=True)
class Ended:
    """How a step ended."""

    ok: bool = True
    said: str = ""  # what its program wrote


@dataclass(frozen=True)
class Step:
    """One thing to do: what does it, what it is, and what it touches."""

    do: Callable[[Seen], Ended | None]  # None = it ended well
    what: str  # imperative, without a full stop; tells this step from another
    touches: str
    why: str = ""  # the cause of the finding that it cures
    question: str = ""  # asked before it is done; "" where nobody needs to be asked
    key: str = ""  # tells whether it was tried, where `what` changes from round to round
    further: Sequence[str] = ()  # what else it touches, a line each

    @property
    def name(self) -> str:
        """What tells whether it was tried before."""
        return self.key or self.what

    def __str__(self) -> str:
        """Return the step as a person reads it, in three lines, and one more for each further thing that it touches."""
        things = ("\n" + " " * len("   touches: ")).join(map(visible, (self.touches, *self.further)))
        return f"{visible(self.what)}\n   why: {visible(self.why)}\n   touches: {things}"


class Seen:
    """What is true in one round: what each fact told when it was first asked for."""

    def __init__(
        self,
        facts: Mapping[Callable[[Seen], Any], Any] = MappingProxyType({}),
        *,
        asked: Mapping[str, str | None] = NOTHING,
        tried: Mapping[str, Ended] = MappingProxyType({}),
        first: Seen | None = None,
    ) -> None:
        self.facts = dict(facts)
        self.asked = asked  # the choices of docker/.env that this call asks for: key and value, None = without it
        self.tried = tried  # the steps that were done in earlier rounds, by name
        self.first = first or self  # the round before any step

    def look(self, told: Callable[[Seen], Any]) -> Any:
        """Return what a fact tells that was not asked for yet in this round."""
        return told.__wrapped__(self)  # type: ignore[attr-defined]

    def after(self, step: Step, ended: Ended) -> Seen:
        """Return the next round: what may have changed is looked at again."""
        lasts = ended.ok and step.key != ANEW
        kept = {fact: told for fact, told in self.facts.items() if lasts and fact in _LASTING}
        tried = {**self.tried, step.name: ended}
        return Seen(kept, asked=self.asked, tried=tried, first=self.first)


_LASTING: set[Callable[[Seen], Any]] = set()
ANEW = "look at everything anew"  # the key of a step after which nothing lasts


def fact(look: Callable[[Seen], T]) -> Callable[[Seen], T]:
    """Make a function that looks a fact: it looks once a round. What ends in an error is looked at again."""

    @functools.wraps(look)
    def told(seen: Seen) -> T:
        if told not in seen.facts:
            seen.facts[told] = seen.look(told)
        value: T = seen.facts[told]
        return value

    return told


def lasting(look: Callable[[Seen], T]) -> Callable[[Seen], T]:
    """Make a function that looks a fact that no step changes which ends well."""
    told = fact(look)
    _LASTING.add(told)
    return told


@dataclass(frozen=True)
class Finding:
    """What a rule says of one part of the world."""

    state: str  # OK, WARN or FAIL
    cause: str  # with both values where there are two
    fix: str = ""  # a command that can be pasted; "" where there is nothing to repair
    exit_code: ExitCode = ExitCode.CONFIG
    step: Step | None = None
    parting: Callable[[Seen], None] | None = None  # what is done before a problem is raised
    code: str = ""  # the rule's

    def error(self) -> HostError:
        """Return the finding as the error that a person sees."""
        return HostError(self.cause, fix=self.fix, code=self.exit_code)


def ok(cause: str) -> Finding:
    """Return that a part is as it should be."""
    return Finding(OK, cause)


def warn(cause: str, fix: str) -> Finding:
    """Return that a part works, and may not go on working."""
    return Finding(WARN, cause, fix)


def fail(
    cause: str,
    fix: str,
    exit_code: ExitCode = ExitCode.CONFIG,
    *,
    step: Step | None = None,
    parting: Callable[[Seen], None] | None = None,
) -> Finding:
    """Return that a part does not work, with the step that cures it where there is one."""
    return Finding(FAIL, cause, fix, exit_code, step and replace(step, why=cause), parting)


@dataclass(frozen=True)
class Rule:
    """A question about one part of the world."""

    code: str  # as `invoke doctor --json` prints it
    judge: Callable[[Seen], Iterable[Finding]]
    upon: tuple[str, ...] = ()  # codes of rules without which this one would blame the wrong thing
    afterwards: bool = False  # asked only where no step is left: it looks at what a step would change

    def found(self, seen: Seen) -> Iterator[Finding]:
        """Yield what the rule finds; a part that cannot be looked at fails, with the reason."""
        try:
            for finding in self.judge(seen):
                yield replace(finding, code=self.code)
        except HostError as err:
            yield replace(fail(err.problem, err.fix, ExitCode(err.code)), code=self.code)


def rule(
    code: str, *, upon: tuple[str, ...] = (), afterwards: bool = False
) -> Callable[[Callable[[Seen], Iterable[Finding]]], Rule]:
    """Make a function that judges a rule."""
    return lambda judge: Rule(code, judge, upon, afterwards)


def once(code: str, step: Callable[[Seen], Step], again: str, failed: Callable[[Seen, Ended], Finding]) -> Rule:
    """Return the rule of a task that does one step in any case: `again` is its command, `failed` says why in vain."""

    def asked_for(seen: Seen) -> Iterator[Finding]:
        wanted = step(seen)
        ended = seen.tried.get(wanted.name)
        if ended is None:
            yield fail("it was asked for", again, step=wanted)
        else:
            yield ok(f"done: {wanted.what}") if ended.ok else failed(seen, ended)

    return Rule(code, asked_for)


@dataclass(frozen=True)
class Plan:
    """The steps that are still missing, in their order, and what no step can cure."""

    steps: tuple[Step, ...] = ()
    problem: Finding | None = None

    def __str__(self) -> str:
        """Return what `--dry-run` prints."""
        lines = [f"{number}. {step}" for number, step in enumerate(self.steps, start=1)]
        if self.problem:
            cause, fix = visible(self.problem.cause), pasted(self.problem.fix)
            lines.append(f"Then it would stop:\n   error: {cause}\n   fix: {fix}")
        return "\n".join(lines or ["Nothing to do."])


def plan(seen: Seen, rules: Iterable[Rule]) -> Plan:
    """Return the steps that the rules ask for; the first failure that no step cures, or none cured, ends them."""
    steps: dict[str, Step] = {}
    for each in rules:
        if steps and each.afterwards:
            break
        for finding in each.found(seen):
            step = finding.step
            if finding.state != FAIL:
                continue
            if step is None or step.name in seen.tried:
                return Plan(tuple(steps.values()), finding)
            if same := steps.get(step.name):
                step = replace(same, why=f"{same.why}; {step.why}", touches=f"{same.touches}, {step.touches}")
            steps[step.name] = step
    return Plan(tuple(steps.values()))


def achieve(
    rules: Iterable[Rule],
    *,
    asked: Mapping[str, str | None] = NOTHING,
    yes: bool = False,
    dry_run: bool = False,
    then: Callable[[Seen], None] | None = None,
) -> Seen:
    """Do what is missing until the rules hold, and return the last round; on a dry run print the plan, and do nothing.

    The lock is held while steps are done, and while `then` is.

    Raises:
        HostError: a problem that no step cures, or a step that was needed and not agreed to.
    """
    wanted, seen = tuple(rules), Seen(asked=asked)
    if dry_run:
        report.lines(str(plan(seen, wanted)))
        return seen
    if not then and not plan(seen, wanted).steps:
        return _rounds(seen, wanted, yes=yes)
    with lock.held():  # another task may have changed what was seen, while this one waited
        seen = _rounds(Seen(asked=asked), wanted, yes=yes)
        if then:
            then(seen)
        return seen


def _rounds(seen: Seen, rules: tuple[Rule, ...], *, yes: bool) -> Seen:
    """Do one step a round, and look again after it; a plan that cannot end well is not begun."""
    while True:
        planned = plan(seen, rules)
        if problem := planned.problem:
            if problem.parting:
                problem.parting(seen)
            raise problem.error()
        if not planned.steps:
            return seen
        step = planned.steps[0]
        if step.question and not report.agreed(step.question, yes=yes):
            found = (finding for rule in rules for finding in rule.found(seen))
            raise next(finding for finding in found if finding.step and finding.step.name == step.name).error()
        report.note(f"{step.what[0].upper()}{step.what[1:]}: {step.why}.")
        seen = seen.after(step, step.do(seen) or Ended())


def examined(seen: Seen, rules: Iterable[Rule], *, as_is: bool = False) -> list[Finding]:
    """Return what each rule finds, without what fails for a reason that is told already, or stands on what fails.

    What `up` does unasked is no fault of today, but a warning, unless findings are wanted as they are.
    """
    findings: list[Finding] = []
    for each in rules:
        failed = [finding for finding in findings if finding.state == FAIL]
        if not {finding.code for finding in failed} & set(each.upon):
            told = {finding.cause for finding in failed}
            found = each.found(seen) if as_is else _of_today(seen, each)
            findings += [finding for finding in found if finding.cause not in told]
    return findings


def _of_today(seen: Seen, asked: Rule) -> Iterator[Finding]:
    """Yield what a rule finds, where what `up` does unasked is a warning."""
    try:
        for finding in asked.found(seen):
            unasked = finding.step is not None and not finding.step.question
            curable = unasked and finding.exit_code in (ExitCode.CONFIG, ExitCode.TRY_AGAIN)
            yield replace(finding, state=WARN) if finding.state == FAIL and curable else finding
    except OSError as err:
        yield replace(warn(f"could not look: {err}", ""), code=asked.code)
