"""Invoke's task decorator, with the exit codes of this project: 64 usage, 128 + the signal where one ends a task."""

import functools
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import invoke.parser.parser
from invoke.context import Context
from invoke.exceptions import Exit, ParseError
from invoke.tasks import task as invoke_task

from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.runner import ENDING, Finished
from host_tasks.setup.basics import error_text


class UsageError(ParseError, Exit):
    """A command line that Invoke cannot parse: Invoke ends with 1, this project with 64 (EX_USAGE)."""

    def __init__(self, text: str, context: Any = None) -> None:
        Exit.__init__(self, code=int(ExitCode.USAGE))  # without a message: Invoke prints the ParseError itself
        self.text = text
        self.context = context

    def __str__(self) -> str:
        return error_text(self.text.rstrip("!"), fix=task_command("--list"))


# Invoke 3.0.3, program.py: run() ends with Exit.code where the exception is one, else with a fixed 1.
setattr(invoke.parser.parser, "ParseError", UsageError)  # noqa: B010 - mypy takes the module's import for private


def _end(number: int, frame: object) -> None:
    """Turn SIGTERM or SIGHUP into an exception, so that `finally` and the runner get their turn."""
    sys.exit(128 + number)


def task(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that makes a function an Invoke task; the options are those of invoke.task."""

    def decorate(body: Callable[..., Any]) -> Any:
        @functools.wraps(body)
        def guarded(context: Context, *args: Any, **kwargs: Any) -> Any:
            if context.config.run.dry:
                raise _dry(options.get("name", body.__name__))
            for number in ENDING:
                if signal.getsignal(number) is signal.SIG_DFL:  # nohup(1) lets a task outlive its terminal
                    signal.signal(number, _end)
            try:
                return body(context, *args, **kwargs)
            except KeyboardInterrupt:
                again = task_command(shlex.join(sys.argv[1:]))
                raise HostError("interrupted", fix=again, code=ExitCode.INTERRUPTED) from None

        return invoke_task(guarded, **options)

    return decorate


def _dry(name: str) -> HostError:
    """Return the error for Invoke's own --dry, which holds back only what Invoke itself would run."""
    return HostError(
        "--dry would hold nothing back here: this task would act; a --dry-run of its own would",
        fix=task_command(f"--help {name}"),
        code=ExitCode.USAGE,
    )


def after_dashes(default: Sequence[str] | None = None) -> list[str]:
    """Return the words after `--`; Invoke's own remainder has lost where one word ends and the next begins.

    Raises:
        HostError: there are none, and no default (64).
    """
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    if words or default is not None:
        return words or list(default or ())
    raise HostError("no command to run", fix=task_command("run -- python --version"), code=ExitCode.USAGE)


def ended(finished: Finished) -> None:
    """End with the exit code of a command that has said itself what went wrong."""
    if not finished.ok:
        code = finished.returncode
        raise Exit(code=code if code > 0 else 128 - code)  # as a shell says that a signal ended it
