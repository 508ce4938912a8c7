"""The README's pictures, which tests/starter/screenshots.py makes."""

import pytest

from host_tasks.kit.paths import DOCKER_DIR

pytestmark = pytest.mark.skipif(not (DOCKER_DIR / "pictures").is_dir(), reason="they were deleted")
MOST_BYTES = 150_000  # a README is read on a telephone too


@pytest.mark.parametrize("name", ["lab.png", "terminal.png"])
def test_picture_is_a_small_png(name: str) -> None:
    """Each picture is there and loads fast."""
    picture = (DOCKER_DIR / "pictures" / name).read_bytes()

    assert picture.startswith(b"\x89PNG")
    assert len(picture) < MOST_BYTES
