"""Choices of `up` together do what each does alone, as Compose reads their files."""

import itertools
import json
from typing import Any

import pytest
from conftest import Clone

FILES = ("gpu", "hardened", "workers")
SETS = [chosen for size in range(len(FILES) + 1) for chosen in itertools.combinations(FILES, size)]


def services(clone: Clone, chosen: tuple[str, ...]) -> dict[str, Any]:
    """Return the services that Compose makes of the files of some choices, in the order of `up`."""
    files = ["docker-compose.yml", *(f"docker-compose.{name}.yml" for name in chosen)]
    words = [word for file in files for word in ("--file", file)]
    who: dict[str, Any] = {"USER": "ada", "APP_USER": "ada", "UID": "1815", "GID": "1852"}
    argv = ["docker", "compose", *words, "config", "--format", "json"]
    done = clone.run(*argv, cwd=clone.root / "docker", **who)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def has_gpu(service: dict[str, Any]) -> bool:
    """Return whether a service asks for a GPU."""
    reserved = service.get("deploy", {}).get("resources", {}).get("reservations", {})
    return any("gpu" in device["capabilities"] for device in reserved.get("devices", ()))


@pytest.mark.parametrize("chosen", SETS, ids="+".join)
def test_choices_do_together_what_each_does_alone(clone: Clone, chosen: tuple[str, ...]) -> None:
    """Workers have the GPUs, and are closed, where JupyterLab is; nobody is started who was not asked for."""
    found = services(clone, chosen)
    lab, worker, scheduler = (found.get(name) for name in ("jupyterlab-server", "dask-worker", "dask-scheduler"))

    assert lab is not None
    assert (has_gpu(lab), bool(lab.get("read_only"))) == ("gpu" in chosen, "hardened" in chosen)
    assert bool(worker) == bool(scheduler) == ("workers" in chosen)
    if worker and scheduler:
        assert has_gpu(worker) == ("gpu" in chosen)
        assert not has_gpu(scheduler)
        assert bool(worker.get("read_only")) == bool(scheduler.get("read_only")) == ("hardened" in chosen)
        assert worker["cap_drop"] == scheduler["cap_drop"] == ["ALL"]
