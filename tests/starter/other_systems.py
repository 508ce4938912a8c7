"""The host code as it is on another system: its modules see that system's names, and the tests see this one's.

A module of host_tasks imports through a function of its own here, which knows no `fcntl` on Windows, and hands it an
`os` without `fchmod`. What differs beyond names is played: a lock of msvcrt, a signal that Windows does not send.

.venv/bin/python tests/starter/other_systems.py windows tests/starter/test_ports.py
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import importlib
import os
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NamedTuple

import pytest

STARTER = Path(__file__).resolve().parent
POSED = ("host_tasks", "person_files")  # whose modules see the other system
# What Python has on no Windows ("Availability: Unix" in the documentation of 3.10 to 3.13; fchmod since 3.13).
UNIX = {
    "os": (
        *("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH", "ST_RDONLY", "chown", "fchmod", "fchown", "fork"),
        *("getegid", "geteuid", "getgid", "getgroups", "getpgid", "getuid", "killpg", "lchown", "mkfifo", "openpty"),
        *("setsid", "statvfs", "sysconf", "uname", "wait", "waitpid"),
    ),
    "signal": ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGWINCH", "alarm", "pthread_sigmask", "sigwait"),
    "socket": ("AF_UNIX", "SO_REUSEADDR", "SO_REUSEPORT"),  # the second is there, and makes each port look free
}
MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
LINUX = {"os": ("O_PATH",)}  # and of no macOS


class System(NamedTuple):
    """How a system differs from this one."""

    without: Mapping[str, Sequence[str]]  # names of a module that it has not
    differs: Mapping[str, Mapping[str, Any]]  # what its modules hold instead
    lacks: Sequence[str] = ()  # modules
    brings: Mapping[str, types.ModuleType] = types.MappingProxyType({})


class _Popen(subprocess.Popen[Any]):
    """A process as Windows has one, which can be ended and told nothing (Python 3.13, Popen.send_signal)."""

    def send_signal(self, sig: int) -> None:
        """End it, or refuse."""
        if sig != signal.SIGTERM:
            raise ValueError(f"Unsupported signal: {sig}")
        super().send_signal(signal.SIGKILL)


def _locking(descriptor: int, mode: int, count: int) -> None:
    """Lock as msvcrt.locking does: others can read nothing of what is locked (LockFile), so the content must not be."""
    if os.lseek(descriptor, 0, os.SEEK_CUR) < 2**20:
        raise OSError(errno.EINVAL, "what is locked there cannot be read by others")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from err


def _module(name: str, **members: Any) -> types.ModuleType:
    """Return a module that holds these."""
    made = types.ModuleType(name)
    vars(made).update(members)
    return made


SYSTEMS = {
    "macos": System(LINUX, {"sys": {"platform": "darwin"}}),
    "windows": System(
        UNIX,
        {
            "os": {"name": "nt", "supports_dir_fd": frozenset()},
            "socket": {"SO_EXCLUSIVEADDRUSE": socket.SO_REUSEADDR},  # the nearest that Linux has
            "subprocess": {"Popen": _Popen},
            "sys": {"platform": "win32"},
        },
        MODULES,
        {"msvcrt": _module("msvcrt", LK_NBLCK=2, locking=_locking)},
    ),
}


class _Other(types.ModuleType):
    """A module as another system has it; what is not said comes from the one of this system."""

    def __init__(self, real: types.ModuleType, without: Sequence[str], differs: Mapping[str, Any]) -> None:
        super().__init__(real.__name__, real.__doc__)
        self.__dict__.update(differs, _real=real, _without=without)

    def __getattr__(self, name: str) -> Any:
        if name in self._without:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on that system")
        return getattr(self._real, name)


def pose(system: System) -> None:
    """Let all modules of POSED that are loaded from now on see another system."""
    if loaded := [name for name in sys.modules if name.startswith(POSED)]:
        raise RuntimeError(f"loaded already: {', '.join(loaded)}")
    names = {*system.without, *system.differs}
    others: dict[str, types.ModuleType] = {
        name: _Other(importlib.import_module(name), system.without.get(name, ()), system.differs.get(name, {}))
        for name in names
    }
    others.update(system.brings)
    real_import, real_exec = builtins.__import__, SourceFileLoader.exec_module

    def see(name: str, *rest: Any, **more: Any) -> Any:
        top = name.partition(".")[0]
        if top in system.lacks:
            raise ModuleNotFoundError(f"No module named {name!r} on that system", name=name)
        return others[top] if top in others else real_import(name, *rest, **more)

    def exec_module(loader: SourceFileLoader, module: types.ModuleType) -> None:
        if module.__name__.startswith(POSED):
            vars(module)["__builtins__"] = {**vars(builtins), "__import__": see}
        real_exec(loader, module)

    SourceFileLoader.exec_module = exec_module  # type: ignore[method-assign]


if __name__ == "__main__":
    pose(SYSTEMS[sys.argv[1]])
    sys.exit(pytest.main([f"--config-file={STARTER.parents[1] / 'docker' / 'pyproject.toml'}", *sys.argv[2:]]))
