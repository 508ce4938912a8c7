"""Invoke's task decorator, with the exit codes of this project: 64 usage, 128 + the signal where one ends a task."""

from __future__ import annotations

import functools
import inspect
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import invoke.parser.parser
from invoke.exceptions import Exit, ParseError
from invoke.tasks import task as invoke_task

from host_tasks.kit.runner import ENDING, Finished
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.setup.basics import error_text, shell_word

if TYPE_CHECKING:
    from invoke.context import Context


# The help of options that many tasks have.
YES = "Answer yes: install, make and start what is missing."
DRY_RUN = "Print what would be done, and why; change nothing."
JSON = "Print for programs."


class UsageError(ParseError, Exit):
    """A command line that Invoke cannot parse: Invoke ends with 1, this project with 64 (EX_USAGE)."""

    def __init__(self, text: str, context: Any = None) -> None:
        Exit.__init__(self, code=int(ExitCode.USAGE))  # without a message: Invoke prints the ParseError itself
        self.text = text
        self.context = context

    def __str__(self) -> str:
        words, fix = sys.argv[1:], "--list"
        if words[0] == "run" and "--" not in words:
            options = [word for word in words[1:] if word == "--yes"]
            command = (word for word in words[1:] if word not in options)
            fix = " ".join(map(shell_word, ["run", *options, "--", *command]))
        return error_text(self.text.rstrip("!"), fix=task_command(fix))


# Invoke 3.0.3, program.py: run() ends with Exit.code where the exception is one, else with a fixed 1.
setattr(invoke.parser.parser, "ParseError", UsageError)  # noqa: B010 - mypy takes the module's import for private


def _end(number: int, frame: object) -> None:
    """Turn SIGTERM or SIGHUP into an exception, so that `finally` and the runner get their turn."""
    sys.exit(128 + number)


class Elsewhere(NamedTuple):
    """What does tasks on another machine: the help of --on, and what gets a task's name, the machine and the rest."""

    help: str
    hand_over: Callable[[str, str, Mapping[str, Any]], None]  # of the rest only what differs from its default


def task(
    plain: Callable[..., Any] | None = None,
    *,
    elsewhere: Elsewhere | None = None,
    hidden: bool = False,
    many: bool = False,
    **options: Any,
) -> Callable[..., Any]:
    """Return a decorator that makes a function an Invoke task, without short options that Invoke makes up.

    Args:
        plain: the function, where it stands without brackets, as Invoke's own decorator may.
        elsewhere: what does it on another machine, by --on.
        hidden: it can be called, and is not in the list of tasks.
        many: what follows it is as if it stood after `--`, but for options.
        options: those of invoke.task.
    """

    def decorate(body: Callable[..., Any]) -> Any:
        name, signature = options.get("name", body.__name__), inspect.signature(body)
        words = dict(signature.parameters)

        @functools.wraps(body)
        def guarded(context: Context, *args: Any, **given: Any) -> Any:
            if context.config.run.dry:  # Invoke's own, for what Invoke itself runs
                problem = "--dry would hold nothing back here: this task would act; a --dry-run of its own would"
                raise HostError(problem, fix=task_command(f"--help {name}"), code=ExitCode.USAGE)
            for number in ENDING:
                if signal.getsignal(number) is signal.SIG_DFL:  # nohup(1) lets a task outlive its terminal
                    signal.signal(number, _end)
            try:
                if elsewhere and (on := given.pop("on")) is not None:
                    said = {word: value for word, value in given.items() if value != words[word].default}
                    return elsewhere.hand_over(name, on, said)
                return body(context, *args, **given)
            except KeyboardInterrupt:
                again = task_command(" ".join(map(shell_word, sys.argv[1:])))
                raise HostError("interrupted", fix=again, code=ExitCode.INTERRUPTED) from None

        if elsewhere:
            on = inspect.Parameter("on", inspect.Parameter.KEYWORD_ONLY, default=None)
            both = signature.replace(parameters=[*words.values(), on])
            guarded.__signature__ = both  # type: ignore[attr-defined]
            options["help"] = {**options.get("help", {}), "on": elsewhere.help}
        made: Any = invoke_task(guarded, auto_shortflags=False, **options)
        made.hidden, made.many = hidden, many  # for setup/program.py
        return made

    return decorate(plain) if plain else decorate


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
