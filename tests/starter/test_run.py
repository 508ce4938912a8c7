"""Where a command starts in the container: where its caller is, as far as that folder is there."""

from pathlib import Path

import pytest

from host_tasks.subjects.run import folder_inside

MOUNTS = {
    "/home/ada/app/data": "data",
    "/home/ada/app/notebooks": "notebooks",
    "/mnt/deep": "data/deep",
    "/run/secrets/yours": "docker/secrets",
}


@pytest.mark.parametrize(
    ("here", "inside"),
    [
        ("notebooks", "/home/ada/app/notebooks"),
        ("notebooks/of/mine", "/home/ada/app/notebooks/of/mine"),
        ("data/deep/er", "/mnt/deep/er"),
        ("link", "/home/ada/app/notebooks/of"),
        (".", ""),
        ("docker", ""),
        ("notebooks-2", ""),
    ],
)
def test_folder_inside_is_that_of_the_nearest_mount(tmp_path: Path, here: str, inside: str) -> None:
    """Through a link, too; the clone's own top and what is not mounted are nowhere in the container."""
    for name in ("notebooks/of/mine", "data/deep/er", "docker/secrets", "notebooks-2"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("notebooks/of")

    mounts = {target: tmp_path / source for target, source in MOUNTS.items()}

    assert folder_inside(tmp_path / here, mounts) == inside
