"""Remove what this clone started, by its project's label alone: no broken file keeps it from being stopped."""

from host_tasks.act import group
from host_tasks.decide import goals
from host_tasks.decide.plan import FAIL
from host_tasks.ground import lock, report
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.observe import compose, resources
from host_tasks.observe.observation import Observation

# What says why one thing cannot go, where Compose has not removed it.
REMOVAL = {
    "containers": "docker rm --force",
    "networks": "docker network rm",
    "images": "docker image rm --force",
    "volumes": "docker volume rm",
}


def require_engine(seen: Observation) -> None:
    """Return where the engine can be asked, as a member of its group where that has just been joined.

    Raises:
        HostError: it cannot, and why; nothing is installed for it.
    """
    for rule in goals.STOPPED:
        for finding in rule(seen):
            if finding.step and finding.step.action == "join":
                group.run_again()
            if finding.state == FAIL:
                raise finding.error()


def down() -> None:
    """Remove the containers and networks of this clone; files, images and Lab's settings stay.

    Raises:
        HostError: the engine cannot be asked, or something could not be removed (69).
    """
    _removed("down", "--remove-orphans", kinds=resources.RUNNING)


def clean(*, dry_run: bool) -> None:
    """Remove the containers, networks, images and volumes of this clone, or print which they are.

    Raises:
        HostError: as `down` does.
    """
    if dry_run:
        seen = Observation()
        require_engine(seen)
        found = resources.of_project(seen.project, resources.ALL)
        lines = [f"would delete the {kind.removesuffix('s')} {name}" for kind, names in found.items() for name in names]
        report.result("\n".join(lines or ["Nothing to delete."]))
        return
    _removed("down", "--remove-orphans", "--volumes", kinds=resources.ALL)


def _removed(*words: str, kinds: tuple[str, ...]) -> None:
    """Have Compose remove what it knows by the project's label, remove what it leaves, and see that nothing is left."""
    with lock.held():
        seen = Observation()
        require_engine(seen)
        if any(resources.of_project(seen.project, kinds).values()):
            compose.call_by_name(seen.project, *words, timeout_s=compose.REMOVE_S)
        else:
            report.note(f"Nothing of {seen.project} is there.")
        if "images" in kinds:
            resources.remove_images(seen.project)
        left = {kind: names for kind, names in resources.of_project(seen.project, kinds).items() if names}
    if left:
        said = ", ".join(f"{kind} {' '.join(names)}" for kind, names in left.items())
        fix = " && ".join(f"{REMOVAL[kind]} {' '.join(names)}" for kind, names in left.items())
        raise HostError(f"still there: {said}", fix=fix, code=ExitCode.UNAVAILABLE)
