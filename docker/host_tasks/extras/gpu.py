"""NVIDIA GPUs for JupyterLab and its workers: whether containers can have one here, as far as it shows from outside."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from host_tasks.choices import Choice
from host_tasks.kit.words import ExitCode, task_command
from host_tasks.loop import Finding, Seen, fact, fail, ok, rule
from host_tasks.subjects import engine, settings

KEY = "GPUS"
DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # of NVIDIA's driver for Linux, and of WSL
# The engine has the driver "nvidia" where this is on the PATH (moby, daemon/nvidia_linux.go).
HOOK = "nvidia-container-runtime-hook"

# look


@fact
def missing(seen: Seen) -> str:
    """Return what keeps containers from having a GPU; "" where nothing does, as far as can be seen."""
    return lacking(engine.state(seen).info or {}, same_kernel=engine.folder(seen) is not None)


def lacking(info: Mapping[str, Any], *, same_kernel: bool) -> str:
    """Return what is missing for a GPU, by `docker info` and, where the engine is of this kernel, by what is here."""
    if same_kernel and not any(device.exists() for device in DEVICES):
        return f"this machine has no NVIDIA GPU with its driver: there is no {DEVICES[0]}"
    if "nvidia" in (info.get("Runtimes") or {}) or (same_kernel and shutil.which(HOOK)):
        return ""
    return "the engine has no NVIDIA Container Toolkit, see docs.nvidia.com/datacenter/cloud-native"


# judge


@rule("gpu")
def gpu(seen: Seen) -> Iterator[Finding]:
    """Ask for GPUs where they are asked for, before anything is started."""
    wanted, back = settings.now(seen).values.get(KEY), task_command("up --no-gpu")
    if not wanted:
        return
    if not re.fullmatch(r"all|[1-9][0-9]?", wanted):
        yield fail(f"docker/.env says {KEY}={wanted}, which is neither all nor a number", back)
    elif missing(seen):
        yield fail(f"a GPU is asked for, and {missing(seen)}", back, ExitCode.UNAVAILABLE)
    else:
        yield ok(f"asked for: {wanted}")


RULES = ((gpu, "mounts", ("up",)), (gpu, "server", ("doctor",)))
CHOICES = (
    Choice(
        "gpu",
        KEY,
        "Give JupyterLab, and its workers, this machine's NVIDIA GPUs.",
        lambda said: "all" if said else None,
        file="docker-compose.gpu.yml",
        switch=True,
        not_podman="it gives GPUs in a way of its own, which was not tried",
    ),
)
