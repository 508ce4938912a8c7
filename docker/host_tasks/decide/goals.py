"""What each task wants to be true: rules, in the order in which their steps are done."""

from collections.abc import Mapping

from host_tasks.decide import health, share
from host_tasks.decide.base import base_image
from host_tasks.decide.by_hand import by_hand
from host_tasks.decide.choices import hardened
from host_tasks.decide.clone import moved, path
from host_tasks.decide.engine import engine, engine_closely
from host_tasks.decide.environment_lock import environment_lock, write_lock
from host_tasks.decide.gpu import gpu
from host_tasks.decide.image import build_anew, environment_yml, image
from host_tasks.decide.mounts import folders_of_another, mounts_inside, mounts_outside, planted
from host_tasks.decide.plan import Rule
from host_tasks.decide.ports import port, reach
from host_tasks.decide.services import restart, services
from host_tasks.decide.settings import compose_files, env_file, private_files
from host_tasks.decide.workers import workers

SETTINGS: tuple[Rule, ...] = (path, moved, env_file, private_files)
ENGINE: tuple[Rule, ...] = (path, environment_yml, engine, moved, env_file, private_files)
READY: tuple[Rule, ...] = (*ENGINE, health.certificates, share.environment, base_image, environment_lock)
RUNNABLE: tuple[Rule, ...] = (*READY, mounts_outside, image)
STOPPED: tuple[Rule, ...] = (engine, moved)
SHARED: tuple[Rule, ...] = (*READY, share.made)
RECORDED: tuple[Rule, ...] = (path, environment_yml, engine, by_hand)
MOUNTED: tuple[Rule, ...] = (*SETTINGS, mounts_outside)


def built(*, cache: bool) -> tuple[Rule, ...]:
    """Return what `invoke build` wants: one build, whatever there is."""
    return (*READY, build_anew(cache=cache))


def pushed(to: str) -> tuple[Rule, ...]:
    """Return what `invoke push` wants: the environment in a registry."""
    return (*SHARED, share.pushed(to))


def locked(update: str) -> tuple[Rule, ...]:
    """Return what `invoke lock` wants: one lock, whatever there is; update may change, which is a package or `*`."""
    return (*ENGINE, health.certificates, base_image, write_lock(update))


def up(asked_port: int | None) -> tuple[Rule, ...]:
    """Return what `invoke up` wants, with the port that was asked for; None = any."""
    return (*READY, gpu, workers, mounts_outside, folders_of_another, port(asked_port), image, services, mounts_inside)


def restarted() -> tuple[Rule, ...]:
    """Return what `invoke restart` wants: that of `up`, with a server that was started anew."""
    *before, started, mounted = up(None)
    return (*before, restart, started, mounted)


DOCTOR: tuple[Rule, ...] = (
    path,
    engine_closely,
    moved,
    env_file,
    private_files,
    health.env_owner,
    health.shell,
    health.proxy,
    health.reachable,
    health.certificates,
    environment_yml,
    health.scripts,
    health.disk,
    compose_files,
    base_image,
    health.stand_in,
    environment_lock,
    mounts_outside,
    planted,
    port(None),
    reach,
    hardened,
    image,
    gpu,
    workers,
    services,
    mounts_inside,
    by_hand,
    health.shared_memory,
)

# The rules that stand on what another one asks for: where it fails they would blame the wrong thing.
UPON: Mapping[str, tuple[str, ...]] = {
    "env-file": (
        *("private-files", "compose-files", "mounts-outside", "planted", "port", "reach", "hardened", "image"),
        *("services", "mounts-inside"),
    ),
    "engine": ("base-image", "port", "reach", "image", "services", "mounts-inside", "by-hand", "shared-memory"),
    "compose-files": ("mounts-outside", "planted", "port", "reach", "services", "mounts-inside"),
    "mounts": ("planted",),  # a source that is another folder than it seems holds what is not the project's
    "server": ("mounts-inside",),  # one that ends again and again may end amid the probes
}
