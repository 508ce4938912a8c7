"""The builder's caches: what runs in a clone's build can change what that clone builds with, and no other's."""

import shutil
import uuid
from collections.abc import Callable

from conftest import Clone, docker

# Whatever runs in a build as root can write to them; here that is postBuild, and it may be any package's setup.py.
POST_BUILD = """#!/bin/sh
for folder in "${PIP_CACHE_DIR}" /opt/conda/pkgs; do
    if grep -qs WORD "${folder}/planted"; then echo found what was planted; else echo nothing of it is here; fi
    echo WORD >"${folder}/planted"
done
"""


def image_layers(clone: Clone) -> list[str]:
    """Return the layers of a clone's image, as many as the environment has."""
    words = docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", f"{clone.project}-jupyterlab-server")
    return words.split(",")[:-2]  # the last two are the user's


def test_clone_is_not_told_what_another_left_in_a_cache(make_clone: Callable[[str], Clone]) -> None:
    """The next build of the same clone finds it, by the tasks and by plain Compose; that of another one does not."""
    first, other = make_clone("first"), make_clone("other")
    script = POST_BUILD.replace("WORD", uuid.uuid4().hex)
    found = {}
    for name, clone in (("first", first), ("again", first), ("other", other), ("plain", first)):
        (clone.root / "postBuild").write_text(f"{script}# {name}\n", encoding="utf-8")
        if name == "plain":
            done = clone.run("docker", "compose", "build", "--progress=plain", cwd=clone.root / "docker")
        else:
            done = clone.task("build", "--yes")
        assert done.returncode == 0, done.stderr[-2000:]
        told = done.stdout + done.stderr
        found[name] = (told.count(" found what was planted\n"), told.count(" nothing of it is here\n"))

    assert found == {"first": (0, 2), "again": (2, 0), "other": (0, 2), "plain": (2, 0)}


def test_second_clone_takes_the_layers_of_the_first(make_clone: Callable[[str], Clone]) -> None:
    """With the same files nothing of the environment is built again, though its caches are its own."""
    first, second = make_clone("first"), make_clone("second")
    shutil.copy(first.root / "postBuild", second.root / "postBuild")

    for clone in (first, second):
        clone.succeed("build", "--yes")

    assert image_layers(first) == image_layers(second)
