"""What a person may delete: each module here brings tasks, rules and choices of its own, and nothing else names it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from host_tasks.choices import Choice
    from host_tasks.kit.task import Elsewhere
    from host_tasks.loop import Rule


def tasks() -> tuple[Any, ...]:
    """Return the tasks of all extras: TASKS. One that has the name of a core's task takes its place."""
    return tuple(_brought("TASKS"))


def rules() -> tuple[tuple[Rule, str, tuple[str, ...]], ...]:
    """Return the rules of all extras: RULES, each with the code before which it is asked, and of which tasks."""
    return tuple(_brought("RULES"))


def choices() -> tuple[Choice, ...]:
    """Return the choices of all extras: CHOICES."""
    return tuple(_brought("CHOICES"))


def elsewhere() -> Elsewhere | None:
    """Return what does tasks on another machine: ELSEWHERE of an extra; None where there is none."""
    return next((module.ELSEWHERE for module in _modules() if hasattr(module, "ELSEWHERE")), None)


def _brought(name: str) -> Iterator[Any]:
    """Yield the members of a list that a module may have, module by module."""
    for module in _modules():
        yield from getattr(module, name, ())


@functools.cache
def _modules() -> tuple[ModuleType, ...]:
    """Return the extras that are here, in the order of their names."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in names)
