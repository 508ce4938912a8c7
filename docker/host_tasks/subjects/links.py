"""Links in the mounted folders that lead out of them: they open on this machine, and nothing is there inside."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import posixpath
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from host_tasks.kit.paths import ROOT, YOURS, shown
from host_tasks.kit.words import path_word, task_command
from host_tasks.loop import Finding, Seen, fact, rule, warn
from host_tasks.subjects import compose, mounts

MOST, OF_ONE = 5000, 500  # entries that are looked at, in all and of one folder: 200,000 files cost a start nothing
SHOWN = 3  # links that are named
# What an image has too, though it may be another file (Filesystem Hierarchy Standard 3.0).
SYSTEM = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")

# look


@dataclass(frozen=True)
class Links:
    """The links of the clone's folders that lead out of what is mounted, and where to on this machine."""

    out: tuple[tuple[Path, Path], ...] = ()
    looked_at_all: bool = True


@fact
def leading_out(seen: Seen) -> Links:
    """Return the links that open here and not inside, the uppermost first, of as many entries as are looked at."""
    volumes = compose.model(seen)["services"][compose.SERVICE].get("volumes") or []
    there = (*SYSTEM, *(volume["target"] for volume in volumes))
    own = [place for place in mounts.places(seen) if place.kind == mounts.FOLDER and place.ours]
    folders, out, left, cut = deque((place.real, place.mount.target) for place in own), [], MOST, False
    while folders and left > 0:
        folder, inside = folders.popleft()
        with contextlib.suppress(OSError), os.scandir(folder) as entries:  # gone meanwhile, or closed to the caller
            found = list(itertools.islice(entries, min(OF_ONE, left) + 1))
            cut, left = cut or len(found) > min(OF_ONE, left), left - len(found)
            for entry in found[:OF_ONE]:
                if entry.is_dir(follow_symlinks=False):
                    folders.append((folder / entry.name, f"{inside}/{entry.name}"))
                elif entry.is_symlink() and (link := Path(entry.path)).exists():
                    leads = posixpath.normpath(posixpath.join(inside, link.readlink().as_posix()))
                    if not any(leads == target or leads.startswith(f"{target}/") for target in there):
                        out.append((link, link.resolve()))
    return Links(tuple(out), looked_at_all=not folders and not cut)


# judge


@rule("links", upon=("env-file", "compose-files", "mounts"))
def inward(seen: Seen) -> Iterator[Finding]:
    """Warn of links that lead out of the mounted folders, with the cure of the first."""
    found = leading_out(seen) if compose.is_there(seen) else Links()
    if not found.out:
        return
    named = ", ".join(f"{shown(link)} to {real}" for link, real in found.out[:SHOWN])
    count = f"{'' if found.looked_at_all else 'at least '}{len(found.out)}"
    cause = f"links of your folders that lead out of them open here only, and not in the container, {count}: {named}"
    link, real = found.out[0]
    if any(ROOT / folder in real.parents for folder in YOURS):
        cure = f"ln -sfn {path_word(Path(os.path.relpath(real, link.parent)))} {path_word(link)}"
    elif any(part.startswith(".") for part in real.parts):  # the container may have made the link
        cure = f"rm {path_word(link)}"
    else:
        folder = str(real if real.is_dir() else real.parent)
        cure = mount_of(folder, folder, "linked-folder.yml", read_only=True)
    yield warn(cause, cure)


def mount_of(source: str, target: str, example: str, *, read_only: bool = False) -> str:
    """Return how to mount a folder of this machine, by a line of the person's own Compose file."""
    kind = ", read_only: true" if read_only else ""
    line = f"{{type: bind, source: {json.dumps(source)}, target: {json.dumps(target)}{kind}}}"
    return (
        f"add to volumes as in docker/examples/{example}, in docker/docker-compose.override.yml: {line}, "
        f"then: {task_command('up')}"
    )
