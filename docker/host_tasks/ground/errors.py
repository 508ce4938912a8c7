"""The one error a person sees, and the exit codes it ends with."""

from enum import IntEnum

from invoke.exceptions import Exit

from host_tasks.setup.basics import error_text


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
