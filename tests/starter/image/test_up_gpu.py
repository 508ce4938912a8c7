"""`up --gpu`, on a machine without a GPU, and what Compose makes of the key."""

import json
from pathlib import Path

import pytest
from conftest import Clone, docker


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_begun(clone: Clone) -> None:
    """It ends in two lines, whose fix is true, and neither a container nor the wish is left."""
    done = clone.task("up", "--yes", "--gpu", HOST_TASKS_CALLED_AS="invoke")

    assert done.returncode == 69
    assert done.stderr.splitlines() == [
        "error: a GPU is asked for, and this machine has no NVIDIA GPU with its driver: there is no /dev/nvidiactl",
        "fix: invoke up --no-gpu",
    ]
    assert not (clone.root / "docker" / ".env").exists()
    assert docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={clone.project}") == ""


def test_key_of_env_reserves_gpus(clone: Clone) -> None:
    """With GPUS in docker/.env Compose, plain too, reserves them; without it there is no reservation."""
    model = ["docker", "compose", "config", "--format", "json"]
    clone.succeed("env")
    plain = json.loads(clone.run(*model, cwd=clone.root / "docker").stdout)
    with (clone.root / "docker" / ".env").open("a", encoding="utf-8") as file:
        file.write("GPUS=2\n")

    clone.succeed("env")

    asked = json.loads(clone.run(*model, cwd=clone.root / "docker").stdout)
    devices = asked["services"]["jupyterlab-server"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"capabilities": ["gpu"], "driver": "nvidia", "count": 2}]
    assert "reservations" not in json.dumps(plain)
