"""Run notebooks twice, each time in a project made anew, and compare what comes with what is stored, cell by cell.

It runs in a container without network, which `invoke reproduce` starts (host_tasks/extras/reproduce.py): nbclient
executes. nbval and nbdime know no tolerance, and are in no environment unasked, so what is the same is said here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PLACE = Path("/opt/reproduce")  # what the host hands in
ARCHIVE, FILES, RESULTS, NOTEBOOKS = (PLACE / name for name in ("commit.tar", "files", "results", "notebooks"))
FOLDERS = ("bin", "doc", "notebooks", "results", "src")  # made anew; data/ is mounted as it is, read-only
NAME = "reproduced"  # of the report and the page in results/
SAME, IGNORED, NONE, DIFFERS, UNSTABLE, FAILS = (
    *("same", "not compared", "no output stored", "differs", "unstable", "fails"),
)
STATES = (SAME, IGNORED, NONE, DIFFERS, UNSTABLE, FAILS)  # a notebook's is the last one of its cells'
IGNORE_TAG = "nbval-ignore-output"  # nbval 0.11, "Tags"
WIDGET = "application/vnd.jupyter.widget-view+json"  # the id of a model in a kernel that has ended
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")
NUMBER = re.compile(r"((?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))")
# What is read alike, beside what a terminal does with colours and carriage returns: pattern, and what stands for it.
ALIKE = (
    (re.compile(r"/tmp/ipykernel_\d+/\d+\.py"), "<cell>"),  # noqa: S108 # ipykernel 7, compiler.py
    (re.compile(r"/home/[a-z][a-z0-9_-]*/app(?=/|\b)"), "~/app"),
)
READ_ALIKE = (
    "text of a stream as a terminal shows it in the end, without colours",
    "a file that stands for a cell: ipykernel_<number>/<number>.py",
    "/home/<user>/app, which is the project",
    "a widget by its text, and an error by its name and message, without the traceback",
)
START_S = 120  # for a kernel to start
MOST_CELLS, MOST_CHARACTERS = 100, 200  # of one notebook's in the report, and of what is said of one

Difference = tuple[str, str]  # its kind (text, number or picture), and both values


class Run(NamedTuple):
    """A notebook as a kernel has left it, and of its cells that did not end well, by their place, why."""

    cells: Sequence[Any]
    failed: Mapping[int, str]


# what is compared


def parts(outputs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the texts of a cell's outputs, by the names of their streams, types and places."""
    streams: dict[str, str] = {}
    found: dict[str, str] = {}
    for number, output in enumerate(output for output in outputs if output["output_type"] != "stream"):
        place = f" of output {number + 1}" if number else ""
        if output["output_type"] == "error":
            found[f"error{place}"] = read(f"{output['ename']}: {output['evalue']}")
        for kind, value in output.get("data", {}).items():
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            if kind != WIDGET:
                found[f"{kind}{place}"] = text if kind in PICTURES else read(text)
    for output in outputs:
        if output["output_type"] == "stream":
            streams[output["name"]] = streams.get(output["name"], "") + output["text"]
    # nbclient and nbconvert do this by a pattern that takes the square of a long line's length.
    drawn = {
        name: [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")] for name, text in streams.items()
    }
    return {**{name: read("\n".join(lines)) for name, lines in drawn.items()}, **found}


def read(text: str) -> str:
    """Return a text as it is compared."""
    from nbconvert.filters.ansi import strip_ansi

    text = str(strip_ansi(text))
    for pattern, instead in ALIKE:
        text = pattern.sub(instead, text)
    return text


def difference(old: Mapping[str, str], new: Mapping[str, str], tolerance: float) -> Difference | None:
    """Return the first difference between two cells' outputs; None where they are the same."""
    for name in dict.fromkeys([*old, *new]):
        before, after, kind = old.get(name), new.get(name), name.partition(" ")[0]
        if before == after:
            continue
        label = "picture" if kind in PICTURES else "text"
        if before is None or after is None:
            return label, f"{name} is {'new' if before is None else 'no longer there'}"
        found = of_pictures(before, after) if label == "picture" else of_texts(before, after, tolerance)
        if found:
            return found[0], f"{name}: {found[1]}"
    return None


def of_texts(old: str, new: str, tolerance: float) -> Difference | None:
    """Return how two texts differ, where it is more than numbers that differ by no more than the relative tolerance."""
    before, after = NUMBER.split(old), NUMBER.split(new)  # texts and numbers in turn
    if before[::2] != after[::2]:
        lines = zip(old.splitlines(), new.splitlines(), strict=False)
        first = next(((one, other) for one, other in lines if one != other), ("", "another number of lines"))
        return "text", " is now ".join(f"`{clipped(line)}`" for line in first)
    pairs = list(zip(before[1::2], after[1::2], strict=True))
    apart = [pair for pair in pairs if not close(*pair, tolerance)]
    if not apart:
        return None
    worst = max(distance(*pair) for pair in apart)
    return "number", f"{apart[0][0]} is now {apart[0][1]}; {worst:.1e} apart, and {tolerance:g} is allowed"


def close(one: str, other: str, tolerance: float) -> bool:
    """Return whether two numbers are the same: whole ones exactly, others within the relative tolerance."""
    whole = not re.search(r"[.eE]", one + other)
    return one == other or (not whole and math.isclose(float(one), float(other), rel_tol=tolerance))


def distance(one: str, other: str) -> float:
    """Return the relative difference of two numbers."""
    largest = max(abs(float(one)), abs(float(other)))
    return abs(float(one) - float(other)) / largest if 0 < largest < math.inf else math.inf


def of_pictures(old: str, new: str) -> Difference | None:
    """Return how two pictures differ, pixel by pixel where Pillow is there and reads them."""
    if "".join(old.split()) == "".join(new.split()):
        return None
    with contextlib.suppress(Exception):  # no Pillow, or no picture that it reads: the bytes differ
        import base64
        import io

        from PIL import Image, ImageChops

        one, other = (Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA") for text in (old, new))
        if one.size != other.size:
            return "picture", f"{one.size[0]} x {one.size[1]} pixels are now {other.size[0]} x {other.size[1]}"
        changed = ImageChops.difference(one, other).convert("RGB").point(lambda value: 255 if value else 0)
        alpha = ImageChops.difference(one.getchannel("A"), other.getchannel("A"))
        if changed.getbbox() is None and alpha.getbbox() is None:
            return None
        return "picture", f"pixels differ in the box {changed.getbbox() or alpha.getbbox()}"
    return "picture", "its bytes differ"


def clipped(text: str) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}..."


# what is run


def make_anew(project: Path) -> None:
    """Fill the five folders with what was handed in, and nothing else."""
    for name in FOLDERS:
        (project / name).chmod(0o755)  # a new file system has the mode of the folder that it covers (runc 1.1)
        for path in (project / name).iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if ARCHIVE.is_file():
        argv = ["tar", "--extract", "--file", str(ARCHIVE), "--directory", str(project), "--no-overwrite-dir"]
        subprocess.run(argv, check=True)
    for folder in FILES.glob("*"):
        argv = ["cp", "--recursive", "--no-dereference", "--preserve=mode,links,timestamps", f"{folder}/."]
        subprocess.run([*argv, str(project / folder.name)], check=True)


def notebooks(folder: Path, named: Sequence[str]) -> list[str]:
    """Return the notebooks to run, from their folder, in the order of their names."""
    found = (path.relative_to(folder) for path in folder.rglob("*.ipynb") if path.is_file())
    names = [os.path.relpath(name, "notebooks") if name.startswith("notebooks/") else name for name in named]
    return names or sorted(str(path) for path in found if not any(part.startswith(".") for part in path.parts))


async def executed(path: Path, *, seed: str, timeout_s: int) -> Run:
    """Return a notebook as a kernel of its own leaves it, in its folder, with a seed for the order of sets."""
    import nbformat
    from nbclient import NotebookClient

    cells: list[Any] = []
    at = 0
    try:
        notebook = nbformat.read(path, as_version=4)
        cells = notebook.cells
        code = [number for number, cell in enumerate(cells) if cell.cell_type == "code"]
        for number in code:
            cells[number].update(outputs=[], execution_count=None)
        client = NotebookClient(
            notebook,
            timeout=timeout_s,
            startup_timeout=START_S,
            record_timing=False,
            resources={"metadata": {"path": str(path.parent)}},
        )
        if code:
            environ = {**os.environ, "PYTHONHASHSEED": seed}
            # What a kernel says there is of itself: that it listens over TCP, on the loopback of this container.
            async with client.async_setup_kernel(env=environ, stderr=subprocess.DEVNULL):
                for at in code:
                    await client.async_execute_cell(cells[at], at)
    except Exception as err:  # whatever a notebook or a kernel does, the others are run
        left = [number for number, cell in enumerate(cells) if cell.cell_type == "code" and number >= at] or [-1]
        others = dict.fromkeys(left, "not run, for a cell before it failed")
        return Run(cells, {**others, left[0]: reason(err, timeout_s)})
    return Run(cells, {})


def reason(err: Exception, timeout_s: int) -> str:
    """Return why a cell did not end well, on one line."""
    kind = type(err).__name__
    if kind == "CellExecutionError":
        return clipped(read(f"{err.ename}: {err.evalue}"))  # type: ignore[attr-defined]
    told = {"CellTimeoutError": f"no end within {timeout_s} s", "DeadKernelError": "its kernel died"}
    return told.get(kind) or clipped(f"{kind}: {err}")


async def run_all(project: Path, names: Sequence[str], *, number: int, jobs: int, timeout_s: int) -> dict[str, Run]:
    """Return all notebooks, run in their order in one project; that many at once."""
    free = asyncio.Semaphore(jobs)

    async def one(name: str) -> Run:
        async with free:
            print(f"run {number} of 2: notebooks/{name}", file=sys.stderr, flush=True)
            return await executed(project / "notebooks" / name, seed=str(number), timeout_s=timeout_s)

    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))


# what is said


def judged(stored: Sequence[Any], first: Run, second: Run, tolerance: float) -> list[dict[str, Any]]:
    """Return what is true of each cell of code: its number from 1, its state, and why."""
    found = [{"cell": 0, "state": FAILS, "why": first.failed[-1]}] if -1 in first.failed else []
    code = [place for place, cell in enumerate(stored) if cell.cell_type == "code"]
    for number, place in enumerate(code, start=1):
        state, kind, why = state_of(stored[place], first, second, place, tolerance)
        found.append({"cell": number, "state": state, "kind": kind, "why": why})
    return found


def state_of(stored: Any, first: Run, second: Run, place: int, tolerance: float) -> tuple[str, str, str]:
    """Return the state of a cell, the kind of the difference, and why."""
    failed = [run.failed.get(place) for run in (first, second)]
    if all(failed):
        return FAILS, "", str(failed[0])
    if any(failed):
        return UNSTABLE, "", f"one of two runs fails: {failed[0] or failed[1]}"
    if IGNORE_TAG in stored.metadata.get("tags", ()):
        return IGNORED, "", f"its tag is {IGNORE_TAG}"
    new, again = (parts(run.cells[place].outputs) for run in (first, second))
    if found := difference(new, again, tolerance):
        return UNSTABLE, found[0], f"two runs differ: {found[1]}"
    if new and not stored.outputs and stored.execution_count is None:
        return NONE, "", "it gives " + ", ".join(new)
    if found := difference(parts(stored.outputs), new, tolerance):
        return DIFFERS, *found
    return SAME, "", ""


def summary(name: str, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is said of a notebook: its state, how many cells have which, and those that are not the same."""
    counts = {state: sum(cell["state"] == state for cell in cells) for state in STATES}
    state = next((state for state in reversed(STATES) if counts[state] and state != IGNORED), SAME)
    others = [cell for cell in cells if cell["state"] != SAME][:MOST_CELLS]
    return {"notebook": f"notebooks/{name}", "state": state, "counts": counts, "cells": others}


def page(report: Mapping[str, Any]) -> str:
    """Return the report as a page for people."""
    lines = [
        *("# Do the notebooks still give what is stored?", "", f"Run twice from {report['origin']}, without network."),
        f"Numbers with a decimal point are the same where they differ by no more than {report['tolerance']:g} of "
        "their size; whole numbers, texts and the pixels of pictures have to be equal.",
        *("", "Read alike:", "", *(f"- {what}" for what in report["alike"])),
        *("", f"| notebook | state | {' | '.join(STATES)} |", "|---|---|" + "---|" * len(STATES)),
    ]
    for one in report["notebooks"]:
        counts = " | ".join(str(one["counts"][state] or "") for state in STATES)
        lines.append(f"| {span(one['notebook'])} | {one['state']} | {counts} |")
    for one in report["notebooks"]:
        if one["cells"]:
            lines += ["", f"## {span(one['notebook'])}", "", "Cells of code are counted from 1.", ""]
        for cell in one["cells"]:
            kind = f" ({cell['kind']})" if cell.get("kind") else ""
            lines.append(f"- cell {cell['cell']}: {cell['state']}{kind}: {span(cell['why'])}")
    return "\n".join([*lines, ""])


def span(text: str) -> str:
    """Return a text as Markdown shows it letter by letter, in a table too."""
    return "`" + text.replace("`", "'").replace("|", "\N{BROKEN BAR}") + "`"


def replace(path: Path, text: str) -> None:
    """Write a file at once; a link in its place is replaced, and not followed."""
    beside = path.with_name(f".part-{path.name}")
    beside.unlink(missing_ok=True)
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def store(name: str, run: Run) -> None:
    """Put the outputs of a run into the person's notebook, and change nothing else in it."""
    import nbformat

    path = NOTEBOOKS / name
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    for cell, ran in zip(notebook.cells, run.cells, strict=True):
        if cell.cell_type == "code":
            cell.update(outputs=ran.outputs, execution_count=ran.execution_count)
    replace(path, nbformat.writes(notebook) + "\n")


def main() -> None:
    """Run, compare and report; the exit code says only whether there is a report."""
    import nbformat

    parser = argparse.ArgumentParser("reproduce --", description="Names of notebooks, and how they are run.")
    parser.add_argument("--origin", help=argparse.SUPPRESS)
    parser.add_argument("--tolerance", type=float, default=1e-12, help="how much of its size a number may differ")
    parser.add_argument("--timeout", type=int, default=600, help="seconds that a cell may take")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at once, which then share their folders")
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    project = Path(os.environ["PROJECT_DIR"])
    runs = []
    for number in (1, 2):
        make_anew(project)
        names = notebooks(project / "notebooks", asked.names)
        how = {"number": number, "jobs": asked.jobs, "timeout_s": asked.timeout}
        runs.append(asyncio.run(run_all(project, names, **how)))
    make_anew(project)
    told = []
    for name in names:
        first, second = (run[name] for run in runs)
        whole = -1 not in first.failed
        stored = nbformat.read(project / "notebooks" / name, as_version=4).cells if whole else []
        told.append(summary(name, judged(stored, first, second, asked.tolerance)))
        if NOTEBOOKS.is_dir() and not first.failed:
            store(name, first)
    report = {
        "origin": asked.origin,
        "tolerance": asked.tolerance,
        "timeout_s": asked.timeout,
        "alike": READ_ALIKE,
        "notebooks": told,
    }
    replace(RESULTS / f"{NAME}.json", json.dumps(report, indent=1) + "\n")
    replace(RESULTS / f"{NAME}.md", page(report))


if __name__ == "__main__":
    main()
