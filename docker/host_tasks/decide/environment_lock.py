"""Rules about the lock: where there is one, it was made from the files as they are."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from host_tasks.decide.plan import Finding, Rule, Step, fail, ok, warn
from host_tasks.ground.commands import task_command
from host_tasks.ground.paths import LOCK_DIR, shown

if TYPE_CHECKING:
    from host_tasks.observe.environment_lock import Lock
    from host_tasks.observe.observation import Observation

CODE = "environment-lock"
NAME = shown(LOCK_DIR)
SHOWN_LINES = 3


def environment_lock(seen: "Observation") -> Iterator[Finding]:
    """Ask for a lock of the files as they are, where there is one."""
    if not (seen.lock or seen.stand_in_lock):
        yield ok(CODE, f"there is no {NAME}: a build takes the newest packages that fit")
        return
    found = seen.stand_in_lock if has_packages_of_its_own(seen) else seen.lock
    if found is None:
        yield warn(CODE, unused(seen), task_command("lock"))
    elif changed := differences(seen, found):
        step = _step("", "what it names stays, where that still fits")
        yield fail(CODE, f"{NAME} was made from other lines: {', '.join(changed)}", task_command("lock"), step=step)
    else:
        yield ok(CODE, f"{NAME} was made from the files as they are")


def write_lock(update: str) -> Rule:
    """Return the rule of `invoke lock`: one lock in any case; update is the package that may change, `*` is all."""

    def environment_lock(seen: "Observation") -> Iterator[Finding]:
        """Ask for a lock."""
        what = {"": "what it names stays, where that still fits", "*": "all of it anew"}
        step = _step(update, what.get(update, f"{update} anew"))
        if step.key in seen.tried:
            yield ok(CODE, f"{NAME} was written")
        else:
            yield fail(CODE, "a lock was asked for", task_command("lock"), step=step)

    return environment_lock


def has_packages_of_its_own(seen: "Observation") -> bool:
    """Return whether conda's packages are files of this machine: a stand-in's are, where no channel is an address."""
    from host_tasks.decide.environment import read_environment  # late: it loads YAML

    if not seen.base.is_stand_in:
        return False
    channels = read_environment(seen.environment_yml or "").channels
    return "nodefaults" not in channels or any("://" not in each for each in channels if each != "nodefaults")


def unused(seen: "Observation") -> str:
    """Return why the build does without the lock that is here; "" where it does not."""
    if seen.lock and has_packages_of_its_own(seen) and not seen.stand_in_lock:
        return f"{seen.base.name} is a stand-in, which has none of the packages that {NAME} names: it is not used here"
    return ""


def differences(seen: "Observation", lock: "Lock") -> list[str]:
    """Return the lines that were added since a lock was made, and those that have gone; the first of them."""
    now, then = Counter(map(str, seen.lock_inputs)), Counter(map(str, lock.lines))
    added = [
        f"{each.file}:{each.number} `{each.text.strip()}` is new" for each in seen.lock_inputs if not then[str(each)]
    ]
    gone = [f"`{each.text.strip()}` of {each.file} is gone" for each in lock.lines if not now[str(each)]]
    found = added + gone
    if not found and tuple(map(str, seen.lock_inputs)) != tuple(map(str, lock.lines)):
        found = ["they stand in another order"]
    if not found and not lock.whole:
        found = ["its files are not all of one lock"]
    more = len(found) - SHOWN_LINES
    return found if more <= 0 else [*found[:SHOWN_LINES], f"and {more} more"]


def _step(update: str, how: str) -> Step:
    """Return the step that writes the lock."""
    return Step("lock", f"write {NAME}, {how}", NAME, values={"update": update})
