"""Every command that README, manual, CONTRIBUTING and SECURITY show, run in their order in a fresh clone."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Clone, cloned, docker, git, removed
from texts import ARCHIVE, CLUSTER, FAR, FORK, REGISTRY, Text, still_ours

TEXTS = [text for text in still_ours().values() if text.blocks]
BLOCKS = still_ours()["README.md"].blocks if "README.md" in still_ours() else []
# Each is, or runs, the suite that runs this test, or is run by it.
OF_THE_SUITE = [f"python3 tasks.py test {words}\n" for words in ("--all --yes", "--fast", "--lint")]
NOT_RUN = {
    "python3 tasks.py upgrade": "test_upgrade.py runs it, on a starter and a project of its own",
    REGISTRY: "test_share.py runs it, with a registry of its own",
    "save environment.tar": "test_offline.py runs it, on two engines",
    "PIP_NO_INDEX=1": "test_offline.py runs it, without a network",
    FAR: "test_ssh.py runs these, with another machine",
    ARCHIVE: "test_slurm.py runs this",
    CLUSTER: "test_slurm.py runs these, with a cluster",
}
# Root stands for the post's default user where the texts ask for the caller's ids: no image runs as root.
AS_DEFAULT_USER = """
id() { case $1 in -un) echo al-khawarizmi ;; -u) echo 1000 ;; -g) echo 100 ;; esac; }
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """Where the README's first block clones to; the folder above it is the person's own for projects."""
    folder = tmp_path_factory.mktemp("projects")
    origin = cloned(folder / "origin")
    for words in (["init", "--quiet", "."], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        git(origin, *words)
    yield Clone(folder / "my-project")
    removed(Clone(folder / "my-project"))
    if docker("image", "ls", "--quiet", "my-project:latest"):
        docker("image", "rm", "--force", "my-project:latest")


def ready(project: Clone) -> None:
    """Clone where the README's first block, which does it, has not run: another block was asked for alone.

    The tests' own packages, which a block of the suite would have installed, are those of this test.
    """
    if not project.root.exists():
        git(Clone(project.root.parent), "clone", "--quiet", "origin", str(project.root))
    pytest_there = project.root / ".venv" / "bin" / "pytest"
    if not pytest_there.exists():
        pytest_there.parent.mkdir(parents=True, exist_ok=True)
        pytest_there.symlink_to(Path(sys.executable).with_name("pytest"))


def shown_blocks() -> Iterator[object]:
    """Yield each block that is run, with a name: the text, and its place in it."""
    for text in TEXTS:
        for number, block in enumerate(text.blocks, start=1):
            if block not in OF_THE_SUITE and not any(word in block for word in NOT_RUN):
                marks = [pytest.mark.engines] if FORK in block or re.search("^docker ", block, re.MULTILINE) else []
                yield pytest.param(text, block, id=f"{text.name} {number}", marks=marks)


@pytest.mark.parametrize(("text", "block"), list(shown_blocks()))
def test_every_line_of_a_block_ends_with_0(project: Clone, text: Text, block: str) -> None:
    """A person who pastes it, from the folder in which the texts before it have left them, gets what it is for."""
    first = FORK in block
    if not first:
        ready(project)
    base = project.values().get("BASE_IMAGE") if "--build-arg BASE_IMAGE" in block else None
    exported = f"export BASE_IMAGE={base}\n" if base else ""
    script = "set -eu\n" + (AS_DEFAULT_USER if os.getuid() == 0 else "") + exported + block.replace(FORK, "origin")

    done = project.run("bash", "-c", script, cwd=project.root.parent if first else project.root)

    assert done.returncode == 0, f"{text.name}:\n{script}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("block", OF_THE_SUITE, ids=str.strip)
def test_what_the_suite_runs_stands_in_a_block_of_its_own(block: str) -> None:
    """A command that is left out takes no other with it."""
    assert block in [each for text in TEXTS for each in text.blocks]
    assert block.count("\n") == 1
