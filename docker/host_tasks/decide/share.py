"""Rules about the environment as an image of its own, which is pushed, pulled, saved and loaded.

It knows no user, so whoever takes it builds a layer of a second on it. Its tag is a digest of what it was made from.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from host_tasks.decide.image import lacking
from host_tasks.decide.plan import Finding, Rule, Step, fail, ok
from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

KEY = "ENVIRONMENT_FROM"
# distribution/reference 0.6, "Grammar", without tag and digest; the registry is named, so that nothing is guessed.
_REPOSITORY = re.compile(r"[\w.-]+(?::\d+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+", re.ASCII)


def repository(text: str, option: str) -> str:
    """Return the repository that a person names with an option.

    Raises:
        HostError: it is none (64).
    """
    if not _REPOSITORY.fullmatch(text):
        problem = f"{option} {text} is not REGISTRY/NAME: a registry, and a name in lower case, without a tag"
        fix = task_command("--help push" if option == "--to" else "--help up")
        raise HostError(problem, fix=fix, code=ExitCode.USAGE)
    return text


def wished_environment(text: str) -> dict[str, str | None]:
    """Return what is asked of docker/.env for a repository to take the environment from; nothing for an empty text.

    Raises:
        HostError: it is no repository (64).
    """
    return {KEY: repository(text, "--from")} if text else {}


def environment(seen: "Observation") -> Iterator[Finding]:
    """Ask for the environment that docker/.env says where to take, before one is built."""
    if step := _waiting(seen):
        cause = f"docker/.env says {KEY}={seen.settings.values[KEY]}, and the image has to be built"
        yield fail("environment", cause, task_command("build"), step=step)
    else:
        yield ok("environment", "nothing is to be taken")


def spares_base(seen: "Observation") -> bool:
    """Return whether nothing is built on the base image: the environment is here, or is to be taken first."""
    return bool(seen.environment.image or _waiting(seen))


def made(seen: "Observation") -> Iterator[Finding]:
    """Ask for the environment as an image of its own."""
    here = seen.environment
    if here.image:
        yield ok("environment-made", f"{here.name} is here")
        return
    what = "build the environment, from the cache where nothing changed"
    step = Step("environment", what, f"the image {here.name}", values=_attestations(seen))
    yield fail("environment-made", f"{here.name} is not here", task_command("build"), step=step)


def _attestations(seen: "Observation") -> dict[str, str]:
    """Return what the builder can say of an image in the image: only containerd's store keeps it (tried: engine 26.1).

    mode=max would tell the values of build arguments, so a proxy's password (BuildKit, "Provenance attestation").
    """
    store = str((seen.engine.info or {}).get("DriverStatus") or "")
    if "io.containerd.snapshotter" not in store:
        return {}
    return {"provenance": "mode=min", **({"sbom": "true"} if seen.has_sbom_scanner else {})}


def pushed(to: str) -> Rule:
    """Return the rule of `invoke push`: one push, whatever is there."""

    def pushed(seen: "Observation") -> Iterator[Finding]:
        """Ask for the environment in a registry."""
        there = f"{to}:{seen.environment.tag}"
        step = Step("push", f"push {there}", there, values={"from": seen.environment.name, "to": there})
        if step.key in seen.tried:
            yield ok("pushed", f"{there} was pushed")
        else:
            yield fail("pushed", "a push was asked for", task_command(f"push --to {to}"), step=step)

    return pushed


def _waiting(seen: "Observation") -> Step | None:
    """Return the step that takes the environment, None where there is nothing to take, or it was tried."""
    where = seen.settings.values.get(KEY)
    if not where or not lacking(seen) or seen.environment.image:
        return None
    there, here = f"{where}:{seen.environment.tag}", seen.environment.name
    what = f"take the environment {there}, or build it where it is not there"
    step = Step("take", what, "the engine's images", values={"from": there, "to": here})
    return None if step.key in seen.tried else step
