"""`up --hardened`: nothing can be written but what is kept, and the work goes on."""

import json
from collections.abc import Iterator

import pytest
import websocket
from conftest import Clone, docker, wait_until
from lab import api, executed, status_of, submitted
from test_container import NO_PRIVILEGES, privileges, set_id_files

pytestmark = pytest.mark.engines

# Where the engine mounts; it makes the points in the container's layer before it makes that read-only.
OF_THE_ENGINE = {"/run", "/run/secrets", "/run/secrets/ca_bundle", "/run/secrets/pip_config"}
OF_THE_ENGINE |= {"/run/secrets/proxies", "/run/secrets/yours"}
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
    """The link of a hardened server."""
    yield running.succeed("up", "--yes", "--hardened").splitlines()[-1]
    running.succeed("down")


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


def test_clone_stays_hardened_until_it_is_told_otherwise(running: Clone, hardened: str) -> None:
    """The next `up` leaves it as it is, plain Compose makes the same of it, and --no-hardened goes back."""
    container = running.container_id()
    again = running.succeed("up", "--yes").splitlines()[-1]
    kept = running.container_id()
    plain = running.run("docker", "compose", "config", "--format", "json", cwd=running.root / "docker")
    facts = json.loads(running.succeed("status", "--json"))

    running.succeed("up", "--yes", "--no-hardened")

    usual = json.loads(docker("inspect", running.container_id()))[0]["HostConfig"]
    assert (again, kept) == (hardened, container)
    assert json.loads(plain.stdout)["services"]["jupyterlab-server"]["read_only"] is True
    assert facts["hardened"].startswith("yes")
    assert (usual["ReadonlyRootfs"], usual["NanoCpus"]) == (False, 0)
    assert {"COMPOSE_FILE", "HARDENED"}.isdisjoint(running.values())


def test_hardening_that_cannot_be_started_is_not_kept(running: Clone) -> None:
    """The start fails, and the next plain `up` is not hardened; the cost was told before."""
    env_file = running.root / "docker" / ".env"
    link = running.succeed("up", "--yes").splitlines()[-1]
    before = env_file.read_text("utf-8")
    env_file.write_text(f"{before}TMP_SIZE=nonsense\n", encoding="utf-8")

    failed = running.task("up", "--yes", "--hardened")

    after, again = env_file.read_text("utf-8"), running.succeed("up", "--yes").splitlines()[-1]
    env_file.write_text(before, encoding="utf-8")
    assert failed.returncode != 0
    assert "Harden the container: it was asked for; what runs in it ends" in failed.stderr
    assert after == f"{before}TMP_SIZE=nonsense\n"
    assert again.partition("?")[0] == link.partition("?")[0]
    assert status_of(again) == 200


FULL = "for place in /tmp /dev/shm ~/.cache ~/.config ~/.ipython; do head -c 700M /dev/zero >$place/fill; done"
WAITING = """\
import os, time
open('results/began', 'w').close()
while not os.path.exists('results/full'):
    time.sleep(0.1)
open('results/went-on', 'w').close()
"""


def test_full_tmp_does_not_end_the_server(running: Clone) -> None:
    """More than the container may have, written to /tmp, /dev/shm and the home, is a full disk for the writer only."""
    env_file, results = running.root / "docker" / ".env", running.root / "results"
    others = [line for line in env_file.read_text("utf-8").splitlines() if not line.startswith("MEMORY_LIMIT=")]
    env_file.write_text("\n".join([*others, "MEMORY_LIMIT=500m", ""]), encoding="utf-8")
    link = running.succeed("up", "--yes", "--hardened").splitlines()[-1]
    container = running.container_id()
    _, socket, _ = submitted(link, WAITING)
    wait_until((results / "began").exists, timeout_s=60, what="a kernel at work")

    filled = running.inside("/bin/sh", "-c", FULL)

    (results / "full").touch()
    wait_until((results / "went-on").exists, timeout_s=60, what="the kernel, which goes on")
    socket.close()
    state = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    answer = status_of(link)
    running.succeed("up", "--yes", "--no-hardened")
    assert (filled.returncode, filled.stderr.count("No space left")) == (1, 5), filled.stderr
    assert (state["Status"], state["OOMKilled"]) == ("running", False)
    assert answer == 200
