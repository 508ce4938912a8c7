"""Run notebooks anew, and say cell by cell whether they still give what is stored in them.

In a container of their own, without network, in which docker/reproduce.py runs them. What it tells is not trusted.
"""

from __future__ import annotations

import contextlib
import json as json_format
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host_tasks import goals
from host_tasks.kit import files, git, report, runner
from host_tasks.kit.paths import DOCKER_DIR, ROOT, shown
from host_tasks.kit.task import JSON, YES, after_dashes, ended, task
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Finding, Seen, achieve, fact, fail, ok, rule
from host_tasks.subjects import clone, compose, settings

if TYPE_CHECKING:
    from invoke.context import Context

FRESH = ("bin", "doc", "notebooks", "results", "src")  # made anew in the container; data/ is there read-only
WRITABLE = ("results", "notebooks")  # the person's own, beside those: for the report, and for --write
PLACE, SCRIPT, NAME = "/opt/reproduce", "reproduce.py", "reproduced"  # as in docker/reproduce.py
LARGEST_BYTES = 2**24  # of a report: it names at most 100 cells of a notebook
SAME, CURED = "same", ("no output stored", "differs")  # states of a notebook; --write stores what these lack
SHOWN = 20  # cells

# look


@fact
def uncommitted(seen: Seen) -> tuple[str, ...]:
    """Return what differs from git's last commit, without results/ and what git ignores.

    Raises:
        HostError: there is no git, or no repository (69).
    """
    words = ("status", "--porcelain", "--no-renames", "-z", "--", ".", ":(exclude)results")
    finished = git.run(*words, capture=True)
    if not finished.ok:
        raise git.refused("status", finished.last_line)
    return tuple(line[3:] for line in finished.stdout.split("\0") if line)


def isolated(model: Mapping[str, Any], home: str, owner: str, handed: Mapping[str, Path]) -> dict[str, Any]:
    """Return Compose's model of the server alone: without network and volumes, five folders new and its owner's.

    Whatever else is mounted is read-only, but what is handed in under a name of WRITABLE.
    """
    server, fresh = model["services"][compose.SERVICE], [f"{home}/{name}" for name in FRESH]
    binds = [volume for volume in server.get("volumes") or () if volume["type"] == "bind"]
    kept = [{**volume, "read_only": True} for volume in binds if volume["target"] not in fresh]
    more = [
        {"type": "bind", "source": str(path), "target": f"{PLACE}/{name}", "read_only": name not in WRITABLE}
        for name, path in handed.items()
    ]
    tmpfs = [*server.get("tmpfs", ()), *(f"{target}:exec,{owner}" for target in fresh)]
    rest = {key: value for key, value in server.items() if key not in ("depends_on", "links", "networks", "ports")}
    alone = {**rest, "network_mode": "none", "volumes": [*kept, *more], "tmpfs": tmpfs}
    whole = {key: model[key] for key in ("name", "secrets", "configs") if key in model}
    return {**whole, "services": {compose.SERVICE: alone}}


def told(folder: Path) -> dict[str, Any]:
    """Return the report in results/.

    Raises:
        HostError: it cannot be read, or is none (65).
    """
    path = folder / f"{NAME}.json"
    try:
        found: dict[str, Any] = json_format.loads(files.read(path, below=folder, most=LARGEST_BYTES))
        text(found)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as err:
        problem = f"{shown(path)} cannot be read: {getattr(err, 'strerror', None) or err!r}"
        raise HostError(problem, fix=task_command("reproduce"), code=ExitCode.DATA) from err
    return found


# judge


@rule("committed")
def committed(seen: Seen) -> Iterator[Finding]:
    """Ask for files as the last commit has them, for these are what another person gets."""
    if changed := uncommitted(seen):
        names = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        yield fail(f"not as the last commit has it: {names}", task_command("reproduce --as-is"))
    else:
        yield ok("all files are as the last commit has them")


# repair


@contextlib.contextmanager
def commit() -> Iterator[Path]:
    """Have the five folders of git's last commit in one file meanwhile, which the container's user can read."""
    path = DOCKER_DIR / f".commit-{uuid.uuid4().hex[:8]}.tar"
    names = git.run("ls-tree", "--name-only", "-z", "HEAD", "--", *FRESH, capture=True).stdout.split("\0")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "commit.tar")
        finished = git.run("archive", f"--output={archive}", "HEAD", "--", *filter(None, names), capture=True)
        if not finished.ok:
            raise git.refused("archive", finished.last_line)
        try:
            files.write(path, archive.read_bytes(), private=False)  # as readable as the folders are
            yield path
        finally:
            path.unlink(missing_ok=True)


def run_notebooks(seen: Seen, words: Sequence[str], *, as_is: bool, write: bool) -> tuple[runner.Finished, Path]:
    """Run notebooks in a container of their own, and return how it ended, and the folder of its report."""
    values, model = settings.now(seen).values, compose.model(seen)
    home, owner = f"/home/{settings.now(seen).identity.user}/app", f"uid={values['UID']},gid={values['GID']}"
    declared = {mount.target: mount.source for mount in compose.declared_mounts(model)}
    sources = {name: declared.get(f"{home}/{name}", ROOT / name) for name in FRESH}
    handed = {SCRIPT: DOCKER_DIR / SCRIPT, **{name: sources[name] for name in WRITABLE[: 1 + write]}}
    origin, name = "the files as they are", f"{clone.project(seen)}-reproduce-{uuid.uuid4().hex[:8]}"
    with contextlib.ExitStack() as stack:
        if as_is:
            handed |= {f"files/{name}": sources[name] for name in FRESH if name != "results"}
        else:
            origin = "commit " + git.run("rev-parse", "--short", "HEAD", capture=True).stdout.strip()
            handed["commit.tar"] = stack.enter_context(commit())
        file = Path(stack.enter_context(tempfile.TemporaryDirectory()), "compose.json")
        alone = json_format.dumps(isolated(model, home, owner, handed))
        file.write_text(alone.replace("$", "$$"), encoding="utf-8")
        call = ("--file", str(file), "--project-directory", str(DOCKER_DIR), "run", "--rm", "--no-deps", "--no-TTY")
        argv = ("python", "-I", f"{PLACE}/{SCRIPT}", f"--origin={origin}", *words)
        stop = ["docker", "kill", name]
        finished = compose.call(values, *call, "--name", name, compose.SERVICE, *argv, keep=True, also_stop=stop)
    return finished, sources["results"]


# show


def text(found: Mapping[str, Any]) -> str:
    """Return a report as people read it: each notebook with its state, and the first cells that are not the same."""
    rows = [(str(one["notebook"]), str(one["state"]), "") for one in found["notebooks"]]
    cells = [(one["notebook"], cell) for one in found["notebooks"] for cell in one["cells"]]
    rows += [(f"{name}, cell {cell['cell']}", str(cell["state"]), str(cell["why"])) for name, cell in cells[:SHOWN]]
    return report.table(("notebook", "state", "why"), rows)


# tasks


@task(
    name="reproduce",
    help={
        "as-is": "Take the files as they are, and not those of the last commit.",
        "write": "Store the new outputs of each notebook that runs to its end.",
        "json": JSON,
        "yes": YES,
    },
)
def reproduce(c: Context, *, as_is: bool = False, write: bool = False, json: bool = False, yes: bool = False) -> None:
    """Run the notebooks anew, and compare them cell by cell.

    Twice, in new folders without network; leaves a page in results/. After -- stand names of notebooks, --timeout,
    --tolerance and --jobs. Ends with 1 where anything differs.
    """
    seen = achieve((*(() if as_is else (committed,)), *goals.runnable()), yes=yes)
    finished, folder = run_notebooks(seen, after_dashes(default=()), as_is=as_is, write=write)
    ended(finished)
    found = told(folder)
    report.as_json(found) if json else report.lines(text(found))
    report.note(f"All of it: {shown(folder / f'{NAME}.md')}")
    sys.exit(any(one["state"] != SAME and not (write and one["state"] in CURED) for one in found["notebooks"]))


TASKS = (reproduce,)
