"""The host code on systems that no test runs on: macOS and Windows, whose names and facts are handed in."""

import subprocess
import sys
from pathlib import Path

import pytest
from other_systems import SYSTEMS

SCRIPT = Path(__file__).with_name("other_systems.py")


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_host_code_works_with_what_another_system_has(system: str) -> None:
    """What is decided of facts holds where the host code has that system's names alone, but for what only Linux has."""
    done = subprocess.run([sys.executable, str(SCRIPT), system], capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
