"""Make .venv, then become Invoke: what `python3 tasks.py <task>` does while no host package is there yet.

Standard library only, and little of it: a warm start reads the stamp and one requirement file, then execs.
"""

import os
import sys

TYPE_CHECKING = False  # typing costs every start 4 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

NEEDED = (3, 10)
# Before any annotation is evaluated: this module and tasks.py must still parse and get here under Python 3.6.
if sys.version_info < NEEDED:
    import shutil

    newer = [name for name in (f"python3.{minor}" for minor in range(19, 9, -1)) if shutil.which(name)]
    sys.stderr.write(
        f"error: tasks.py needs Python {NEEDED[0]}.{NEEDED[1]} or newer and this is {sys.version.split()[0]}; fix: "
        + (f"{newer[0]} tasks.py\n" if newer else "install a newer Python, then run tasks.py with it\n")
    )
    sys.exit(69)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, ".stamp")
LOCK = os.path.join(ROOT, ".venv.lock")
PYTHON = os.path.join(VENV, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))

HOST = "docker/host-requirements.txt"  # from the clone's root, as everything in the stamp
TESTS = "tests/requirements.txt"

# Exit codes as in errors.ExitCode, which needs Invoke to be imported.
UNAVAILABLE, CANNOT_CREATE, TRY_AGAIN, CONFIG, INTERRUPTED = 69, 73, 75, 78, 130

STEP_TIMEOUT_S = 900.0
LOCK_TIMEOUT_S = 1800.0
POLL_S = 0.1
SHOWN_LINES = 10

# What would make another interpreter, or another target, of the one that .venv is made with.
DISTRACTING = (
    "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__",
    "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON",
)  # fmt: skip
CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")  # Debian, Fedora


def main() -> "NoReturn":
    """Make .venv where it is missing or stale, then become `invoke` with the same arguments, or with --list."""
    words = sys.argv[1:]
    first_task = next((word for word in words if not word.startswith("-")), "")
    try:
        ensure(*([TESTS] if first_task == "test" else []), yes="--yes" in words or "-y" in words)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    # -I: nothing is imported from PYTHONPATH, nor from the working directory, which a container may write to.
    command = [PYTHON, "-I", "-m", "invoke", "--search-root", ROOT, *(words or ["--list"])]
    if os.name == "nt":  # exec there returns to the shell at once (Python 3.13, os.execv)
        import subprocess

        sys.exit(subprocess.call(command))
    os.execv(PYTHON, command)  # noqa: S606


def ensure(*extra: str, yes: bool = False) -> None:
    """Have the packages of HOST, and of the extra requirement files, in .venv; cheap where they are there already.

    Args:
        extra: requirement files, relative to the clone's root.
        yes: whether the system's own venv package may be installed where it is missing.

    Raises:
        SystemExit: a requirement file is missing (78), packages cannot be installed (69), .venv cannot be
            written (73), or another process held the lock for LOCK_TIMEOUT_S (75); one line on stderr says so.
    """
    wanted = {name: _digest(name) for name in (HOST, *extra)}
    if wanted.items() <= _recorded().items():
        return
    try:
        descriptor = _locked()
        try:
            if not wanted.items() <= _recorded().items():
                _set_up(wanted, yes=yes)
        finally:
            os.close(descriptor)
    except OSError as err:
        fail(
            f"{err.filename or VENV} cannot be written: {err.strerror}",
            fix=f"make {ROOT} writable for you, with 200 MB free",
            code=CANNOT_CREATE,
        )


def fail(problem: str, *, fix: str, code: int) -> "NoReturn":
    """End with one line in the form of errors.HostError, which needs Invoke to be imported."""
    print(f"error: {problem}; fix: {fix}", file=sys.stderr)
    sys.exit(code)


def _digest(name: str) -> str:
    """Return the SHA-256 of a requirement file."""
    import hashlib

    try:
        with open(os.path.join(ROOT, name), "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except FileNotFoundError:
        fail(f"{name} is missing", fix=f"git checkout -- {name}", code=CONFIG)


def _made_for() -> str:
    """Return one line naming the clone and the interpreter that .venv now leads to, "" where it leads to none."""
    base = PYTHON
    if os.name == "nt":  # python.exe is a copy that starts the one in `home`
        with open(os.path.join(VENV, "pyvenv.cfg"), encoding="utf-8") as stream:
            homes = [line.partition("=")[2].strip() for line in stream if line.startswith("home")]
        base = os.path.join(homes[0], "python.exe") if homes else ""
    return ascii((ROOT, os.path.realpath(base))) if os.path.isfile(base) else ""


def _recorded() -> "dict[str, str]":
    """Return what .venv holds, requirement file to digest; {} where .venv has to be made from nothing."""
    try:
        with open(STAMP, encoding="utf-8") as stream:
            made_for, *lines = stream.read().splitlines() or [""]
        if not made_for or made_for != _made_for():
            return {}
    except (OSError, ValueError):
        return {}
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _record(installed: "Mapping[str, str]") -> None:
    """Write the stamp, whole or not at all."""
    with open(STAMP + ".new", "w", encoding="utf-8") as stream:
        stream.write("\n".join([_made_for(), *(f"{digest}  {name}" for name, digest in installed.items())]) + "\n")
    os.replace(STAMP + ".new", STAMP)


def _set_up(wanted: "dict[str, str]", *, yes: bool) -> None:
    """Install what is wanted: into .venv where all of it that is there is current, else into a new one."""
    have = _recorded()
    fresh = HOST not in have or any(have.get(name, digest) != digest for name, digest in wanted.items())
    if fresh:  # the packages of the tests come back too, so that a developer waits once
        wanted = {**{name: _digest(name) for name in have if os.path.isfile(os.path.join(ROOT, name))}, **wanted}
    missing = [name for name in wanted if fresh or name not in have]
    print(f"Setting up .venv with {' and '.join(missing)} ...", file=sys.stderr, flush=True)
    _install(missing, fresh=fresh, yes=yes)
    _record({**({} if fresh else have), **wanted})
    _give_to_owner()
    print(".venv is ready.", file=sys.stderr, flush=True)


def _install(files: "list[str]", *, fresh: bool, yes: bool) -> None:
    """Install requirement files with uv where it is on the PATH and able to, else with pip; or end."""
    bundle = next(filter(os.path.isfile, CA_BUNDLES), "")
    failure = _by_uv(files, child_environment(os.environ, bundle), fresh=fresh)
    if failure:
        failure = _by_pip(files, child_environment(os.environ, bundle), fresh=fresh, yes=yes)
    if failure and "certificate" in failure.lower():  # a bundle named in pip.conf loses to the machine's
        failure = _by_pip(files, child_environment(os.environ, ""), fresh=fresh, yes=yes)
    if failure:
        print("\n".join(failure.strip().splitlines()[-SHOWN_LINES:]), file=sys.stderr)
        fail(
            f"the packages of {' and '.join(files)} cannot be installed into .venv, see above",
            fix="let pip reach its package index (network, proxy, pip config), then run the same command again",
            code=UNAVAILABLE,
        )


def child_environment(environ: "Mapping[str, str]", bundle: str) -> "dict[str, str]":
    """Return the environment of an installer: nothing that leads it elsewhere, and the certificates of this machine.

    A proxy that opens TLS is trusted by the machine's bundle, not by those that pip and uv bring. requests reads
    REQUESTS_CA_BUNDLE, uv reads SSL_CERT_FILE; a bundle that the person names wins, and "" names none.
    """
    environment = {key: value for key, value in environ.items() if key not in DISTRACTING}
    environment["PIP_USER"] = "0"  # over `user = true` in pip.conf, with which pip refuses a virtual environment
    if bundle and not any(environ.get(key) for key in CA_VARIABLES):
        environment.update(REQUESTS_CA_BUNDLE=bundle, SSL_CERT_FILE=bundle)
    return environment


def _by_uv(files: "list[str]", environment: "dict[str, str]", *, fresh: bool) -> str:
    """Return "" where uv has installed the files, else why not."""
    import shutil

    uv = shutil.which("uv")
    if uv is None:
        return "uv is not on the PATH"
    # Copies: a link into uv's cache would share its owner and its content with other projects.
    install = [uv, "pip", "install", "--python", PYTHON, "--require-hashes", "--link-mode=copy"]
    steps = [[uv, "venv", "--no-project", "--python", _base_python(), VENV]] if fresh else []
    return _failure([*steps, [*install, *_options(files)]], environment, fresh=fresh)


def _by_pip(files: "list[str]", environment: "dict[str, str]", *, fresh: bool, yes: bool) -> str:
    """Return "" where pip has installed the files, else why not."""
    if fresh and not _can_make_venv():
        _install_venv_module(environment, yes=yes)
    install = [PYTHON, "-I", "-m", "pip", "install", "--require-hashes", "--no-input", "--disable-pip-version-check"]
    # Python 3.12 refuses a path with the PATH separator, for the sake of an `activate` that is not used here.
    create = "import os, venv; os.pathsep = '\\n'; venv.create('.venv', with_pip=True, symlinks=os.name != 'nt')"
    # uv makes .venv without pip, and may have gone since.
    steps = [[_base_python(), "-I", "-c", create]] if fresh else [[PYTHON, "-I", "-m", "ensurepip"]]
    return _failure([*steps, [*install, *_options(files)]], environment, fresh=fresh)


def _options(files: "list[str]") -> "list[str]":
    """Return requirement files as options of pip and uv."""
    return [word for name in files for word in ("--requirement", name)]


def _failure(steps: "list[list[str]]", environment: "Mapping[str, str]", *, fresh: bool) -> str:
    """Run commands in turn, without any old .venv where a fresh one is made; return "" or a failing one's output."""
    import subprocess

    if fresh:
        _remove()
    for argv in steps:
        try:
            # close_fds: where this process is killed, a child that lives on holds the lock until it ends.
            done = subprocess.run(
                argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", timeout=STEP_TIMEOUT_S, close_fds=False,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"{argv[0]} did not end within {STEP_TIMEOUT_S:g} s"
        if done.returncode:
            return done.stdout or f"{argv[0]} ended with {done.returncode}"
    return ""


def _base_python() -> str:
    """Return the interpreter to make .venv with: never .venv's own, which a new .venv removes."""
    if sys.prefix == sys.base_prefix:
        return sys.executable
    return str(sys._base_executable) if os.name == "nt" else os.path.realpath(sys.executable)  # type: ignore[attr-defined]


def _remove() -> None:
    """Remove .venv, its stamp first: what a kill leaves here must not look whole."""
    import contextlib
    import shutil

    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(STAMP)
    if os.path.isdir(VENV) and not os.path.islink(VENV):
        shutil.rmtree(VENV)
    elif os.path.lexists(VENV):
        os.unlink(VENV)  # a link is cut; what it leads to is not ours


def _can_make_venv() -> bool:
    """Return whether this Python has what `python -m venv` needs; Debian packages it apart."""
    import importlib

    importlib.invalidate_caches()
    try:
        importlib.import_module("venv")
        importlib.import_module("ensurepip")
    except ImportError:
        return False
    return True


def _install_venv_module(environment: "Mapping[str, str]", *, yes: bool) -> None:
    """Install Debian's package of the venv module where that was agreed to and can be done; else name it and end."""
    import shutil

    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    is_root = os.name == "nt" or os.geteuid() == 0
    sudo = [] if is_root else ["sudo", *([] if sys.stdin.isatty() else ["--non-interactive"])]
    problem = "this Python cannot make virtual environments: its module ensurepip is missing"
    if not shutil.which("apt-get"):
        fail(problem, fix="install the venv module of your Python, or uv, then try again", code=UNAVAILABLE)
    if yes and (not sudo or shutil.which("sudo")):
        apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        print(f"Installing {package} ...", file=sys.stderr, flush=True)
        _failure([[*apt, "update"]], environment, fresh=False)  # one dead source must not end it: install decides
        problem = _failure([[*apt, "install", "--yes", package]], environment, fresh=False) or problem
    if not _can_make_venv():
        fail(problem.strip().splitlines()[-1], fix=f"sudo apt-get install {package}", code=UNAVAILABLE)


def _give_to_owner() -> None:
    """Under sudo, give .venv to the owner of the clone, who must be able to renew it without sudo."""
    owner = os.stat(ROOT)
    if os.name == "nt" or os.geteuid() != 0 or owner.st_uid == 0:
        return
    os.chown(LOCK, owner.st_uid, owner.st_gid)
    for folder, _, names in os.walk(VENV):
        for name in (folder, *(os.path.join(folder, each) for each in names)):
            os.chown(name, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _locked() -> int:
    """Return a descriptor that holds the lock; closing it, or the death of its holders, frees it.

    Raises:
        SystemExit: another process held it for LOCK_TIMEOUT_S (75).
    """
    import time

    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    os.set_inheritable(descriptor, os.name != "nt")
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    announced = False
    while not _try(descriptor):
        if not announced:
            print("Another task sets .venv up: waiting for it to end.", file=sys.stderr, flush=True)
            announced = True
        if time.monotonic() >= deadline:
            fail(
                f"{LOCK} has been held for {LOCK_TIMEOUT_S:g} s",
                fix="end the other task, then try again",
                code=TRY_AGAIN,
            )
        time.sleep(POLL_S)
    return descriptor


def _try(descriptor: int) -> bool:
    """Return whether the lock is ours now; never waits."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
