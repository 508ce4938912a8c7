"""Observations without an engine: what is known is given, and a rule that asks for anything else fails its test."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from host_tasks.ground import envfile
from host_tasks.ground.paths import ENV_FILE, ROOT
from host_tasks.observe.compose import SERVICE, Mount
from host_tasks.observe.containers import Binding, Container
from host_tasks.observe.engine import Endpoint, Engine
from host_tasks.observe.identity import Identity
from host_tasks.observe.images import Base, Built, Environment, Image
from host_tasks.observe.mounts import FOLDER, Crossing, Place
from host_tasks.observe.observation import Observation
from host_tasks.observe.settings import Settings

PROJECT = "study-1a2b3c4d"
ADA = Identity("ada", 1815, 1852, "you")
STAND_IN = "conda-pip-docker/stand-in:0123456789ab"
GIB = 1024**3
VALUES = {"USER": "ada", "UID": "1815", "GID": "1852", "COMPOSE_PROJECT_NAME": PROJECT}
INPUTS = {"the base image": "b1", "the user": "u1", "environment.yml": "e1", "docker/Dockerfile": "d1"}
ENVIRONMENT = Environment(f"{PROJECT}-environment", "e1e1-amd64", None)
SOCKET = "unix:///var/run/docker.sock"


class _Unknown:
    """A part that nobody has given; a given one is found in the instance first."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, seen: object, owner: type) -> Any:
        pytest.fail(f"a rule asked for {self.name}, which this observation does not know")


class Seen(Observation):
    """An observation of what is given, and of nothing else."""

    def __init__(
        self,
        *,
        busy: Iterable[int] = (),
        free: Mapping[Path, int] | None = None,
        sizes: Mapping[str | None, int] | None = None,
        **known: Any,
    ) -> None:
        self.busy = frozenset(busy)
        self.free = free or {}
        self.sizes = sizes or {}
        super().__init__(**known)

    def port_is_free(self, number: int) -> bool:
        """Return whether a port is not among the busy ones."""
        return number not in self.busy

    def port_holder(self, number: int) -> str:
        """Return somebody."""
        return "node (process 4711)"

    def free_bytes(self, folder: Path) -> int | None:
        """Return what was given, else plenty."""
        return self.free.get(folder, 100 * GIB)

    def size_bytes(self, name: str | None) -> int:
        """Return what was given, else nothing."""
        return self.sizes.get(name, 0)


for _name in [name for name, part in vars(Observation).items() if isinstance(part, cached_property)]:
    setattr(Seen, _name, _Unknown(_name))


def settings(
    *, who: Identity = ADA, plan: envfile.Plan | None = None, kept: dict[str, str] | None = None, **values: str
) -> Settings:
    """Return ADA's settings, or somebody's, with other values; docker/.env holds them, but as it is said."""
    now = {**VALUES, **values}
    return Settings(who, plan or envfile.Plan(ENV_FILE, b"", b"", ()), now, now if kept is None else kept, {})


def unwritten(*changes: envfile.Change, before: bytes | None = b"") -> envfile.Plan:
    """Return what is to be written to docker/.env."""
    return envfile.Plan(ENV_FILE, before, b"", changes)


FIRST_ENV = unwritten(*(envfile.Change(key, None, value) for key, value in VALUES.items()), before=None)


def engine(*, info: Mapping[str, Any] = MappingProxyType({}), **differs: Any) -> Engine:
    """Return an engine that is as it should be, but as it is said; what `docker info` says is added to the good."""
    good = {"ServerVersion": "26.1.5", "ClientInfo": {"Plugins": [{"Name": "buildx", "Version": "0.13"}]}}
    known = {"compose": "2.26.1", "script_knows_this_system": True, "user": "ada", "where": Endpoint(SOCKET)}
    return Engine(**{**known, "info": {**good, **info}, **differs})


def base(**differs: Any) -> Base:
    """Return the published base image, which is here, but as it is said."""
    good = Base(
        "base:1", chosen=False, image=Image("sha256:b"), stand_in=STAND_IN, can_make=True, system="debian x86_64"
    )
    return replace(good, **differs)


def place(source: Path = ROOT / "data", *, read_only: bool = False, **differs: Any) -> Place:
    """Return a folder of ADA's that is mounted, but as it is said."""
    good = {"kind": FOLDER, "real": source, "uid": 1815, "gid": 1852, "mode": 0o755}
    return Place(Mount(source, f"/home/ada/app/{source.name}", read_only), **{**good, **differs})


def crossing(path: Path = ROOT / "data", **differs: Any) -> Crossing:
    """Return that probes went through both ways, but as it is said."""
    return Crossing(**{"source": str(path), "owner": (1815, 1852), **differs})


def server(**differs: Any) -> Container:
    """Return the healthy server, but as it is said."""
    good = Container(
        "lab",
        f"{PROJECT}-{SERVICE}-1",
        project=PROJECT,
        service=SERVICE,
        health="healthy",
        image="sha256:i",
        config_hash="h1",
        shm_bytes=GIB,
        bindings=(Binding(8888, "127.0.0.1", 8888),),
    )
    return replace(good, **differs)


def beside(service: str = "db", **differs: Any) -> Container:
    """Return a container that runs beside the server, but as it is said."""
    good = Container(service, f"{PROJECT}-{service}-1", project=PROJECT, service=service, config_hash="h2")
    return replace(good, **differs)


def model(
    *,
    ports: Iterable[Any] = ({"target": 8888, "published": "8888", "host_ip": "127.0.0.1"},),
    network_mode: str | None = None,
    **services: Any,
) -> dict[str, Any]:
    """Return Compose's model of the server, published there, and of further services."""
    network = {"network_mode": network_mode} if network_mode else {}  # as docker-compose.yml, which names none
    return {"services": {SERVICE: {"build": {"context": ".."}, "ports": list(ports), **network}, **services}}


def healthy(**differs: Any) -> Seen:
    """Return an observation of a clone where all is well, but as it is said."""
    known: dict[str, Any] = {
        "root": Path("/home/ada/study"),
        "unreadable_part": None,
        "environment_yml": "dependencies: [python, pandas, {pip: [tabulate]}]",
        "lock": None,
        "stand_in_lock": None,
        "by_hand": (),
        "project": PROJECT,
        "left_behind": (),
        "settings": settings(),
        "exposed_files": {},
        "has_compose": True,
        "is_root": False,
        "containers": (server(),),
        "base": base(),
        "stand_ins": (),
        "image": Image("sha256:i"),
        "built": Built("sha256:i", INPUTS),
        "inputs": INPUTS,
        "environment": ENVIRONMENT,
        "model": model(),
        "hashes": {SERVICE: "h1"},
        "places": (place(),),
    }
    known.update(differs)
    crossings = tuple(crossing(each.mount.source) for each in known["places"])
    return Seen(**{"crossings": crossings, **known})


def stopped(**differs: Any) -> Seen:
    """Return an observation of a clone where all is well and nothing runs, but as it is said."""
    return healthy(**{"containers": (), "engine": engine(), **differs})


def bare(**differs: Any) -> Seen:
    """Return an observation of a clone in which nothing was done yet, but as it is said."""
    known = {"settings": settings(plan=FIRST_ENV, kept={}), "base": base(image=None), "image": None, "built": Built()}
    return stopped(**{**known, **differs})


def examined(**differs: Any) -> Seen:
    """Return an observation of a healthy clone as `doctor` asks for it, but as it is said."""
    known: dict[str, Any] = {
        "engine": engine(),
        "uid": 1815,
        "env_file_owner": 1815,
        "shell": {},
        "proxies_of_shell": {},
        "addresses": {},
        "silent_addresses": {},
        "planted": {},
        "scripts": {ROOT / "postBuild": (False, True)},
    }
    return healthy(**{**known, **differs})
