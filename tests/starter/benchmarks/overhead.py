"""What the tasks cost beside docker's own commands: ratios of medians, measured side by side in one run.

Run it with an engine: invoke bench. It ends with 1 where a ratio is over its bound.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TESTS = ROOT / "tests" / "starter"
# In this order: both folders of tests have a conftest.py.
sys.path[:0] = [str(TESTS / "image"), str(ROOT / "docker"), str(TESTS)]

from conftest import Clone, cloned, removed  # noqa: E402

ROUNDS = 9
EMPTY_TASK = "from invoke import task\n\n\n@task\ndef nothing(c):\n    pass\n"


@dataclass(frozen=True)
class Ratio:
    """One claim: what ours costs against what it is measured by."""

    claim: str
    ours_s: float
    theirs_s: float
    bound: float

    def __str__(self) -> str:
        verdict = "ok" if self.ours_s / self.theirs_s <= self.bound else "OVER"
        return (
            f"{verdict:4}  {self.ours_s / self.theirs_s:5.2f} <= {self.bound:4.2f}  "
            f"({self.ours_s:6.2f} s / {self.theirs_s:6.2f} s)  {self.claim}"
        )


def seconds(*actions: Callable[[], object]) -> float:
    """Return how long actions take, one after another, in seconds."""
    start = time.monotonic()
    for action in actions:
        action()
    return time.monotonic() - start


def settle() -> None:
    """Have the disk done with what was deleted before.

    ext4 gives the inode of a deleted file to no new one for a minute, or six where its block has changed since, and
    searches past all of them for each file that it makes: to delete a cache has made the next build 10 s slower. Where
    the block is not in memory, it does not ask (Linux 6.18, fs/ext4/ialloc.c, recently_deleted).
    """
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1", encoding="ascii")
    except OSError:  # it takes root
        time.sleep(62)


def side_by_side(
    claim: str, ours: Callable[[], object], theirs: list[Callable[[], object]], bound: float, rounds: int = ROUNDS
) -> Ratio:
    """Return the ratio of the medians, each round measuring both."""
    pairs = [(seconds(ours), seconds(*theirs)) for _ in range(rounds)]
    return Ratio(claim, statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs), bound)


def must(done: "subprocess.CompletedProcess[str]") -> None:
    """Stop where a measured command failed."""
    if done.returncode != 0:
        sys.exit(f"{done.args} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def overhead(clone: Clone, empty: Path) -> list[Ratio]:
    """Return what `config`, a no-op `up` and `--list` cost."""
    folder = clone.root / "docker"
    invoke = [sys.executable, "-m", "invoke", "--search-root"]
    return [
        side_by_side(
            "invoke config / (an empty Invoke task + docker compose config)",
            lambda: must(clone.task("config")),
            [
                lambda: must(clone.run(*invoke, str(empty), "nothing")),
                lambda: must(clone.run("docker", "compose", "config", cwd=folder)),
            ],
            1.1,
        ),
        side_by_side(
            "a no-op invoke up / docker compose up --build --detach --wait",
            lambda: must(clone.task("up")),
            [lambda: must(clone.run("docker", "compose", "up", "--build", "--detach", "--wait", cwd=folder))],
            0.45,
        ),
        side_by_side(
            "invoke --list / an empty Invoke task",
            lambda: must(clone.task("--list")),
            [lambda: must(clone.run(*invoke, str(empty), "nothing"))],
            0.85,
        ),
    ]


def rebuilds(clone: Clone) -> list[Ratio]:
    """Return what a changed entrypoint and another identity cost beside a cold build."""
    base = clone.values().get("BASE_IMAGE")
    words = ["docker", "build", *([f"--build-arg=BASE_IMAGE={base}"] if base else []), "--file", "docker/Dockerfile"]
    words += [
        "--secret",
        f"id=ca_bundle,src={clone.values().get('CA_BUNDLE', clone.root / 'docker/ca-bundle.pem')}",
        ".",
    ]
    entrypoint = clone.root / "docker" / "entrypoint.sh"

    def edited() -> None:
        entrypoint.write_text(entrypoint.read_text(encoding="utf-8") + f"# {time.monotonic()}\n", encoding="utf-8")
        must(clone.run(*words))

    uids = iter(range(20001, 30000))
    cold = seconds(lambda: must(clone.run(*words, "--no-cache")))
    must(clone.run(*words))
    changed = statistics.median(seconds(edited) for _ in range(5))
    other = statistics.median(
        seconds(lambda: must(clone.run(*words, "--build-arg", f"uid={next(uids)}", "--build-arg", "username=u")))
        for _ in range(5)
    )
    return [
        Ratio("a build after a changed entrypoint / a cold build", changed, cold, 0.05),
        Ratio("a build for another identity / a cold build", other, cold, 0.05),
    ]


def main() -> None:
    """Measure, print, and judge."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty"
        empty.mkdir()
        (empty / "tasks.py").write_text(EMPTY_TASK, encoding="utf-8")
        clone = cloned(Path(folder) / "clone")
        try:
            must(clone.task("up", "--yes"))
            ratios = overhead(clone, empty) + rebuilds(clone)
        finally:
            removed(clone)
    print("\n".join(map(str, ratios)))
    sys.exit(any(each.ours_s / each.theirs_s > each.bound for each in ratios))


if __name__ == "__main__":
    main()
