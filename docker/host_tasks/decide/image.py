"""Rules about this clone's image: it is there, and was made from what is here now."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from host_tasks.decide.environment_lock import unused
from host_tasks.decide.plan import Finding, Rule, Step, fail, ok
from host_tasks.ground.commands import task_command

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

CODE = "image"


def environment_yml(seen: "Observation") -> Iterator[Finding]:
    """Ask for an environment.yml that can be read, before anything is built of it."""
    from host_tasks.decide import environment  # late: it loads YAML, which most tasks do without

    if seen.environment_yml is None:
        raise environment.missing(seen.names_at_top)
    found = environment.read_environment(seen.environment_yml)
    yield ok("environment-yml", f"conda packages: {len(found.conda)}, lines for pip: {len(found.pip)}")


def image(seen: "Observation") -> Iterator[Finding]:
    """Ask for an image of the inputs as they are."""
    if why := lacking(seen):
        yield fail(CODE, why, task_command("build"), step=_step(seen))
    else:
        yield ok(CODE, "the image was made from what is here now")


def lacking(seen: "Observation") -> str:
    """Return why an image has to be built, "" where it has not."""
    if seen.image is None:
        return "this clone has no image yet"
    if seen.built.image != seen.image.id:
        return "the image was not built by these tasks, so what it was made from is not known"
    changed = differences(seen.built.inputs, seen.inputs)
    return f"changed since the image was built: {', '.join(changed)}" if changed else ""


def build_anew(*, cache: bool) -> Rule:
    """Return the rule of `invoke build`: one build in any case."""

    def image(seen: "Observation") -> Iterator[Finding]:
        """Ask for a build."""
        step = _step(seen, cache=cache)
        if step.key in seen.tried:
            yield ok(CODE, "the image was built")
        else:
            yield fail(CODE, "a build was asked for", task_command("build"), step=step)

    return image


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of what was added, removed or changed, in the order of the build."""
    return [name for name in {**now, **before} if before.get(name) != now.get(name)]


def _step(seen: "Observation", *, cache: bool = True) -> Step:
    """Return the step that builds: only the user's layer where the environment is here."""
    how, values = "from the cache where nothing changed", {}
    if not cache:
        how, values = "every step anew", {"cache": "no"}
    elif seen.environment.image:
        how, values = f"on the environment {seen.environment.name}", {"on": seen.environment.name}
    how += f"; {without}" if (without := unused(seen)) else ""
    return Step("build", f"build the image, {how}", f"the image of {seen.project}", values=values)
