"""Leave compiled what people load first, and keep it in a cache of the build: to compile takes longer than to link all.

All of an environment takes three times as much, of time and of space.
CACHE/files/PYTHON/PACKAGE/  what was compiled of a package, in one file, for many are slow to write and to read:
                             a line of JSON says the path of each in the prefix, and its length in bytes
CACHE/done/WORD-...          a word was compiled, with just these packages: its own, and all that it depends on
"""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import records

HERE = Path(__file__).parent
KEPT = ".files"  # how the name of a file ends that holds many
SILENT: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Part(NamedTuple):
    """What people start: the packages that it is of, and the modules that it begins with or names in no statement."""

    packages: set[str]
    modules: list[str]


PARTS = {
    "@kernel": Part(
        {"ipykernel", "matplotlib-base"},
        [
            *("ipykernel_launcher", "ipykernel.debugger", "debugpy.server.api", "matplotlib_inline.backend_inline"),
            *("IPython.core.completerlib", "IPython.core.debugger", "IPython.extensions.storemagic"),
            *("tornado.platform.asyncio", "zmq.backend.cython", "debugpy/_vendored/pydevd/pydevd"),
        ],
    ),
    "@pip": Part({"pip"}, ["pip.__main__", "pip._internal.commands.install"]),
    "@server": Part(
        {"jupyterlab"},
        [
            *("jupyterlab.labapp", "jupyter_server.serverapp", "jupyter_lsp", "jupyter_server_terminals"),
            *("notebook_shim.nbserver", "jupyter_core.command"),
        ],
    ),
}


def identity(record: dict[str, Any]) -> str:
    """Return what tells a package from another build or content of it."""
    return f"{record['name']}-{record['version']}-{record['build']}-{record.get('sha256') or record.get('md5')}"


def digest(made: dict[str, dict[str, Any]], names: Iterable[str]) -> str:
    """Return a digest of the packages of these names, of all that they depend on, and of how they are compiled."""
    text = "\n".join(sorted(identity(made[name]) for name in records.needed(made, [*names, "python"])))
    how = b"".join((HERE / name).read_bytes() for name in ("compiled.py", "reach.py"))
    return hashlib.sha256(text.encode() + how).hexdigest()[:16]


def words(made: dict[str, dict[str, Any]], requested: set[str]) -> dict[str, str]:
    """Return what has to be compiled, a module or one of PARTS -> its mark in the cache."""
    found = {word: f"{word}-{digest(made, part.packages)}" for word, part in PARTS.items() if part.packages & set(made)}
    for package in sorted(requested & set(made)):
        key = digest(made, [package])
        found |= {name: f"{name}-{key}" for name in records.import_names(made, {package})}
    return found


def compile_words(prefix: Path, names: Iterable[str]) -> bool:
    """Compile what words stand for, and return whether that came to its end.

    A file that cannot be compiled is left out: the one who loads it will hear why.
    """
    modules = [module for name in names for module in (PARTS[name].modules if name in PARTS else [name])]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # rattler is on it
    python = str(prefix / "bin" / "python")
    command = ["timeout", "--kill-after=1", "300", python, str(HERE / "reach.py"), *modules]
    return subprocess.run(command, **SILENT, env=environ, check=False).returncode == 0


def keep(files: Iterable[str], prefix: Path, store: Path) -> None:
    """Copy compiled files of a package to its folder in the cache, where another build may look at the same time."""
    if not (data := {file: (prefix / file).read_bytes() for file in files}):
        return
    header = json.dumps({file: len(each) for file, each in data.items()}).encode() + b"\n"
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=store, delete=False) as beside:
        beside.write(header + b"".join(data.values()))
    Path(beside.name).replace(store / f"{hashlib.sha256(header).hexdigest()[:16]}{KEPT}")


def put(kept: Path, prefix: Path) -> list[str]:
    """Write the files of one in the cache to the prefix, and return their paths in it."""
    header, _, data = kept.read_bytes().partition(b"\n")
    lengths: dict[str, int] = json.loads(header)
    rest = memoryview(data)
    for file, length in lengths.items():
        path = prefix / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rest[:length])
        rest = rest[length:]
    return list(lengths)


def leave(made: dict[str, dict[str, Any]], requested: set[str], prefix: Path, cache: Path) -> None:
    """Leave compiled what people load first: from the cache, and by compiling what no build has compiled before."""
    python = identity(made["python"])
    store = {name: cache / "files" / python / identity(record) for name, record in made.items()}
    known = {file for path in store.values() for kept in path.glob(f"*{KEPT}") for file in put(kept, prefix)}
    wanted = {word: cache / "done" / mark for word, mark in words(made, requested).items()}
    if not (new := [word for word, mark in wanted.items() if not mark.exists()]):
        return
    whole = compile_words(prefix, new)
    found = records.compiled_files(prefix)
    for name, record in made.items():
        new_files = sorted({found[file] for file in record["files"] if file in found} - known)
        keep(new_files, prefix, store[name])
    if not whole:
        print("not all of it is compiled, so the first start may be slower; the next build tries again", flush=True)
        return
    for word in new:
        wanted[word].parent.mkdir(parents=True, exist_ok=True)
        wanted[word].touch()
