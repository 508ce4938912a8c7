"""Make a stand-in for the published base image, where no registry can be reached."""

import hashlib
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from host_tasks.act import buildx
from host_tasks.ground import runner
from host_tasks.ground.commands import path_word
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import ENVIRONMENT_YML, ROOT, STAND_IN_DIR
from host_tasks.observe import images

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
    finished = buildx.build(
        STAND_IN_DIR / "Dockerfile",
        values,
        arguments={"ROOT_FILE_SYSTEM": base},
        options=(
            "--load",
            "--tag",
            image,
            "--progress",
            "plain",
            "--label",
            f"{images.MADE_BY}={values['COMPOSE_PROJECT_NAME']}",
        ),
    )
    if not finished.ok:
        causes = re.findall(r"error: (.+)", finished.stderr)
        raise HostError(
            f"the stand-in base image cannot be made: {causes[0] if causes else finished.last_line}",
            fix=f"change {path_word(ENVIRONMENT_YML)}, or use a machine that reaches the registry",
            code=ExitCode.UNAVAILABLE,
        )


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
