"""What the options of `up` choose for a clone."""

import pytest
from observed import settings

from host_tasks.decide.choices import OPENED, choices
from host_tasks.ground.errors import ExitCode, HostError


@pytest.mark.parametrize(
    ("text", "value", "opens"),
    [
        ("127.0.0.1", None, False),
        ("::1", "[::1]", False),
        ("0.0.0.0", "0.0.0.0", True),  # noqa: S104
        ("192.0.2.1", "192.0.2.1", True),
        ("[2001:db8::1]", "[2001:db8::1]", True),
    ],
)
def test_address_is_kept_as_compose_reads_it(text: str, value: str | None, *, opens: bool) -> None:
    """The loopback is the default and no key; what opens the server to others says what it opens."""
    [choice] = choices(bind=text, hardened=False, no_hardened=False)

    assert (choice.key, choice.wanted(settings())) == ("JUPYTER_BIND", value)
    assert (choice.means == OPENED) is opens


@pytest.mark.parametrize("text", ["eth0", "localhost", "192.0.2", "192.0.2.1:8888", "$(x)", "1.2.3.4/8"])
def test_what_is_no_address_ends_with_64(text: str) -> None:
    """A name could mean another machine tomorrow."""
    with pytest.raises(HostError) as refusal:
        choices(bind=text, hardened=False, no_hardened=False)

    assert refusal.value.code == ExitCode.USAGE


def test_contradiction_ends_with_64() -> None:
    """Both ways at once is no choice."""
    with pytest.raises(HostError) as refusal:
        choices(bind="", hardened=True, no_hardened=True)

    assert refusal.value.code == ExitCode.USAGE


def test_nothing_asked_for_is_no_choice() -> None:
    """Plain `up` keeps what was chosen before."""
    assert choices(bind="", hardened=False, no_hardened=False) == []
