"""Invoke's task decorator, with the exit codes of this project: 64 usage, 130 interrupted, 143 terminated."""

import functools
import signal
import sys
from collections.abc import Callable
from typing import Any

import invoke
import invoke.parser.parser
from invoke.exceptions import Exit, ParseError

from host_tasks.errors import ExitCode


class UsageError(ParseError, Exit):
    """A command line that Invoke cannot parse: Invoke ends with 1, this project with 64 (EX_USAGE)."""

    message = None  # Invoke prints the ParseError itself
    code = int(ExitCode.USAGE)

    def __init__(self, text: str, context: Any = None) -> None:
        ParseError.__init__(self, f"error: {text}; fix: see what there is: invoke --list", context)


# Invoke 3.0.3, program.py: run() ends with Exit.code where the exception is one, else with a fixed 1.
invoke.parser.parser.ParseError = UsageError  # type: ignore[misc]


def _terminated(signum: int, frame: object) -> None:
    """Turn SIGTERM into an exception, so that `finally` and the runner get their turn."""
    sys.exit(int(ExitCode.TERMINATED))


def task(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that makes a function an Invoke task; the options are those of invoke.task."""

    def decorate(body: Callable[..., Any]) -> Any:
        @functools.wraps(body)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            signal.signal(signal.SIGTERM, _terminated)
            try:
                return body(*args, **kwargs)
            except KeyboardInterrupt:
                raise Exit(message="interrupted", code=int(ExitCode.INTERRUPTED)) from None

        return invoke.task(guarded, **options)

    return decorate
