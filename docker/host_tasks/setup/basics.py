"""What the setup and the tasks share, and what is there before Invoke is: the form of an error, and the file lock."""

import os
import sys

TYPE_CHECKING = False  # typing costs every start 4 ms
if TYPE_CHECKING:
    from typing import NoReturn

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, ".stamp")
LOCK = os.path.join(ROOT, ".venv.lock")
PYTHON = os.path.join(VENV, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))

CALLED_AS = "HOST_TASKS_CALLED_AS"  # the variable that tells the tasks how they were called

# Exit codes as in errors.ExitCode, which needs Invoke to be imported.
UNAVAILABLE, CANNOT_CREATE, IO, TRY_AGAIN, CONFIG, INTERRUPTED = 69, 73, 74, 75, 78, 130


def error_text(problem: str, *, fix: str) -> str:
    """Return the two lines that every error is, each whole on its own: what is wrong, and what repairs it."""
    one_line = " ".join(problem.splitlines()).rstrip(".")
    return f"error: {one_line}\nfix: {' '.join(fix.splitlines())}"


def fail(problem: str, *, fix: str, code: int) -> "NoReturn":
    """End with an error in the form of errors.HostError, which needs Invoke to be imported."""
    print(error_text(problem, fix=fix), file=sys.stderr)
    sys.exit(code)


def called_as(interpreter: str = "") -> str:
    """Return how tasks.py was called, as shell words that can be pasted in the same folder: "python3 ../tasks.py"."""
    script = sys.argv[0]
    # Bash and zsh export _, the command as typed: its interpreter is then the one in tasks.py's first line.
    if not interpreter and script == os.environ.get("_") and os.path.dirname(script):
        return _word(script)
    return f"{_word(interpreter or sys.orig_argv[0])} {_word(script)}"


def _word(text: str) -> str:
    """Return a text as one word for a shell, as shlex.quote does, which costs every start the import of re."""
    if os.name == "nt":
        return f'"{text}"' if " " in text else text
    plain = text.replace("/", "").replace(".", "").replace("-", "").replace("_", "")
    return text if plain.isalnum() and plain.isascii() else "'" + text.replace("'", "'\"'\"'") + "'"
