"""What the tests share."""

import pytest

from host_tasks.setup.basics import CALLED_AS


@pytest.fixture(autouse=True)
def called_as_invoke(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name commands as `invoke up`, however these tests were called themselves."""
    monkeypatch.setenv(CALLED_AS, "invoke")
