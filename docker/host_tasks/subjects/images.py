"""The images of this clone: what is here, what it was made from, and how it is built or taken from a registry."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import posixpath
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from host_tasks.kit import files, runner
from host_tasks.kit.client import asking, client
from host_tasks.kit.paths import BUILT_FILE, DOCKER_DIR, DOCKERFILE, DOCKERIGNORE, ROOT
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Ended, Finding, Rule, Seen, Step, fact, fail, ok, once, rule
from host_tasks.subjects import (
    base,
    build_failure,
    clone,
    compose,
    containers,
    engine,
    environment_lock,
    idmap,
    removal,
    settings,
)

FROM = "ENVIRONMENT_FROM"  # of docker/.env: the repository from which the environment is taken
BASE_LABEL = "org.opencontainers.image.base.name"  # OCI image specification 1.1, "Pre-Defined Annotation Keys"
LOCK_LABEL = "conda-pip-docker.lock"
ENVIRONMENT = "environment"  # the stage of the Dockerfile that is shared; it knows no user
OF_THE_USER = ("the base image", "the user", "docker/create-user.sh", "docker/entrypoint.sh")  # no inputs of it
# Names of kernels, and of Windows in capitals, to those of Docker.
ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "ARM64": "arm64"}
SBOM_SCANNER = "docker.io/docker/buildkit-syft-scanner:stable-1"  # BuildKit 0.13's own choice; lists the packages
REGISTRY_S = 15.0  # for a registry to answer
FOR_PODMAN = ("--format=docker", "--layers=false", "--http-proxy=false")  # proxies are a secret, as with Docker
# Options of Docker's builder that Podman's has no use for: it loads what it builds, and takes nothing from a cache.
DOCKERS_OWN = ("--load", "--progress", "--no-cache")
CACHES = "BUILDKIT_CACHE_MOUNT_NS"  # the build argument that tells a clone's package caches from another's
# The secrets of a build as docker-compose.yml has them: name, key of docker/.env, and the file without one.
SECRETS = (
    ("ca_bundle", "CA_BUNDLE", "ca-bundle.pem"),
    ("pip_config", "PIP_CONFIG", "pip.conf"),
    ("proxies", "PROXY_CONFIG", "proxies.conf"),
)
# distribution/reference 0.6, "Grammar", without tag and digest; the registry is named, so that nothing is guessed.
_REPOSITORY = re.compile(r"[\w.-]+(?::\d+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+", re.ASCII)
_Line = tuple[bool, "re.Pattern[str]", str]  # of .dockerignore: whether it lets in, what it fits, how that begins


# look


@dataclass(frozen=True)
class Image:
    """An image that the engine has."""

    id: str  # the same that a container of it names: its configuration's digest, or its index's (containerd's store)
    size_bytes: int = 0
    created: str = ""  # RFC 3339


@dataclass(frozen=True)
class Environment:
    """The image of the heavy layers alone, which every user, clone and machine with these inputs can share."""

    repository: str  # by its name on this engine
    tag: str  # a digest of its inputs, and its architecture
    image: Image | None  # None: this engine does not have it

    @property
    def name(self) -> str:
        """Its name on this engine."""
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True)
class Built:
    """What `invoke build` and `invoke up` wrote down of their last build, and of what was started from it."""

    image: str = ""  # its id
    inputs: Mapping[str, str] = field(default_factory=dict)  # what it was made from, by name
    services: Mapping[str, str] = field(default_factory=dict)  # Compose's hash of each that was started, by name
    model: str = ""  # tells the model that they were started from


def find(name: str) -> Image | None:
    """Return an image of the engine by its name, None where it has none.

    Raises:
        UnreachableError: the engine gives no answer.
    """
    import docker.errors

    try:
        with asking():
            attrs: dict[str, Any] = client().images.get(name).attrs
    except docker.errors.NotFound:
        return None
    return Image(attrs["Id"], int(attrs.get("Size") or 0), attrs.get("Created") or "")


def on_engine(seen: Seen, name: str) -> Image | None:
    """Return an image; where no engine answers there is none, and a rule of its own says why.

    One that answers, and only not this, must not pass for one without the image: that would be built again.
    """
    try:
        return find(name)
    except HostError:
        if (engine.state(seen).info or {}).get("ServerVersion"):
            raise
        return None


def own_name(seen: Seen) -> str:
    """Return the name of this clone's image: Compose names it after project and service."""
    return f"{clone.project(seen)}-{compose.SERVICE}"


@fact
def own(seen: Seen) -> Image | None:
    """Return the image of this clone; None where there is none."""
    return on_engine(seen, own_name(seen))


@fact
def inputs(seen: Seen) -> Mapping[str, str]:
    """Return what the next build would be made from, each with a digest: base image, user, Dockerfile and context.

    The modification times do not count, as they do not for BuildKit.
    """
    values, below = settings.now(seen).values, base.now(seen)
    user = " ".join(values.get(key, "") for key in ("USER", "UID", "GID"))
    return {
        "the base image": files.digest((below.image.id if below.image else below.name).encode()),
        "the user": files.digest(user.encode()),
        **{name: files.digest(files.content(ROOT / name)) for name in ("docker/Dockerfile", *_context())},
    }


def _context() -> Iterator[str]:
    """Yield the files that .dockerignore lets into the build, as BuildKit reads it (moby/patternmatcher 0.6)."""
    known = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    lines: list[_Line] = []
    for written in files.content(DOCKERIGNORE).decode("utf-8-sig", errors="replace").splitlines():
        pattern = posixpath.normpath(written.strip().removeprefix("!").strip()).lstrip("/")
        tokens = re.findall(r"\*\*/?|\*|\?|\\.|\[[^\]]+\]|.", pattern)
        fits = "".join(known.get(token) or (token if token[2:] else re.escape(token[-1])) for token in tokens)
        if written.strip() and not written.startswith("#"):
            with contextlib.suppress(re.error):  # BuildKit refuses such a line, and says so
                begins = re.split(r"[*?\\\[]", pattern)[0]
                lines.append((written.strip().startswith("!"), re.compile(fits), begins))
    yield from _let_in("", lines, [False] * len(lines)) if lines else ()


def _let_in(folder: str, lines: Sequence[_Line], above: Sequence[bool]) -> Iterator[str]:
    """Yield the files below a folder that the lines let in; `above` tells which of them fit a folder on the way.

    The last line that fits wins, and what fits a folder fits all in it (tonistiigi/fsutil, filter.go).
    """
    with contextlib.suppress(OSError):  # a folder that cannot be read: the build ends there
        for entry in sorted(os.scandir(ROOT / folder), key=lambda entry: entry.name):
            name, out, fitted = f"{folder}{entry.name}", False, []
            for (lets_in, fits, _), fits_above in zip(lines, above, strict=True):
                fitted.append(fits_above or (lets_in == out and fits.fullmatch(name) is not None))
                out = not lets_in if fitted[-1] else out
            if entry.is_dir(follow_symlinks=False):
                ways = (begins[: len(name) + 1] for lets_in, _, begins in lines if lets_in)
                if not out or any(f"{name}/".startswith(way) for way in ways):
                    yield from _let_in(f"{name}/", lines, fitted)
            elif not out and entry.is_file():
                yield name


@fact
def environment(seen: Seen) -> Environment:
    """Return the image of the heavy layers that these inputs make."""
    repository = environment_repository(clone.project(seen))
    tag = environment_tag(inputs(seen), base.now(seen).name)
    return Environment(repository, tag, on_engine(seen, f"{repository}:{tag}"))


def environment_repository(project: str) -> str:
    """Return the repository of a clone's environments on its engine: an island's own name, whose layers are shared."""
    return f"{project}-{ENVIRONMENT}"


def environment_tag(inputs: Mapping[str, str], base_name: str) -> str:
    """Return the tag of an environment; the base counts by its name, which a machine without it knows too."""
    import platform

    heavy = {"base": base_name, **{name: digest for name, digest in inputs.items() if name not in OF_THE_USER}}
    machine = platform.machine()
    digest = files.digest(json.dumps(heavy, sort_keys=True).encode())
    return f"{digest}-{ARCHITECTURES.get(machine, machine)}"


def labels(seen: Seen) -> dict[str, str]:
    """Return what the environment says of itself: of no commit or clone, for all that have its inputs share it."""
    name, _, digest = base.now(seen).name.partition("@")
    locks = [files.content(ROOT / file) for file in inputs(seen) if re.fullmatch(r"environment\.lock/[^/]+", file)]
    told = {BASE_LABEL: f"{name}@{digest}" if digest else name, BASE_LABEL.replace(".name", ".digest"): digest}
    told[LOCK_LABEL] = f"sha256:{hashlib.sha256(b''.join(locks)).hexdigest()}" if locks else ""
    return {label: value for label, value in told.items() if value}


@fact
def last_build(seen: Seen) -> Built:
    """Return what is written down of the last build; nothing where there was none, or the file cannot be read.

    It is kept beside the image, not in a label of it: plain `docker compose build` then makes the very same image,
    and an image that was built past the tasks is not taken for one whose inputs are known.
    """
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        read = json.loads(BUILT_FILE.read_text(encoding="utf-8"))
        return Built(
            str(read["image"]), dict(read["inputs"]), dict(read.get("services", {})), str(read.get("model", ""))
        )
    return Built()


@fact
def lacking(seen: Seen) -> Mapping[str, str]:
    """Return the images that services without a build name and that are not on this engine, by service."""
    services = compose.model(seen)["services"].items()
    images = {name: str(service.get("image")) for name, service in services if not service.get("build")}
    return {name: image for name, image in images.items() if on_engine(seen, image) is None}


def familiar(name: str) -> str:
    """Return an image's name as docker's own commands print it (distribution/reference 0.6); Podman says all of it."""
    short = name.removeprefix("docker.io/").removeprefix("library/")
    return short if ":" in short.rpartition("/")[2] else f"{short}:latest"


def qualified(name: str) -> str:
    """Return all of an image's name, by which Podman finds what it is asked for in Docker's form."""
    first = name.partition("/")[0]
    if "/" in name and (first == "localhost" or set(first) & set(".:")):
        return name
    return f"docker.io/{'' if '/' in name else 'library/'}{name}"


def named(seen: Seen) -> tuple[str, ...]:
    """Return the images on this engine that services without a build name."""
    services = [service for name, service in compose.model(seen)["services"].items() if name not in lacking(seen)]
    return tuple({str(service.get("image")): None for service in services if not service.get("build")})


@fact
def has_sbom_scanner(seen: Seen) -> bool:
    """Tell whether the builder can have what lists an image's packages: whether its registry answers."""
    argv = ["docker", "buildx", "imagetools", "inspect", SBOM_SCANNER]
    with contextlib.suppress(HostError):  # no answer in time
        return runner.run(argv, cwd=ROOT, capture=True, announce=False, timeout_s=REGISTRY_S).ok
    return False


# judge


def repository(text: str, option: str, task: str = "up") -> str:
    """Return the repository that a person names with an option of a task.

    Raises:
        HostError: it is none (64).
    """
    if not _REPOSITORY.fullmatch(text):
        problem = f"{option} {text} is not REGISTRY/NAME: a registry, and a name in lower case, without a tag"
        raise HostError(problem, fix=task_command(f"--help {task}"), code=ExitCode.USAGE)
    return text


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of what was added, removed or changed, in the order of the build."""
    return [name for name in {**now, **before} if before.get(name) != now.get(name)]


def build_reason(seen: Seen) -> str:
    """Return why an image has to be built, "" where it has not."""
    image, last = own(seen), last_build(seen)
    if image is None:
        return "this clone has no image yet"
    if last.image != image.id:
        return "the image was not built by these tasks, so its inputs are not known"
    changed = differences(last.inputs, inputs(seen))
    return f"changed since the image was built: {', '.join(changed)}" if changed else ""


def spares_base(seen: Seen) -> bool:
    """Return whether nothing is built on the base image: the environment is here, or is taken first."""
    return bool(environment(seen).image or _taking(seen))


@rule("environment")
def environment_taken(seen: Seen) -> Iterator[Finding]:
    """Ask for the environment of the repository that docker/.env names, before one is built."""
    if step := _taking(seen):
        cause = f"{FROM} is {settings.now(seen).values[FROM]}, and the image has to be built"
        yield fail(cause, task_command("build"), step=step)


@rule("environment-made")
def environment_made(seen: Seen) -> Iterator[Finding]:
    """Ask for the environment as an image of its own."""
    name = environment(seen).name
    if not environment(seen).image:
        do = functools.partial(build_environment, attested=_attested(seen))
        what = f"build the environment, {_cached(seen)}"
        yield _needed(seen, f"{name} is not here", Step(do, what, f"the image {name}"))


def _attested(seen: Seen) -> tuple[str, ...]:
    """Return what the builder says of an image beside it, which only containerd's store keeps (tried: engine 26.1).

    mode=max would tell the values of build arguments, so a proxy's password (BuildKit, "Provenance attestation").
    """
    if "io.containerd.snapshotter" not in str((engine.state(seen).info or {}).get("DriverStatus")):
        return ()
    return ("--provenance=mode=min", *(["--sbom=true"] if has_sbom_scanner(seen) else []))


@rule("image", upon=("env-file", "engine"))
def image(seen: Seen) -> Iterator[Finding]:
    """Ask for an image of the inputs as they are."""
    if why := build_reason(seen):
        yield _needed(seen, why, _build_step(seen))
    else:
        yield ok("the image was made from what is here now")


def build_anew(*, cache: bool) -> Rule:
    """Return the rule of `invoke build`: one build in any case."""
    step = functools.partial(_build_step, cache=cache)
    return once("image", step, task_command("build"), lambda seen, ended: build_failure.explained(ended.said, seen))


def _needed(seen: Seen, cause: str, step: Step) -> Finding:
    """Return that something has to be built, or why its build failed."""
    ended = seen.tried.get(step.name)
    if ended and not ended.ok:
        return build_failure.explained(ended.said, seen)
    return fail(cause, task_command("build"), step=step)


def _build_step(seen: Seen, *, cache: bool = True) -> Step:
    """Return the step that builds: only the user's layer where the environment is here."""
    options: tuple[str, ...] = ()
    how = _cached(seen)
    if not cache:
        how, options = "every step anew", ("--no-cache",)
    elif environment(seen).image:  # FROM ${FLAVOR} takes an image as well as a stage
        name = environment(seen).name
        how, options = f"on the environment {name}", ("--build-arg", f"FLAVOR={name}")
    what = "; ".join(filter(None, [f"build the image, {how}", environment_lock.unused(seen)]))
    do = functools.partial(build_own, options=options)
    return Step(do, what, f"the image of {clone.project(seen)}", key="build")


def _cached(seen: Seen) -> str:
    """Return what a build from the beginning takes from the cache."""
    whole = "every step of it: with Podman the environment as a whole is what is kept"
    return whole if idmap.podman(seen) else "from the cache where nothing changed"


def _taking(seen: Seen) -> Step | None:
    """Return the step that takes the environment; None where there is nothing to take, or it was tried."""
    where = settings.now(seen).values.get(FROM)
    if not where or not build_reason(seen) or environment(seen).image:
        return None
    there = f"{where}:{environment(seen).tag}"
    what = f"take the environment {there}, or build it where it is not there"
    step = Step(functools.partial(take, there=there), what, "the engine's images")
    return None if step.name in seen.tried else step


# repair


def call(*words: str) -> runner.Finished:
    """Run a docker command, and keep what it says."""
    return runner.run(["docker", *words], cwd=ROOT, keep=True, env=compose.environment({}))


def build(
    seen: Seen,
    file: Path,
    *,
    tag: str = "",
    arguments: Mapping[str, str],
    options: Sequence[str],
    context: Path = ROOT,
) -> runner.Finished:
    """Build a Dockerfile past Compose, whose cache it shares, and keep what the builder says.

    What may hold a password is in a file, since everybody sees a command line. Docker's builder cannot use Podman's
    engine, so Podman's own builds there. Of what it made before it mounts nothing (4.3), so it keeps no layers:
    `environment` is what is kept. Docker's format has the health check, and the shell of the steps.
    """
    values, podman = settings.now(seen).values, idmap.podman(seen)
    argv = ["podman", "build", *FOR_PODMAN] if podman else ["docker", "buildx", "build"]
    argv += [word for word in options if not (podman and word.startswith(DOCKERS_OWN))]
    argv += ["--tag", qualified(tag) if podman else tag] if tag else []
    for name, value in arguments.items():
        argv += ["--build-arg", f"{name}={value}"] if not (podman and name == CACHES) else []
    for name, key, usual in SECRETS:
        source = f"src={DOCKER_DIR / values.get(key, usual)}"
        if set(source) & set(',"'):  # buildx reads comma-separated values (RFC 4180)
            source = '"{}"'.format(source.replace('"', '""'))
        argv += ["--secret", f"id={name},{source}"]
    environ = {**compose.environment(values), "PWD": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        if podman:  # which knows no start interval (4.3), and nobody asks by it there
            environ["TMPDIR"] = str(_own_caches(seen))
            text = re.sub(r"^(HEALTHCHECK .*)--start-interval=\S+ ", r"\1", file.read_text("utf-8"), flags=re.MULTILINE)
            file = Path(folder, "Dockerfile")
            file.write_text(text, encoding="utf-8")
        return runner.run([*argv, "--file", str(file), str(context)], cwd=ROOT, keep=True, env=environ)


def _own_caches(seen: Seen) -> Path:
    """Return the folder of a clone's package caches with Podman, which else has one for all, in 4.3 of all users."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    folder = Path(cache, "conda-pip-docker", clone.project(seen))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def build_services(seen: Seen, *names: str, options: Sequence[str] = ()) -> runner.Finished:
    """Build services by Compose, or as Compose would where the engine is Podman, and keep what the builder says."""
    if not idmap.podman(seen):
        return compose.build(settings.now(seen).values, *options, *names)
    finished = runner.Finished((), 0, "", "")
    for name in names:
        service = compose.model(seen)["services"][name]
        made, tag = service["build"], service.get("image") or f"{clone.project(seen)}-{name}"
        labels = {containers.PROJECT_LABEL: clone.project(seen), containers.SERVICE_LABEL: name}
        words = [f"--label={label}={value}" for label, value in labels.items()]
        words += [f"--target={made['target']}"] if made.get("target") else []
        words += [] if name == compose.SERVICE else ["--layers"]  # one that has not changed is the same image
        arguments = {key: value for key, value in (made.get("args") or {}).items() if value is not None}
        file, context = Path(made["context"], made.get("dockerfile", "Dockerfile")), Path(made["context"])
        finished = build(seen, file, tag=tag, arguments=arguments, options=(*words, *options), context=context)
        if not finished.ok:
            break
    return finished


def build_own(seen: Seen, *, options: Sequence[str]) -> Ended:
    """Build this clone's image, and write down what it was made from: what was read before the build, not since."""
    made_from, anew, old = dict(inputs(seen)), "--no-cache" in options or not environment(seen).image, []
    if idmap.podman(seen) and anew:
        old = removal.environments(clone.project(seen))
        if not (made := build_environment(seen, attested=())).ok:
            return made
        options = (*options, "--build-arg", f"FLAVOR={environment(seen).name}")
    finished = build_services(seen, compose.SERVICE, options=options)
    for name in old if finished.ok else ():
        if name != environment(seen).name:
            call("image", "rm", name)
    if finished.ok and (built := find(own_name(seen))):
        write_down(Built(built.id, made_from))
    return Ended(finished.ok, finished.stderr)


def write_down(built: Built) -> None:
    """Write docker/.built.json."""
    files.write(BUILT_FILE, (json.dumps(asdict(built), indent=1) + "\n").encode())


def build_environment(seen: Seen, *, attested: Sequence[str]) -> Ended:
    """Build the environment alone; its layers are those of the image."""
    name = base.now(seen).name
    told = (f"--label={label}={value}" for label, value in labels(seen).items())
    options = ("--load", "--target", ENVIRONMENT, *told, *attested)
    arguments, tag = {"BASE_IMAGE": name, CACHES: clone.project(seen)}, environment(seen).name
    finished = build(seen, DOCKERFILE, tag=tag, arguments=arguments, options=options)
    return Ended(finished.ok, finished.stderr)


def take(seen: Seen, *, there: str) -> Ended:
    """Pull the environment and give it this clone's name; the next round sees whether it came."""
    finished = call("pull", there)
    if finished.ok:
        call("tag", there, environment(seen).name)
        call("image", "rm", there)
    return Ended(finished.ok, finished.stderr)
