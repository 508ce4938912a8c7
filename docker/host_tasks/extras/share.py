"""Share the environment: push it to a registry, or save it to a file and load it on a machine without network.

It knows no user, so another person builds a layer of a second on it. Its tag is a digest of what it was made from.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from host_tasks import goals
from host_tasks.kit import report
from host_tasks.kit.task import YES, task
from host_tasks.kit.words import ExitCode, HostError, path_word, task_command
from host_tasks.loop import Ended, Finding, Rule, Seen, Step, achieve, fail, ok, once
from host_tasks.subjects import base, images, settings

if TYPE_CHECKING:
    import tarfile

    from invoke.context import Context

LARGEST_JSON_BYTES = 1_000_000  # manifest and configuration of an image have some kilobytes

# look


class Held(NamedTuple):
    """The environment in a file."""

    name: str
    tag: str
    base: str  # the name of its base image


def held(file: Path) -> Held:
    """Return the environment that a file of `docker save` holds.

    The form is that of the Docker Image Specification 1.2, "Combined Image JSON + Filesystem Changeset Format".

    Raises:
        HostError: there is no such file, or no environment in it (65).
    """
    import tarfile

    try:
        with tarfile.open(file) as archive:
            for image in _json(archive, "manifest.json"):
                for name in image["RepoTags"] or ():
                    repository, _, tag = name.rpartition(":")
                    if repository.endswith(f"-{images.ENVIRONMENT}"):
                        labels = _json(archive, image["Config"])["config"]["Labels"]
                        return Held(name, tag, str(labels[images.BASE_LABEL]))
        why = "there is no environment in it"
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as err:
        why = err.strerror or str(err) if isinstance(err, OSError) else f"it is not of `save` ({err})"
    fix = f"on a machine with a network: {task_command(f'save {path_word(file)}')}"
    raise HostError(f"{file} cannot be read: {why}", fix=fix, code=ExitCode.DATA)


def _json(archive: tarfile.TarFile, name: str) -> Any:
    """Return a JSON file of an archive."""
    member = archive.extractfile(name)
    return json.loads(member.read(LARGEST_JSON_BYTES)) if member else None


# judge


def pushed(to: str) -> Rule:
    """Return the rule of `invoke push`: one push, whatever is there."""

    def step(seen: Seen) -> Step:
        there = f"{to}:{images.environment(seen).tag}"
        return Step(functools.partial(push, there=there), f"push {there}", there)

    def failed(_: Seen, ended: Ended) -> Finding:
        cause, fix = f"{to} takes no push: {ended.said}", f"docker login {to.partition('/')[0]}"
        return fail(cause, fix, ExitCode.UNAVAILABLE)

    return once("pushed", step, task_command(f"push --to {to}"), failed)


def saved(file: Path) -> Rule:
    """Return the rule of `invoke save`: the file is written anew, whatever it was."""
    step = Step(functools.partial(save, file=file), f"save the environment to {file}", str(file))

    def failed(_: Seen, ended: Ended) -> Finding:
        cause, fix = f"{file} cannot be written: {ended.said}", f"df -h {path_word(file.parent)}"
        return fail(cause, fix, ExitCode.CANNOT_CREATE)

    return once("saved", lambda _: step, task_command(f"save {path_word(file)}"), failed)


def fitting(file: Path, found: Callable[[], Held]) -> Rule:
    """Return the rule that what a file holds was made from the files that are here."""

    def fits(seen: Seen) -> Iterator[Finding]:
        there, here = found().tag, images.environment_tag(images.inputs(seen), found().base)
        again = f"where {file.name} was made, with the files of this clone: {task_command(f'save {path_word(file)}')}"
        if there == here:
            yield ok(f"{file} holds the environment {here}")
        else:
            cause = f"{file} holds the environment {there}, and the files here make {here}"
            yield fail(cause, again, ExitCode.DATA)

    return Rule("fitting", fits)


def loaded(file: Path, found: Callable[[], Held]) -> Rule:
    """Return the rule of `invoke load`: the file is loaded, whatever is there."""

    def step(_: Seen) -> Step:
        do = functools.partial(load, file=file, found=found())
        return Step(do, f"load {file}", f"the engine's images; {base.KEY} in docker/.env")

    def failed(_: Seen, ended: Ended) -> Finding:
        return fail(f"{file} cannot be loaded: {ended.said}", "docker system df", ExitCode.IO)

    return once("loaded", step, task_command(f"load {path_word(file)}"), failed)


# repair


def push(seen: Seen, *, there: str) -> Ended:
    """Push the environment under its name in the registry, which this engine does not keep."""
    images.call("tag", images.environment(seen).name, there)
    finished = images.call("push", there)
    images.call("image", "rm", there)
    return Ended(finished.ok, finished.last_line)


def save(seen: Seen, *, file: Path) -> Ended:
    """Write what `up` needs of the engine to a file: the environment, and the images of services without a build."""
    finished = images.call("save", "--output", str(file), images.environment(seen).name, *images.named(seen))
    return Ended(finished.ok, finished.last_line)


def load(seen: Seen, *, file: Path, found: Held) -> Ended:
    """Load what `save` wrote, give it this clone's name, and choose its base image."""
    was_here, here = images.find(found.name), f"{images.environment(seen).repository}:{found.tag}"
    finished = images.call("load", "--input", str(file))
    if finished.ok:
        images.call("tag", found.name, here)
        if not was_here and found.name != here:  # else it is another clone's on this engine
            images.call("image", "rm", found.name)
        settings.write(seen, **{base.KEY: None if found.base == base.published() else found.base})
    return Ended(finished.ok, finished.last_line)


# tasks


@task(name="push", help={"to": "REGISTRY/NAME; the tag is a digest of what the environment is made from.", "yes": YES})
def push_task(c: Context, *, to: str = "", yes: bool = False) -> None:
    """Push the environment to a registry, for `up --from`.

    Builds it where it is not here. It knows no user; another person builds a layer of a second on it.
    """
    seen = achieve((*goals.shared(), pushed(images.repository(to, "--to", "push"))), yes=yes)
    report.result(f"{to}:{images.environment(seen).tag}")


@task(name="save", positional=["file"], help={"file": "The file to write, some 1.5 GB.", "yes": YES})
def save_task(c: Context, file: str, *, yes: bool = False) -> None:
    """Save the environment to a file, for use without network.

    Builds it where it is not here, and replaces the file.
    """
    path = Path(file).absolute()
    seen = achieve((*goals.shared(), saved(path)), yes=yes)
    report.result(f"{path}: {images.environment(seen).name}")


@task(name="load", positional=["file"], help={"file": "The file that `save` wrote."})
def load_task(c: Context, file: str) -> None:
    """Load the environment from a file of `save`.

    Then `up` needs no network. Changes the engine's images, and BASE_IMAGE in docker/.env where the file has another.
    """
    path = Path(file).absolute()
    found = functools.cache(functools.partial(held, path))
    seen = achieve((*goals.with_engine(), fitting(path, found), loaded(path, found)))
    report.result(images.environment(seen).name)


TASKS = (push_task, save_task, load_task)
