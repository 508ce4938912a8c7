"""Ends a command where this process is killed: a watcher in a session of its own then sees its pipe close.

Without it a build would go on without the lock, and end in a start that nobody expects any more.
"""

import contextlib
import os
import subprocess
from collections.abc import Sequence

# Stdin: what to end, and later a line where there is nothing to end. $1: tenths of a second until the last signal.
# What has ended counts until process 1 takes notice of it, which may be seconds: so it waits in no folder of ours.
SCRIPT = """
left=$1; shift
read -r target || exit
read -r _ && exit
"$@"
cd /
kill -s TERM -- "$target"
while kill -s 0 -- "$target" && [ "$left" -gt 0 ]; do sleep 0.1; left=$((left - 1)); done
kill -s KILL -- "$target"
"""


class Watcher:
    """A process that waits for the end of this one; there is none where none is needed, and on Windows."""

    def __init__(self, also_stop: Sequence[str], *, grace_s: float, needed: bool) -> None:
        """Start it before the command, so that there is no moment without one."""
        self._process: subprocess.Popen[bytes] | None = None
        if needed and os.name != "nt":
            argv = ["sh", "-c", SCRIPT, "sh", str(round(grace_s * 10)), *also_stop]
            devnull = subprocess.DEVNULL
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=devnull, stderr=devnull, bufsize=0, start_new_session=True
            )

    def watch(self, target: int) -> None:
        """Say what to end, as kill(2) takes it: a process, or the negative number of its group."""
        self._tell(f"{target}\n")

    def dismiss(self) -> None:
        """Say that there is nothing left to end."""
        self._tell("done\n")
        if self._process:
            self._process.communicate()

    def _tell(self, line: str) -> None:
        if self._process and self._process.stdin:
            with contextlib.suppress(BrokenPipeError):  # killed by somebody else
                self._process.stdin.write(line.encode())
