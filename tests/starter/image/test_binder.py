"""Binder's way in: repo2docker builds the image, and the hub starts it."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
from conftest import Clone, docker, wait_until
from lab import api, executed, status_of

pytestmark = pytest.mark.engines

REPO2DOCKER = "jupyter-repo2docker==2026.4.0"  # on PyPI
TOKEN = "0123456789abcdef"  # noqa: S105 # the hub makes one for each start
HUB = "hub.example.org"
# BinderHub, helm-chart/binderhub/values.yaml and binderspawner_mixin.py: `cmd` becomes jupyter-lab, with these words.
AS_THE_HUB = (
    *("jupyter-lab", "--ip=0.0.0.0", "--port=8888", "--NotebookApp.base_url=/user/study/"),
    *(f"--NotebookApp.token={TOKEN}", "--NotebookApp.trust_xheaders=True"),
)


@pytest.fixture(scope="module")
def image(running: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image that repo2docker makes of a clone, on the base image of this machine."""
    tool, name = tmp_path_factory.mktemp("tool"), f"binder-{uuid.uuid4().hex[:8]}"
    for argv in (["-m", "venv", str(tool)], [str(tool / "bin" / "pip"), "install", "--quiet", REPO2DOCKER]):
        program = [sys.executable] if argv[0] == "-m" else []
        subprocess.run([*program, *argv], capture_output=True, timeout=300, check=True)
    base = running.values().get("BASE_IMAGE")
    more = [f"--DockerEngine.extra_buildx_build_args={each}" for each in ("--build-arg", f"BASE_IMAGE={base}") if base]
    who = ("--user-id=1000", "--user-name=jovyan")  # mybinder.org's
    build = [str(tool / "bin" / "jupyter-repo2docker"), "--no-run", f"--image-name={name}", *who, *more, "."]
    done = running.run(*build)
    assert done.returncode == 0, done.stderr[-3000:]
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture(scope="module")
def link(image: str) -> Iterator[str]:
    """The link of a server that is started as the hub starts it."""
    container = docker("run", "--detach", "--rm", "--publish=127.0.0.1::8888", image, *AS_THE_HUB)
    port = docker("port", container, "8888/tcp").rpartition(":")[2]
    found = f"http://127.0.0.1:{port}/user/study/?token={TOKEN}"
    wait_until(lambda: answers(found), timeout_s=120, what="JupyterLab")
    yield found
    docker("rm", "--force", container)


def answers(link: str) -> bool:
    """Return whether the server can be asked already."""
    try:
        return status_of(link) == 200
    except OSError:
        return False


def test_hub_reaches_it_by_its_own_name_and_token(link: str) -> None:
    """The page opens through a proxy of another name, and only with the token."""
    page = f"{link.partition('?')[0]}lab?token={TOKEN}"

    assert status_of(page, Host=HUB) == 200
    assert status_of(page.partition("?")[0], Host=HUB) == 403


def test_files_are_there_and_can_be_saved(link: str) -> None:
    """The example's files are in the image, belong to the user, and a notebook runs in /opt/env and is saved."""
    code = "import os, sys, trends; print(sys.prefix, os.getcwd(), os.access('../data/penguins.csv', os.W_OK))"
    made = api(link, "contents/notebooks", method="POST", body={"type": "notebook"})

    said = [
        each["content"]["text"]  # type: ignore[index]
        for each in executed(link, f"import os; os.chdir('/workspace/notebooks'); {code}")
        if each["msg_type"] == "stream"
    ]

    assert str(made["path"]).startswith("notebooks/")
    assert said == ["/opt/env /home/jovyan/app/notebooks True\n"]


def test_environment_is_that_of_the_other_doors(running: Clone, image: str) -> None:
    """Conda lists the same packages in Binder's image as in the container that `up` starts."""
    words = ["conda", "list", "--json"]
    of_binder = json.loads(docker("run", "--rm", "--entrypoint", words[0], image, *words[1:]))
    of_up = json.loads(running.inside(*words).stdout)

    assert of_binder == of_up
    assert {"jupyterlab", "tabulate"} <= {each["name"] for each in of_up}
