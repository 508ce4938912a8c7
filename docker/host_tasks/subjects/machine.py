"""What of this machine may be why something fails tomorrow: room on its disks, and the scripts as they lie here."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from host_tasks.kit.paths import ENV_FILE, ROOT, SCRIPTS, shown
from host_tasks.kit.words import ExitCode, path_word, task_command
from host_tasks.loop import Finding, Seen, Step, fact, fail, ok, rule, warn
from host_tasks.subjects import containers, engine, idmap, settings

GIB = 1024**3
# For results and .venv; for a base image, an environment and the builder's cache, twice over.
ENOUGH_BYTES = {"the clone": 2 * GIB, "the engine": 6 * GIB}
LEAST_BYTES = GIB // 2
SMALL_SHM_BYTES = 64 * 1024**2  # Docker's default, with which the workers of PyTorch's loaders die


# look


@fact
def free(seen: Seen) -> Mapping[str, tuple[Path, int]]:
    """Return the folders of the clone and of the engine, with the bytes free there, as far as that is known."""
    found = {}
    for whose, folder in (("the clone", ROOT), ("the engine", engine.folder(seen))):
        with contextlib.suppress(OSError):
            if folder:
                found[whose] = (folder, shutil.disk_usage(folder).free)
    return found


@fact
def scripts(seen: Seen) -> Mapping[Path, tuple[bool, bool]]:
    """Return the scripts that are there: whether each has carriage returns, and whether it may be run."""
    return {path: (b"\r" in path.read_bytes(), os.access(path, os.X_OK)) for path in SCRIPTS if path.is_file()}


# judge


@rule("disk")
def disk(seen: Seen) -> Iterator[Finding]:
    """Ask for room where the clone is, and where the engine keeps its images."""
    for whose, (folder, left) in free(seen).items():
        enough = ENOUGH_BYTES[whose]
        fix = f"df {path_word(ROOT)}" if whose == "the clone" else "docker system prune"
        cause = f"{whose} has {left / GIB:.1f} GiB free in {folder}, and {enough / GIB:.0f} are recommended"
        if left < LEAST_BYTES:
            yield fail(cause, fix, ExitCode.IO)
        elif left < enough:
            yield warn(cause, fix)
        else:
            yield ok(f"{whose} has {left / GIB:.0f} GiB free in {folder}")


@rule("memory-limit", upon=("env-file",))
def memory_limit(seen: Seen) -> Iterator[Finding]:
    """Ask for a limit of memory by what the engine has: Docker Desktop's own machine has less than this one."""
    kept, total = settings.now(seen).kept.get("MEMORY_LIMIT"), int(idmap.info(seen).get("MemTotal") or 0)
    here, there = settings.memory_limit(), settings.memory_limit(total)
    if total and kept in (None, here) and there not in (kept, here):  # another one is a person's
        cause = f"the engine has {total / GIB:.1f} GiB of memory, and {shown(ENV_FILE)} does not go by that"
        write = functools.partial(settings.write, MEMORY_LIMIT=there)
        step = Step(write, f"limit memory to {there}", f"MEMORY_LIMIT in {shown(ENV_FILE)}")
        yield fail(cause, task_command("up"), step=step)


@rule("scripts")
def scripts_in_order(seen: Seen) -> Iterator[Finding]:
    """Ask for the scripts of the image to have the line endings of Linux, and for postBuild to have its run bit."""
    warnings = []
    for path, (has_cr, runs) in scripts(seen).items():
        name, word = shown(path), path_word(path)
        if has_cr:
            cause = f"{name} has the line endings of Windows (CR LF)"
            warnings.append(warn(cause, f"save {word} with those of Linux (LF)"))
        if not runs and path.name in ("postBuild", "entrypoint.sh"):
            warnings.append(warn(f"{name} has lost its run bit", f"chmod +x {word}"))
    yield from warnings or [ok(f"{len(scripts(seen))} scripts are in order")]


@rule("shared-memory", upon=("engine",))
def shared_memory(seen: Seen) -> Iterator[Finding]:
    """Warn of a /dev/shm that is too small for the workers of data loaders."""
    server = containers.server(seen)
    if server is not None and 0 < server.shm_bytes <= SMALL_SHM_BYTES:
        size = server.shm_bytes // 1024**2
        cause = f"{server.service} has {size} MiB of shared memory, too little for PyTorch's loaders"
        yield warn(cause, "set shm_size in docker/docker-compose.override.yml")
    else:
        yield ok("large enough" if server else "nothing runs")
