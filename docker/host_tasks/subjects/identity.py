"""The user of the container: a name, a uid and a gid that an image can hold, decided once, by what the kernel says.

$USER, $LOGNAME and $UID are never read: sudo, cron and CI change them, and bash does not export UID.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from host_tasks.kit.paths import DOCKER_DIR, ROOT, TASKS_PY, TESTS, shown
from host_tasks.kit.words import ExitCode, HostError, path_word, task_command
from host_tasks.loop import Finding, Seen, Step, fact, fail, rule, warn
from host_tasks.setup.basics import root_acts_for, sudo_caller
from host_tasks.subjects import clone

DEFAULT_USER = "al-khawarizmi"
MAX_ID = 2147483647  # moby: "uids and gids must be in range 0-2147483647"
MAX_NAME_LENGTH = 32  # characters; useradd(8), shadow 4.13


@dataclass(frozen=True)
class Identity:
    """The user of the container."""

    user: str
    uid: int
    gid: int
    reason: str  # why this one, one short sentence without its full stop
    rootless: bool = False  # whether the engine knows this user as uid 0, and none of their further groups


# look


def observe() -> Identity:
    """Return the user of a container that this process starts.

    Raises:
        HostError: the engine cannot run that uid or gid (78).
    """
    status, caller = ROOT.stat(), (os.getuid(), os.getgid()) if hasattr(os, "getuid") else None
    return decide(caller, (status.st_uid, status.st_gid), sudo_caller(), _name_of)


def _name_of(uid: int) -> str:
    """Return a user's name by the user database, "" where it does not know the uid."""
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError, OverflowError):  # Windows; no such user
        return ""


@fact
def open_to_all(seen: Seen) -> tuple[Path, ...]:
    """Return the code of this clone that everybody on this machine can write; () where nobody else comes near it."""
    reached = os.name != "nt" and all(folder.stat().st_mode & 0o001 for folder in ROOT.parents)
    code = (ROOT, TASKS_PY, DOCKER_DIR, DOCKER_DIR / "host_tasks")
    return tuple(path for path in code if reached and path.stat().st_mode & 0o002)


@fact
def closed_inside(seen: Seen) -> tuple[Path, ...]:
    """Return what the container only reads and only root can, as after `umask 077`, where root works for another."""
    if not clone.is_root(seen):
        return ()
    names = ("ca-bundle.pem", "pip.conf", "proxies.conf", "secrets", "secrets/README.md")
    read = [*(DOCKER_DIR / name for name in names), TESTS, *TESTS.rglob("*")]
    status = ((path, path.stat()) for path in read if path.exists() and not path.is_symlink())
    return tuple(path for path, told in status if told.st_uid == 0 and not told.st_mode & 0o004)


# judge


@rule("clone-mode")
def readable_inside(seen: Seen) -> Iterator[Finding]:
    """Ask for what the container only reads to be readable for its user."""
    if paths := closed_inside(seen):
        step = Step(open_inside, "let the container read its settings and tests", ", ".join(map(shown, paths[:3])))
        cause = f"only root can read {shown(paths[0])} and {len(paths) - 1} more, which the container reads"
        yield fail(cause, task_command("up"), step=step)


@rule("clone-mode")
def closed_to_others(seen: Seen) -> Iterator[Finding]:
    """Warn of code that everybody can write, as after `umask 000`: this machine runs it as the caller."""
    if paths := open_to_all(seen):
        cause = f"everybody on this machine can write {', '.join(map(path_word, paths))}, which runs as you"
        yield warn(cause, f"chmod -R o-w {path_word(ROOT)}")


def decide(
    caller: tuple[int, int] | None,
    owner: tuple[int, int],
    sudo: tuple[int, int] | None,
    name_of: Callable[[int], str],
) -> Identity:
    """Return the user of the container on this machine; never uid 0.

    It is the caller; where root calls, the one for whom it acts, to whom it gives its files too; else the default.

    Args:
        caller: uid and gid; None on Windows, which has no numeric ids.
        owner: uid and gid of the project folder.
        sudo: uid and gid of the caller of sudo; None where there is none.
        name_of: a user's name; "" where the user database does not know the uid.

    Raises:
        HostError: the uid or gid is above MAX_ID (78).
    """
    if caller is None:
        return Identity(DEFAULT_USER, 1000, 100, "the default, because this system has no numeric ids")
    ids, reason = caller, "you"
    if caller[0] == 0:
        if not (meant := root_acts_for(owner, sudo)):
            reason = "the default, because root runs this and owns the project folder"
            return Identity(DEFAULT_USER, 1000, 100, reason)
        whose = "the owner of the project folder, because root runs this"
        ids, reason = meant, whose if owner[0] else "the caller of sudo, because root owns the project folder"
    user = safe_user_name(name_of(ids[0]) or f"u{ids[0]}")
    if max(ids) > MAX_ID:
        problem = f"{user} is {ids[0]}:{ids[1]}, and the engine runs no uid or gid above {MAX_ID}"
        fix = "run this from an account with smaller ids: sudo --user NAME python3 tasks.py up"
        raise HostError(problem, fix=fix, code=ExitCode.CONFIG)
    return Identity(user, *ids, reason)


def safe_user_name(name: str) -> str:
    r"""Return the name of a user in the image for any name on any host; it matches ^[a-z][a-z0-9_-]{0,31}$.

    The rule: without its domain (`CORP\jdoe`, `jdoe@corp`), accents dropped, lower case, `-` for every run of other
    characters, `u` before what does not begin with a letter, 32 characters; al-khawarizmi where nothing is left,
    `u-root` for root, whose account an image cannot do without.
    """
    local = name.rpartition("\\")[2].partition("@")[0]
    ascii_only = unicodedata.normalize("NFKD", local).encode("ascii", "ignore").decode("ascii").lower()
    safe = re.sub(r"[^a-z0-9_]+", "-", ascii_only).strip("-")
    if not safe:
        return DEFAULT_USER
    if safe == "root":
        return "u-root"
    safe = safe if safe[0].isalpha() else f"u{safe}"
    return safe[:MAX_NAME_LENGTH].rstrip("-")


# repair


def open_inside(seen: Seen) -> None:
    """Let everybody read what the container only reads; whoever cannot enter the clone's folder still cannot."""
    for path in closed_inside(seen):
        path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o055 if path.is_dir() else 0o044))
