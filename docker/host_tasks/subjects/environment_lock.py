"""environment.lock: each package with its hash, so that a build solves nothing.

docker/environment/lock_files.py says what a lock is, here and in the image.
"""

from __future__ import annotations

import functools
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lock_files
import person_files

from host_tasks.kit import files, report, runner
from host_tasks.kit.paths import DOCKERFILE, LOCK_DIR, shown
from host_tasks.kit.words import task_command
from host_tasks.loop import Ended, Finding, Rule, Seen, Step, fact, fail, ok, rule, warn
from host_tasks.subjects import base, build_failure, clone, environment, images, settings

NAME = shown(LOCK_DIR)
STAND_IN = lock_files.OF_THIS_MACHINE  # the folder in it for a lock that is good on this machine only
NAMES = (
    lock_files.INPUTS,
    *(f"{part}-{subdir}.txt" for part in ("conda", "pip") for subdir in lock_files.SUBDIRS.values()),
)
LARGEST_BYTES = 20_000_000  # 200 packages are 200 KB
SHOWN_LINES = 3


@dataclass(frozen=True)
class Line:
    """A line of a file that a lock is made from."""

    file: str  # its name, without folders
    text: str
    number: int = 0  # from 1; 0 where the file is not here

    def __str__(self) -> str:
        """Return the line as inputs.txt has it."""
        return f"{self.file}: {self.text}"

    @property
    def shown(self) -> str:
        """The line as a person is told it; what the container can write is not repeated."""
        if self.file == lock_files.OF_THE_BUILD:
            return f"{environment.SOURCE}:{self.number}" if self.number else f"a line of {environment.SOURCE}"
        place = f"{self.file}:{self.number} " if self.number else ""
        return f"{place}`{self.text.strip()}`" + ("" if self.number else f" of {self.file}")


@dataclass(frozen=True)
class Lock:
    """A lock: what it was made from, and whether all of its files are of that."""

    lines: tuple[Line, ...]
    whole: bool = True


# look


@fact
def lines_now(seen: Seen) -> tuple[Line, ...]:
    """Return the lines that a lock would be made from now: no comment or empty one, and no password in an address."""
    texts = {environment.NAME: environment.text(seen), **environment.beside(seen)}
    texts = {name: text for name, text in texts.items() if name not in person_files.OTHERS}
    texts[lock_files.OF_THE_BUILD] = environment.source(seen)
    return tuple(
        Line(name, line, number) for name, text in texts.items() for number, line in lock_files.lines(text or "")
    )


@fact
def committed(seen: Seen) -> Lock | None:
    """Return the lock that git keeps; None where there is none."""
    return find("")


@fact
def of_stand_in(seen: Seen) -> Lock | None:
    """Return the lock of a stand-in's packages, for this machine only; None where there is none."""
    return find(STAND_IN)


def find(name: str) -> Lock | None:
    """Return the lock in a folder of LOCK_DIR, "" for itself; None where there is none."""
    folder = LOCK_DIR / name
    if not (folder / "inputs.txt").is_file():
        return None
    text = (folder / "inputs.txt").read_text(encoding="utf-8", errors="replace")
    lines = (line.partition(": ") for line in text.splitlines())
    comment = lock_files.first_comment(text).rstrip()
    parts = [path for part in ("conda", "pip") for path in folder.glob(f"{part}-*.txt")]
    firsts = {path.read_text(encoding="utf-8", errors="replace").partition("\n")[0] for path in parts}
    return Lock(tuple(Line(file, rest) for file, _, rest in lines), whole=firsts <= {comment})


# judge


@rule("environment-lock", upon=("environment-yml",))
def environment_lock(seen: Seen) -> Iterator[Finding]:
    """Ask for a lock of the files as they are, where there is one."""
    if not (committed(seen) or of_stand_in(seen)):
        yield ok(f"there is no {NAME}: a build takes the newest packages that fit")
        return
    lock = in_use(seen)
    if lock is None:
        yield warn(unused(seen), task_command("lock"))
    elif changed := differences(seen, lock):
        yield _lacking(seen, f"{NAME} was made from other lines: {', '.join(changed)}", "")
    else:
        yield ok(f"{NAME} was made from the files as they are")


def write_lock(update: str) -> Rule:
    """Return the rule of `invoke lock`: one lock in any case; update is the package that may change, `*` is all."""

    def asked_for(seen: Seen) -> Iterator[Finding]:
        """Ask for a lock."""
        finding = _lacking(seen, "a lock was asked for", update)
        done = finding.step and finding.step.name in seen.tried
        yield ok(f"{NAME} was written") if done else finding

    return Rule("environment-lock", asked_for)


def _lacking(seen: Seen, cause: str, update: str) -> Finding:
    """Return that a lock has to be written, or why that failed."""
    how = {"": "what it names stays, where that still fits", "*": "all of it anew"}.get(update, f"{update} anew")
    step = Step(functools.partial(write, update=update), f"write {NAME}, {how}", NAME)
    ended = seen.tried.get(step.name)
    if ended and not ended.ok:
        return build_failure.explained(ended.said, seen)
    return fail(cause, task_command("lock"), step=step)


def has_packages_of_its_own(seen: Seen) -> bool:
    """Return whether conda's packages are files of this machine: a stand-in's are, where no channel is an address."""
    if not base.now(seen).is_stand_in:
        return False
    channels = environment.asked(seen).channels
    return "nodefaults" not in channels or any("://" not in name for name in channels if name != "nodefaults")


def in_use(seen: Seen) -> Lock | None:
    """Return the lock by which a build goes here; None where there is none."""
    if not (committed(seen) or of_stand_in(seen)):
        return None
    return of_stand_in(seen) if has_packages_of_its_own(seen) else committed(seen)


def paths() -> list[Path]:
    """Return where the files of a lock are, of a stand-in's too."""
    return [LOCK_DIR / place / name for place in ("", STAND_IN) for name in NAMES]


def unused(seen: Seen) -> str:
    """Return why the build does without the lock that is here; "" where it does not."""
    if committed(seen) and has_packages_of_its_own(seen) and not of_stand_in(seen):
        stand_in = base.now(seen).name
        return f"{stand_in} is a stand-in, which has none of the packages that {NAME} names: it is not used here"
    return ""


def differences(seen: Seen, lock: Lock) -> list[str]:
    """Return the lines that were added since a lock was made, and those that have gone; the first of them."""
    lines = lines_now(seen)
    now, then = Counter(map(str, lines)), Counter(map(str, lock.lines))
    found = [f"{line.shown} is new" for line in lines if not then[str(line)]]
    found += [f"{line.shown} is gone" for line in lock.lines if not now[str(line)]]
    if not found and tuple(map(str, lines)) != tuple(map(str, lock.lines)):
        found = ["they stand in another order"]
    if not found and not lock.whole:
        found = ["its files are not all of one lock"]
    more = len(found) - SHOWN_LINES
    return found if more <= 0 else [*found[:SHOWN_LINES], f"and {more} more"]


# repair


def write(seen: Seen, *, update: str) -> Ended:
    """Solve in a stage of the build, and put what comes of it in the place of the old lock."""
    finished = locked(seen, update=update)
    return Ended(finished.ok, finished.stderr)


def locked(seen: Seen, *, update: str = "") -> runner.Finished:
    """Solve in a stage of the build, put what comes of it in the place of the old lock, and return how that ended."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "lock.tar"
        options = ("--target", "lock", "--no-cache-filter", "locked", "--output", f"type=tar,dest={archive}")
        arguments = {"UPDATE": update, "BASE_IMAGE": base.now(seen).name, images.CACHES: clone.project(seen)}
        finished = images.build(DOCKERFILE, settings.now(seen).values, arguments=arguments, options=options)
        fresh = dict(read_archive(archive)) if finished.ok else {}
    for name in NAMES:
        for place in {Path(path).parent for path in fresh}:
            path = LOCK_DIR / place / name
            if text := fresh.get(str(place / name)):
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write(path, text, private=False)
            else:
                path.unlink(missing_ok=True)
    if any(name.startswith(STAND_IN) for name in fresh):
        # Never committed by mistake, whatever the project's own .gitignore says.
        files.write(LOCK_DIR / STAND_IN / ".gitignore", b"*\n", private=False)
        report.note(f"{NAME}/{STAND_IN} is for this machine's stand-in only, and git ignores it.")
    return finished


def read_archive(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a lock by their names; what a build writes is not trusted with others."""
    with tarfile.open(archive) as opened:
        for member in opened:
            path = Path(member.name)
            known = path.name in NAMES and str(path.parent) in (".", STAND_IN)
            if known and member.isreg() and member.size <= LARGEST_BYTES and (file := opened.extractfile(member)):
                yield str(path), file.read()
