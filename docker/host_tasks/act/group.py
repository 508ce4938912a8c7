"""Become a process that has the group docker, without which the engine's socket refuses."""

import os
import shlex
import shutil
import sys

from host_tasks.ground import report

IN_GROUP_MARK = "HOST_TASKS_IN_GROUP_DOCKER"  # set while a command runs again with the group: never twice


def run_again() -> None:
    """Become the same command line with the group docker; returns only where that cannot be.

    sg(1) makes its group the primary one and keeps the others: the second sg brings the primary group back,
    which decides whose the files are.
    """
    import grp

    if os.environ.get(IN_GROUP_MARK) or shutil.which("sg") is None:
        return
    try:
        primary = grp.getgrgid(os.getgid()).gr_name
    except KeyError:
        return
    report.note("Running again as a member of group docker; log out and in again to use docker by hand.")
    os.environ[IN_GROUP_MARK] = "1"
    again = shlex.join(["sg", primary, "-c", "exec " + shlex.join([sys.executable, *sys.orig_argv[1:]])])
    sys.stdout.flush()
    os.execvp("sg", ["sg", "docker", "-c", f"exec {again}"])  # noqa: S606 (to become it is the point)
