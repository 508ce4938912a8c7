"""Put what `upgrade` has made ready in its place: a copy of this file runs in docker/.upgrade, where all of it lies.

Standard library only, for while it runs the modules of this clone are of two versions: tasks.py runs it before it
imports any of them, and is itself the last file that is replaced. What is done is gone from the folder, so that the
next run goes on where this one was killed.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
LAST = ("docker/host_tasks/setup/", "tasks.py")  # by which the next run gets here


def main() -> None:
    """Remove what is to go, move what is to come, tell git, and remove the folder."""
    for name in filter(None, (FOLDER / "deleted").read_text(encoding="utf-8").split("\0")):
        with contextlib.suppress(OSError):  # it has gone already, or something else is in its folder
            (ROOT / name).unlink()
            os.removedirs((ROOT / name).parent)
    files = [path for path in (FOLDER / "files").rglob("*") if path.is_symlink() or not path.is_dir()]
    names = [path.relative_to(FOLDER / "files").as_posix() for path in files]
    for name in sorted(names, key=lambda name: [name.startswith(last) for last in reversed(LAST)]):
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / "files" / name).replace(ROOT / name)
    with (FOLDER / "index").open("rb") as entries:
        quiet = ["-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"]
        argv = ["git", *quiet, "-C", str(ROOT), "update-index", "-z", "--index-info"]
        if subprocess.run(argv, stdin=entries, check=False).returncode:
            print("error: git takes none of the files of the upgrade, which are in their places", file=sys.stderr)
            print("fix: git status # where a git was killed: remove its index.lock, then try again", file=sys.stderr)
            sys.exit(75)
    done = FOLDER.replace(f"{FOLDER}.new")  # where the next upgrade begins, with nothing
    shutil.rmtree(done)


main()
