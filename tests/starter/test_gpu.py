"""Tests of the rule about GPUs, and of what it goes by."""

from pathlib import Path

import pytest
from observed import Seen, settings

from host_tasks import choices
from host_tasks.extras import gpu
from host_tasks.kit.words import HostError
from host_tasks.loop import plan


def test_gpu_is_asked_for_and_given_back() -> None:
    """One option sets the key, the other removes it, and neither leaves it as it is."""
    assert choices.asked({"gpu": True}) == {"GPUS": "all"}
    assert choices.asked({"no_gpu": True}) == {"GPUS": None}
    assert choices.asked({}) == {}
    with pytest.raises(HostError) as raised:
        choices.asked({"gpu": True, "no_gpu": True})
    assert raised.value.problem == "--gpu and --no-gpu contradict each other"


def test_who_asks_for_no_gpu_is_not_looked_at() -> None:
    """Without the key nobody asks what the engine has; Seen would fail."""
    assert plan(Seen(settings=settings()), [gpu.gpu]).problem is None


@pytest.mark.parametrize(
    ("wanted", "lacking", "cause"),
    [
        ("all", "", None),
        ("2", "", None),
        ("all", "there is no device", "a GPU is asked for, and there is no device"),
        ("yes", "", "docker/.env says GPUS=yes, which is neither all nor a number"),
    ],
)
def test_gpu_is_asked_of_a_machine_that_has_one(wanted: str, lacking: str, cause: str | None) -> None:
    """Where there is none nothing is started, and the fix takes the wish back."""
    problem = plan(Seen(settings=settings(GPUS=wanted), lacking_for_gpu=lacking), [gpu.gpu]).problem

    assert (problem and problem.cause) == cause
    assert problem is None or problem.fix == "invoke up --no-gpu"


@pytest.mark.parametrize(
    ("device", "runtimes", "same_kernel", "said"),
    [
        pytest.param(True, {"runc": {}, "nvidia": {}}, True, "", id="all there"),
        pytest.param(True, {"runc": {}}, True, "the engine has no NVIDIA", id="no toolkit"),
        pytest.param(False, {"runc": {}, "nvidia": {}}, True, "this machine has no NVIDIA GPU", id="no device"),
        pytest.param(False, {"runc": {}, "nvidia": {}}, False, "", id="Docker Desktop"),
        pytest.param(False, {"runc": {}}, False, "the engine has no NVIDIA", id="Docker Desktop without"),
    ],
)
def test_what_is_lacking_is_seen(
    device: bool,  # noqa: FBT001
    runtimes: dict[str, object],
    same_kernel: bool,  # noqa: FBT001
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The device counts where the engine is of this kernel, and the engine's own word everywhere."""
    monkeypatch.setattr(gpu, "DEVICES", (tmp_path if device else tmp_path / "none",))
    monkeypatch.setenv("PATH", str(tmp_path))

    lacking = gpu.lacking({"Runtimes": runtimes}, same_kernel=same_kernel)

    assert lacking.startswith(said)
    assert bool(lacking) == bool(said)
