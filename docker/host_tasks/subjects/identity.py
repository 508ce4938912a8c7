"""The user of the container: a name, a uid and a gid that an image can hold, decided once, by what the kernel says.

$USER, $LOGNAME and $UID are never read: sudo, cron and CI change them, and bash does not export UID.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.setup.basics import sudo_caller

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


@dataclass(frozen=True)
class HostFacts:
    """What there is to decide from."""

    uid: int | None  # None on Windows, which has no numeric ids
    gid: int | None  # as uid
    owner: tuple[int, int]  # uid and gid of the project folder
    name_of: Callable[[int], str]  # a user's name; "" where the user database does not know the uid
    sudo: tuple[int, int] | None = None  # uid and gid of the caller of sudo; None where there is none


# look


def observe() -> Identity:
    """Return the user of a container that this process starts.

    Raises:
        HostError: the engine cannot run that uid or gid (78).
    """
    status = ROOT.stat()
    uid, gid = (os.getuid(), os.getgid()) if hasattr(os, "getuid") else (None, None)
    return decide(HostFacts(uid, gid, (status.st_uid, status.st_gid), _name_of, sudo_caller()))


def _name_of(uid: int) -> str:
    """Return a user's name by the user database, "" where it does not know the uid."""
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError, OverflowError):  # Windows; no such user
        return ""


# judge


def decide(facts: HostFacts) -> Identity:
    """Return the user of the container on this machine; never uid 0.

    It is the caller; where root calls, the owner of the project's folder, to whom root gives its files too
    (setup/basics.py, rightful_owner); where root owns that too, the caller of sudo, else the default.

    Raises:
        HostError: the uid or gid is above MAX_ID (78).
    """
    default = Identity(DEFAULT_USER, 1000, 100, "the default, because root runs this and owns the project folder")
    if facts.uid is None or facts.gid is None:
        return Identity(DEFAULT_USER, 1000, 100, "the default, because this system has no numeric ids")
    if facts.uid > 0:
        ids, reason = (facts.uid, facts.gid), "you"
    elif facts.owner[0] > 0:
        ids, reason = facts.owner, "the owner of the project folder, because root runs this"
    elif facts.sudo:
        ids, reason = facts.sudo, "the caller of sudo, because root owns the project folder"
    else:
        return default
    user = safe_user_name(facts.name_of(ids[0]) or f"u{ids[0]}")
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
