"""What the options of `up` choose for a clone."""

import pytest

from host_tasks.decide.choices import choices
from host_tasks.ground.errors import ExitCode, HostError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("127.0.0.1", None),
        ("::1", "[::1]"),
        ("0.0.0.0", "0.0.0.0"),  # noqa: S104
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_address_is_kept_as_compose_reads_it(text: str, value: str | None) -> None:
    """The loopback is the default and no key."""
    assert choices(bind=text) == {"JUPYTER_BIND": value}


@pytest.mark.parametrize(("on", "value"), [(True, "yes"), (False, None)])
def test_hardening_is_kept_until_it_is_taken_back(*, on: bool, value: str | None) -> None:
    """Either is a choice; saying nothing is none."""
    assert choices(hardened=on, no_hardened=not on) == {"HARDENED": value}


@pytest.mark.parametrize("text", ["eth0", "localhost", "192.0.2", "192.0.2.1:8888", "$(x)", "1.2.3.4/8"])
def test_what_is_no_address_ends_with_64(text: str) -> None:
    """A name could mean another machine tomorrow."""
    with pytest.raises(HostError) as refusal:
        choices(bind=text)

    assert refusal.value.code == ExitCode.USAGE


def test_contradiction_ends_with_64() -> None:
    """Both ways at once is no choice."""
    with pytest.raises(HostError) as refusal:
        choices(hardened=True, no_hardened=True)

    assert refusal.value.code == ExitCode.USAGE


def test_nothing_asked_for_is_no_choice() -> None:
    """Plain `up` keeps what was chosen before."""
    assert choices() == {}
