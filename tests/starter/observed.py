"""What is seen without an engine: facts are given, and a rule that asks for anything else fails its test."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from host_tasks import loop
from host_tasks.extras import gpu, record, reproduce, upgrade
from host_tasks.kit import envfile
from host_tasks.kit.client import Endpoint
from host_tasks.kit.paths import ENV_FILE, ROOT
from host_tasks.subjects import (
    base as base_image,
    clone,
    compose,
    containers,
    engine as engines,
    environment,
    environment_lock,
    identity,
    idmap,
    images,
    link,
    machine,
    mounts,
    network,
    planted,
    ports,
    removal,
    settings as settings_of,
)
from host_tasks.subjects.base import Base
from host_tasks.subjects.compose import SERVICE, Mount
from host_tasks.subjects.containers import Binding, Container
from host_tasks.subjects.engine import Engine
from host_tasks.subjects.identity import Identity
from host_tasks.subjects.images import Built, Environment, Image
from host_tasks.subjects.mounts import FOLDER, Crossing, Held, Place
from host_tasks.subjects.settings import Settings

PROJECT = "study-1a2b3c4d"
ADA = Identity("ada", 1815, 1852, "you")
STAND_IN = "conda-pip-docker/stand-in:0123456789ab"
GIB = 1024**3
VALUES = {"USER": "ada", "UID": "1815", "GID": "1852", "COMPOSE_PROJECT_NAME": PROJECT}
INPUTS = {"the base image": "b1", "the user": "u1", "environment.yml": "e1", "docker/Dockerfile": "d1"}
ENVIRONMENT = Environment(f"{PROJECT}-environment", "e1e1-amd64", None)
SOCKET = "unix:///var/run/docker.sock"


# The facts by the names that tests give them; all others are derived of these.
FACTS: dict[str, Callable[[loop.Seen], Any]] = {
    "addresses": network.addresses,
    "base": base_image.now,
    "built": images.last_build,
    "bundle_bytes": network.bundle_bytes,
    "by_hand": record.installed_by_hand,
    "containers": containers.ours,
    "crossings": mounts.crossings,
    "engine": engines.state,
    "engine_says": idmap.info,
    "env_file_owner": settings_of.env_file_owner,
    "environment": images.environment,
    "environment_yml": environment.text,
    "exposed_files": settings_of.exposed,
    "former": clone.former,
    "free": machine.free,
    "has_compose": compose.is_there,
    "has_sbom_scanner": images.has_sbom_scanner,
    "hashes": compose.hashes,
    "held": mounts.held,
    "holders": ports.holders,
    "image": images.own,
    "inputs": images.inputs,
    "is_root": clone.is_root,
    "killed_for_memory": containers.killed_for_memory,
    "lacking_for_gpu": gpu.missing,
    "lacking_images": images.lacking,
    "link": link.link,
    "lock": environment_lock.committed,
    "lock_inputs": environment_lock.lines_now,
    "model": compose.model,
    "names_at_top": environment.names_at_top,
    "open_to_all": identity.open_to_all,
    "places": mounts.places,
    "of_former": removal.of_former,
    "own_files": settings_of.own_files,
    "planted": planted.found,
    "ports_free": ports.free,
    "processes": containers.processes,
    "project": clone.project,
    "pyproject_of_src": environment.source,
    "requirement_texts": environment.beside,
    "root": clone.root,
    "scripts": machine.scripts,
    "settings": settings_of.now,
    "shell": settings_of.shell,
    "silent_addresses": network.silent_addresses,
    "stand_in_lock": environment_lock.of_stand_in,
    "stand_ins": base_image.stand_ins,
    "starter": upgrade.state,
    "uid": settings_of.uid,
    "uncommitted": reproduce.uncommitted,
    "unfinished": upgrade.unfinished,
    "wheels": environment.wheels,
}


class Seen(loop.Seen):
    """What is given, and nothing else: a rule that asks for a fact that nobody gave fails its test."""

    def __init__(
        self,
        *,
        busy: Iterable[int] = (),
        tried: Iterable[str] | Mapping[str, loop.Ended] = (),
        before: tuple[Container, ...] = (),
        asked: Mapping[str, str | None] = MappingProxyType({}),
        **known: Any,
    ) -> None:
        """Take facts by their names, the steps that were tried, and the containers that were there before them.

        A fact that is an error is raised.
        """
        taken = frozenset(busy)
        self.known = {
            "ports_free": lambda number: number not in taken,
            "holders": lambda number: "node (process 4711)",
            "bundle_bytes": 0,
            "held": (),
            "killed_for_memory": 0,
            "open_to_all": (),
            "processes": (0, 0),
            "free": {"the clone": (ROOT, 100 * GIB)},
            **known,
        }
        done = tried if isinstance(tried, Mapping) else {name: loop.Ended() for name in tried}
        facts = {FACTS[name]: told for name, told in self.known.items() if not isinstance(told, Exception)}
        first = loop.Seen({containers.ours: before}) if done else None
        super().__init__(facts, asked=asked, tried=done, first=first)

    def look(self, told: Callable[[loop.Seen], Any]) -> Any:
        """Look at what is derived; a fact that tests give, and this one did not, fails."""
        for name, fact in FACTS.items():
            if fact is told and isinstance(error := self.known.get(name), Exception):
                raise error
            if fact is told:
                pytest.fail(f"a rule asked for {name}, which nobody has given")
        return super().look(told)


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
    known = {"compose": "2.26.1", "script_knows_this_system": True, "where": Endpoint(SOCKET)}
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


def held(path: Path = ROOT / "data", **differs: Any) -> Held:
    """Return that the server has an old folder, which was deleted, in the place of one of ADA's, but as it is said."""
    return Held(
        **{"target": f"/home/ada/app/{path.name}", "source": path, "same": False, "is_deleted": True, **differs}
    )


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
        "environment_yml": "dependencies: [python, pandas, {pip: [tabulate]}]",
        "requirement_texts": {},
        "pyproject_of_src": None,
        "wheels": frozenset(),
        "lock": None,
        "stand_in_lock": None,
        "by_hand": (),
        "project": PROJECT,
        "former": "",
        "of_former": {},
        "own_files": ([], []),
        "link": "http://127.0.0.1:8888/?token=t",
        "settings": settings(),
        "exposed_files": {},
        "engine_says": {"SecurityOptions": ["name=seccomp,profile=builtin"], "MemoryLimit": True},
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
        "addresses": {},
        "silent_addresses": {},
        "planted": {},
        "scripts": {ROOT / "postBuild": (False, True)},
    }
    return healthy(**{**known, **differs})
