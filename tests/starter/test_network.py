"""What this machine trusts, and where its pip looks."""

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from observed import settings as settings_of

from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import Seen
from host_tasks.subjects import network, settings

INDEX = "https://index.example/simple"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of its own, where pip has no configuration; PIP_CONFIG_FILE is not set."""
    return {"HOME": str(tmp_path)}


def written(path: Path, text: str) -> Path:
    """Write a file and the folders above it, and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("first", range(len(network.CA_VARIABLES)), ids=network.CA_VARIABLES)
def test_ca_bundle_is_what_the_first_variable_names(tmp_path: Path, first: int) -> None:
    """SSL_CERT_FILE, REQUESTS_CA_BUNDLE, PIP_CERT and CURL_CA_BUNDLE decide in this order, before the system's file."""
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")[first:]
    environ = {name: str(written(tmp_path / name, "ca")) for name in names}

    assert network.ca_bundle(environ) == tmp_path / names[0]


def test_ca_variable_that_names_no_file_is_passed_over(tmp_path: Path) -> None:
    """A folder of certificates, a missing file and an empty variable are no bundle: the next one decides."""
    bundle = written(tmp_path / "ca.pem", "ca")
    environ = {"SSL_CERT_FILE": str(tmp_path), "REQUESTS_CA_BUNDLE": "/nonexistent", "PIP_CERT": ""}

    assert network.ca_bundle({**environ, "CURL_CA_BUNDLE": str(bundle)}) == bundle


def test_ca_bundle_of_the_system_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a variable the first file of the known distributions that is there; none where there is none."""
    system = written(tmp_path / "system.pem", "ca")
    monkeypatch.setattr(network, "CA_FILES", ("/nonexistent", str(system)))

    assert network.ca_bundle({}) == system
    monkeypatch.setattr(network, "CA_FILES", ())
    assert network.ca_bundle({}) is None


def test_ca_bundle_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is seen from the working directory, but Compose would see it from docker/."""
    written(tmp_path / "ca.pem", "ca")
    monkeypatch.chdir(tmp_path)

    assert network.ca_bundle({"SSL_CERT_FILE": "ca.pem"}) == tmp_path / "ca.pem"


def test_proxies_of_dockers_configuration_are_known(tmp_path: Path) -> None:
    """Docker's own configuration names proxies for containers: they are this machine's where the shell has none."""
    of_docker = {"httpProxy": "http://a:1", "httpsProxy": "http://b:2", "noProxy": None, "allProxy": "http://c:3"}
    written(tmp_path / "config.json", json.dumps({"proxies": {"default": of_docker}}))
    environ = {"DOCKER_CONFIG": str(tmp_path)}

    assert network.proxies(environ) == {"HTTP_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:2"}
    assert network.proxies({**environ, "http_proxy": "http://d:4"})["HTTP_PROXY"] == "http://d:4"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"proxies": []}', '{"proxies": {"default": "x"}}'])
def test_configuration_of_docker_that_is_none_has_no_proxies(text: str, tmp_path: Path) -> None:
    """Whatever stands there is no traceback."""
    written(tmp_path / "config.json", text)

    assert network.proxies({"DOCKER_CONFIG": str(tmp_path)}) == {}


def test_proxies_are_known_by_their_upper_case_names() -> None:
    """Either case is read, the upper one first; what is empty or unset is left out."""
    environ = {"HTTP_PROXY": "http://a:1", "http_proxy": "http://b:2", "no_proxy": "localhost", "HTTPS_PROXY": ""}

    assert network.proxies(environ) == {"HTTP_PROXY": "http://a:1", "NO_PROXY": "localhost"}
    assert network.proxies({}) == {}


def test_pip_needs_no_configuration_where_nothing_is_set(home: dict[str, str]) -> None:
    """Where pip looks in its default index, nothing is handed to the build."""
    assert network.pip_config({**home, "PIP_CONFIG_FILE": os.devnull}) == ""


@pytest.mark.parametrize("place", [".pip/pip.conf", ".config/pip/pip.conf"])
def test_pip_configuration_of_the_user_is_read(home: dict[str, str], tmp_path: Path, place: str) -> None:
    """Both places of a user's pip.conf are read, and only the options of the index are taken."""
    written(tmp_path / place, f"[global]\nindex-url = {INDEX}\ntrusted-host = index.example\ntimeout = 60\n")

    assert network.pip_config(home) == f"[global]\nindex-url = {INDEX}\ntrusted-host = index.example\n"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other places")
def test_each_place_of_pips_files_wins_over_those_before_it(home: dict[str, str], tmp_path: Path) -> None:
    """The administrator's, of which the last folder wins; the user's; that of a virtual environment; the named one."""
    environ = {
        **home,
        "XDG_CONFIG_DIRS": f"{tmp_path / 'first'}:{tmp_path / 'second'}",
        "XDG_CONFIG_HOME": str(tmp_path / "own"),
        "VIRTUAL_ENV": str(tmp_path / "venv"),
        "PIP_CONFIG_FILE": str(tmp_path / "named.conf"),
    }
    places = ("first/pip/pip.conf", "second/pip/pip.conf", ".pip/pip.conf", "own/pip/pip.conf", "venv/pip.conf")

    for place in (*places, "named.conf"):
        written(tmp_path / place, f"[global]\nindex-url = https://{place.partition('/')[0]}.example\n")

        assert network.pip_config(environ) == f"[global]\nindex-url = https://{place.partition('/')[0]}.example\n"


def test_pip_configuration_that_is_named_wins_over_the_users(home: dict[str, str], tmp_path: Path) -> None:
    """Where PIP_CONFIG_FILE names a file that is there, pip leaves out the user's (pip 26, iter_config_files)."""
    written(
        tmp_path / ".config/pip/pip.conf", f"[global]\nindex-url = https://user.example\nextra-index-url = {INDEX}\n"
    )
    named = written(tmp_path / "named.conf", "[global]\nindex-url = https://named.example\n")

    found = network.pip_config({**home, "PIP_CONFIG_FILE": str(named)})

    assert found == "[global]\nindex-url = https://named.example\n"


def test_pip_variable_wins_over_every_file(home: dict[str, str], tmp_path: Path) -> None:
    """PIP_INDEX_URL is the last word, as it is for pip; %-signs in a password are no interpolation."""
    written(tmp_path / ".pip/pip.conf", "[global]\nindex-url = https://me:p%40s%@user.example\n")

    assert "index-url = https://me:p%40s%@user.example\n" in network.pip_config(home)
    assert network.pip_config({**home, "PIP_INDEX_URL": INDEX}) == f"[global]\nindex-url = {INDEX}\n"


def test_pip_configuration_of_its_install_command_wins(home: dict[str, str], tmp_path: Path) -> None:
    """Where a company's file names the index under [install], that is where its pip looks, as ours must."""
    written(tmp_path / ".pip/pip.conf", f"[install]\nindex-url = {INDEX}\n")
    written(tmp_path / ".config/pip/pip.conf", "[global]\nindex-url = https://other.example\n")

    assert network.pip_config(home) == f"[global]\nindex-url = {INDEX}\n"
    assert "https://env.example" in network.pip_config({**home, "PIP_INDEX_URL": "https://env.example"})


def test_pip_configuration_can_be_turned_off(home: dict[str, str], tmp_path: Path) -> None:
    """PIP_CONFIG_FILE=/dev/null turns every file off, as it does for pip."""
    written(tmp_path / ".pip/pip.conf", f"[global]\nindex-url = {INDEX}\n")

    assert network.pip_config({**home, "PIP_CONFIG_FILE": os.devnull}) == ""


def test_index_that_is_a_folder_of_this_machine_is_left_out(home: dict[str, str]) -> None:
    """A build sees no folder of the host: only indexes of the network are handed on, each of several."""
    found = network.pip_config({**home, "PIP_INDEX_URL": "file:///srv/index", "PIP_EXTRA_INDEX_URL": f"/srv {INDEX}"})

    assert found == f"[global]\nextra-index-url = {INDEX}\n"


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"index-url = https://me:hush@index.example\n", "{}, line 1"),
        (b"[global]\nhush\n  b = c\n", "{}, line 2"),
        (b"[global]\na = hush\n[global]\n", "{}, line 3"),
        (b"[global]\na = hush \xff\n", "one of its files"),
    ],
    ids=["no section", "no value", "twice", "latin-1"],
)
def test_malformed_pip_configuration_is_one_error(
    home: dict[str, str], tmp_path: Path, content: bytes, where: str
) -> None:
    """A file that pip could not read either is named with its line (78), and nothing of it, not in a traceback."""
    named = tmp_path / "pip.conf"
    named.write_bytes(content)

    with pytest.raises(HostError) as refusal:
        network.pip_config({**home, "PIP_CONFIG_FILE": str(named)})

    assert refusal.value.code == ExitCode.CONFIG
    assert refusal.value.problem == f"pip's configuration cannot be read: {where.format(named)}"


def test_addresses_of_a_build_are_the_proxies_else_the_index(home: dict[str, str]) -> None:
    """What is behind a proxy is the proxy's to reach; without one, it is the index that pip's own settings name."""
    shell = {**home, "PIP_INDEX_URL": "https://me:secret@index.example/simple"}

    def asked(shell: dict[str, str], known: settings.Settings) -> Mapping[str, str]:
        return network.addresses(Seen({settings.now: known, settings.shell: shell}))

    through = settings_of(HTTPS_PROXY="http://p:3128", NO_PROXY="x")
    assert asked(shell, through) == {"HTTPS_PROXY": "http://p:3128"}
    assert asked(shell, settings_of()) == {"index-url": "https://me:secret@index.example/simple"}
    assert asked({**home, "PIP_CONFIG_FILE": os.devnull}, settings_of()) == {}


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}", "127.0.0.1:{port}", "http://a:b@127.0.0.1:{port}/x"])
def test_address_is_silent_where_nothing_listens(address: str) -> None:
    """An address with or without scheme, user and path answers while somebody listens, and is silent afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        named = address.format(port=listener.getsockname()[1])
        answered = network.silence(named)

    assert answered == ""
    assert "refused" in network.silence(named)


def test_address_that_is_none_is_silent() -> None:
    """A port that is none is a reason, not a traceback."""
    assert network.silence("http://p:notaport") != ""
