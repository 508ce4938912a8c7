"""Findings and plans: what a rule says of an observation, and the steps that are still missing.

A rule is a function from an observation to findings. `invoke doctor` prints them all; `plan` keeps those that fail:
a finding that a step can cure becomes that step, and the first one that no step can cure is the plan's problem.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from host_tasks.ground.errors import ExitCode, HostError

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Step:
    """One thing to do: what, why, and what it touches; `action` names the function of host_tasks.act that does it."""

    action: str
    what: str  # imperative, without a full stop
    touches: str
    why: str = ""  # the cause of the finding that it cures
    values: Mapping[str, str | None] = field(default_factory=dict)  # what the action is to use or to write
    question: str = ""  # asked before it is done; "" where nobody needs to be asked

    @property
    def key(self) -> str:
        """What tells whether a step was tried before."""
        return " ".join([self.action, *(f"{name}={value}" for name, value in self.values.items())])

    def __str__(self) -> str:
        """Return the step as a person reads it, in two lines."""
        return f"{self.what}\n   why: {self.why}\n   touches: {self.touches}"


@dataclass(frozen=True)
class Finding:
    """What a rule says of one part of the world."""

    code: str
    state: str  # OK, WARN or FAIL
    cause: str  # with both values where there are two
    fix: str = ""  # a command that can be pasted; "" where there is nothing to repair
    exit_code: ExitCode = ExitCode.CONFIG
    step: Step | None = None

    def error(self) -> HostError:
        """Return the finding as the error that a person sees."""
        return HostError(self.cause, fix=self.fix, code=self.exit_code)


Rule = Callable[["Observation"], Iterable[Finding]]


@dataclass(frozen=True)
class Plan:
    """The steps that are still missing, in their order, and what no step can cure."""

    steps: tuple[Step, ...] = ()
    problem: Finding | None = None

    def __str__(self) -> str:
        """Return what `--dry-run` prints."""
        lines = [f"{number}. {step}" for number, step in enumerate(self.steps, start=1)]
        if self.problem:
            lines.append(f"Then it would stop:\n   error: {self.problem.cause}\n   fix: {self.problem.fix}")
        return "\n".join(lines or ["Nothing to do."])


def ok(code: str, cause: str) -> Finding:
    """Return that a part is as it should be."""
    return Finding(code, OK, cause)


def warn(code: str, cause: str, fix: str) -> Finding:
    """Return that a part works, and may not go on working."""
    return Finding(code, WARN, cause, fix)


def fail(
    code: str, cause: str, fix: str, exit_code: ExitCode = ExitCode.CONFIG, *, step: Step | None = None
) -> Finding:
    """Return that a part does not work, with the step that cures it where there is one."""
    return Finding(code, FAIL, cause, fix, exit_code, step and replace(step, why=cause))


def plan(seen: "Observation", rules: Iterable[Rule]) -> Plan:
    """Return the steps that the rules ask for; the first failure that no step cures, or none cured, ends them."""
    steps: dict[str, Step] = {}
    for finding in _failures(seen, rules, steps):
        step = finding.step
        if step is None or step.key in seen.tried:
            return Plan(tuple(steps.values()), finding)
        steps[step.key] = _merged(steps[step.key], step) if step.key in steps else step
    return Plan(tuple(steps.values()))


def _merged(first: Step, second: Step) -> Step:
    """Return one step for two findings that it cures."""
    return replace(first, why=f"{first.why}; {second.why}", touches=f"{first.touches}, {second.touches}")


def afterwards(rule: Rule) -> Rule:
    """Mark a rule that is asked only where no step is left: it looks at what a step would change."""
    _AFTERWARDS.add(rule)
    return rule


_AFTERWARDS: set[Rule] = set()


def _failures(seen: "Observation", rules: Iterable[Rule], steps: Mapping[str, Step]) -> Iterator[Finding]:
    """Yield what fails, rule by rule, while the steps that this makes are gathered."""
    for rule in rules:
        if steps and rule in _AFTERWARDS:
            return
        yield from (finding for finding in judged(seen, rule) if finding.state == FAIL)


def judged(seen: "Observation", rule: Rule) -> Iterator[Finding]:
    """Yield what a rule finds; a part that cannot be looked at fails, with the reason."""
    try:
        yield from rule(seen)
    except HostError as err:
        yield as_finding(rule, err)


def as_finding(rule: Rule, err: HostError) -> Finding:
    """Return the error with which a rule ended as its finding."""
    return fail(code_of(rule), err.problem, err.fix, ExitCode(err.code))


def code_of(rule: Rule) -> str:
    """Return the code of a rule: its name, as it stands in `invoke doctor --json`."""
    return rule.__name__.replace("_", "-")
