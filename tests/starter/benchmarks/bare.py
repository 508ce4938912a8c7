"""What each part of the way from a bare machine to JupyterLab's link costs: a table.

Run it with an engine: invoke bench. No cache of the engine helps: the names of the build's caches are new, and so is
what both images begin with. It judges nothing: the aim of 75 s is for a quiet machine of two cores.
"""

import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.overhead import must, settle  # it adds the folders of what follows
from conftest import Clone, cloned, removed

from host_tasks.subjects.base import ROOT_FILE_SYSTEM, STAND_IN

# How the first line begins that a part prints.
PARTS = {
    "Setting up": "the packages of the tasks",
    "Write docker/.env": "docker/.env and folders",
    "Pull": "to ask for the published base image",
    "Make the base image": "the stand-in",
    "Build the image": "the image",
    "Start": "from the start to the link",
}
STEP = re.compile(r"#(\d+) \[(?:jupyterlab-server )?(.+?)\]")  # of a build, by BuildKit 0.12's plain progress
DONE = re.compile(r"#(\d+) DONE ([\d.]+)s")


def made_bare(clone: Clone) -> None:
    """Give the build's caches and the stand-in's parts names that no build had before."""
    new = secrets.token_hex(4)
    for name in ("Dockerfile", "stand-in/Dockerfile"):
        path = clone.root / "docker" / name
        path.write_text(re.sub(r"(type=cache,id=[\w-]+)", rf"\1-{new}", path.read_text(encoding="utf-8")))
    # The name of a cache changes no layer; activate.sh is in the first of both images.
    for name in ("stand-in/root-file-system.sh", "activate.sh"):
        with (clone.root / "docker" / name).open("a", encoding="utf-8") as file:
            file.write(f"# {new}\n")


def timed(lines: Iterable[str]) -> tuple[list[tuple[str, float]], set[str]]:
    """Return the rows of the table, part or step of a build and its seconds, and the base images made on the way."""
    rows: list[tuple[str, float]] = []
    steps: list[tuple[str, float]] = []
    names: dict[str, str] = {}
    images: set[str] = set()
    part, since = "to begin", time.monotonic()
    for line in lines:
        images |= set(re.findall(rf"(?:{ROOT_FILE_SYSTEM}|{STAND_IN}):\w+", line))
        if step := STEP.match(line):
            names[step[1]] = step[2]
        elif (done := DONE.match(line)) and float(done[2]) >= 1:
            steps.append((f"    {names.get(done[1], 'export')}", float(done[2])))
        for begins, name in PARTS.items():
            if line.startswith(begins) and name != part:
                rows += [(part, time.monotonic() - since), *steps]
                part, since, steps = name, time.monotonic(), []
    return [*rows, (part, time.monotonic() - since), *steps], images


def main() -> None:
    """Measure and print."""
    images: set[str] = set()
    settle()
    with tempfile.TemporaryDirectory() as folder:
        clone = cloned(Path(folder) / "bare")
        made_bare(clone)
        python = getattr(sys, "_base_executable", sys.executable)  # its packages are not there yet
        argv = [python, str(clone.root / "tasks.py"), "up", "--yes"]
        environ = {**os.environ, "PYTHONUNBUFFERED": "1"}  # a line is timed as it comes
        try:
            with subprocess.Popen(
                argv,
                cwd=clone.root,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=-1,
                stderr=subprocess.STDOUT,
                text=True,
            ) as up:
                rows, images = timed(up.stdout or ())
            must(subprocess.CompletedProcess(argv, up.returncode, "", str(rows)))
        finally:
            removed(clone)
            if images:
                subprocess.run(["docker", "image", "rm", *images], capture_output=True, check=False)
    total = sum(took for name, took in rows if not name.startswith(" "))
    print("\n".join(f"{took:7.1f} s {took / total:5.0%}  {name}" for name, took in rows))
    print(f"{total:7.1f} s  100%  a bare machine to the link (aim: 75 s, on a quiet machine of two cores)")


if __name__ == "__main__":
    main()
