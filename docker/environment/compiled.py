"""Leave compiled what people load first, and keep it in a cache of the build: to load it takes longer than to link all.

To compile all of an environment takes three times as much, of time and of space.
CACHE/files/PACKAGE/  what was compiled of a package, by its path in the prefix
CACHE/done/WORD-...   a word was loaded, with just these packages: its own, and all that this one depends on
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import records

HERE = Path(__file__).parent
SILENT: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
# What a started server and a kernel load, and the packages that it is of.
PARTS = {"@kernel": {"ipykernel", "matplotlib-base"}, "@server": {"jupyterlab"}}


def identity(record: dict[str, Any]) -> str:
    """Return what tells a package from another build or content of it."""
    return f"{record['name']}-{record['version']}-{record['build']}-{record.get('sha256') or record.get('md5')}"


def digest(made: dict[str, dict[str, Any]], names: Iterable[str]) -> str:
    """Return a digest of the packages of these names, of all that they depend on, and of how they are loaded."""
    text = "\n".join(sorted(identity(made[name]) for name in records.needed(made, [*names, "python"])))
    return hashlib.sha256(text.encode() + (HERE / "load.py").read_bytes()).hexdigest()[:16]


def words(made: dict[str, dict[str, Any]], requested: set[str]) -> dict[str, str]:
    """Return what is to be loaded, a module or a part of PARTS -> its mark in the cache."""
    found = {part: f"{part}-{digest(made, names)}" for part, names in PARTS.items() if names & set(made)}
    for package in sorted(requested & set(made)):
        key = digest(made, [package])
        found |= {name: f"{name}-{key}" for name in records.import_names(made, {package})}
    return found


def load(prefix: Path, names: list[str]) -> None:
    """Load words, one process each and as many at a time as there are processors, so that Python leaves them compiled.

    What cannot be loaded is left out: the one who loads it will hear why.
    """
    command: list[str | Path] = ["timeout", "--kill-after=1", "300", prefix / "bin" / "python", HERE / "load.py"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home, ThreadPoolExecutor(os.cpu_count()) as pool:
        environ = {**os.environ, "HOME": home, "MPLBACKEND": "agg"}
        environ.pop("PYTHONPATH", None)  # rattler is none of the environment's packages
        run = partial(subprocess.run, **SILENT, cwd=home, env=environ, check=False)
        # The server takes longest, and shares least with the others.
        list(pool.map(run, ([*command, name] for name in sorted(names, key="@server".__ne__))))


def keep(file: Path, kept: Path) -> None:
    """Copy a compiled file to the cache, where another build may look at the same time."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    beside = kept.with_name(f"{kept.name}.{os.getpid()}")
    shutil.copyfile(file, beside)
    beside.replace(kept)


def leave(made: dict[str, dict[str, Any]], requested: set[str], prefix: Path, python_tag: str, cache: Path) -> None:
    """Leave compiled what people load first: from the cache, and by loading what no build has loaded before."""
    python = identity(made["python"])
    store = {name: cache / "files" / python / identity(record) for name, record in made.items()}
    if known := [f"{path}/." for path in store.values() if path.is_dir()]:
        subprocess.run(["cp", "--recursive", *known, prefix], check=True)
    wanted = {word: cache / "done" / mark for word, mark in words(made, requested).items()}
    if not (new := [word for word, mark in wanted.items() if not mark.exists()]):
        return
    load(prefix, new)
    for name, record in made.items():
        for path in filter(None, (records.compiled(file, prefix, python_tag) for file in record["files"])):
            if not (store[name] / path).exists():
                keep(prefix / path, store[name] / path)
    for word in new:
        wanted[word].parent.mkdir(parents=True, exist_ok=True)
        wanted[word].touch()
