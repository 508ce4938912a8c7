"""One observation: what is true now, each part looked at when it is first asked for, and at most once."""

import os
import re
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from host_tasks.ground.errors import HostError
from host_tasks.ground.paths import DOCKER_DIR, ENV_FILE, ENVIRONMENT_YML, LOCK_DIR, ROOT, SCRIPTS
from host_tasks.observe import (
    clone,
    compose,
    containers,
    engine,
    images,
    mounts,
    network,
    ports,
    settings,
)
from host_tasks.observe.compose import SERVICE
from host_tasks.observe.containers import Container
from host_tasks.observe.engine import Engine
from host_tasks.observe.images import Base, Built, Environment, Image
from host_tasks.observe.mounts import Crossing, Place
from host_tasks.observe.settings import Settings

if TYPE_CHECKING:
    from host_tasks.observe.by_hand import Package
    from host_tasks.observe.environment_lock import Line, Lock
    from host_tasks.observe.starter import Starter


class Observation:
    """What is true now.

    A part that is given is taken as it is, so that rules can be tried without an engine: Observation(containers=()).
    A part that cannot be looked at raises a HostError each time it is asked for.
    """

    LASTING = ("engine",)  # what no step of ours changes, but the installation of an engine

    def __init__(
        self,
        *,
        tried: tuple[str, ...] = (),
        said: str = "",
        before: frozenset[str] = frozenset(),
        asked: Mapping[str, str | None] = MappingProxyType({}),
        **known: Any,
    ) -> None:
        self.tried = tried  # the keys of the steps that were done before this observation
        self.said = said  # what Compose wrote in the last of them
        self.before = before  # the ids of the containers that were there before the first of them
        self.asked = asked  # the choices of docker/.env that this call asks for: key and value, None = without it
        self.__dict__.update(known)  # functools: a cached_property is taken from here

    def after(self, key: str, said: str) -> "Observation":
        """Return the next round's observation, after a step: what may have changed is looked at again."""
        lasting = {name: self.__dict__[name] for name in self.LASTING if name in self.__dict__ and key != "install"}
        # Only where a rule has looked at them: now they would be those of after the step, and `env` asks no engine.
        before = self.before if self.tried else frozenset(each.id for each in self.__dict__.get("containers", ()))
        return Observation(tried=(*self.tried, key), said=said, before=before, asked=self.asked, **lasting)

    # The clone and its values.

    root: Path = ROOT

    @cached_property
    def is_root(self) -> bool:
        """Whether this process is root, who can repair what belongs to root."""
        return hasattr(os, "geteuid") and os.geteuid() == 0

    @cached_property
    def unreadable_part(self) -> Path | None:
        """The first part of the clone's path that Compose cannot read."""
        return clone.unreadable_part()

    @cached_property
    def project(self) -> str:
        """The name of this clone for Compose; it needs neither docker/.env nor an engine."""
        return clone.project_name()

    @cached_property
    def settings(self) -> Settings:
        """The identity, and what docker/.env holds and is to hold."""
        return settings.observe(self.asked)

    @cached_property
    def exposed_files(self) -> Mapping[Path, str]:
        """The files that may hold a secret and are not their owner's only, and why."""
        return settings.exposed_files(self.settings.identity.uid)

    @cached_property
    def uid(self) -> int | None:
        """The caller's uid; None on Windows."""
        return os.getuid() if hasattr(os, "getuid") else None

    @cached_property
    def shell(self) -> Mapping[str, str]:
        """What the shell exports."""
        return dict(os.environ)

    @property
    def proxies(self) -> tuple[str, ...]:
        """The names of the proxy variables."""
        return network.PROXIES

    @cached_property
    def proxies_of_shell(self) -> Mapping[str, str]:
        """The proxies that the shell names now."""
        return network.proxies(self.shell)

    @cached_property
    def addresses(self) -> Mapping[str, str]:
        """The addresses that a build asks first, by what names them."""
        return network.named_addresses(self.settings.values, network.pip_config(self.shell))

    @cached_property
    def silent_addresses(self) -> Mapping[str, str]:
        """Why nothing answers, for each of them where nothing does."""
        said = {name: network.silence(address) for name, address in self.addresses.items()}
        return {name: why for name, why in said.items() if why}

    @cached_property
    def env_file_owner(self) -> int | None:
        """The uid of docker/.env; None where there is none."""
        return ENV_FILE.stat().st_uid if ENV_FILE.exists() else None

    @cached_property
    def environment_yml(self) -> str | None:
        """The text of environment.yml; None where there is none."""
        return ENVIRONMENT_YML.read_text(encoding="utf-8", errors="replace") if ENVIRONMENT_YML.is_file() else None

    @cached_property
    def asked_packages(self) -> str:
        """What environment.yml, and the files beside it that pip reads, say without their comments."""
        return re.sub(r"#.*", "", "\n".join([self.environment_yml or "", *self.requirement_texts.values()]))

    @cached_property
    def requirement_texts(self) -> Mapping[str, str]:
        """The texts of the files beside environment.yml that a build reads for packages, by their names."""
        found = (
            each for pattern in ("requirements*.txt", "constraints*.txt", "apt.txt") for each in ROOT.glob(pattern)
        )
        return {each.name: each.read_text(encoding="utf-8", errors="replace") for each in found if each.is_file()}

    @cached_property
    def lock_inputs(self) -> "tuple[Line, ...]":
        """The lines that a lock would be made from."""
        from host_tasks.observe import environment_lock

        return environment_lock.inputs()

    @cached_property
    def lock(self) -> "Lock | None":
        """The lock that is to be committed; None where there is none."""
        return self._lock("")

    @cached_property
    def stand_in_lock(self) -> "Lock | None":
        """The lock of a stand-in's packages, for this machine only; None where there is none."""
        return self._lock("stand-in")

    @staticmethod
    def _lock(name: str) -> "Lock | None":
        """Return the lock in a folder of LOCK_DIR; few projects have one, so what reads it is loaded late."""
        if not LOCK_DIR.is_dir():
            return None
        from host_tasks.observe import environment_lock

        return environment_lock.find(name)

    @cached_property
    def names_at_top(self) -> tuple[str, ...]:
        """The names that stand at the top of the clone."""
        return tuple(sorted(each.name for each in ROOT.iterdir()))

    @cached_property
    def scripts(self) -> Mapping[Path, tuple[bool, bool]]:
        """The scripts that are there: whether each has carriage returns, and whether it may be run."""
        return {each: (b"\r" in each.read_bytes(), os.access(each, os.X_OK)) for each in SCRIPTS if each.is_file()}

    def size_bytes(self, name: str | None) -> int:
        """Return the size of a file that docker/.env names; 0 where it is not there."""
        path = DOCKER_DIR / (name or "")
        return path.stat().st_size if path.is_file() else 0

    def free_bytes(self, folder: Path) -> int | None:
        """Return what is free in a folder; None where that cannot be told."""
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            return None

    @cached_property
    def starter(self) -> "Starter":
        """The version of the starter here, and the newest one."""
        from host_tasks.observe import starter  # late, as nothing but `upgrade` asks

        return starter.look()

    @cached_property
    def unfinished(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The files of the last commit that have changed since, and those of them that clash."""
        from host_tasks.observe import starter

        return starter.unfinished()

    # The engine and what is on it.

    @cached_property
    def engine(self) -> Engine:
        """What docker's command, Compose and the engine say of themselves."""
        return engine.look()

    @property
    def engine_folder(self) -> Path | None:
        """Where the engine keeps its images; None where that is no folder of this machine."""
        folder = str((self.engine.info or {}).get("DockerRootDir") or "")
        return Path(folder) if folder and self.engine.where.local and Path(folder).is_dir() else None

    @cached_property
    def lacking_for_gpu(self) -> str:
        """What keeps containers from having a GPU; "" where nothing is seen to."""
        from host_tasks.observe import gpu  # late, as few ask for one

        return gpu.lacking(self.engine.info or {}, same_kernel=self.engine_folder is not None)

    @cached_property
    def has_compose(self) -> bool:
        """Whether there is a docker command with Compose, to read the Compose files with."""
        return shutil.which("docker") is not None and (self.any_runs or bool(self.engine.compose))

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """The containers of this clone, in whatever state; none where no engine answers."""
        try:
            return containers.of_project(self.project)
        except HostError:
            return ()

    @property
    def any_runs(self) -> bool:
        """Whether something of this clone runs: then the engine and Compose need no other proof."""
        return any(each.status == "running" for each in self.containers)

    @property
    def services(self) -> tuple[Container, ...]:
        """The containers of services, without those of `invoke run`."""
        return tuple(each for each in self.containers if not each.oneoff)

    @property
    def server(self) -> Container | None:
        """The newest container of the server, in whatever state; None where there is none."""
        return next((each for each in self.services if each.service == SERVICE), None)

    @cached_property
    def by_hand(self) -> "tuple[Package, ...]":
        """What was installed by hand in the running environment."""
        from host_tasks.observe import by_hand

        return by_hand.installed(self.server) if self.server and self.server.status == "running" else ()

    @cached_property
    def left_behind(self) -> tuple[Container, ...]:
        """What this clone started before it was moved, by the name in docker/.env; () where it cannot be told."""
        try:
            old = self.settings.kept.get("COMPOSE_PROJECT_NAME", self.project)
            if old == self.project:
                return ()
            return tuple(each for each in containers.of_project(old) if not Path(each.folder).is_dir())
        except HostError:
            return ()

    @cached_property
    def base(self) -> Base:
        """The base image of the next build."""
        chosen = self.settings.values.get("BASE_IMAGE")
        return images.base(chosen, self._found(chosen or images.published()))

    @cached_property
    def stand_ins(self) -> tuple[Image, ...]:
        """The stand-ins on the engine, whichever clone made them."""
        return images.stand_ins()

    @cached_property
    def image(self) -> Image | None:
        """The image of this clone; None where there is none. Compose names it after project and service."""
        return self._found(f"{self.project}-{SERVICE}")

    @cached_property
    def inputs(self) -> Mapping[str, str]:
        """What the next build would be made from, with digests."""
        return images.inputs(self.settings.values, self.base.image.id if self.base.image else self.base.name)

    @cached_property
    def environment(self) -> Environment:
        """The image of the heavy layers that these inputs make."""
        repository = images.environment_repository(self.project)
        tag = images.environment_tag(self.inputs, self.base.name)
        return Environment(repository, tag, self._found(f"{repository}:{tag}"))

    @cached_property
    def has_sbom_scanner(self) -> bool:
        """Whether the builder can have what lists an image's packages."""
        return images.is_in_registry(images.SBOM_SCANNER)

    def _found(self, name: str) -> Image | None:
        """Return an image; where no engine answers there is none, and a rule of its own says why.

        One that answers, and only not this, must not pass for one without the image: that would be built again.
        """
        try:
            return images.find(name)
        except HostError:
            if (self.engine.info or {}).get("ServerVersion"):
                raise
            return None

    @cached_property
    def built(self) -> Built:
        """What the last build was made from."""
        return images.built()

    @property
    def port(self) -> int:
        """The port that JupyterLab is published on by docker/.env; the first one where that cannot be read."""
        try:
            return ports.own_port(self.settings.values)
        except HostError:
            return ports.FIRST_PORT

    def port_is_free(self, number: int) -> bool:
        """Return whether a port of the address that docker/.env names can be taken now; 0 = whether it is one."""
        return ports.is_free(number, ports.own_address(self.settings.values))

    def port_holder(self, number: int) -> str:
        """Return who holds a port, as far as it can be told."""
        try:
            return ports.holder(number, containers.publishing())
        except HostError:
            return ports.holder(number, ())

    # What Compose makes of its files.

    @cached_property
    def model(self) -> Mapping[str, Any]:
        """Compose's model of its files and values."""
        return compose.model(self.settings.values)

    @property
    def lacking_images(self) -> Mapping[str, str]:
        """The images that services without a build name and that are not on this engine, by service."""
        return {name: image for name, image in self._named_images.items() if self._found(image) is None}

    @property
    def named_images(self) -> tuple[str, ...]:
        """The images on this engine that services without a build name."""
        return tuple(image for image in dict.fromkeys(self._named_images.values()) if self._found(image))

    @property
    def _named_images(self) -> Mapping[str, str]:
        """The images that services without a build name, by service."""
        return {name: str(each.get("image")) for name, each in self.model["services"].items() if not each.get("build")}

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """Compose's hash of each service's configuration."""
        return compose.hashes(self.settings.values)

    # The mounts.

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The sources of the declared mounts on this machine."""
        return tuple(mounts.place(each, count_roots=self.is_root) for each in compose.declared_mounts(self.model))

    @cached_property
    def planted(self) -> Mapping[Path, str]:
        """What tools that are started in the mounted folders would run, and which tool; the container can write it."""
        from host_tasks.observe.planted import planted  # late: only `mounts` and `doctor` ask

        return planted(each.real for each in self.places if each.kind == mounts.FOLDER and not each.mount.read_only)

    @cached_property
    def crossings(self) -> tuple[Crossing, ...]:
        """What probes through the running server say of each mount, in the order of `places`."""
        return mounts.cross(self.places, self.server) if self.server else ()
