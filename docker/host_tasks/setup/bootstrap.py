"""Make .venv, then become Invoke: what `python3 tasks.py <task>` does while no host package is there yet.

Standard library only, and little of it: a warm start reads the stamp and one requirement file, then execs. How the
packages get into .venv is in host_packages.py, which a warm start does not load.
"""

import os
import sys

from host_tasks.setup import basics

TYPE_CHECKING = False  # typing costs every start 4 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

NEEDED = (3, 10)
# Before any annotation is evaluated: the setup and tasks.py must still parse and get here under Python 3.6.
if sys.version_info < NEEDED:
    import shutil

    newer = [name for name in (f"python3.{minor}" for minor in range(19, 9, -1)) if shutil.which(name)]
    basics.fail(
        f"tasks.py needs Python {NEEDED[0]}.{NEEDED[1]} or newer and this is {sys.version.split()[0]}",
        fix=" ".join([basics.called_as(newer[0]), *map(basics.shell_word, sys.argv[1:])])
        if newer
        else "install a newer Python, then run tasks.py with it",
        code=basics.UNAVAILABLE,
    )

HOST = "docker/host-requirements.txt"  # from the clone's root, as everything in the stamp
TESTS = "tests/starter/requirements.txt"


def main() -> "NoReturn":
    """Make .venv where it is missing or stale, then become `invoke` with the same arguments, or with --list."""
    words = sys.argv[1:]
    try:
        ensure(yes="--yes" in words)
    except KeyboardInterrupt:
        again = " ".join([basics.called_as(), *map(basics.shell_word, words)])
        basics.fail("interrupted", fix=again, code=basics.INTERRUPTED)
    os.environ[basics.CALLED_AS] = basics.called_as()
    command = [basics.PYTHON, "-I", basics.PROGRAM, *(words or ["--list"])]
    if os.name == "nt":  # exec there returns to the shell at once (Python 3.13, os.execv)
        import subprocess

        sys.exit(subprocess.call(command))
    os.execv(basics.PYTHON, command)  # noqa: S606


def ensure(*extra: str, yes: bool = False) -> None:
    """Have the packages of HOST, and of the extra requirement files, in .venv; cheap where they are there already.

    Args:
        extra: requirement files, relative to the clone's root.
        yes: whether the system's own venv package may be installed where it is missing.

    Raises:
        SystemExit: a requirement file is missing (78), packages cannot be installed (69), .venv cannot be
            written (73) or has no room (74), or another process held the lock for LOCK_TIMEOUT_S (75).
    """
    wanted = {name: _digest(name) for name in (HOST, *extra)}
    if wanted.items() <= _recorded().items():
        return
    try:
        descriptor = basics.open_lock(basics.LOCK)
        try:
            os.set_inheritable(descriptor, os.name != "nt")  # an installer holds on where this process is killed
            waiting = "Another task sets .venv up: waiting for it to end."
            if not basics.wait_for_lock(descriptor, waiting, basics.LOCK_TIMEOUT_S):
                problem = f"{basics.LOCK} has been held for {basics.LOCK_TIMEOUT_S:g} s"
                basics.fail(problem, fix="end the other task, then try again", code=basics.TRY_AGAIN)
            if not wanted.items() <= _recorded().items():  # another task may have done it meanwhile
                _set_up(wanted, yes=yes)
        finally:
            os.close(descriptor)
    except OSError as err:
        basics.fail_where_full(str(err))
        place = err.filename or basics.VENV
        fix = basics.fix_access(place)
        basics.fail(f"{place} cannot be written: {err.strerror}", fix=fix, code=basics.CANNOT_CREATE)


def _digest(name: str) -> str:
    import hashlib

    try:
        with open(os.path.join(basics.ROOT, name), "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except FileNotFoundError:
        basics.fail(f"{name} is missing", fix=f"git checkout -- {name}", code=basics.CONFIG)


def _made_for() -> str:
    """Return one line naming the program and the interpreter that .venv now leads to, "" where it leads to none."""
    base = basics.PYTHON
    if os.name == "nt":  # python.exe is a copy that starts the one in `home`
        with open(os.path.join(basics.VENV, "pyvenv.cfg"), encoding="utf-8") as stream:
            homes = [line.partition("=")[2].strip() for line in stream if line.startswith("home")]
        base = os.path.join(homes[0], "python.exe") if homes else ""
    return ascii((basics.PROGRAM, os.path.realpath(base))) if os.path.isfile(base) else ""


def _recorded() -> "dict[str, str]":
    """Return what .venv holds, requirement file to digest; {} where .venv has to be made from nothing."""
    try:
        with open(basics.STAMP, encoding="utf-8") as stream:
            made_for, *lines = stream.read().splitlines() or [""]
        if not made_for or made_for != _made_for():
            return {}
    except (OSError, ValueError):
        return {}
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _record(installed: "Mapping[str, str]") -> None:
    """Write the stamp, whole or not at all."""
    with open(basics.STAMP + ".new", "w", encoding="utf-8") as stream:
        stream.write("\n".join([_made_for(), *(f"{digest}  {name}" for name, digest in installed.items())]) + "\n")
    os.replace(basics.STAMP + ".new", basics.STAMP)


def _set_up(wanted: "dict[str, str]", *, yes: bool) -> None:
    """Install what is wanted: into .venv where all of it that is there is current, else into a new one."""
    from host_tasks.setup import host_packages

    have = _recorded()
    fresh = HOST not in have or any(have.get(name, digest) != digest for name, digest in wanted.items())
    if fresh:  # the packages of the tests come back too, so that a developer waits once
        wanted = {**{name: _digest(name) for name in have if os.path.isfile(os.path.join(basics.ROOT, name))}, **wanted}
    missing = [name for name in wanted if fresh or name not in have]
    print(f"Setting up .venv with {' and '.join(missing)} ...", file=sys.stderr, flush=True)
    umask = os.umask(0o022)
    os.umask(umask | 0o022)  # what runs from .venv is written by its owner only
    host_packages.install(missing, fresh=fresh, yes=yes)
    host_packages.write_scripts()
    _record({**({} if fresh else have), **wanted})
    host_packages.give_to_owner()
    os.umask(umask)
    print(".venv is ready.", file=sys.stderr, flush=True)
