"""Put the host packages into .venv, with uv or with pip; standard library only, as bootstrap.py, which calls this."""

import os
import sys

from host_tasks.setup import basics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

STEP_TIMEOUT_S = 900.0
SHOWN_LINES = 10
# What would make another interpreter, or another target, of the one that .venv is made with.
DISTRACTING = (
    "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__",
    "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON",
)  # fmt: skip
CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")  # Debian, Fedora

# .venv/bin/invoke: tells the tasks what was typed, the word where the PATH leads here, else the path.
SCRIPT = """#!/bin/sh
# Runs the tasks of this clone, from any folder. Written by docker/host_tasks/setup/host_packages.py.
called=${{0##*/}}
[ "$(command -v "$called")" = "$0" ] || called=$0
case $called in *[!A-Za-z0-9/._-]*) called={path} ;; esac
export {variable}="$called"
exec {python} -I {program} "$@"
"""

# The same for Windows' cmd, which reads it in a code page of its own: no path with letters or a % of a person's own.
CMD = """@setlocal
@set "{variable}={name}"
@"%~dp0python.exe" -I "%~dp0..\\..\\{program}" %*
"""


def install(files: "list[str]", *, fresh: bool, yes: bool) -> None:
    """Install requirement files with uv where it is on the PATH and able to, else with pip; or end."""
    bundle = next(filter(os.path.isfile, CA_BUNDLES), "")
    failure = _by_uv(files, child_environment(os.environ, bundle), fresh=fresh)
    if failure:
        failure = _by_pip(files, child_environment(os.environ, bundle), fresh=fresh, yes=yes)
    if failure and "certificate" in failure.lower():  # a bundle named in pip.conf loses to the machine's
        failure = _by_pip(files, child_environment(os.environ, ""), fresh=fresh, yes=yes)
    if failure:
        basics.fail_where_full(failure)
        print("\n".join(map(basics.visible, failure.strip().splitlines()[-SHOWN_LINES:])), file=sys.stderr)
        basics.fail(
            f"the packages of {' and '.join(files)} cannot be installed into .venv, see above",
            fix="let pip reach its package index (network, proxy, pip config), then run the same command again",
            code=basics.UNAVAILABLE,
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
    install = [uv, "pip", "install", "--python", basics.PYTHON, "--link-mode=copy", *fixed(files)]
    steps = [[uv, "venv", "--no-project", "--python", _base_python(), basics.VENV]] if fresh else []
    return _failure([*steps, install], environment, fresh=fresh)


def _by_pip(files: "list[str]", environment: "dict[str, str]", *, fresh: bool, yes: bool) -> str:
    """Return "" where pip has installed the files, else why not."""
    if fresh and not _can_make_venv():
        _install_venv_module(environment, yes=yes)
    install = [basics.PYTHON, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *fixed(files)]
    # Python 3.12 refuses a path with the PATH separator, for the sake of an `activate` that is not used here.
    create = "import os, venv; os.pathsep = '\\n'; venv.create('.venv', with_pip=True, symlinks=os.name != 'nt')"
    # uv makes .venv without pip, and may have gone since.
    steps = [[_base_python(), "-I", "-c", create]] if fresh else [[basics.PYTHON, "-I", "-m", "ensurepip"]]
    return _failure([*steps, install], environment, fresh=fresh)


def fixed(files: "list[str]") -> "list[str]":
    """Return the options of pip and uv for the files of lists and no others, of which none runs code of its own."""
    return ["--require-hashes", "--only-binary", ":all:", *(f"--requirement={name}" for name in files)]


def _failure(steps: "list[list[str]]", environment: "Mapping[str, str]", *, fresh: bool) -> str:
    """Run commands in turn, without any old .venv where a fresh one is made; return "" or a failing one's output."""
    import subprocess

    if fresh:
        _remove()
    for argv in steps:
        try:
            # close_fds: where this process is killed, a child that lives on holds the lock until it ends.
            done = subprocess.run(
                argv, cwd=basics.ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
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
        os.unlink(basics.STAMP)
    if os.path.isdir(basics.VENV) and not os.path.islink(basics.VENV):
        shutil.rmtree(basics.VENV)
    elif os.path.lexists(basics.VENV):
        os.unlink(basics.VENV)  # a link is cut; what it leads to is not ours


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
        fix = "install the venv module of your Python, or uv, then try again"
        basics.fail(problem, fix=fix, code=basics.UNAVAILABLE)
    if yes and (not sudo or shutil.which("sudo")):
        apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        print(f"Installing {package} ...", file=sys.stderr, flush=True)
        _failure([[*apt, "update"]], environment, fresh=False)  # one dead source must not end it: install decides
        problem = _failure([[*apt, "install", "--yes", package]], environment, fresh=False) or problem
    if not _can_make_venv():
        basics.fail(problem.strip().splitlines()[-1], fix=f"sudo apt-get install {package}", code=basics.UNAVAILABLE)


def write_scripts() -> None:
    """Put scripts that run the tasks of this clone, and nothing else, in the place of Invoke's own two.

    Invoke's look for a tasks.py from the working directory upwards, where a container may have written one, and read
    settings that may name another.
    """
    for name in ("invoke", "inv"):
        path = os.path.join(os.path.dirname(basics.PYTHON), name)
        if os.name == "nt":
            if os.path.exists(path + ".exe"):
                os.unlink(path + ".exe")
            program = os.path.relpath(basics.PROGRAM, basics.ROOT)
            text = CMD.format(variable=basics.CALLED_AS, name=name, program=program)
            path += ".cmd"
        else:
            word = basics.shell_word
            places = {"path": word(word(path)), "python": word(basics.PYTHON), "program": word(basics.PROGRAM)}
            text = SCRIPT.format(variable=basics.CALLED_AS, **places)
        with open(path + ".new", "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(path + ".new", 0o755)  # noqa: S103 (a program)
        os.replace(path + ".new", path)


def give_to_owner() -> None:
    """Give .venv that root made to the owner of the clone, who must be able to renew it without sudo."""
    if os.name == "nt" or os.geteuid() != 0:
        return
    owner = basics.rightful_owner(basics.ROOT)
    for folder, _, names in os.walk(basics.VENV):
        for name in (folder, *(os.path.join(folder, each) for each in names)):
            os.chown(name, *owner, follow_symlinks=False)
