"""What a person reads of a fault: the one error with its exit code, commands to paste, and nothing that is secret."""

from __future__ import annotations

import os
import re
from enum import IntEnum
from pathlib import Path

from invoke.exceptions import Exit

from host_tasks.kit.paths import ROOT, TASKS_PY
from host_tasks.setup.basics import CALLED_AS, error_text, shell_word


class ExitCode(IntEnum):
    """Exit codes after sysexits(3) of FreeBSD 14; from 129 on 128 + the signal (POSIX.1-2017, sh, 2.8.2)."""

    USAGE = 64
    DATA = 65
    UNAVAILABLE = 69
    SOFTWARE = 70
    CANNOT_CREATE = 73
    IO = 74
    TRY_AGAIN = 75
    PERMISSION = 77
    CONFIG = 78
    HANGUP = 129
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


class HostError(Exit):
    """Something a person can repair: what is wrong, and the command that repairs it.

    Invoke prints ``message``, two lines, on stderr without a traceback and exits with ``code``.
    """

    def __init__(self, problem: str, *, fix: str, code: ExitCode) -> None:
        self.problem = problem
        self.fix = fix
        super().__init__(message=error_text(problem, fix=fix), code=int(code))


SECRET = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|(^|_)KEY(_|$)", re.IGNORECASE)
URL_PASSWORD = re.compile(r"(?<=://)[^/\s]+(?=@)|^[^/\s:]+:[^/\s]+(?=@)")


def masked(key: str, value: str) -> str:
    """Return the value of a key as it may be shown."""
    return "****" if SECRET.search(key) and value else URL_PASSWORD.sub("****", value)


def task_command(words: str) -> str:
    """Return the command line of a task: `python3 ../tasks.py up`, or `invoke up` where that was used."""
    return f"{os.environ.get(CALLED_AS) or 'python3 ' + path_word(TASKS_PY)} {words}"


def unset(*names: str) -> str:
    """Return the command that takes variables out of this shell."""
    if os.name == "nt":  # PowerShell, where case does not count
        return f"Remove-Item {','.join(dict.fromkeys(f'Env:{name.upper()}' for name in names))}"
    return f"unset {' '.join(names)}"


def path_word(path: Path) -> str:
    """Return a path as one shell word: relative to the working directory inside the clone, absolute elsewhere."""
    inside = path.is_relative_to(ROOT) and Path.cwd().is_relative_to(ROOT)
    return shell_word(os.path.relpath(path) if inside else str(path))
