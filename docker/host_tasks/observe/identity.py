"""Who the container runs as: a name, a uid and a gid that an image can hold, decided once, from what the kernel says.

$USER, $LOGNAME and $UID are never read: sudo, cron and CI change them, and bash does not export UID.
"""

import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import ROOT

DEFAULT_USER = "al-khawarizmi"
MAX_ID = 2147483647  # moby: "uids and gids must be in range 0-2147483647"
MAX_NAME_LENGTH = 32  # characters; useradd(8), shadow 4.13


@dataclass(frozen=True)
class Identity:
    """Who the container runs as."""

    user: str
    uid: int
    gid: int
    reason: str  # why this one, one short sentence without its full stop


DEFAULT = Identity(DEFAULT_USER, 1000, 100, "the default")


@dataclass(frozen=True)
class Account:
    """What the user database says of a uid."""

    name: str
    gid: int


@dataclass(frozen=True)
class HostFacts:
    """What there is to decide from."""

    uid: int | None  # None on Windows, which has no numeric ids
    gid: int | None  # as uid
    owner: tuple[int, int]  # uid and gid of the project folder
    account: Callable[[int], Account | None]  # None where the user database does not know the uid
    sudo_uid: str = ""  # SUDO_UID, SUDO_GID, SUDO_USER of sudo(8); "" where unset
    sudo_gid: str = ""
    sudo_user: str = ""


def observe() -> Identity:
    """Return who the container runs as when this process starts it.

    Raises:
        HostError: the engine cannot run that uid or gid (78).
    """
    status = ROOT.stat()
    return decide(
        HostFacts(
            uid=os.getuid() if hasattr(os, "getuid") else None,
            gid=os.getgid() if hasattr(os, "getgid") else None,
            owner=(status.st_uid, status.st_gid),
            account=_account,
            sudo_uid=os.environ.get("SUDO_UID", ""),
            sudo_gid=os.environ.get("SUDO_GID", ""),
            sudo_user=os.environ.get("SUDO_USER", ""),
        )
    )


def decide(facts: HostFacts) -> Identity:
    """Return who the container runs as; never uid 0.

    Raises:
        HostError: the uid or gid is above MAX_ID (78).
    """
    who = _choose(facts)
    if max(who.uid, who.gid) > MAX_ID:
        raise HostError(
            f"{who.user} is {who.uid}:{who.gid}, and the engine runs no uid or gid above {MAX_ID}",
            fix="run this from an account with smaller ids: sudo --user NAME python3 tasks.py up",
            code=ExitCode.CONFIG,
        )
    return who


def _choose(facts: HostFacts) -> Identity:
    """Return who it is, in any range: the caller, else who called sudo, else the folder's owner, else the default."""
    if facts.uid is None or facts.gid is None:
        return Identity(DEFAULT.user, DEFAULT.uid, DEFAULT.gid, "the default, because this system has no numeric ids")
    if facts.uid > 0:
        return _named(facts, facts.uid, facts.gid, "you")
    sudo_uid = _id(facts.sudo_uid)
    if sudo_uid:
        account = facts.account(sudo_uid)
        gid = _id(facts.sudo_gid)
        gid = gid if gid is not None else account.gid if account else DEFAULT.gid
        return _named(facts, sudo_uid, gid, "who called sudo", otherwise=facts.sudo_user)
    if facts.owner[0] > 0:
        return _named(facts, *facts.owner, "the owner of the project folder, because root runs this")
    reason = "the default, because root runs this and owns the project folder"
    return Identity(DEFAULT.user, DEFAULT.uid, DEFAULT.gid, reason)


def _named(facts: HostFacts, uid: int, gid: int, reason: str, *, otherwise: str = "") -> Identity:
    """Return the identity of a uid, named by the user database, else as given, else `u<uid>`."""
    account = facts.account(uid)
    name = account.name if account else otherwise or f"u{uid}"
    return Identity(safe_user_name(name), uid, gid, reason)


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


def _id(text: str) -> int | None:
    """Return a uid or gid written as text, None where it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else None


def _account(uid: int) -> Account | None:
    """Return what the user database says of a uid."""
    try:
        import pwd
    except ImportError:  # Windows
        return None
    try:
        entry = pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        return None
    return Account(entry.pw_name, entry.pw_gid)
