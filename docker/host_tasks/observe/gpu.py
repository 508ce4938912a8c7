"""Whether containers can have an NVIDIA GPU here, as far as it shows without starting one."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # of NVIDIA's driver for Linux, and of WSL
HOOK = (
    "nvidia-container-runtime-hook"  # the engine has the driver "nvidia" where this is (moby, daemon/nvidia_linux.go)
)


def lacking(info: Mapping[str, Any], *, same_kernel: bool) -> str:
    """Return what is missing for a GPU, by `docker info` and, where the engine is of this kernel, by what is here."""
    if same_kernel and not any(each.exists() for each in DEVICES):
        return f"this machine has no NVIDIA GPU with its driver: there is no {DEVICES[0]}"
    if "nvidia" in (info.get("Runtimes") or {}) or (same_kernel and shutil.which(HOOK)):
        return ""
    return "the engine has no NVIDIA Container Toolkit, see docs.nvidia.com/datacenter/cloud-native"
