"""What a file of `docker save` holds, read before it is loaded."""

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.observe.images import BASE_LABEL, ENVIRONMENT

LARGEST_JSON_BYTES = 1_000_000  # manifest and configuration of an image have some kilobytes


@dataclass(frozen=True)
class Held:
    """The environment in a file."""

    name: str
    tag: str
    base: str  # the name of its base image


def environment(file: Path) -> Held:
    """Return the environment that a file holds.

    The form is that of the Docker Image Specification 1.2, "Combined Image JSON + Filesystem Changeset Format".

    Raises:
        HostError: there is no such file, or no environment in it (65).
    """
    try:
        with tarfile.open(file) as tar:
            for each in _json(tar, "manifest.json"):
                for name in each["RepoTags"] or ():
                    repository, _, tag = name.rpartition(":")
                    if repository.endswith(f"-{ENVIRONMENT}"):
                        labels = _json(tar, each["Config"])["config"]["Labels"]
                        return Held(name, tag, str(labels[BASE_LABEL]))
        said = "there is no environment in it"
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as err:
        said = err.strerror or str(err) if isinstance(err, OSError) else f"it is not of `save` ({err})"
    fix = f"on a machine with a network: {task_command(f'save {path_word(file)}')}"
    raise HostError(f"{file} cannot be read: {said}", fix=fix, code=ExitCode.DATA)


def _json(tar: tarfile.TarFile, name: str) -> Any:
    """Return a JSON file of an archive."""
    member = tar.extractfile(name)
    return json.loads(member.read(LARGEST_JSON_BYTES)) if member else None
