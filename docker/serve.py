"""Become a program of Jupyter's, so that nothing of what the container can keep is imported by it.

python -I -B serve.py jupyter-lab [OPTION ...], as entrypoint.sh calls it. -I leaves the working directory, ~/.local
and PYTHON* out, and project_startup.py then adds no src/ (Python 3.14, "Command line and environment", -I).
"""

import os
import runpy
import signal
import sys
import sysconfig
from types import FrameType


def end(number: int, _: FrameType | None) -> None:
    """End as a signal asks; the program has handlers of its own as soon as it has something to end."""
    os._exit(128 + number)


if __name__ == "__main__":
    # As the first process of a container it would not be ended by a signal that it has no handler for.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, end)
    del sys.argv[0]
    sys.argv[0] = f"{sysconfig.get_path('scripts')}/{sys.argv[0]}"
    runpy.run_path(sys.argv[0], run_name="__main__")
