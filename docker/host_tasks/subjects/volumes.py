"""The volumes and tmpfs of the person's Compose files, which no folder of this machine stands behind."""

from __future__ import annotations

from collections.abc import Iterator

from host_tasks.kit.words import ExitCode, task_command
from host_tasks.loop import Finding, Seen, fact, fail, rule, warn
from host_tasks.subjects import compose, containers, settings

OURS = "/.jupyter/lab"  # the end of the target of our own volume, whose name has the identity in it
PROBE = 'for target; do [ -w "$target" ] || echo "$target"; done'

# look


@fact
def unwritable(seen: Seen) -> tuple[str, ...]:
    """Return the targets of volumes that are not read-only and that the user of the running server cannot write."""
    server = containers.server(seen)
    targets = [target for target in server.volumes if not target.endswith(OURS)] if server else []
    if server is None or server.status != "running" or not targets:
        return ()
    said = containers.run_in(server, ["/bin/sh", "-c", PROBE, "sh", *targets]).decode(errors="replace")
    return tuple(target for target in targets if target in said.splitlines())


# judge


def refused(seen: Seen) -> list[Finding]:
    """Return which volumes cannot be written: the engine makes one root's where the image has no such folder."""
    if (server := containers.server(seen)) is None:
        return []
    who = settings.now(seen).identity
    run = "docker run --rm --user=0 --network=none --entrypoint=/bin/chown"
    findings = []
    for target in unwritable(seen):
        name = server.volumes[target]
        cause = f"{who.user} ({who.uid}:{who.gid}) cannot write in {target}, which is the volume {name}"
        cure = f"{run} --volume={name}:/volume {server.image} {who.uid}:{who.gid} /volume && {task_command('up')}"
        findings.append(fail(cause, cure, ExitCode.PERMISSION))
    return findings


@rule("volumes", upon=("env-file", "engine", "compose-files", "server"), afterwards=True)
def volumes(seen: Seen) -> Iterator[Finding]:
    """Ask for volumes that can be written."""
    yield from refused(seen)


@rule("tmpfs", upon=("env-file", "compose-files"))
def lost(seen: Seen) -> Iterator[Finding]:
    """Warn of a place beside the six folders that ends with the container."""
    server = compose.model(seen)["services"][compose.SERVICE] if compose.is_there(seen) else {}
    targets = [entry.partition(":")[0] for entry in server.get("tmpfs") or ()]
    targets += [volume["target"] for volume in server.get("volumes") or () if volume["type"] == "tmpfs"]
    for target in targets:
        if target.startswith(f"/home/{settings.now(seen).identity.user}/app/"):
            cause = f"{target} is a tmpfs: what is written there ends with the container"
            fix = f"mount a folder there, as docker/examples/data-disk.yml does, then: {task_command('up')}"
            yield warn(cause, fix)
