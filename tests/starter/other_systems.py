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


# The files whose tests hand facts in, and what they claim of Linux alone: pieces of the names of tests, by the reason.
FILES = (
    *("build_failure", "choices", "clone", "compose", "containers", "engine", "environment_file", "explain", "gpu"),
    *("idmap", "images", "link", "loop", "mounts", "network", "options", "plan", "planted_tools", "ports", "record"),
    *("run", "services", "settings", "status"),
)
OWNERS_DO_NOT_SHOW = ("[mount that shows another owner]", "test_server_whose_mounts_are_not_proved_does_not_stay")
PIP_READS_OTHERS = ("test_each_place_of_pips_files_wins", "test_pip_configuration_of_the_user_is_read[.config")
DOCKER_DESKTOP = ("[engine hung]",)  # in the place of a service
NO_OWNERS_AND_MODES = (
    *("test_missing_folder_that_root_makes", "test_files_of_root_are_given", "test_entry_that_was_swapped"),
    *("test_folder_behind_a_link_is_not_repaired", "test_folder_mounted_from_elsewhere", "test_secret_is_given_to"),
    *("test_configuration_of_pip_is_readable_by_its_owner_only[there", "test_files_that_others_can_read_are_closed"),
)
POWERSHELL = (
    *("[path that Compose cannot read]", "[path that is no URL", "[stand-in in use]", "[exported variables]"),
    *("[proxy and index that do not answer]", "test_diagnose_named_host_down", "test_diagnose_unknown_context"),
    *("test_diagnose_other_machine", "test_path_that_compose_cannot_read_is_refused"),
    *("test_repair_of_a_path_executes_nothing", "[mount of another folder]", "[server of a moved clone in whose"),
)
NO_PIPES_AND_ODD_NAMES = ("test_looking_ends_whatever_was_planted", "test_clone_of_an_odd_name_is_built")
NO_SYSCONF = ("test_memory_is_limited_to_a_share_of_the_machine",)
PIP_OF_WINDOWS = ("test_pip_configuration_of_", "test_pip_variable_wins_over_every_file")


class System(NamedTuple):
    """How a system differs from this one."""

    without: Mapping[str, Sequence[str]]  # names of a module that it has not
    differs: Mapping[str, Mapping[str, Any]]  # what its modules hold instead
    of_linux: Sequence[str]  # pieces of the names of tests that claim what it has not
    lacks: Sequence[str] = ()  # modules
    brings: Mapping[str, types.ModuleType] = types.MappingProxyType({})


class Process(subprocess.Popen[Any]):
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
    "macos": System(LINUX, {"sys": {"platform": "darwin"}}, (*OWNERS_DO_NOT_SHOW, *PIP_READS_OTHERS, *DOCKER_DESKTOP)),
    "windows": System(
        UNIX,
        {
            "os": {"name": "nt", "supports_dir_fd": frozenset()},
            "socket": {"SO_EXCLUSIVEADDRUSE": socket.SO_REUSEADDR},  # the nearest that Linux has
            "subprocess": {"Popen": Process},
            "sys": {"platform": "win32"},
        },
        (
            *(*OWNERS_DO_NOT_SHOW, *DOCKER_DESKTOP, *NO_OWNERS_AND_MODES, *POWERSHELL, *NO_PIPES_AND_ODD_NAMES),
            *(*NO_SYSCONF, *PIP_READS_OTHERS, *PIP_OF_WINDOWS),
        ),
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

    SourceFileLoader.exec_module = exec_module  # type: ignore[method-assign, assignment]


class Chosen:
    """Leaves out the tests that claim what the other system has not."""

    def __init__(self, system: System) -> None:
        """Know of which system."""
        self.system = system

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave them out, and fail where a piece fits no test: it would leave out nothing, and say it does."""
        left = {piece: [item for item in items if piece in item.nodeid] for piece in self.system.of_linux}
        if len(items) > 1000 and (stale := [piece for piece, fits in left.items() if not fits]):
            raise pytest.UsageError(f"no test has in its name: {', '.join(stale)}")
        out = {id(item) for fits in left.values() for item in fits}
        config.hook.pytest_deselected(items=[item for item in items if id(item) in out])
        items[:] = [item for item in items if id(item) not in out]


def main(name: str, *words: str) -> int:
    """Run pytest on FILES and what that system alone has, or on the files named, as on another system."""
    pose(system := SYSTEMS[name])
    root, own = STARTER.parents[1], STARTER / f"on_{name}.py"
    files = [str(STARTER / f"test_{file}.py") for file in FILES] + ([str(own)] if own.is_file() else [])
    how = [f"--config-file={root / 'docker' / 'pyproject.toml'}", f"--rootdir={root}", "-p", "no:cacheprovider"]
    return pytest.main(
        [*how, "-q", "-m", "not slow", *words, *([] if any(map(os.path.exists, words)) else files)],
        plugins=[Chosen(system)],
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
