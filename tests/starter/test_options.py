"""Dask workers and other options: what docker/.env then says, what is refused, and what has to be started."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from observed import INPUTS, Seen, beside, healthy, model, server, settings

from host_tasks import choices
from host_tasks.extras import _dask
from host_tasks.extras.workers import workers
from host_tasks.kit.paths import DOCKER_DIR
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import OK
from host_tasks.subjects.compose import SERVICE
from host_tasks.subjects.images import Built
from host_tasks.subjects.services import services
from host_tasks.subjects.settings import compose_file

BASE, MINE, OVERRIDE = "docker-compose.yml", "mine.yml", "docker-compose.override.yml"
WORKERS, HARDENED = "docker-compose.workers.yml", "docker-compose.hardened.yml"
GPU, GONE = "docker-compose.gpu.yml", "docker-compose.hardened-workers.yml"


def listed(*names: str) -> str:
    """Return a value of COMPOSE_FILE."""
    return os.pathsep.join(names)


@pytest.mark.parametrize(("text", "asked"), [("", {}), ("0", {"DASK_WORKERS": None}), ("12", {"DASK_WORKERS": "12"})])
def test_number_of_workers_is_what_docker_env_shall_hold(text: str, asked: dict[str, str | None]) -> None:
    """Nothing is asked where nothing is said; 0 takes the key away."""
    assert choices.asked({"workers": text}) == asked


@pytest.mark.parametrize("text", ["two", "-1", "00", "1000", "1.5", "²"])
def test_what_is_no_number_of_workers_ends_with_64(text: str) -> None:
    """The error repeats what was said, and its fix is a command that works."""
    with pytest.raises(HostError) as refusal:
        choices.asked({"workers": text})

    assert (refusal.value.code, refusal.value.fix) == (ExitCode.USAGE, "invoke up --workers 2")
    assert refusal.value.problem == f"--workers {text} is not between 0 and 999"


@pytest.mark.parametrize(
    ("values", "has_override", "expected"),
    [
        ({}, True, None),
        ({"COMPOSE_FILE": listed(BASE, MINE)}, True, listed(BASE, MINE)),
        ({"DASK_WORKERS": "2"}, False, listed(BASE, WORKERS)),
        ({"DASK_WORKERS": "2"}, True, listed(BASE, WORKERS, OVERRIDE)),
        ({"DASK_WORKERS": "2", "COMPOSE_FILE": listed(BASE, WORKERS, OVERRIDE)}, False, listed(BASE, WORKERS)),
        ({"DASK_WORKERS": "2", "COMPOSE_FILE": listed(BASE, MINE)}, True, listed(BASE, WORKERS, MINE, OVERRIDE)),
        ({"DASK_WORKERS": None, "COMPOSE_FILE": listed(BASE, WORKERS, MINE)}, False, listed(BASE, MINE)),
        ({"DASK_WORKERS": "2", "HARDENED": "yes", "GPUS": "all"}, False, listed(BASE, GPU, HARDENED, WORKERS)),
        ({"HARDENED": "yes", "COMPOSE_FILE": listed(BASE, HARDENED, WORKERS)}, False, listed(BASE, HARDENED)),
        ({"HARDENED": "yes", "COMPOSE_FILE": listed(BASE, WORKERS, HARDENED, GONE)}, False, listed(BASE, HARDENED)),
        ({"COMPOSE_FILE": listed(BASE, HARDENED, GONE)}, False, None),
        ({"DASK_WORKERS": None, "COMPOSE_FILE": listed(BASE, WORKERS, OVERRIDE)}, True, None),
    ],
)
def test_compose_file_names_what_is_chosen(
    values: dict[str, str | None],
    has_override: bool,  # noqa: FBT001 - a column of the table
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ours after docker-compose.yml, the person's further files next, the override last; the key goes with the last.

    The file of the workers comes after those of gpu and hardened, whose settings of them end there.
    """
    monkeypatch.setattr("host_tasks.subjects.settings.DOCKER_DIR", tmp_path)
    if has_override:
        (tmp_path / OVERRIDE).touch()

    assert compose_file(values) == expected


def test_every_option_has_its_file() -> None:
    """What a key takes along is there, and plain YAML says which services it is about."""
    for name in filter(None, (choice.file for choice in choices.table())):
        text = (DOCKER_DIR / name).read_text(encoding="utf-8").replace("!reset", "").replace("!override", "")
        assert yaml.safe_load(text)["services"]


def judged(packages: str, number: str = "2") -> Any:
    """Return what the rule finds where the environment's files say this."""
    seen = Seen(settings=settings(DASK_WORKERS=number), environment_yml=packages, requirement_texts={})
    [finding] = workers.found(seen)
    return finding


@pytest.mark.parametrize("packages", ["- dask", "- dask-core =2026.8", "- distributed", "- pip: ['dask[complete]']"])
def test_dask_by_any_name_is_dask(packages: str) -> None:
    """conda-forge and PyPI name it differently."""
    assert judged(packages).state == OK


def test_fix_for_a_missing_dask_names_what_to_add() -> None:
    """What the fix names is Dask for the next look; it changes no file by a program that macOS has otherwise."""
    finding = judged("- python")

    assert finding.fix == f"add {', '.join(_dask.PACKAGES)} to environment.yml, then: invoke up --workers 2"
    assert judged("\n".join(f"- {name}" for name in _dask.PACKAGES)).state == OK


def test_key_written_by_hand_that_is_no_number_is_refused() -> None:
    """Compose would end with words of its own."""
    assert judged("- dask", "many").cause == "docker/.env says DASK_WORKERS=many, which is not between 1 and 999"


# Services beside the server, as `up` sees them.


def with_worker(*containers: Any, declared: dict[str, Any] | None = None, **differs: Any) -> str:
    """Return what the rule says of a server with a declared `worker`, and of its containers."""
    known = {
        "containers": (server(started="2026-01-01T10:00:00Z"), *containers),
        "hashes": {SERVICE: "h1", "worker": "h2"},
        "model": model(worker=declared or {}),
    }
    [finding] = services.found(healthy(**{**known, **differs}))
    return "" if finding.state == OK else finding.cause


@pytest.mark.parametrize("declared", [{"scale": 2}, {"deploy": {"replicas": 2}}])
def test_service_runs_as_often_as_it_is_declared(declared: dict[str, Any]) -> None:
    """One too few and one too many are both to be put right."""
    one, other, third = beside("worker"), beside("worker", id="w2"), beside("worker", id="w3")

    assert with_worker(one, other, declared=declared) == ""
    assert with_worker(one, declared=declared) == "worker runs 1 times, and is wanted 2 times"
    assert with_worker(one, other, third, declared=declared) == "worker runs 3 times, and is wanted 2 times"


def test_service_that_is_wanted_no_time_need_not_run() -> None:
    """`scale: 0` is a service that waits to be asked for."""
    assert with_worker(declared={"scale": 0}) == ""


def test_service_with_a_health_check_is_no_job() -> None:
    """A worker ends with 0 where its scheduler is gone: it has not done its work."""
    ended = beside("worker", status="exited")

    assert with_worker(ended) == ""
    assert with_worker(ended, declared={"healthcheck": {"test": ["CMD", "x"]}}) == "worker ended with exit code 0"


def test_what_depends_on_another_is_started_after_it() -> None:
    """It would stay in a network that is gone; another order of dependence does not matter."""
    worker = beside("worker", started="2026-01-01T09:00:00Z")
    hangs, waits = ({"depends_on": {SERVICE: {"restart": each}}} for each in (True, False))

    assert with_worker(worker, declared=hangs) == f"worker was started before {SERVICE}, which it depends on"
    assert with_worker(worker, declared=waits) == ""
    assert with_worker(beside("worker", started="2026-01-01T11:00:00Z"), declared=hangs) == ""


@pytest.mark.parametrize(("written_down", "causes"), [("h2", 0), ("h1", 1)])
@pytest.mark.parametrize("shared", [{"network_mode": f"service:{SERVICE}"}, {"volumes_from": [SERVICE]}])
def test_what_shares_with_another_is_judged_by_what_was_written_down(
    shared: dict[str, Any], written_down: str, causes: int
) -> None:
    """Compose's own hash of it has the id of the other container in it, so no file tells the same."""
    worker = beside("worker", config_hash="with an id in it")
    built = Built("sha256:i", INPUTS, {"worker": written_down})

    assert bool(with_worker(worker, declared=shared, built=built)) == bool(causes)
    assert with_worker(worker, built=built).endswith("say something else of worker than when it was started")
