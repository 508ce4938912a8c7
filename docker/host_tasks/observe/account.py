"""Who calls, by the user database, and whether the group docker, which the engine asks for, has reached them."""

import os


def user() -> str:
    """Return this user's name by the user database, or the uid where it has none."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # Windows; no such user
        return str(os.getuid()) if hasattr(os, "getuid") else ""


def waits_for_group() -> bool:
    """Return whether the group database names this user in group docker, and this process does not have it."""
    try:
        import grp

        docker = grp.getgrnam("docker")
    except (ImportError, KeyError):  # Windows; no such group
        return False
    return user() in docker.gr_mem and docker.gr_gid not in (os.getgid(), *os.getgroups())
