"""The base image and this clone's own image: what is here, and what it was made from."""

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_tasks.ground import runner
from host_tasks.ground.errors import HostError
from host_tasks.ground.paths import (
    BUILT_FILE,
    DOCKER_DIR,
    DOCKERFILE,
    DOCKERIGNORE,
    ENVIRONMENT_YML,
    ROOT,
    STAND_IN_DIR,
)
from host_tasks.observe.client import asking, client

STAND_IN = "conda-pip-docker/stand-in"
MADE_BY = "conda-pip-docker.made-by"  # a label of stand-ins: the Compose project of the clone that made it
BASE_LABEL = "org.opencontainers.image.base.name"  # OCI image specification 1.1, "Pre-Defined Annotation Keys"
ENVIRONMENT = "environment"  # the stage of the Dockerfile that is shared; it knows no user
OF_THE_USER = ("the base image", "the user", "docker/create-user.sh", "docker/entrypoint.sh")  # no inputs of it
ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}  # kernels' and Windows' names to Docker's
SBOM_SCANNER = "docker.io/docker/buildkit-syft-scanner:stable-1"  # which BuildKit 0.13 takes, by default
REGISTRY_S = 15.0  # for a registry to answer
DIGEST_LENGTH = 12  # hexadecimal digits: enough to tell a file from its own earlier contents


@dataclass(frozen=True)
class Image:
    """An image that the engine has."""

    id: str
    size_bytes: int = 0
    created: str = ""  # RFC 3339


@dataclass(frozen=True)
class Base:
    """The base image that a build would take."""

    name: str
    chosen: bool  # by docker/.env, not by the Dockerfile
    image: Image | None  # None: this engine does not have it
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


def published() -> str:
    """Return the base image that docker/Dockerfile names."""
    found = re.search(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else ""


def base(chosen: str | None, image: Image | None) -> Base:
    """Return the base image of a build by the choice in docker/.env (None: the Dockerfile's own) and what is here."""
    return Base(chosen or published(), bool(chosen), image, stand_in(), shutil.which("apt-get") is not None, system())


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
    return Image(attrs["Id"], int(attrs.get("Size") or 0), attrs.get("Created", ""))


def stand_ins() -> tuple[Image, ...]:
    """Return the stand-ins on the engine, whichever clone made them.

    Raises:
        UnreachableError: the engine gives no answer.
    """
    with asking():
        listed = client().api.images(name=STAND_IN)
    return tuple(Image(each["Id"], int(each.get("Size") or 0)) for each in listed)


def stand_in() -> str:
    """Return the stand-in that fits this clone: its tag is a digest of all that it is made from."""
    digest = hashlib.sha256(system().encode() + _conda_lines())
    files = sorted(path for path in STAND_IN_DIR.iterdir() if path.is_file())  # a __pycache__ may lie there
    for path in (*files, DOCKER_DIR / "activate.sh"):
        digest.update(path.name.encode() + b"\0" + _content(path) + b"\0")
    return f"{STAND_IN}:{digest.hexdigest()[:DIGEST_LENGTH]}"


def _conda_lines() -> bytes:
    """Return what the stand-in's channel holds of environment.yml: no comment, variable or pip package."""
    import yaml  # late: `config` asks for no base image

    content = _content(ENVIRONMENT_YML)
    try:
        asked = yaml.load(content, yaml.BaseLoader)["dependencies"]  # noqa: S506 # it makes strings and lists only
        return "\n".join(sorted(each for each in asked if isinstance(each, str))).encode()
    except (yaml.YAMLError, TypeError, KeyError):
        return content  # its own rule says what is wrong


def system() -> str:
    """Return this machine's distribution, release and architecture."""
    import platform  # late: most tasks need nothing of it

    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.machine()}"
    return f"{release.get('ID')} {release.get('VERSION_CODENAME', release.get('VERSION_ID'))} {platform.machine()}"


def inputs(values: Mapping[str, str], base_id: str) -> dict[str, str]:
    """Return what an image is made from, each with a digest: the Dockerfile, what .dockerignore lets in, the base, you.

    The modification times do not count, as they do not for BuildKit.
    """
    names = [line[1:].strip() for line in _content(DOCKERIGNORE).decode().splitlines() if line.startswith("!")]
    files = [DOCKERFILE, *(path for name in names for path in sorted(ROOT.glob(name)) if path.is_file())]
    who = " ".join(values.get(key, "") for key in ("USER", "UID", "GID"))
    return {
        "the base image": _digest(base_id.encode()),
        "the user": _digest(who.encode()),
        **{str(path.relative_to(ROOT)): _digest(_content(path)) for path in files},
    }


def environment_repository(project: str) -> str:
    """Return the repository of a clone's environments on its engine: an island's own name, whose layers are shared."""
    return f"{project}-{ENVIRONMENT}"


def environment_tag(inputs: Mapping[str, str], base_name: str) -> str:
    """Return the tag of an environment; the base counts by its name, which a machine without it knows too."""
    import platform  # late: most tasks need nothing of it

    heavy = {"base": base_name, **{name: digest for name, digest in inputs.items() if name not in OF_THE_USER}}
    machine = platform.machine()
    digest = _digest(json.dumps(heavy, sort_keys=True).encode())
    return f"{digest}-{ARCHITECTURES.get(machine, machine)}"


def is_in_registry(name: str) -> bool:
    """Return whether a registry answers that it has an image."""
    try:
        argv = ["docker", "buildx", "imagetools", "inspect", name]
        return runner.run(argv, cwd=ROOT, capture=True, announce=False, timeout_s=REGISTRY_S).ok
    except HostError:  # no answer in time
        return False


def built() -> Built:
    """Return what is written down of the last build; nothing where there was none, or the file cannot be read.

    It is kept beside the image, not in a label of it: plain `docker compose build` then makes the very same image,
    and an image that was built past the tasks is not taken for one whose inputs are known.
    """
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        read = json.loads(BUILT_FILE.read_text(encoding="utf-8"))
        return Built(str(read["image"]), _texts(read["inputs"]), _texts(read.get("services", {})))
    return Built()


def _texts(read: Mapping[str, Any]) -> dict[str, str]:
    """Return names and digests as texts, whatever was read."""
    return {str(name): str(digest) for name, digest in read.items()}


def _content(path: Path) -> bytes:
    """Return what a file holds; nothing where it is missing, which a rule of its own says."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _digest(content: bytes) -> str:
    """Return a short digest."""
    return hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]
