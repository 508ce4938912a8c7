"""Compile modules, and all that they reach by the import statements that run first.

Run by the environment's own Python: reach.py MODULE ...
FOLDER/MODULE is a module in a folder that some package puts on the path itself.

To read these statements instead of running them costs nothing but the compiling, and every processor takes part. Of a
MODULE itself, the strings count too: packages name their lazy parts in __all__, servers name their handlers.
The standard library is left out: its package brings it compiled.
"""

from __future__ import annotations

import gc
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dis import opmap
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import resolve_name
from inspect import CO_OPTIMIZED
from modulefinder import ModuleFinder
from types import CodeType
from typing import NamedTuple

PACKAGES = sysconfig.get_path("purelib")
FINDER = ModuleFinder()
IMPORT_NAME = opmap["IMPORT_NAME"]
BATCH = 16  # modules that a process is given at most


class Module(NamedTuple):
    """A module that was found."""

    name: str
    path: str
    asked: bool

    @property
    def is_package(self) -> bool:
        """Whether it has parts."""
        return self.path.endswith("/__init__.py")


@cache
def entries(folder: str) -> frozenset[str]:
    """Return the names in a folder; none where it cannot be read."""
    try:
        return frozenset(each.name for each in os.scandir(folder))
    except OSError:
        return frozenset()


def source(name: str, folders: Iterable[str]) -> str | None:
    """Return where a module's source is, in one of the folders."""
    for each in folders:
        folder, _, last = f"{each}/{name.replace('.', '/')}".rpartition("/")
        if last in entries(folder) and "__init__.py" in entries(f"{folder}/{last}"):
            return f"{folder}/{last}/__init__.py"
        if f"{last}.py" in entries(folder):
            return f"{folder}/{last}.py"
    return None


def run_first(code: CodeType) -> Iterator[CodeType]:
    """Yield the code that runs as a module is imported: its own, and that of its classes; functions run later."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType) and not each.co_flags & CO_OPTIMIZED:
            yield from run_first(each)


def imported(code: CodeType, package: str) -> Iterator[str]:
    """Yield what the statements name; `from NAME import PART` may name a module of each part."""
    with_any = (each for each in run_first(code) if IMPORT_NAME in each.co_code[::2])  # to ask first is faster
    for kind, found in (each for part in with_any for each in FINDER.scan_opcodes(part)):
        if kind.endswith("_import"):
            *level, parts, name = found
            base = resolve_name("." * level[0] + (name or ""), package) if level else name
            yield base
            yield from (f"{base}.{part}" for part in parts or ())


def strings(constants: Iterable[object]) -> Iterator[str]:
    """Yield the strings among constants; a list or a set of a module is a tuple or a frozenset of its code."""
    for each in constants:
        if isinstance(each, str):
            yield each
        elif isinstance(each, (tuple, frozenset)):
            yield from strings(each)


def reached(batch: list[Module]) -> set[str]:
    """Compile modules, and return what they may import. What cannot be compiled is left to the one who imports it."""
    names: set[str] = set()
    for module in batch:
        try:
            # It is what `import` does: the compiled file is read, or written where there is none.
            code: CodeType = SourceFileLoader("", module.path).get_code("")  # type: ignore[assignment]
            names.update(imported(code, module.name if module.is_package else module.name.rpartition(".")[0]))
        except Exception:  # noqa: S112 # a file for another Python, or for none
            continue
        if module.asked:
            found = set(strings(code.co_consts))
            names |= found | {f"{module.name}.{each}" for each in found}
    return names


def prepare() -> None:
    """Have a process compile as fast as it can, and keep it; the base may say that Python keeps nothing."""
    gc.disable()
    sys.dont_write_bytecode = False


def main(asked: list[str]) -> None:
    """Compile what can be reached."""
    folders = [PACKAGES, *(f"{PACKAGES}/{each.rpartition('/')[0]}" for each in asked if "/" in each)]
    asked = [each.rpartition("/")[2] for each in asked]
    rest: list[Module] = []
    seen: set[str] = set()

    def look(names: Iterable[str]) -> None:
        """Note the modules that are new, and the packages that each is in."""
        for name in names:
            while name and name not in seen:
                seen.add(name)
                if path := source(name, folders):
                    rest.append(Module(name, path, name in asked))
                name = name.rpartition(".")[0]

    look(asked)
    processors = os.cpu_count() or 1
    with ProcessPoolExecutor(processors, initializer=prepare) as pool:
        running: set[Future[set[str]]] = set()
        while rest or running:
            while rest and len(running) < 4 * processors:
                size = min(BATCH, 1 + len(rest) // processors)
                running.add(pool.submit(reached, rest[:size]))
                del rest[:size]
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                look(each.result())


if __name__ == "__main__":
    main(sys.argv[1:])
