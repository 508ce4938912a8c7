# ruff: noqa: E501 (a row is a line)
"""The table of what a person may choose for a clone: from a row come option, help, key and Compose file."""

import inspect
from typing import Any

import pytest

from host_tasks import choices
from host_tasks.kit.paths import DOCKER_DIR
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.subjects import settings


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
    assert choices.asked({"bind": text}) == {"JUPYTER_BIND": value}


@pytest.mark.parametrize(("on", "value"), [(True, "yes"), (False, None)])
def test_hardening_is_kept_until_it_is_taken_back(*, on: bool, value: str | None) -> None:
    """Either is a choice; saying nothing is none."""
    assert choices.asked({"hardened": on, "no_hardened": not on}) == {"HARDENED": value}


@pytest.mark.parametrize(
    ("given", "said", "fix"),
    [
        *(
            ({"bind": text}, f"--bind {text} is not an address in digits, as 192.0.2.1", "invoke up --bind 127.0.0.1")
            for text in ("eth0", "localhost", "192.0.2", "192.0.2.1:8888", "$(x)", "1.2.3.4/8")
        ),
        ({"hardened": True, "no_hardened": True}, "--hardened and --no-hardened contradict each other", "invoke up --hardened"),
        (
            {"from_": "Registry/Study:1"},
            "--from Registry/Study:1 is not REGISTRY/NAME: a registry, and a name in lower case, without a tag",
            "invoke --help up",
        ),
    ],
)  # fmt: skip
def test_what_is_no_choice_ends_with_64(given: dict[str, Any], said: str, fix: str) -> None:
    """A name of an address could mean another machine tomorrow; both ways at once is no choice."""
    with pytest.raises(HostError) as refusal:
        choices.asked(given)

    assert (refusal.value.code, refusal.value.problem, refusal.value.fix) == (ExitCode.USAGE, said, fix)


def test_nothing_asked_for_is_no_choice() -> None:
    """Plain `up` keeps what was chosen before; what is no choice is none of the table's."""
    assert choices.asked({}) == {}
    assert choices.asked({"port": "", "bind": "", "hardened": False, "no_hardened": False, "yes": True}) == {}


def test_each_choice_is_offered_as_an_option_with_help() -> None:
    """A row of the table needs no line in tasks.py, and what Invoke would not know has no help."""

    @choices.offered
    def body(context: object, yes: bool = False, **chosen: Any) -> None:  # noqa: FBT001, FBT002 (as Invoke takes them)
        """Do nothing."""

    parameters = inspect.signature(body).parameters
    options = {name.rstrip("_").replace("_", "-") for name in parameters} - {"context", "yes"}

    assert list(parameters)[:2] == ["context", "yes"]
    assert options == set(choices.helps())
    assert {"port", "bind", "from", "hardened", "no-hardened", "gpu", "no-gpu", "workers"} <= options
    assert (parameters["port"].default, parameters["no_hardened"].default) == ("", False)
    assert "from_" in parameters
    assert choices.helps()["no-gpu"] == "Go back to the usual."
    assert choices.helps()["from"].endswith("where it is there; kept in docker/.env.")


def test_each_choice_is_a_key_of_docker_env_and_its_file_is_there() -> None:
    """What is chosen is ours to write; what is chosen twice, or brings a file that is missing, is a fault."""
    rows = choices.table()

    assert len({choice.key for choice in rows}) == len({choice.option for choice in rows}) == len(rows)
    assert set(choices.keys()) <= set(settings.own_keys())
    assert all((DOCKER_DIR / choice.file).is_file() for choice in rows if choice.file)


def test_files_come_along_in_the_order_of_the_table() -> None:
    """A key without a value brings none; the workers' file is last, as it takes back what the others say of workers."""
    values = {"DASK_WORKERS": "2", "GPUS": "all", "HARDENED": None}

    assert list(choices.files(values)) == ["docker-compose.gpu.yml", "docker-compose.workers.yml"]
