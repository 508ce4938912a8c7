"""Share the environment: make it an image of its own, push it, take it."""

from collections.abc import Callable, Mapping

from host_tasks.act import buildx
from host_tasks.act.aftermath import require_built
from host_tasks.decide.plan import Step
from host_tasks.ground import runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import DOCKERFILE, ROOT
from host_tasks.observe import images
from host_tasks.observe.observation import Observation


def make(step: Step, seen: Observation) -> None:
    """Build the environment alone; its layers are those of the image."""
    finished = buildx.build(
        DOCKERFILE,
        seen.settings.values,
        arguments={"BASE_IMAGE": seen.base.name, buildx.CACHES: seen.settings.values["COMPOSE_PROJECT_NAME"]},
        options=(
            *("--load", "--tag", seen.environment.name),
            *("--target", images.ENVIRONMENT, "--label", f"{images.BASE_LABEL}={seen.base.name}"),
            *(f"--{name}={value}" for name, value in step.values.items()),
        ),
    )
    require_built(finished, seen)


def push(step: Step, seen: Observation) -> None:
    """Push the environment under its name in the registry, which this engine does not keep."""
    here, there = str(step.values["from"]), str(step.values["to"])
    docker("tag", here, there)
    finished = docker("push", there)
    docker("image", "rm", there)
    if not finished.ok:
        problem = f"{there} cannot be pushed: {finished.last_line}"
        raise HostError(problem, fix=f"docker login {there.partition('/')[0]}", code=ExitCode.UNAVAILABLE)


def take(step: Step, seen: Observation) -> None:
    """Pull the environment and give it this clone's name; the next round sees whether it came."""
    here, there = str(step.values["to"]), str(step.values["from"])
    if docker("pull", there).ok:
        docker("tag", there, here)
        docker("image", "rm", there)


ACTIONS: Mapping[str, Callable[[Step, Observation], None]] = {"environment": make, "push": push, "take": take}


def docker(*words: str) -> runner.Finished:
    """Run a docker command."""
    return runner.run(["docker", *words], cwd=ROOT, keep=True)
