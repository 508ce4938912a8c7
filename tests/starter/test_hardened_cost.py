"""`up --hardened`: what it costs is told before anything is done, and once."""

import pytest
from observed import VALUES, Seen, healthy, settings

from host_tasks import goals
from host_tasks.extras import hardened
from host_tasks.loop import plan

WHY = f"it was asked for; what runs in it ends, kernels and terminals too, and it costs: {hardened.COST}"
ASKED = {"HARDENED": "yes"}


def test_cost_is_told_before_anything_is_done() -> None:
    """Who asks for it learns what ends and what is hidden while the old server still runs."""
    seen = healthy(asked=ASKED, settings=settings(kept=VALUES, HARDENED="yes"))

    step = plan(seen, goals.up()).steps[0]

    assert (step.what, step.why) == ("harden the container", WHY)
    assert "~/.cache, ~/.config and ~/.local" in WHY


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(healthy(), id="not asked for"),
        pytest.param(healthy(settings=settings(HARDENED="yes")), id="kept from an earlier call"),
        pytest.param(healthy(asked=ASKED, settings=settings(HARDENED="yes")), id="asked for once more"),
        pytest.param(healthy(asked={"HARDENED": None}, settings=settings()), id="taken back"),
        pytest.param(
            healthy(asked=ASKED, settings=settings(kept=VALUES, HARDENED="yes"), tried=("harden the container",)),
            id="told already",
        ),
    ],
)
def test_cost_is_told_once(seen: Seen) -> None:
    """Who has it already, or goes back, is told nothing."""
    assert plan(seen, goals.up()).steps == ()
