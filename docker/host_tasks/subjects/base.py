"""The base image of the builds: the published one, or a stand-in made on this machine where no registry is reached."""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import person_files

from host_tasks.kit import files, runner
from host_tasks.kit.client import asking, client
from host_tasks.kit.paths import DOCKER_DIR, DOCKERFILE, ENVIRONMENT_YML, ROOT, STAND_IN_DIR
from host_tasks.kit.words import ExitCode, path_word, task_command
from host_tasks.loop import Ended, Finding, Seen, Step, fact, fail, ok, rule, warn
from host_tasks.subjects import build_failure, images, settings

KEY = "BASE_IMAGE"  # of docker/.env
STAND_IN = "conda-pip-docker/stand-in"
ROOT_FILE_SYSTEM = "conda-pip-docker/root-file-system"
MADE_BY = "conda-pip-docker.made-by"  # a label of stand-ins: the Compose project of the clone that made it


# look


@dataclass(frozen=True)
class Base:
    """The base image that a build would take."""

    name: str
    chosen: bool  # by docker/.env, not by the Dockerfile
    image: images.Image | None  # None: this engine does not have it
    stand_in: str  # the stand-in that fits this machine and environment.yml as they are now
    can_make: bool  # whether this machine has the means to make one
    system: str = ""  # distribution, release and architecture

    @property
    def shown(self) -> str:
        """The name as people read it, without the digest that pins it."""
        return self.name.partition("@")[0]

    @property
    def is_stand_in(self) -> bool:
        """Whether it was made here."""
        return self.name.startswith(f"{STAND_IN}:")


@fact
def now(seen: Seen) -> Base:
    """Return the base image of the next build."""
    chosen = settings.now(seen).values.get(KEY)
    name, can_make = chosen or published(), shutil.which("apt-get") is not None
    return Base(name, bool(chosen), images.on_engine(seen, name), stand_in_name(), can_make, system())


@fact
def stand_ins(seen: Seen) -> tuple[images.Image, ...]:
    """Return the stand-ins on the engine, of all clones."""
    with asking():
        listed = client().api.images(name=STAND_IN)
    return tuple(images.Image(image["Id"], int(image.get("Size") or 0)) for image in listed)


def published() -> str:
    """Return the base image that docker/Dockerfile names."""
    named = re.search(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return named[1] if named else ""


def stand_in_name() -> str:
    """Return the stand-in that fits this clone: its tag is a digest of all that it is made from."""
    made_from = system().encode() + _conda_lines()
    scripts = sorted(path for path in STAND_IN_DIR.iterdir() if path.is_file())  # a __pycache__ may lie there
    for path in (*scripts, DOCKER_DIR / "activate.sh"):
        made_from += path.name.encode() + b"\0" + files.content(path) + b"\0"
    return f"{STAND_IN}:{files.digest(made_from)}"


def _conda_lines() -> bytes:
    """Return what the stand-in's channel holds of environment.yml: no comment, variable or pip package."""
    content = files.content(ENVIRONMENT_YML)
    try:
        asked = person_files.read_environment(person_files.decoded(content, person_files.NAME))
    except person_files.FaultError:
        return content  # its own rule says what is wrong
    return "\n".join(sorted(asked.conda)).encode()


def system() -> str:
    """Return this machine's distribution, release and architecture."""
    import platform

    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.machine()}"
    return f"{release.get('ID')} {release.get('VERSION_CODENAME', release.get('VERSION_ID'))} {platform.machine()}"


# judge


@rule("base-image", upon=("engine",))
def base_image(seen: Seen) -> Iterator[Finding]:
    """Ask for the base image, and for a stand-in where the published one cannot be pulled."""
    base = now(seen)
    outdated = base.is_stand_in and base.name != base.stand_in
    if (outdated or not base.image) and images.spares_base(seen):
        yield ok(f"{base.shown} is not needed: the environment is not built here")
    elif outdated:
        cause = f"{base.name} was made for another environment.yml or system than today's, which needs {base.stand_in}"
        yield _needs_stand_in(seen, cause)
    elif base.image:
        yield ok(f"{base.shown} is here" + (", a stand-in made on this machine" if base.is_stand_in else ""))
    elif base.is_stand_in:
        yield _needs_stand_in(seen, f"{base.name} is no longer on this engine")
    else:
        yield _missing(seen, base)


@rule("stand-in")
def stand_in(seen: Seen) -> Iterator[Finding]:
    """Warn of a stand-in: it is not the image that others build on."""
    base = now(seen)
    if base.is_stand_in:
        cause = f"the base image {base.name} was made on this machine; others build on the published one"
        yield warn(cause, f"{task_command(f'env --unset {KEY}')} && {task_command('up')}")
    else:
        yield ok("not in use")


def _missing(seen: Seen, base: Base) -> Finding:
    """Return that a published base image is not here, nor can be pulled once that was tried."""
    offer = "" if base.chosen or not base.can_make else ", or offer a stand-in where it cannot be reached"
    step = Step(functools.partial(pull, image=base.name), f"pull {base.shown}{offer}", "the engine's images")
    pulled = seen.tried.get(step.name)
    if not pulled:
        return fail(f"{base.shown} is not on this engine", f"docker pull {base.name}", step=step)
    known = build_failure.known_cause(pulled.said)
    if known and known.exit_code != ExitCode.UNAVAILABLE:  # no stand-in cures that
        return known
    cause = f"the base image {base.shown} is neither on this engine nor can it be pulled"
    why = f": {pulled.said}" if pulled.said else ""
    if base.chosen or not base.can_make:
        fix = task_command(f"env --unset {KEY}") if base.chosen else f"docker pull {base.name}"
        return fail(cause + why, fix, ExitCode.UNAVAILABLE)
    offer = f"Make a stand-in here, of {base.system}'s packages and PyPI's wheels, in about a minute?"
    return _needs_stand_in(seen, cause + why, f"{cause[0].upper()}{cause[1:]}. {offer}")


def _needs_stand_in(seen: Seen, cause: str, question: str = "") -> Finding:
    """Return that a stand-in has to be made, or why it cannot be."""
    what = f"make the base image {now(seen).stand_in} here"
    step = Step(make_stand_in, what, f"the engine's images, 600 MB; {KEY} in docker/.env", question=question)
    ended = seen.tried.get(step.name)
    if not ended or ended.ok:
        return fail(cause, task_command("up --yes"), ExitCode.UNAVAILABLE, step=step)
    if not ended.said:
        script = path_word(STAND_IN_DIR / "root-file-system.sh")
        fix = f"sudo bash {script} {Path(tempfile.gettempdir(), 'root.tar')}"
        return fail("the root file system of the stand-in cannot be made", fix, ExitCode.UNAVAILABLE)
    fix = f"change {path_word(ENVIRONMENT_YML)}, or use a machine that reaches the registry"
    return fail(f"the stand-in base image cannot be made: {ended.said}", fix, ExitCode.UNAVAILABLE)


# repair


def pull(seen: Seen, *, image: str) -> Ended:
    """Pull an image."""
    finished = images.call("pull", image)
    return Ended(finished.ok, "" if finished.ok else finished.last_line)


def make_stand_in(seen: Seen) -> Ended:
    """Make the stand-in where the engine has none of that name, and choose it as the base image.

    It ends with the cause; without one where the root file system cannot be made.
    """
    name, values = now(seen).stand_in, settings.now(seen).values
    if not images.find(name):
        script = STAND_IN_DIR / "root-file-system.sh"
        root = f"{ROOT_FILE_SYSTEM}:{files.digest(script.read_bytes() + system().encode())}"
        if not images.find(root):  # of this distribution: made once on a machine, and kept
            with tempfile.TemporaryDirectory() as folder:
                archive = str(Path(folder, "root.tar"))
                made = runner.run(runner.as_root("bash", str(script), archive), cwd=ROOT, interactive=True)
                if not (made.ok and images.call("import", archive, root).ok):
                    return Ended(ok=False)
        label = f"{MADE_BY}={values['COMPOSE_PROJECT_NAME']}"
        options = ("--load", "--tag", name, "--progress", "plain", "--label", label)
        dockerfile, arguments = STAND_IN_DIR / "Dockerfile", {"ROOT_FILE_SYSTEM": root}
        finished = images.build(dockerfile, values, arguments=arguments, options=options)
        if not finished.ok:
            return Ended(ok=False, said=[*re.findall(r"error: (.+)", finished.stderr), finished.last_line][0])
    settings.write(seen, BASE_IMAGE=name)
    return Ended()
