"""The environment in a file, for a machine without network."""

from pathlib import Path

from host_tasks.act.run import achieve
from host_tasks.act.share import docker
from host_tasks.decide import goals
from host_tasks.ground import report
from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.observe import archive, images


def save(file: Path, *, yes: bool) -> None:
    """Write what `up` needs of the engine to a file: the environment, and the images of services without a build.

    Raises:
        HostError: it cannot be made or written.
    """
    seen = achieve(goals.SHARED, yes=yes)
    finished = docker("save", "--output", str(file), seen.environment.name, *seen.named_images)
    if not finished.ok:
        problem = f"{file} cannot be written: {finished.last_line}"
        raise HostError(problem, fix=f"df -h {path_word(file.parent)}", code=ExitCode.CANNOT_CREATE)
    report.result(f"{file}: {seen.environment.name}")


def load(file: Path) -> None:
    """Load what `save` wrote, and give it this clone's name.

    Raises:
        HostError: it is not of the inputs that are here (65), or cannot be loaded.
    """
    held = archive.environment(file)
    seen = achieve(goals.ENGINE)
    fits = images.environment_tag(seen.inputs, held.base)
    if held.tag != fits:
        problem = f"{file} holds the environment {held.tag}, and the files here make {fits}"
        again = f"where {file.name} was made, with the files of this clone: {task_command(f'save {path_word(file)}')}"
        raise HostError(problem, fix=again, code=ExitCode.DATA)
    was_here = images.find(held.name)  # another clone's on this engine
    finished = docker("load", "--input", str(file))
    if not finished.ok:
        raise HostError(f"{file} cannot be loaded: {finished.last_line}", fix="docker system df", code=ExitCode.IO)
    here = f"{seen.environment.repository}:{held.tag}"
    docker("tag", held.name, here)
    if not was_here and held.name != here:
        docker("image", "rm", held.name)
    achieve(goals.SETTINGS, asked={"BASE_IMAGE": None if held.base == images.published() else held.base})
    report.result(here)
