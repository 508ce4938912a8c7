"""docker-compose.hardened.yml, by plain Compose: nothing can be written but what is kept, and the work goes on."""

import json
from collections.abc import Iterator

import pytest
import websocket
from conftest import Clone, docker, wait_until
from lab import api, executed, status_of
from test_container import NO_PRIVILEGES, privileges, set_id_files, token_in

FILES = ("--file", "docker-compose.yml", "--file", "docker-compose.hardened.yml")
# Where the engine mounts; it makes the points in the container's layer before it makes that read-only.
OF_THE_ENGINE = {"/run", "/run/secrets", "/run/secrets/ca_bundle", "/run/secrets/pip_config"}
OF_THE_ENGINE |= {"/usr", "/usr/sbin", "/usr/sbin/docker-init", "/sbin", "/sbin/docker-init"}
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "a",
            "metadata": {},
            "outputs": [],
            "source": "import matplotlib.pyplot as p, pandas as d\nd.DataFrame({'a': [1, 2]}).plot()\n"
            "p.savefig('../results/plot.png')\nopen('/tmp/scratch', 'w').write('x')",
        }
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.fixture(scope="module")
def hardened(running: Clone) -> Iterator[str]:
    """The link of a hardened server that plain Compose started."""
    running.succeed("down")
    folder = running.root / "docker"
    up = running.run("docker", "compose", *FILES, "up", "--detach", "--wait", cwd=folder)
    assert up.returncode == 0, up.stderr
    port = docker("port", running.container_id(), "8888/tcp").rpartition(":")[2]
    yield f"http://127.0.0.1:{port}/?token={token_in(running)}"
    running.run("docker", "compose", *FILES, "down", cwd=folder)


def test_hardened_server_is_healthy_and_opens_by_its_link(running: Clone, hardened: str) -> None:
    """The token is on a tmpfs, and is the only way in as ever."""
    assert docker("inspect", "--format", "{{.State.Health.Status}}", running.container_id()) == "healthy"
    assert status_of(hardened) == 200
    assert status_of(hardened.rpartition("?")[0]) == 403


def test_notebook_runs_plots_and_is_saved(running: Clone, hardened: str) -> None:
    """Saving, a kernel, a plot and nbconvert work; the files are on the host."""
    api(
        hardened,
        "contents/notebooks/study.ipynb",
        method="PUT",
        body={"type": "notebook", "format": "json", "content": NOTEBOOK},
    )

    convert = ("jupyter", "nbconvert", "--execute", "--to", "html", "notebooks/study.ipynb")
    converted = running.inside(*convert)
    messages = executed(hardened, "import os; print(os.path.getsize('results/plot.png') > 1000)")

    assert converted.returncode == 0, converted.stderr
    assert (running.root / "notebooks" / "study.html").stat().st_size > 100_000
    assert (running.root / "results" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert [each["content"] for each in messages if each["msg_type"] == "stream"] == [
        {"name": "stdout", "text": "True\n"}
    ]


def test_terminal_works(running: Clone, hardened: str) -> None:
    """What is typed in JupyterLab's terminal runs in the environment, in the folders of the host."""
    name = api(hardened, "terminals", method="POST")["name"]
    base, token = hardened.split("/?")[0].removeprefix("http://"), hardened.rpartition("token=")[2]
    socket = websocket.create_connection(f"ws://{base}/terminals/websocket/{name}?token={token}", timeout=60)

    socket.send(json.dumps(["stdin", "echo $CONDA_PREFIX >results/by-terminal\r"]))

    file = running.root / "results" / "by-terminal"
    wait_until(lambda: file.exists() and file.read_text() == "/opt/env\n", timeout_s=30, what="the terminal's command")
    socket.close()


def test_nothing_was_written_outside_what_is_mounted(running: Clone, hardened: str) -> None:
    """After all that, the container's own layer holds nothing but the engine's mount points, and takes nothing."""
    executed(hardened, "import matplotlib.pyplot")
    changed = {line.split(" ", 1)[1] for line in docker("diff", running.container_id()).splitlines()}
    writable = running.inside(
        "find", "/", "-xdev", "(", "-type", "f", "-o", "-type", "d", ")", "-writable"
    ).stdout.split()
    touched = running.inside("touch", "/opt/env/x")
    mounted = set(running.inside("sh", "-c", "cut -d' ' -f5 /proc/self/mountinfo").stdout.split())

    assert changed <= OF_THE_ENGINE
    assert [each for each in writable if each not in mounted] == []
    assert "Read-only file system" in touched.stderr


def test_hardened_container_has_no_privileges(running: Clone, hardened: str) -> None:
    """No capability, none to gain, no file that runs as another, and a limit for everything."""
    host = json.loads(docker("inspect", running.container_id()))[0]["HostConfig"]

    assert privileges(running) == NO_PRIVILEGES
    assert set_id_files(running) == []
    assert host["ReadonlyRootfs"] is True
    assert min(host["Memory"], host["NanoCpus"], host["PidsLimit"]) > 0
