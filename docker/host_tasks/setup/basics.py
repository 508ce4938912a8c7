"""What the setup and the tasks share, and what is there before Invoke is: the form of an error, and the file lock."""

import os
import sys

TYPE_CHECKING = False  # typing costs every start 4 ms
if TYPE_CHECKING:
    from typing import NoReturn

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, ".stamp")
PROGRAM = os.path.join(os.path.dirname(os.path.realpath(__file__)), "program.py")
LOCK = os.path.join(ROOT, ".venv.lock")
PYTHON = os.path.join(VENV, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))

LOCK_TIMEOUT_S = 1800.0  # longer than any installation or build
POLL_S = 0.1
ROOM_BYTES = 20_000_000  # an installer that failed has removed what did not fit
CALLED_AS = "HOST_TASKS_CALLED_AS"  # the variable that tells the tasks how they were called

# Exit codes as in words.ExitCode, which needs Invoke to be imported.
UNAVAILABLE, CANNOT_CREATE, IO, TRY_AGAIN, CONFIG = 69, 73, 74, 75, 78
HANGUP, INTERRUPTED, BROKEN_PIPE = 129, 130, 141


def visible(text: str, *, but: str = "(?!)") -> str:
    r"""Return a text of anybody's in one line that no terminal obeys: a control character is shown, as \x1b is.

    So is what breaks a line, turns its direction (UAX 9) or is no character. What fits the pattern `but` stays.
    """
    import re

    odd = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
    return re.sub(f"({but})|{odd}", lambda found: found[1] or ascii(found[0])[1:-1], text)


def error_text(problem: str, *, fix: str) -> str:
    """Return the two lines that every error is, each whole on its own: what is wrong, and what repairs it."""
    return f"error: {visible(problem).rstrip('.')}\nfix: {pasted(fix)}"


def pasted(fix: str) -> str:
    """Return a fix in one line as it can be pasted: Windows PowerShell 5.1 knows no &&."""
    return visible(fix.replace(" && ", ", then: ") if os.name == "nt" else fix)


def fail(problem: str, *, fix: str, code: int) -> "NoReturn":
    """End with an error in the form of words.HostError, which needs Invoke to be imported."""
    print(error_text(problem, fix=fix), file=sys.stderr)
    sys.exit(code)


def fix_access(path: str) -> str:
    """Return what gives this caller a file or folder, or a new one in a folder: what they may do, and harms nobody."""
    path = os.path.abspath(path)
    while not os.path.exists(path):  # a link to nothing counts as nothing
        path = os.path.dirname(path)
    if os.name == "nt":
        return f"attrib -r {shell_word(path)}, and close the programs that have it open"
    if os.stat(path).st_uid == os.geteuid():
        return f"chmod u+rwX {shell_word(path)}"
    if os.stat(os.path.dirname(path)).st_uid == os.geteuid():
        return f"sudo chown $(id -u) {shell_word(path)}"
    return f"git clone {shell_word(ROOT)} ~/{shell_word(os.path.basename(ROOT))} # this one is somebody else's"


def refuse_foreign_python() -> None:
    """End where tasks.py is loaded by another Python than that of a .venv which the setup made: a global `invoke`."""
    if not os.path.exists(os.path.join(sys.prefix, ".stamp")):
        send_to_tasks_py(f"{sys.argv[0]} is not this clone's own invoke")


def send_to_tasks_py(problem: str) -> "NoReturn":
    """End with the same command in the form that sets itself up."""
    script = os.path.join(ROOT, "tasks.py")
    if os.path.splitdrive(script)[0] == os.path.splitdrive(os.getcwd())[0]:  # Windows: there is no way between drives
        script = os.path.relpath(script)
    fail(problem, fix=" ".join(["python3", *map(shell_word, [script, *sys.argv[1:]])]), code=CONFIG)


def fail_where_full(failure: str) -> None:
    """End where a disk on which .venv is made, or what an installer unpacks on the way to it, has no room.

    ensurepip keeps pip's words to itself (Python 3.13), so the disks are asked; a quota shows in the words only.
    """
    import shutil
    import tempfile

    folders = dict.fromkeys([ROOT, tempfile.gettempdir()])
    if min(shutil.disk_usage(each).free for each in folders) < ROOM_BYTES or "quota exceeded" in failure:
        fail(
            "there is no room for .venv", fix=f"make room, 200 MB: df -h {' '.join(map(shell_word, folders))}", code=IO
        )


def called_as(interpreter: str = "") -> str:
    """Return how tasks.py was called, as shell words that can be pasted in the same folder: "python3 ../tasks.py"."""
    script = sys.argv[0]
    # Bash and zsh export _, the command as typed: its interpreter is then the one in tasks.py's first line.
    if not interpreter and script == os.environ.get("_") and os.path.dirname(script):
        return shell_word(script)
    return f"{shell_word(_shortest(interpreter or sys.orig_argv[0]))} {shell_word(script)}"


def _shortest(program: str) -> str:
    """Return a program's name where the PATH leads to one of that name: a version manager puts its own path there."""
    name = os.path.basename(program)
    folders = os.environ.get("PATH", "").split(os.pathsep)
    return name if any(os.access(os.path.join(each, name), os.X_OK) for each in folders if each) else program


def shell_word(text: str) -> str:
    """Return a text as one word for a shell, as shlex.quote does, which costs every start the import of re.

    What `visible` shows stands in $'...', which bash, zsh and ksh read back.
    """
    if os.name == "nt":
        return f'"{text}"' if " " in text else text
    if not text.isprintable() and visible(text) != text:
        codes = os.fsencode(text)
        shown = (chr(code) if 31 < code < 127 and code not in b"'\\" else f"\\x{code:02x}" for code in codes)
        return f"$'{''.join(shown)}'"
    plain = text.isascii() and all(letter.isalnum() or letter in "@%+=:,./_-" for letter in text)
    return text if text and plain else "'" + text.replace("'", "'\"'\"'") + "'"


def rightful_owner(folder: str) -> "tuple[int, int]":
    """Return whose a new file in a folder is where root makes it: the folder's owner's, else the sudo caller's."""
    status = os.stat(folder)
    owner = (status.st_uid, status.st_gid)
    return root_acts_for(owner, sudo_caller()) or owner


def root_acts_for(owner: "tuple[int, int]", sudo: "tuple[int, int] | None") -> "tuple[int, int] | None":
    """Return for whom root acts: the owner of the folder, else the caller of sudo; None = for nobody else."""
    return owner if owner[0] else sudo


def sudo_caller() -> "tuple[int, int] | None":
    """Return the uid and gid of the caller of sudo(8), who is not root; None where there is none."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    is_person = all(text.isascii() and text.isdigit() and len(text) < 11 for text in (uid, gid)) and int(uid) > 0
    return (int(uid), int(gid)) if is_person else None


def open_lock(path: str) -> int:
    """Return a descriptor of a lock file, made where it is missing: its owner's only, so that no other can block us."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    if os.name != "nt":
        made = os.fstat(descriptor)
        if made.st_uid == os.geteuid() and made.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
        if made.st_uid == os.geteuid() == 0:
            os.fchown(descriptor, *rightful_owner(os.path.dirname(path)))
    return descriptor


def try_lock(descriptor: int) -> bool:
    """Return whether the lock is ours now; never waits. Closing the descriptor, or the holder's death, frees it.

    Raises:
        OSError: this file system has no locks.
    """
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(descriptor, 2**30, os.SEEK_SET)  # nobody else reads what is locked: a byte far behind the content
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            finally:
                os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        import errno

        if err.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def wait_for_lock(descriptor: int, announcement: str, timeout_s: float) -> bool:
    """Return whether the lock became ours within timeout_s; a caller that has to wait is told so, once.

    Raises:
        OSError: this file system has no locks.
    """
    import time

    deadline = time.monotonic() + timeout_s
    announced = False
    while not try_lock(descriptor):
        if not announced:
            print(announcement, file=sys.stderr, flush=True)
            announced = True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
