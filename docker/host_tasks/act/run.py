"""Observe, decide, act, and again, until nothing is left to do: the one way in which a task reaches its goal."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from host_tasks.decide.plan import Rule, Step, plan
from host_tasks.ground import lock, report
from host_tasks.observe.observation import Observation

NOTHING: Mapping[str, str | None] = MappingProxyType({})


def reach(
    rules: Iterable[Rule], *, asked: Mapping[str, str | None] = NOTHING, dry_run: bool = False, yes: bool = False
) -> Observation:
    """Do as `achieve` does; on a dry run print the plan instead, and do nothing.

    Raises:
        HostError: as `achieve` does.
    """
    if not dry_run:
        return achieve(rules, asked=asked, yes=yes)
    seen = Observation(asked=asked)
    report.result(str(plan(seen, rules)))
    return seen


def achieve(rules: Iterable[Rule], *, asked: Mapping[str, str | None] = NOTHING, yes: bool = False) -> Observation:
    """Do what is missing until the rules hold, and return the last observation. The lock is held while steps are done.

    A plan that cannot end well is not begun.

    Raises:
        HostError: a problem that no step cures, or a step that was needed and not agreed to.
    """
    wanted = tuple(rules)
    seen = Observation(asked=asked)
    if not plan(seen, wanted).steps:
        return rounds(seen, wanted, yes=yes)
    with lock.held():  # another task may have changed what was seen, while this one waited
        return rounds(Observation(asked=asked), wanted, yes=yes)


def rounds(
    seen: Observation, rules: tuple[Rule, ...], *, yes: bool, gave_up: Callable[[Observation], None] | None = None
) -> Observation:
    """Do one step a round, and look again after it; the caller holds the lock while there are steps.

    `gave_up` is called with the last observation before a problem is raised.

    Raises:
        HostError: as `achieve` does.
    """
    while True:
        planned = plan(seen, rules)
        if planned.problem:
            if gave_up:
                gave_up(seen)
            raise planned.problem.error()
        if not planned.steps:
            return seen
        from host_tasks.act.steps import done  # late: most often there is nothing to do

        step = planned.steps[0]
        _agree(step, seen, rules, yes=yes)
        report.note(f"{step.what[0].upper()}{step.what[1:]}: {step.why}.")
        seen = seen.after(step.key, done(step, seen))


def _agree(step: Step, seen: Observation, rules: tuple[Rule, ...], *, yes: bool) -> None:
    """Ask for a step that needs to be agreed to; without that, what it cures is the error."""
    if not step.question or report.agreed(step.question, yes=yes):
        return
    for rule in rules:
        for finding in rule(seen):
            if finding.step and finding.step.key == step.key:
                raise finding.error()
