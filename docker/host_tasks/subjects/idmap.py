"""How the engine maps ids: who on this machine the uid of a container is, and what a rootless engine goes without.

An engine that runs as root leaves ids as they are. A rootless one runs in a user namespace of the person who started
it: there uid 0 is that person, with no right of root's, and every other uid is nobody's.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from host_tasks.kit.client import UnreachableError, asking, client
from host_tasks.kit.paths import ENV_FILE, shown
from host_tasks.kit.words import task_command
from host_tasks.loop import Finding, Seen, Step, fail, lasting, ok, rule, warn
from host_tasks.subjects import settings
from host_tasks.subjects.identity import Identity

KEY = "ROOTLESS"  # of docker/.env: what the engine was when it was last asked
# What `docker info` says of limits (Engine API 1.45, SystemInfo), in a person's words.
LIMITS = {"MemoryLimit": "memory", "CpuCfsQuota": "processors", "PidsLimit": "processes"}

# look


@lasting
def info(seen: Seen) -> Mapping[str, Any]:
    """Return what the engine says of itself; nothing where it gives no answer.

    Podman has a word of its own for rootless, which docker's command does not pass on, and in 4.3 no other. It claims
    limits that it cannot enforce with cgroup v1 (tried: 4.3, 5.8).
    """
    with contextlib.suppress(UnreachableError), asking():
        told: dict[str, Any] = client().info()
        if told.get("Rootless"):
            without = LIMITS if told.get("CgroupVersion") == "1" else ()
            told |= {"SecurityOptions": [*told["SecurityOptions"], "name=rootless"], **dict.fromkeys(without, False)}
        return told
    return {}


@lasting
def podman(seen: Seen) -> bool:
    """Return whether it is Podman that answers in Docker's form: it names what it builds by."""
    return "BuildahVersion" in info(seen)


def rootless(seen: Seen) -> bool | None:
    """Return whether a container's root is the person who started the engine; None where none answers."""
    options = info(seen).get("SecurityOptions")
    return None if options is None else "name=rootless" in options


# judge


def inside(who: Identity, kept: Mapping[str, str | None]) -> tuple[Identity, str, str]:
    """Return a user of this machine, with the reason for the uid and gid in the image, and these."""
    if not kept.get(KEY):
        return who, str(who.uid), str(who.gid)
    reason = f"{who.reason}; uid 0 in the containers of a rootless engine"
    return replace(who, reason=reason, rootless=True), "0", "0"


@rule("ids", upon=("env-file",))
def ids_fit(seen: Seen) -> Iterator[Finding]:
    """Ask for docker/.env to say how the engine maps ids, before an image is made for one of them."""
    kept, who, mapped = settings.now(seen).kept, settings.now(seen).identity, rootless(seen)
    if mapped is None:
        return  # the rule of the engine tells why
    if podman(seen) and not mapped:
        yield fail("this Podman runs as root, which is not supported yet", "use it as an ordinary user, without sudo")
        return
    if mapped == bool(kept.get(KEY)):
        same = "ids in the container are those of this machine"
        yield ok(f"the engine is rootless: uid 0 in the container is {who.user} here" if mapped else same)
        return
    said = "yes" if mapped else None
    _, uid, gid = inside(who, {KEY: said})
    write = functools.partial(settings.write, ROOTLESS=said, UID=uid, GID=gid)
    cause = f"the engine is {'' if mapped else 'not '}rootless, and {shown(ENV_FILE)} does not say so"
    step = Step(write, f"write {shown(ENV_FILE)}", f"{KEY}, UID, GID in {shown(ENV_FILE)}")
    yield fail(cause, task_command("up"), step=step)


@rule("limits", upon=("engine",))
def limits(seen: Seen) -> Iterator[Finding]:
    """Warn of an engine that passes over limits, as a rootless one does without cgroup v2."""
    if without := [word for key, word in LIMITS.items() if info(seen).get(key) is False]:
        cause = f"the engine enforces no limit of {', '.join(without)} (cgroup v{info(seen).get('CgroupVersion')})"
        yield warn(cause, "have cgroup v2 delegated to you, see docs.docker.com/engine/security/rootless")
    elif info(seen):
        yield ok("the engine enforces limits")
