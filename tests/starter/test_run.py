"""Tests of host_tasks.act.run: one step a round, the world looked at again after each, nothing begun in vain."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from host_tasks.act import run, steps
from host_tasks.decide.plan import Finding, Rule, Step, fail, ok
from host_tasks.ground import lock, report
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.observe import containers
from host_tasks.observe.containers import Container
from host_tasks.observe.observation import Observation


@dataclass
class World:
    """What is there: things that steps make, of which some refuse; and what happened, in its order."""

    there: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    happened: list[str] = field(default_factory=list)

    def wants(self, name: str, *, question: str = "", looks: bool = True) -> Rule:
        """Return the rule that a thing be there, which a step of its name makes."""

        def rule(seen: Observation) -> Iterator[Finding]:
            if looks:
                self.happened.append(f"look for {name}")
            if name in self.there:
                yield ok(name, "there")
            else:
                step = Step(name, f"make {name}", name, question=question)
                yield fail(name, f"no {name}", f"invoke make {name}", ExitCode.UNAVAILABLE, step=step)

        return rule

    def refuses(self) -> Rule:
        """Return a rule that no step makes hold."""

        def rule(seen: Observation) -> Iterator[Finding]:
            yield fail("never", "it cannot be", "give up", ExitCode.CONFIG)

        return rule

    def do(self, step: Step, seen: Observation) -> str:
        """Make a thing, unless it refuses."""
        self.happened.append(f"make {step.action}")
        if step.action not in self.refusing:
            self.there.add(step.action)
        return f"{step.action} said"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """A world in which the actions a, b and c make the things a, b and c; no engine is asked."""
    found = World()
    monkeypatch.setattr(steps, "ACTIONS", dict.fromkeys(["a", "b", "c"], found.do))
    monkeypatch.setattr(containers, "of_project", lambda project: ())
    real = functools.partial(lock.held, tmp_path / ".lock")

    def held() -> Any:
        found.happened.append("lock")
        return real()

    monkeypatch.setattr(lock, "held", held)
    return found


def test_step_is_done_a_round_and_the_world_looked_at_again(world: World) -> None:
    """The plan is made anew after each step, from what is there then; the lock is held from before a second look."""
    seen = run.achieve([world.wants("a"), world.wants("b")])

    assert world.happened == [
        *("look for a", "look for b"),
        "lock",
        *("look for a", "look for b", "make a"),
        *("look for a", "look for b", "make b"),
        *("look for a", "look for b"),
    ]
    assert (seen.tried, seen.said) == (("a", "b"), "b said")


def test_what_a_step_made_superfluous_is_not_done(world: World) -> None:
    """A step that another one made superfluous is seen to be, and left out."""
    world.there = {"b"}

    run.achieve([world.wants("a", looks=False), world.wants("b", looks=False)])

    assert world.happened == ["lock", "make a"]


def test_what_another_task_did_meanwhile_is_not_done_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waited for the lock looks again, with new eyes, before doing anything."""
    held = lock.held
    monkeypatch.setattr(containers, "of_project", lambda _: tuple(map(Container, world.there)))

    def waited() -> Any:
        world.there.add("a")
        return held()

    def rule(seen: Observation) -> Iterator[Finding]:
        if not seen.containers:
            yield fail("a", "no a", "", step=Step("a", "make a", "a"))

    monkeypatch.setattr(lock, "held", waited)

    run.achieve([rule])

    assert world.happened == ["lock"]


def test_nothing_to_do_takes_no_lock(world: World) -> None:
    """A task that only looks is not kept waiting by one that works; each rule is asked once more at most."""
    world.there = {"a"}

    seen = run.achieve([world.wants("a")])

    assert set(world.happened) == {"look for a"}
    assert seen.tried == ()


def test_step_that_does_not_cure_ends_in_its_findings_error(world: World) -> None:
    """It is tried once; what it should have cured is the error, and nothing after it is begun."""
    world.refusing = {"a"}

    with pytest.raises(HostError) as refusal:
        run.achieve([world.wants("a", looks=False), world.wants("b", looks=False)])

    assert (refusal.value.problem, refusal.value.fix) == ("no a", "invoke make a")
    assert refusal.value.code == ExitCode.UNAVAILABLE
    assert world.happened == ["lock", "make a"]


def test_plan_with_a_problem_is_not_begun(world: World) -> None:
    """Where the end is known to be an error, no step is done on the way there."""
    with pytest.raises(HostError) as refusal:
        run.achieve([world.wants("a", looks=False), world.refuses()])

    assert (refusal.value.problem, refusal.value.code) == ("it cannot be", ExitCode.CONFIG)
    assert "make a" not in world.happened


def test_problem_alone_takes_no_lock(world: World) -> None:
    """Where there is nothing but a problem nothing is waited for."""
    with pytest.raises(HostError, match="it cannot be"):
        run.achieve([world.refuses()])

    assert world.happened == []


def test_giving_up_is_told_before_the_error(world: World) -> None:
    """What a failed start left is cleared away with the last observation in hand, while the lock is held."""
    world.refusing = {"b"}
    last: list[tuple[str, ...]] = []
    rules = (world.wants("a"), world.wants("b"))

    with pytest.raises(HostError, match="no b"):
        run.rounds(Observation(), rules, yes=False, gave_up=lambda seen: last.append(seen.tried))

    assert last == [("a", "b")]


@pytest.mark.parametrize("fine", [True, False], ids=["fine", "an action that fails itself"])
def test_giving_up_is_for_a_plan_that_ends(world: World, monkeypatch: pytest.MonkeyPatch, *, fine: bool) -> None:
    """Where all is done, or an action knows its own error, nobody is told to clear away."""

    def broken(step: Step, seen: Observation) -> str:
        raise HostError("disk full", fix="make room", code=ExitCode.IO)

    if not fine:
        monkeypatch.setitem(steps.ACTIONS, "a", broken)
    told: list[Observation] = []

    if fine:
        run.rounds(Observation(), (world.wants("a"),), yes=False, gave_up=told.append)
    else:
        with pytest.raises(HostError, match="disk full"):
            run.rounds(Observation(), (world.wants("a"),), yes=False, gave_up=told.append)

    assert told == []


@pytest.mark.parametrize(
    ("yes", "answer", "done"),
    [(True, None, True), (False, "y\n", True), (False, "n\n", False), (False, None, False)],
    ids=["--yes", "agreed", "refused", "nobody to ask"],
)
def test_question_is_asked_for_the_step_that_needs_it(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: str | None, *, yes: bool, done: bool
) -> None:
    """What was not agreed to is not done: what it would have cured is the error. Other steps need no answer."""
    asked: list[str] = []

    def agreed(question: str, *, yes: bool) -> bool:
        asked.append(question)
        return yes or answer == "y\n"

    monkeypatch.setattr(report, "agreed", agreed)
    rules = [world.wants("a", looks=False), world.wants("b", question="Make b?", looks=False)]

    if done:
        run.achieve(rules, yes=yes)
    else:
        with pytest.raises(HostError) as refusal:
            run.achieve(rules, yes=yes)
        assert (refusal.value.problem, refusal.value.fix) == ("no b", "invoke make b")

    assert asked == ["Make b?"]
    assert world.happened == ["lock", "make a", *(["make b"] if done else [])]


def test_why_a_step_is_done_is_said_before_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Who waits knows for what."""
    run.achieve([world.wants("a")])

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Make a: no a.\n")


def test_dry_run_prints_the_plan_and_does_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """`--dry-run` takes no lock, does no step, and ends well also where the plan ends in a problem."""
    run.reach([world.wants("a", looks=False), world.refuses()], dry_run=True)

    assert world.happened == []
    assert capsys.readouterr().out == (
        "1. make a\n   why: no a\n   touches: a\nThen it would stop:\n   error: it cannot be\n   fix: give up\n"
    )


def test_what_was_there_before_the_first_step_is_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that failed removes only what it made: what ran before may hold a person's kernels."""
    monkeypatch.setattr(
        containers,
        "of_project",
        lambda _: tuple(Container(name) for name in ("lab", "db", "web")[: 1 + len(world.there)]),
    )

    def looks(seen: Observation) -> Iterator[Finding]:
        yield ok("engine", f"{len(seen.containers)} run")

    seen = run.achieve([looks, world.wants("a"), world.wants("b")])

    assert seen.before == {"lab"}
    assert {each.id for each in seen.containers} == {"lab", "db", "web"}


def test_every_action_of_a_step_is_there() -> None:
    """A rule may name any of these; a name that nobody does would be a KeyError in the middle of `up`."""
    assert set(steps.ACTIONS) == {
        *("install", "join", "env", "choose", "pull", "stand-in", "folders", "give", "build", "start"),
        *("close", "environment", "lock", "record", "restart", "take", "push", "upgrade"),
    }
