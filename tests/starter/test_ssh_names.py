"""How another machine is named, and where its connection is."""

from pathlib import Path

import pytest

from host_tasks.act import ssh
from host_tasks.ground.errors import ExitCode, HostError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a connection."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("on", "host", "port"),
    [
        ("ada@big", "ada@big", None),
        ("Big", "Big", None),
        ("ada@big.example.org:2222", "ada@big.example.org", 2222),
        ("ssh://ada@big:22/", "ada@big", 22),
    ],
)
def test_machine_is_named_as_ssh_names_it(on: str, host: str, port: int | None) -> None:
    """A name, an alias of ssh's configuration, a port, and the form that Docker has."""
    far = ssh.machine(on)

    assert (far.host, far.ssh_port, far.port) == (host, port, 0)


@pytest.mark.parametrize(
    "on", ["", "-oProxyCommand=id", "a b", "ada@-oX", "ada@big:/folder", "big;id", "tcp://big:2375"]
)
def test_other_words_are_refused(on: str) -> None:
    """Nothing reaches ssh as an option of its own, or a shell as a word of its own."""
    with pytest.raises(HostError) as refused:
        ssh.machine(on)

    assert refused.value.code == ExitCode.USAGE


def test_connection_is_found_with_its_port_by_every_name(home: Path) -> None:
    """The socket's name tells the port of this machine; both ways to write a machine lead to it, and no other."""
    Path(f"{ssh.machine('ada@big:22').socket}8901").touch()

    assert [ssh.machine(on).port for on in ("ada@big:22", "ssh://ada@big:22", "ada@big", "bob@big:22")] == [
        8901,
        8901,
        0,
        0,
    ]
