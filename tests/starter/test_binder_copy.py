"""Binder's Dockerfile is the project's own with a tail: made by a command, and held to it here."""

import pytest

from host_tasks.kit.paths import DOCKERFILE, DOCKERIGNORE, ROOT, YOURS

BINDER = ROOT / ".binder"

pytestmark = pytest.mark.skipif(not BINDER.is_dir(), reason=".binder was deleted")


def test_dockerfile_of_binder_is_ours_with_a_tail() -> None:
    """After an edit: cat docker/Dockerfile .binder/tail >.binder/Dockerfile."""
    made = DOCKERFILE.read_bytes() + (BINDER / "tail").read_bytes()

    assert (BINDER / "Dockerfile").read_bytes() == made, "cat docker/Dockerfile .binder/tail >.binder/Dockerfile"


def test_build_of_binder_takes_the_folders_too() -> None:
    """Its list of what enters the build is ours and the six folders."""
    listed = (BINDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()

    assert listed == [*DOCKERIGNORE.read_text(encoding="utf-8").splitlines(), *(f"!{name}" for name in YOURS)]
