"""Make a stand-in for the published base image, where no registry can be reached."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from host_tasks.ground import runner
from host_tasks.ground.commands import path_word
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import DOCKER_DIR, ENVIRONMENT_YML, ROOT, STAND_IN_DIR
from host_tasks.observe import images
from host_tasks.observe.network import PROXIES

ROOT_FILE_SYSTEM = "conda-pip-docker/root-file-system"


def is_here(image: str) -> bool:
    """Return whether the engine has an image."""
    return images.find(image) is not None


def make(image: str, values: Mapping[str, str]) -> None:
    """Make the stand-in.

    Raises:
        HostError: it cannot be made, and why (69).
    """
    base = _root_file_system()
    options = ("--load", "--progress", "plain", "--tag", image)
    command = build_command(STAND_IN_DIR / "Dockerfile", values, options, [f"ROOT_FILE_SYSTEM={base}"])
    finished = runner.run(command, cwd=ROOT, keep=True, env=environment(values))
    if not finished.ok:
        causes = re.findall(r"error: (.+)", finished.stderr)
        raise HostError(
            f"the stand-in base image cannot be made: {causes[0] if causes else finished.last_line}",
            fix=f"change {path_word(ENVIRONMENT_YML)}, or use a machine that reaches the registry",
            code=ExitCode.UNAVAILABLE,
        )


def environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a build: a proxy's password goes there, since a command line is seen by everybody."""
    return {**os.environ, **{name: values[name] for name in PROXIES if name in values}}


def build_command(
    dockerfile: Path, values: Mapping[str, str], options: Iterable[str], arguments: Iterable[str]
) -> list[str]:
    """Return the command of a build that Compose does not know; its context is the project, as the image's own is."""
    secrets = {
        "ca_bundle": values.get("CA_BUNDLE", str(DOCKER_DIR / "ca-bundle.pem")),
        "pip_config": values.get("PIP_CONFIG", str(DOCKER_DIR / "pip.conf")),
    }
    return [
        *("docker", "buildx", "build", *options, "--file", str(dockerfile)),
        *(
            word
            for each in (*arguments, *(name for name in PROXIES if name in values))
            for word in ("--build-arg", each)
        ),
        *(word for name, path in secrets.items() for word in ("--secret", f"id={name},src={path}")),
        str(ROOT),
    ]


def _root_file_system() -> str:
    """Return the image of this distribution's root file system, made once on a machine and kept.

    Raises:
        HostError: it cannot be made (69).
    """
    script = STAND_IN_DIR / "root-file-system.sh"
    digest = hashlib.sha256(script.read_bytes() + images.system().encode()).hexdigest()[:12]
    image = f"{ROOT_FILE_SYSTEM}:{digest}"
    if is_here(image):
        return image
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "root.tar"
        made = runner.run(runner.as_root("bash", str(script), str(archive)), cwd=ROOT, interactive=True)
        if not (made.ok and runner.run(["docker", "import", str(archive), image], cwd=ROOT).ok):
            raise HostError(
                "the root file system of the stand-in cannot be made",
                fix=f"sudo bash {path_word(script)} {Path(tempfile.gettempdir(), archive.name)}",
                code=ExitCode.UNAVAILABLE,
            )
    return image
