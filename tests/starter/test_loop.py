"""The loop: one step a round, the world looked at again after each, nothing begun in vain; and what `doctor` asks."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from host_tasks import loop
from host_tasks.kit import lock, report
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import ANEW, FAIL, OK, WARN, Ended, Finding, Rule, Seen, Step, fail, ok, rule, warn


@dataclass
class World:
    """What is there: things that steps make, of which some refuse; and what happened, in its order."""

    there: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    happened: list[str] = field(default_factory=list)

    def wants(self, name: str, *, looks: bool = True, **step: Any) -> Rule:
        """Return the rule that a thing be there, which a step of its name makes."""

        def judge(seen: Seen) -> Iterator[Finding]:
            if looks:
                self.happened.append(f"look for {name}")
            if name in self.there:
                yield ok("there")
            else:
                make = Step(functools.partial(self.make, name=name), f"make {name}", name, **step)
                yield fail(f"no {name}", f"invoke make {name}", ExitCode.UNAVAILABLE, step=make, parting=self.part)

        return Rule(name, judge)

    def make(self, seen: Seen, *, name: str) -> Ended:
        """Make a thing, unless it refuses."""
        self.happened.append(f"make {name}")
        if name not in self.refusing:
            self.there.add(name)
        return Ended(name not in self.refusing, f"{name} said")

    def part(self, seen: Seen) -> None:
        """Write down that a problem ends the task, and what was tried."""
        self.happened.append(f"part after {', '.join(seen.tried)}")


@rule("never")
def refuses(seen: Seen) -> Iterator[Finding]:
    """Refuse, whatever is done."""
    yield fail("it cannot be", "give up")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """A world whose things are made by steps; the lock is one of its own."""
    made = World()
    real = functools.partial(lock.held, tmp_path / ".lock")

    def held() -> Any:
        made.happened.append("lock")
        return real()

    monkeypatch.setattr(lock, "held", held)
    return made


def test_step_is_done_a_round_and_the_world_looked_at_again(world: World) -> None:
    """The plan is made anew after each step, from what is there then; the lock is held from before a second look."""
    seen = loop.achieve([world.wants("a"), world.wants("b")])

    assert world.happened == [
        *("look for a", "look for b"),
        "lock",
        *("look for a", "look for b", "make a"),
        *("look for a", "look for b", "make b"),
        *("look for a", "look for b"),
    ]
    assert seen.tried == {"make a": Ended(said="a said"), "make b": Ended(said="b said")}


def test_what_a_step_made_superfluous_is_not_done(world: World) -> None:
    """A step that another one made superfluous is seen to be, and left out."""
    world.there = {"b"}

    loop.achieve([world.wants("a", looks=False), world.wants("b", looks=False)])

    assert world.happened == ["lock", "make a"]


def test_what_another_task_did_meanwhile_is_not_done_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waited for the lock looks again, with new eyes, before doing anything."""
    held, there = lock.held, loop.fact(lambda seen: set(world.there))

    def waited() -> Any:
        world.there.add("a")
        return held()

    def judge(seen: Seen) -> Iterator[Finding]:
        if not there(seen):
            yield fail("no a", "", step=Step(functools.partial(world.make, name="a"), "make a", "a"))

    monkeypatch.setattr(lock, "held", waited)

    loop.achieve([Rule("a", judge)])

    assert world.happened == ["lock"]


def test_nothing_to_do_takes_no_lock(world: World) -> None:
    """A task that only looks is not kept waiting by one that works; each rule is asked once more at most."""
    world.there = {"a"}

    seen = loop.achieve([world.wants("a")])

    assert set(world.happened) == {"look for a"}
    assert seen.tried == {}


def test_what_comes_then_is_done_under_the_lock(world: World) -> None:
    """A task that goes on with what it achieved must not have it taken away meanwhile."""
    world.there = {"a"}

    loop.achieve([world.wants("a", looks=False)], then=lambda seen: world.happened.append("then"))

    assert world.happened == ["lock", "then"]


def test_step_that_does_not_cure_ends_in_its_findings_error(world: World) -> None:
    """It is tried once; what it should have cured is the error, and nothing after it is begun."""
    world.refusing = {"a"}

    with pytest.raises(HostError) as refusal:
        loop.achieve([world.wants("a", looks=False), world.wants("b", looks=False)])

    assert (refusal.value.problem, refusal.value.fix) == ("no a", "invoke make a")
    assert refusal.value.code == ExitCode.UNAVAILABLE
    assert "make b" not in world.happened
    assert world.happened.count("make a") == 1


def test_plan_with_a_problem_is_not_begun(world: World) -> None:
    """Where the end is known to be an error, no step is done on the way there."""
    with pytest.raises(HostError) as refusal:
        loop.achieve([world.wants("a", looks=False), refuses])

    assert (refusal.value.problem, refusal.value.code) == ("it cannot be", ExitCode.CONFIG)
    assert "make a" not in world.happened


def test_problem_alone_takes_no_lock(world: World) -> None:
    """Where there is nothing but a problem nothing is waited for."""
    with pytest.raises(HostError, match="it cannot be"):
        loop.achieve([refuses])

    assert world.happened == []


def test_parting_is_done_before_the_error(world: World) -> None:
    """What a failed start left is cleared away with the last round in hand, while the lock is held."""
    world.refusing = {"b"}

    with pytest.raises(HostError, match="no b"):
        loop.achieve([world.wants("a", looks=False), world.wants("b", looks=False)])

    assert world.happened == ["lock", "make a", "make b", "part after make a, make b"]


def test_parting_is_for_a_plan_that_ends(world: World) -> None:
    """Where all is done, or a step knows its own error, nothing is cleared away."""
    loop.achieve([world.wants("a", looks=False)])

    def broken(seen: Seen) -> None:
        raise HostError("disk full", fix="make room", code=ExitCode.IO)

    finding = fail("no b", "", step=Step(broken, "make b", "b"), parting=world.part)
    with pytest.raises(HostError, match="disk full"):
        loop.achieve([Rule("b", lambda _: [finding])])

    assert world.happened == ["lock", "make a", "lock"]


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
        loop.achieve(rules, yes=yes)
    else:
        with pytest.raises(HostError) as refusal:
            loop.achieve(rules, yes=yes)
        assert (refusal.value.problem, refusal.value.fix) == ("no b", "invoke make b")

    assert asked == ["Make b?"]
    assert world.happened == ["lock", "make a", *(["make b"] if done else [])]


def test_why_a_step_is_done_is_said_before_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Who waits knows for what."""
    loop.achieve([world.wants("a")])

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "Make a: no a.\n")


def test_dry_run_prints_the_plan_and_does_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """`--dry-run` takes no lock, does no step and nothing then, and ends well also where the plan ends in a problem."""
    loop.achieve([world.wants("a", looks=False), refuses], dry_run=True, then=world.part)

    assert world.happened == []
    assert capsys.readouterr().out == (
        "1. make a\n   why: no a\n   touches: a\nThen it would stop:\n   error: it cannot be\n   fix: give up\n"
    )


def test_what_was_there_before_the_first_step_is_remembered(world: World) -> None:
    """A start that failed removes only what it made: what ran before may hold a person's kernels."""
    runs = loop.fact(lambda seen: 1 + len(world.there))

    def looks(seen: Seen) -> Iterator[Finding]:
        yield ok(f"{runs(seen)} run")

    seen = loop.achieve([Rule("engine", looks), world.wants("a"), world.wants("b")])

    assert (runs(seen.first), runs(seen)) == (1, 3)


def test_what_a_call_asks_for_is_known_in_every_round(world: World) -> None:
    """A choice that is not written down before a step of the second round must not be forgotten there."""
    seen = loop.achieve([world.wants("a")], asked={"JUPYTER_PORT": "9000"})

    assert (seen.asked, seen.first.asked) == ({"JUPYTER_PORT": "9000"}, {"JUPYTER_PORT": "9000"})


# Facts


def test_fact_is_looked_at_once_a_round() -> None:
    """What one rule saw is what the next one judges; after a step it is looked at again."""
    looks = iter("abc")
    told = loop.fact(lambda seen: next(looks))
    seen = Seen()

    assert (told(seen), told(seen)) == ("a", "a")
    assert told(seen.after(Step(lambda _: None, "do", "it"), Ended())) == "b"
    assert told(seen) == "a"


def test_fact_that_ends_in_an_error_is_looked_at_again() -> None:
    """An engine that gave no answer once is no engine that gives none."""
    looks = iter([HostError("no answer", fix="wait", code=ExitCode.TRY_AGAIN), None])

    @loop.fact
    def told(seen: Seen) -> str:
        if error := next(looks):
            raise error
        return "here"

    seen = Seen()
    with pytest.raises(HostError, match="no answer"):
        told(seen)

    assert told(seen) == "here"


@pytest.mark.parametrize(
    ("key", "ended", "kept"),
    [("", Ended(), True), ("", Ended(ok=False), False), (ANEW, Ended(), False)],
    ids=["a step that ended well", "a step that failed", "an installation"],
)
def test_what_lasts_is_looked_at_again_only_where_it_may_have_changed(ended: Ended, key: str, *, kept: bool) -> None:
    """The engine takes a second to tell of itself; after a step that failed it may be gone."""
    looks = iter("ab")
    told = loop.lasting(lambda seen: next(looks))
    seen = Seen()

    assert told(seen) == "a"
    assert told(seen.after(Step(lambda _: None, "do", "it", key=key), ended)) == ("a" if kept else "b")


# Plans


def test_step_is_told_by_its_key_where_its_words_change(world: World) -> None:
    """A step whose words differ from round to round is tried once all the same."""
    world.refusing = {"a"}

    with pytest.raises(HostError, match="no a"):
        loop.achieve([world.wants("a", looks=False, key="the a")])

    assert world.happened == ["lock", "make a", "part after the a"]


def test_rule_that_looks_at_what_a_step_changes_is_asked_afterwards(world: World) -> None:
    """A mount is not probed through a server that is started anew."""
    last = Rule("last", lambda seen: [fail(f"after {', '.join(seen.tried)}", "")], afterwards=True)

    assert [step.what for step in loop.plan(Seen(), [world.wants("a"), last]).steps] == ["make a"]
    with pytest.raises(HostError, match="after make a"):
        loop.achieve([world.wants("a"), last])


def test_warning_is_no_step_and_no_problem() -> None:
    """What works, and may not go on working, keeps no task from its end."""
    assert str(loop.plan(Seen(), [Rule("disk", lambda _: [warn("nearly full", "df")])])) == "Nothing to do."


def test_step_that_is_asked_for_is_done_once() -> None:
    """`push` pushes whatever is there; where it failed it is not done again, and what it said is told."""
    step = Step(lambda _: None, "push it", "the registry")
    once = loop.once("pushed", lambda _: step, "invoke push", lambda _, ended: fail(f"refused: {ended.said}", "log in"))
    tried = [Seen(tried={"push it": ended}) for ended in (Ended(), Ended(ok=False, said="denied"))]

    assert str(loop.plan(Seen(), [once])) == "1. push it\n   why: it was asked for\n   touches: the registry"
    assert str(loop.plan(tried[0], [once])) == "Nothing to do."
    assert str(loop.plan(tried[1], [once])).endswith("error: refused: denied\n   fix: log in")


# What `doctor` asks


def finding(code: str, *findings: Finding, upon: tuple[str, ...] = ()) -> Rule:
    """Return a rule that finds these."""
    return Rule(code, lambda _: findings, upon)


def states(*rules: Rule, **how: bool) -> list[tuple[str, str]]:
    """Return the code and the state of each finding."""
    return [(found.code, found.state) for found in loop.examined(Seen(), rules, **how)]


def test_what_stands_on_a_fault_is_not_asked() -> None:
    """Where docker/.env cannot be read each rule after it would blame the wrong thing; a warning is no fault."""
    upon = finding("mounts", ok("fine"), upon=("env-file",))

    assert states(finding("env-file", fail("broken", "")), upon) == [("env-file", FAIL)]
    assert states(finding("env-file", warn("odd", "")), upon) == [("env-file", WARN), ("mounts", OK)]


def test_reason_that_is_told_is_not_told_again() -> None:
    """One engine that does not answer is one fault, not one for each rule that asks it."""
    assert states(finding("engine", fail("no answer", "")), finding("image", fail("no answer", ""))) == [
        ("engine", FAIL)
    ]


def test_what_up_does_unasked_is_a_warning() -> None:
    """A folder that `up` makes is no fault of today; what it asks a person for, or cannot cure, is one."""
    step, asked = Step(lambda _: None, "do", "it"), Step(lambda _: None, "do", "it", question="Really?")
    unasked = finding("mounts", fail("missing", "", step=step))
    severe = finding("server", fail("out of memory", "", ExitCode.SOFTWARE, step=step))

    assert states(
        unasked, finding("engine", fail("down", "", step=asked)), finding("port", fail("held", "")), severe
    ) == [
        *(("mounts", WARN), ("engine", FAIL), ("port", FAIL), ("server", FAIL)),
    ]
    assert states(unasked, as_is=True) == [("mounts", FAIL)]


def test_part_that_cannot_be_looked_at_keeps_its_code_and_the_others() -> None:
    """The person hears what could not be looked at, and all the rest."""

    def unreadable(seen: Seen) -> Iterator[Finding]:
        yield ok("one of two")
        raise PermissionError(13, "Permission denied", "postBuild")

    def refused(seen: Seen) -> Iterator[Finding]:
        raise HostError("line 2", fix="correct it", code=ExitCode.DATA)

    found = loop.examined(Seen(), [Rule("scripts", unreadable), Rule("env-file", refused), finding("disk", ok("room"))])

    assert [(each.code, each.state, each.cause) for each in found] == [
        ("scripts", OK, "one of two"),
        ("scripts", WARN, "could not look: [Errno 13] Permission denied: 'postBuild'"),
        ("env-file", FAIL, "line 2"),
        ("disk", OK, "room"),
    ]
