"""Write environment.lock: a stage of the Dockerfile solves, so this machine needs neither conda nor a solver."""

import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from host_tasks.act import buildx
from host_tasks.decide.environment_lock import NAME
from host_tasks.decide.plan import Step
from host_tasks.ground import files, report, runner
from host_tasks.ground.paths import DOCKERFILE, LOCK_DIR
from host_tasks.observe.environment_lock import STAND_IN
from host_tasks.observe.observation import Observation

NAMES = ("inputs.txt", *(f"{part}-linux-{each}.txt" for part in ("conda", "pip") for each in ("64", "aarch64")))
SIZE_BYTES = 20_000_000  # 200 packages are 200 KB


def write(step: Step, seen: Observation) -> runner.Finished:
    """Solve in a stage of the build, put what comes of it in the place of the old lock, and return how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "lock.tar"
        options = ("--target", "lock", "--no-cache-filter", "locked", "--output", f"type=tar,dest={archive}")
        arguments = {"UPDATE": str(step.values["update"]), "BASE_IMAGE": seen.base.name}
        arguments[buildx.CACHES] = seen.settings.values["COMPOSE_PROJECT_NAME"]
        finished = buildx.build(DOCKERFILE, seen.settings.values, arguments=arguments, options=options)
        found = dict(read_archive(archive)) if finished.ok else {}
    for name in NAMES:
        for place in {Path(each).parent for each in found}:
            path = LOCK_DIR / place / name
            if text := found.get(str(place / name)):
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write(path, text, private=False)
            else:
                path.unlink(missing_ok=True)
    if any(each.startswith(STAND_IN) for each in found):
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
            if known and member.isreg() and member.size <= SIZE_BYTES and (file := opened.extractfile(member)):
                yield str(path), file.read()
