"""Share the environment: push it to a registry, or save it to a file and load it on a machine without network.

It knows no user, so another person builds a layer of a second on it. Its tag is a digest of what it was made from.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import posixpath
import re
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from host_tasks import goals
from host_tasks.kit import report
from host_tasks.kit.paths import ENV_FILE
from host_tasks.kit.task import YES, task
from host_tasks.kit.words import ExitCode, HostError, path_word, task_command
from host_tasks.loop import Ended, Finding, Rule, Seen, Step, achieve, fail, ok, once
from host_tasks.subjects import base, clone, engine, images, settings

if TYPE_CHECKING:
    from invoke.context import Context

LARGEST_BYTES = 1_000_000  # of what is read at once: manifest and configuration of an image have some kilobytes
MOST_FILES = 10_000  # an image has at most 127 layers
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "lzma"}  # how a file begins: Python's module for it
ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1; Python has no module for it before 3.14
# The annotations in which index.json names an image: containerd takes the first that is there.
NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")

# look


class Held(NamedTuple):
    """The environment in a file, and every name that the file gives to an image."""

    name: str
    base: str  # the name of its base image
    configs: Mapping[str, str]  # by name: the image's id in the engine's own store; "" = it is not told
    indexed: Mapping[str, str]  # by name: its id in containerd's store

    @property
    def tag(self) -> str:
        """The digest of what the environment was made from."""
        return self.name.rpartition(":")[2]


def held(file: Path) -> Held:
    """Return what a file of `docker save` holds.

    It has the form of the Docker Image Specification 1.2, "Combined Image JSON + Filesystem Changeset Format", and that
    of the OCI image layout 1.1 beside it; which of the two counts is the engine's business.

    Raises:
        HostError: there is no such file, or not one environment in it (65).
    """
    fix = f"on a machine with a network: {task_command(f'save {path_word(file)}')}"
    try:
        content = _documents(file)
        read = {name: json.loads(content.get(name, "{}")) for name in ("manifest.json", "repositories", "index.json")}
        configs = {images.familiar(f"{name}:{tag}"): "" for name, tags in read["repositories"].items() for tag in tags}
        bases = {}
        for image in read["manifest.json"]:
            config = content[image["Config"]]
            for name in map(images.familiar, image["RepoTags"] or ()):
                configs[name] = f"sha256:{hashlib.sha256(config).hexdigest()}"
                if re.fullmatch(rf"(?a)[\w-]+-{images.ENVIRONMENT}:[\w.-]+", name):
                    bases[name] = str(json.loads(config)["config"]["Labels"][images.BASE_LABEL])
        indexed = {}
        for image in read["index.json"].get("manifests", ()):
            said = image.get("annotations") or {}
            if called := said.get(NAMES[0]) or said.get(NAMES[1]):
                indexed[images.familiar(called)] = str(image["digest"])
        if len(bases) == 1:
            return Held(*bases.popitem(), configs, indexed)
        why = "it holds two environments" if bases else "there is no environment in it"
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as err:
        why = err.strerror or str(err) if isinstance(err, OSError) else f"it is not of `save` ({err})"
    raise HostError(f"{file} cannot be read: {why}", fix=fix, code=ExitCode.DATA)


def _documents(file: Path) -> Mapping[str, bytes]:
    """Return the JSON files of an archive, by their names, where every reader sees the same ones in it.

    Raises:
        ValueError: it is no such archive.
        OSError: it cannot be read.
    """
    import tarfile

    documents: dict[str, bytes] = {}
    names: set[str] = set()
    links: set[str] = set()
    try:
        with _opened(file) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                name = posixpath.normpath(member.name).lstrip("/")
                if name in names and not member.isdir():
                    raise ValueError(f"{name!r} is in it twice")
                if len(names) > MOST_FILES or links.intersection(map(str, PurePosixPath(name).parents)):
                    raise ValueError(f"{name!r} is one file too many, or behind a link")
                names.add(name)
                if not (member.isfile() or member.isdir()):
                    links.add(name)  # an older engine has a layer that comes twice as a link
                elif member.isfile() and member.size <= LARGEST_BYTES and (content := archive.extractfile(member)):
                    documents[name] = content.read()
    except (OSError, ValueError):
        raise
    except Exception as err:  # each of the readers has errors of its own
        raise ValueError(str(err) or type(err).__name__) from err
    return documents


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a regular file, and nothing that would be waited for; read what a compressed one holds.

    Raises:
        ValueError: it is something else, or what it holds cannot be read here.
        OSError: it cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(file, flags), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("it is no file")
        begins = stream.peek(8)
        if begins.startswith(ZSTD):
            raise ValueError("it is compressed by zstd: unzstd makes one of it that can be read here")
        modules = (name for magic, name in COMPRESSED.items() if begins.startswith(magic))
        module = next(modules, "")
        yield _Bounded(importlib.import_module(module).open(stream) if module else stream)


class _Bounded:
    """A stream of which nobody reads much at once: a header of an archive can claim gigabytes for itself."""

    def __init__(self, stream: Any) -> None:
        self.seek, self.tell, self._stream = stream.seek, stream.tell, stream

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            ValueError: they are too many.
        """
        if size > LARGEST_BYTES:
            raise ValueError("a header in it is too large")
        content: bytes = self._stream.read(size)
        return content


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
    """Return the rule that a file holds what this clone needs, made from the files that are here, and nothing else."""

    def fits(seen: Seen) -> Iterator[Finding]:
        there, again = found(), task_command(f"load {path_word(file)}")
        anew = f"where {file.name} was made, with the files of this clone: {task_command(f'save {path_word(file)}')}"
        yield from (
            fail(f"{file} {cause}", fix or anew, ExitCode.DATA) for cause, fix in _taking_names(seen, there, again)
        )
        here, bases = images.environment_tag(images.inputs(seen), there.base), (base.published(), base.now(seen).name)
        if there.base not in bases and not re.fullmatch(rf"{base.STAND_IN}:[0-9a-f]+", there.base):
            fix = f"echo {shlex.quote(f'{base.KEY}={there.base}')} >>{path_word(ENV_FILE)} && {again}"
            yield fail(f"{file} was built on {there.base!r}, and this clone is on {bases[1]}", fix, ExitCode.DATA)
        elif there.tag != here:
            yield fail(f"{file} holds the environment {there.tag}, and the files here make {here}", anew, ExitCode.DATA)
        else:
            yield ok(f"{file} holds the environment {here}")

    return Rule("fitting", fits)


def _taking_names(seen: Seen, there: Held, again: str) -> Iterator[tuple[str, str]]:
    """Yield why each name of a file cannot be taken, and the fix where there is one of its own.

    It has to be the environment's, or that of a service here; one that this engine has stays what it is.
    """
    own = f"{images.environment_repository(clone.project(seen))}:{there.tag}"
    in_containerd = "io.containerd.snapshotter" in str((engine.state(seen).info or {}).get("DriverStatus"))
    ids = there.indexed if in_containerd else there.configs
    for name in sorted({*there.configs, *there.indexed}):
        if name not in (there.name, *map(images.familiar, (*images.named(seen), *images.lacking(seen).values()))):
            yield f"also holds {name!r}, which no service of this clone is made from", ""
        elif name != own and (here := images.on_engine(seen, name)) and here.id != ids.get(name):
            yield f"holds another {name} than this engine", f"docker image rm {name} && {again}"


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
