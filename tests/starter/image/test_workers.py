"""`up --workers`: Dask beside JupyterLab, in its network, with its image, identity and mounts."""

import json
import re
from pathlib import PurePosixPath
from typing import Any

import pytest
from conftest import Clone, docker
from lab import executed, status_of
from test_hardened import OF_THE_ENGINE

# The fields of /proc/net/tcp (proc(5)): 1 is the address, in hexadecimal, 3 the state, 7 the uid.
LISTENS, LOOPBACK, THE_LAB = "0A", "0100007F:", "00000000:22B8"
READINGS = 20
COMPUTED = """
import os
from distributed import Client

def told(i):
    path = f"../results/part-{i}"
    open(path, "w").write(open(f"{os.environ['PROJECT_DIR']}/disk/large.csv").read())
    return os.getpid()

with Client(timeout="30s") as client:
    client.wait_for_workers(WORKERS, timeout=60)
    here = os.getpid()
    print(len(client.scheduler_info()["workers"]), len(client.gather(client.map(told, range(8)))))
"""


def computed(clone: Clone, workers: int) -> str:
    """Return what a notebook prints that computes with a `Client()` on so many workers."""
    messages = executed(clone.succeed("url").splitlines()[-1], COMPUTED.replace("WORKERS", str(workers)))
    return "".join(str(each["content"].get("text", each["content"].get("evalue", ""))) for each in messages)  # type: ignore[attr-defined]


def running_of(clone: Clone, service: str) -> list[str]:
    """Return the ids of a service's running containers."""
    labels = (f"com.docker.compose.project={clone.project}", f"com.docker.compose.service={service}")
    return docker("ps", "--quiet", "--no-trunc", *(f"--filter=label={each}" for each in labels)).split()


def test_workers_without_dask_are_refused_before_anything_is_done(clone: Clone) -> None:
    """The error names the packages to add, and docker/.env is not written."""
    done = clone.task("up", "--yes", "--workers", "2")

    assert done.returncode == 78
    assert "2 Dask workers are asked for, and neither environment.yml nor requirements.txt names Dask" in done.stderr
    assert "add distributed, bokeh, jupyter-server-proxy to environment.yml" in done.stderr.splitlines()[-1]
    assert not (clone.root / "docker" / ".env").exists()


@pytest.mark.engines
def test_compose_reads_the_workers_the_same_each_time(clone: Clone) -> None:
    """No reading gives a worker a port or a build of its own (Compose 2.40 did, on one reading of four)."""
    clone.succeed("env")
    environ: dict[str, Any] = {**clone.values(), "COMPOSE_FILE": "docker-compose.yml:docker-compose.workers.yml"}
    words = ("docker", "compose", "config", "--format", "json")

    said = [clone.run(*words, cwd=clone.root / "docker", **environ).stdout for _ in range(READINGS)]

    services = json.loads(said[0])["services"]
    assert set(said) == {said[0]}
    of_dask = {key for each in ("dask-scheduler", "dask-worker") for key in services[each]}
    assert {"build", "labels", "ports"} & of_dask == set()
    (clone.root / "docker" / ".env").unlink()


@pytest.fixture(scope="module")
def lab(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a Lab's container, started with Dask in its environment and a data disk; then two workers came."""
    disk = tmp_path_factory.mktemp("disk")
    disk.chmod(0o755)
    (disk / "large.csv").write_text("x", encoding="utf-8")
    with (clone.root / "requirements.txt").open("a", encoding="utf-8") as file:
        file.write("distributed\nbokeh\njupyter-server-proxy\n")
    example = (clone.root / "docker" / "examples" / "data-disk.yml").read_text(encoding="utf-8")
    override = clone.root / "docker" / "docker-compose.override.yml"
    override.write_text(example.replace("/mnt/data", str(disk)), encoding="utf-8")
    clone.succeed("up", "--yes")
    [started] = running_of(clone, "jupyterlab-server")
    clone.succeed("up", "--workers", "2")
    return started


@pytest.mark.engines
def test_notebook_computes_on_the_workers_and_files_are_the_callers(clone: Clone, lab: str) -> None:
    """`Client()` finds both; they read the data disk and write into results/ as the identity outside."""
    assert computed(clone, 2) == "2 8\n"

    parts = [clone.root / "results" / f"part-{number}" for number in range(8)]
    assert {(str(each.stat().st_uid), str(each.stat().st_gid)) for each in parts} == {clone.owner}
    assert {each.read_text(encoding="utf-8") for each in parts} == {"x"}


def test_workers_share_the_limit(clone: Clone, lab: str) -> None:
    """Two have half of it each: both together may not take more than the machine has."""
    code = """
import distributed
with distributed.Client(timeout="30s") as client:
    client.wait_for_workers(2, timeout=60)
    print([worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()])
"""
    limit = json.loads(docker("inspect", lab))[0]["HostConfig"]["Memory"]

    said = clone.succeed("run", "--", "python", "-c", code)

    assert limit
    assert [abs(each - limit / 2) < limit / 100 for each in json.loads(said)] == [True, True]


@pytest.mark.engines
def test_workers_are_the_labs_image_with_its_limits_and_came_without_it_going(clone: Clone, lab: str) -> None:
    """No second build, no privileges, and the Lab's container is the one of before."""
    servers, workers = running_of(clone, "jupyterlab-server"), running_of(clone, "dask-worker")
    told = json.loads(docker("inspect", *servers, *workers, *running_of(clone, "dask-scheduler")))

    assert (servers, len(told)) == ([lab], 4)
    assert len({each["Image"] for each in told}) == 1
    keys = ("CapDrop", "SecurityOpt", "PidsLimit", "Memory", "NanoCpus", "Init")
    assert len({json.dumps([each["HostConfig"][key] for key in keys]) for each in told}) == 1
    assert [each["NetworkSettings"]["Ports"] for each in told[1:]] == [{}] * 3


def test_dask_is_reached_through_the_labs_link_only(clone: Clone, lab: str) -> None:
    """The dashboard opens with the token and not without; nothing but the Lab listens on more than 127.0.0.1."""
    base, token = clone.succeed("url").splitlines()[-1].split("/?token=")
    lines = docker("exec", lab, "cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()
    sockets = [line.split() for line in lines if line.split()[3] == LISTENS]

    assert status_of(f"{base}/proxy/8787/status?token={token}") == 200
    assert status_of(f"{base}/proxy/8787/status") == 403
    own = [fields[1] for fields in sockets if fields[7] == clone.values()["UID"]]
    assert len(own) > 5
    assert [address for address in own if not address.startswith(LOOPBACK)] == [THE_LAB]


def test_killed_worker_and_scheduler_are_told_and_started_again(clone: Clone, lab: str) -> None:
    """The Lab goes on; `status` says in one line what happened, and the next `up` cures it."""
    docker("kill", *running_of(clone, "dask-scheduler"), running_of(clone, "dask-worker")[0])

    told = clone.succeed("status")
    assert re.search("other services.*dask-worker was killed with exit code 137.*dask-scheduler was killed", told)
    assert executed(clone.succeed("url").splitlines()[-1], "6 * 7")
    clone.succeed("up")

    assert computed(clone, 2) == "2 8\n"
    assert running_of(clone, "jupyterlab-server") == [lab]


def test_killed_lab_takes_its_workers_along(clone: Clone, lab: str) -> None:
    """Whoever is left in the network of the Lab of before is made anew with it, and found."""
    docker("kill", lab)

    done = clone.task("up")

    assert "jupyterlab-server was killed with exit code 137" in done.stderr
    assert computed(clone, 2) == "2 8\n"


def test_other_numbers_keep_the_lab_and_0_goes_back(clone: Clone, lab: str) -> None:
    """Fewer workers, or none, are one command each; the Lab's container stays, and docker/.env is as before."""
    clone.succeed("up", "--workers", "1")
    one = [len(running_of(clone, each)) for each in ("dask-scheduler", "dask-worker")]
    again = clone.task("up")
    clone.succeed("up", "--workers", "0")

    assert one == [1, 1]
    assert "Start" not in again.stderr
    assert [len(running_of(clone, each)) for each in ("dask-scheduler", "dask-worker")] == [0, 0]
    assert running_of(clone, "jupyterlab-server") == [lab]
    assert {"COMPOSE_FILE", "DASK_WORKERS"}.isdisjoint(clone.values())


def test_workers_of_a_hardened_clone_are_hardened(clone: Clone, lab: str) -> None:
    """They compute, and write nothing but what is mounted from the host, or memory."""
    clone.succeed("up", "--hardened", "--workers", "1")

    assert computed(clone, 1) == "1 8\n"
    found = [id_ for each in ("jupyterlab-server", "dask-scheduler", "dask-worker") for id_ in running_of(clone, each)]
    told = json.loads(docker("inspect", *found))
    assert [each["HostConfig"]["ReadonlyRootfs"] for each in told] == [True] * 3
    assert {each["HostConfig"]["SecurityOpt"][0] for each in told} == {"no-new-privileges:true"}
    changed = {line.split(" ", 1)[1] for each in found for line in docker("diff", each).splitlines()}
    disk = PurePosixPath("/home", clone.values()["USER"], "app/disk")
    assert changed <= OF_THE_ENGINE | {str(each) for each in (disk, *disk.parents)}
    assert "Read-only file system" in clone.run("docker", "exec", found[-1], "touch", "/opt/env/x").stderr
