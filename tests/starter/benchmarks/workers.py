"""What `up --workers` costs beside Dask's own LocalCluster in the same environment: ratios of medians, side by side.

Run it with an engine: python tests/starter/benchmarks/workers.py [ROUNDS]. It ends with 1 where a ratio is over its
bound. Both sides compute in the Lab's container with as many processes of one thread each; their rounds alternate.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.overhead import Ratio, must, seconds
from conftest import Clone, cloned, removed  # overhead.py adds the folder that it is in

BOUND = 1.10
NUMBERS = (1, 2)
# Forty pieces that need nothing of each other; and an array that goes from columns to rows, every piece to every other.
COMPUTATION = """
import json, sys, time
import dask.array as da
from distributed import Client, LocalCluster

def piece(seed):
    total = seed
    for each in range(600_000):
        total = (total * 31 + each) % 1_000_003
    return total

def seconds(action):
    start = time.monotonic()
    action()
    return time.monotonic() - start

number, local = int(sys.argv[1]), sys.argv[2] == "local"
start = time.monotonic()
cluster = {"n_workers": number, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
with Client(LocalCluster(**cluster)) if local else Client() as client:
    client.wait_for_workers(number)
    client.submit(abs, -1).result()
    took = {"first result": time.monotonic() - start}
    assert len(client.scheduler_info()["workers"]) == number
    took["parallel"] = seconds(lambda: client.gather(client.map(piece, range(40), pure=False)))
    columns = da.ones((6000, 6000), chunks=(6000, 250))
    rows = (columns + 1).rechunk((250, 6000), method="tasks")
    took["shuffling"] = seconds(lambda: rows.sum().compute())
    print(json.dumps(took))
"""


def computed(clone: Clone, number: int, side: str) -> dict[str, float]:
    """Return how long each part took on one side, in seconds."""
    done = clone.inside("python", "-c", COMPUTATION, str(number), side)
    must(done)
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(number, side, {name: round(each, 2) for name, each in took.items()}, file=sys.stderr, flush=True)
    return took


def compared(clone: Clone, number: int, rounds: int) -> list[Ratio]:
    """Return both computations on so many workers, beside a LocalCluster of as many."""
    pairs = [(computed(clone, number, "ours"), computed(clone, number, "local")) for _ in range(rounds)]
    return [
        Ratio(
            f"{name}, {number} in containers / {number} of LocalCluster",
            statistics.median(ours[name] for ours, _ in pairs),
            statistics.median(local[name] for _, local in pairs),
            BOUND,
        )
        for name in pairs[0][0]
    ]


def main(rounds: int) -> None:
    """Measure, print, and judge."""
    with tempfile.TemporaryDirectory() as folder:
        clone = cloned(Path(folder) / "clone")
        try:
            with (clone.root / "requirements.txt").open("a", encoding="utf-8") as file:
                file.write("distributed\nbokeh\njupyter-server-proxy\n")
            must(clone.task("up", "--yes"))
            start = seconds(lambda: must(clone.task("up", "--workers", "2")))
            start += computed(clone, 2, "ours")["first result"]
            found: list[Ratio] = []
            for number in NUMBERS:
                must(clone.task("up", "--workers", str(number)))
                found += compared(clone, number, rounds)
        finally:
            removed(clone)
    print("\n".join(map(str, found)))
    print(f"From `up --workers 2`, beside a Lab that runs, to the first result: {start:.1f} s")
    sys.exit(any(each.ours_s / each.theirs_s > each.bound for each in found))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
