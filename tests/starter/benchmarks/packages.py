"""How long one more package takes, from the command until an open kernel imports it, and until the task has ended.

Run it with an engine: python tests/starter/benchmarks/packages.py [ROUNDS]. It ends with 1 where a median is over its
bound. The channel is warm, and the package small; beside it is conda's own `conda install` in the same container.
"""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.overhead import must
from conftest import Clone, cloned, removed  # overhead.py adds the folder that it is in

BOUND_S = 5.0
# A process that waits for a module, and says when it has it; it looks each 20 ms, as somebody would who tries again.
WAITING = """
import importlib, sys, time
while True:
    try:
        importlib.import_module(sys.argv[1])
        break
    except ImportError:
        time.sleep(0.02)
"""
PACKAGES = {"conda": (("setuptools",), "setuptools"), "pip": (("--pip", "jsonlines"), "jsonlines")}


def timed(clone: Clone, argv: list[str], module: str) -> tuple[float, float]:
    """Return the seconds from a command's start to an open process's import, and to the command's end."""
    kernel = subprocess.Popen(["docker", "exec", clone.container_id(), "/opt/env/bin/python", "-c", WAITING, module])
    time.sleep(1)  # until it waits
    start, imported = time.monotonic(), list[float]()
    thread = threading.Thread(target=lambda: imported.append(kernel.wait() or time.monotonic() - start))
    thread.start()
    must(clone.run(*argv))
    ended = time.monotonic() - start
    thread.join()
    return imported[0], ended


def main(rounds: int) -> int:
    """Print the medians, and return whether one is over its bound."""
    with tempfile.TemporaryDirectory() as folder:
        clone = cloned(Path(folder) / "packages")
        try:
            must(clone.task("up", "--yes"))
            task, over = [sys.executable, "-I", str(clone.root / "docker/host_tasks/setup/program.py")], False
            for name, (words, module) in PACKAGES.items():
                took = []
                for _ in range(rounds + 1):
                    took.append(timed(clone, [*task, "add", *words], module))
                    must(clone.task("remove", words[-1]))
                medians = [statistics.median(column) for column in zip(*took[1:], strict=True)]  # the first one warms
                over |= medians[0] > BOUND_S
                print(
                    f"{name:10} imported after {medians[0]:.1f} s (bound {BOUND_S:g}), ended after {medians[1]:.1f} s"
                )
            conda = [
                "docker",
                "exec",
                clone.container_id(),
                "conda",
                "install",
                "--yes",
                "--quiet",
                "--prefix=/opt/env",
            ]
            print(
                "conda's own: imported after {:.1f} s, ended after {:.1f} s".format(
                    *timed(clone, [*conda, "setuptools"], "setuptools")
                )
            )
        finally:
            removed(clone)
    return int(over)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
