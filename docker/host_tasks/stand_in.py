"""The base image: the published one, or a stand-in made here where no registry can be reached (D7)."""

import hashlib
import platform
import re
import shutil
import tempfile
from pathlib import Path

from host_tasks import engine
from host_tasks.ground import report, runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import DOCKER_DIR, DOCKERFILE, ENVIRONMENT_YML, ROOT, STAND_IN_DIR
from host_tasks.network import PROXIES
from host_tasks.settings import Settings

REPOSITORY = "conda-pip-docker/stand-in"
ROOT_REPOSITORY = "conda-pip-docker/root-file-system"


def published() -> str:
    """Return the base image that docker/Dockerfile names."""
    found = re.search(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else ""


def is_stand_in(image: str) -> bool:
    """Return whether an image is a stand-in of ours."""
    return image.startswith(f"{REPOSITORY}:")


def tag() -> str:
    """Return the stand-in that fits this clone: its tag is a digest of all that it is made from."""
    digest = hashlib.sha256(_system().encode())
    files = sorted(path for path in STAND_IN_DIR.iterdir() if path.is_file())  # a __pycache__ may lie there
    for path in (*files, DOCKER_DIR / "activate.sh", ENVIRONMENT_YML):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{REPOSITORY}:{digest.hexdigest()[:12]}"


def ensure_base(settings: Settings, *, yes: bool) -> str | None:
    """Return the base image to build on, after it has been brought to this machine; None for the published one.

    Raises:
        HostError: it cannot be had, and no stand-in was agreed to (69).
    """
    chosen = settings.values.get("BASE_IMAGE")
    if chosen and is_stand_in(chosen):
        return _made(settings, why=None if chosen == tag() else "environment.yml has changed since it was made")
    image = chosen or published()
    if _is_here(image) or runner.run(["docker", "pull", image], cwd=ROOT).ok:
        return chosen
    problem = f"the base image {image} can neither be found here nor be pulled"
    if chosen or not shutil.which("apt-get"):
        raise HostError(problem, fix=f"see why: docker pull {image}", code=ExitCode.UNAVAILABLE)
    if not report.agreed(
        f"{problem}. Make a stand-in here, of {_system()}'s packages and PyPI's wheels, in about a minute?", yes=yes
    ):
        raise HostError(problem, fix="make a stand-in for it: invoke up --yes", code=ExitCode.UNAVAILABLE)
    return _made(settings, why="the published one cannot be reached")


def _system() -> str:
    """Return this machine's distribution, release and architecture."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.machine()}"
    return f"{release.get('ID')} {release.get('VERSION_CODENAME', release.get('VERSION_ID'))} {platform.machine()}"


def _is_here(image: str) -> bool:
    """Return whether the engine has an image."""
    import docker.errors

    try:
        engine.client().images.get(image)
    except docker.errors.ImageNotFound:
        return False
    return True


def _made(settings: Settings, *, why: str | None) -> str:
    """Return the stand-in that fits this clone, making it where the engine has none.

    Raises:
        HostError: it cannot be made, and why.
    """
    image = tag()
    if _is_here(image):
        return image
    report.note(f"Making the stand-in base image {image}: {why or 'it is not here any more'}.")
    base = _root_file_system()
    finished = runner.run(_build_command(image, base, settings), cwd=ROOT, keep=True)
    if not finished.ok:
        causes = re.findall(r"error: (.+)", finished.stderr)
        raise HostError(
            f"the stand-in base image cannot be made: {causes[0] if causes else finished.last_line}",
            fix="change environment.yml, or use a machine that reaches the registry",
            code=ExitCode.UNAVAILABLE,
        )
    return image


def _build_command(image: str, base: str, settings: Settings) -> list[str]:
    """Return the command that builds the stand-in; its context is the project, as that of the image itself."""
    values = settings.values
    arguments = {"ROOT_FILE_SYSTEM": base} | {name: values[name] for name in PROXIES if name in values}
    secrets = {
        "ca_bundle": values.get("CA_BUNDLE", str(DOCKER_DIR / "ca-bundle.pem")),
        "pip_config": values.get("PIP_CONFIG", str(DOCKER_DIR / "pip.conf")),
    }
    return [
        *("docker", "buildx", "build", "--load", "--progress", "plain", "--tag", image),
        *("--file", str(STAND_IN_DIR / "Dockerfile")),
        *(word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")),
        *(word for name, path in secrets.items() for word in ("--secret", f"id={name},src={path}")),
        str(ROOT),
    ]


def _root_file_system() -> str:
    """Return the image of this distribution's root file system, made once on a machine and kept.

    Raises:
        HostError: it cannot be made (69).
    """
    script = STAND_IN_DIR / "root-file-system.sh"
    digest = hashlib.sha256(script.read_bytes() + _system().encode()).hexdigest()[:12]
    image = f"{ROOT_REPOSITORY}:{digest}"
    if _is_here(image):
        return image
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "root.tar"
        made = runner.run(runner.as_root(str(script), str(archive)), cwd=ROOT, interactive=True)
        if not (made.ok and runner.run(["docker", "import", str(archive), image], cwd=ROOT).ok):
            raise HostError(
                "the root file system of the stand-in cannot be made",
                fix=f"see the lines above, or run it by hand: {script} FILE",
                code=ExitCode.UNAVAILABLE,
            )
    return image
