"""What each task wants to be true: rules, in the order in which their steps are done."""

from __future__ import annotations

from collections.abc import Iterable

from host_tasks import extras
from host_tasks.loop import Rule
from host_tasks.subjects import (
    base,
    clone,
    engine,
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
    services,
    settings,
)


def settled(unset: str = "") -> tuple[Rule, ...]:
    """Return what needs no engine: docker/.env says who this is, without an old key, and secrets are private."""
    taken_out = [settings.taken_out(unset)] if unset else []
    return (clone.path, clone.moved, clone.taken_over, *taken_out, settings.env_file, settings.private_files)


def mounted(*, fix: bool = True) -> tuple[Rule, ...]:
    """Return that the way through the mounts can be looked at, and with fix that their sources can be written."""
    return (*settled(), *([mounts.mounts_outside] if fix else []), services.processes)


def with_engine() -> tuple[Rule, ...]:
    """Return that there is an engine, and an environment.yml."""
    return (
        *(clone.path, environment.environment_yml, engine.engine, clone.moved, idmap.ids_fit),
        *(clone.taken_over, settings.compose_names, settings.env_file, machine.memory_limit, settings.private_files),
    )


def stopped() -> tuple[Rule, ...]:
    """Return what can be asked for with a broken docker/.env: an engine, and nothing left of another place."""
    return (engine.engine_as_it_is, clone.moved)


def linked(*, rotate: bool = False) -> tuple[Rule, ...]:
    """Return that a server answers its link, another one where that is asked for."""
    return (*stopped(), *([link.rotated] if rotate else []), *services.sound(), link.answers)


def ready() -> tuple[Rule, ...]:
    """Return that an image can be built."""
    return (
        *with_engine(),
        *(network.certificates_fit, images.environment_taken, base.base_image, environment_lock.environment_lock),
    )


def built(*, cache: bool) -> tuple[Rule, ...]:
    """Return what `invoke build` wants: one build, whatever there is."""
    return (*ready(), images.build_anew(cache=cache))


def runnable() -> tuple[Rule, ...]:
    """Return that a command can be run in a container of its own."""
    return (*ready(), mounts.mounts_outside, images.image)


def shared() -> tuple[Rule, ...]:
    """Return that the environment is an image of its own."""
    return (*ready(), images.environment_made)


def locked(update: str) -> tuple[Rule, ...]:
    """Return what `invoke lock` wants: one lock, whatever there is; update may change, a package or `*`."""
    return (*with_engine(), network.certificates_fit, base.base_image, environment_lock.write_lock(update))


def lock_checked() -> tuple[Rule, ...]:
    """Return what `invoke lock --check` wants."""
    return (environment.environment_yml, environment_lock.environment_lock)


def up() -> tuple[Rule, ...]:
    """Return what `invoke up` wants."""
    core = (
        *(*ready(), mounts.mounts_outside, mounts.folders_of_another, settings.compose_files, ports.port),
        *(images.image, services.others_built, services.services, settings.choices_kept),
        *(services.processes, services.proved, link.answers),
    )
    return _with_extras(core, "up")


def restarted() -> tuple[Rule, ...]:
    """Return what `invoke restart` wants: that of `up`, with a server that was started anew."""
    wanted = up()
    at = wanted.index(services.processes)  # behind what starts it, which may have done so
    return (*wanted[:at], services.restarted, *wanted[at:])


def doctor() -> tuple[Rule, ...]:
    """Return every check."""
    core = (
        *(clone.path, engine.engine_closely, clone.moved, clone.taken_over, idmap.limits),
        *(settings.env_file, idmap.ids_fit, settings.private_files, settings.env_owner, settings.shell_unheard),
        identity.closed_to_others,
        *(network.proxy, network.reachable, network.certificates_fit, settings.compose_names),
        *(environment.environment_yml, machine.scripts_in_order, machine.disk, settings.compose_files),
        *(base.base_image, base.stand_in, environment_lock.environment_lock),
        *(mounts.mounts_outside, planted.planted, ports.port, ports.reach, images.image),
        *(*services.sound(), services.services, mounts.mounts_inside, services.memory, machine.shared_memory),
    )
    return _with_extras(core, "doctor")


def _with_extras(core: Iterable[Rule], task: str) -> tuple[Rule, ...]:
    """Return rules with those that extras add, each before the first one of the code that it names."""
    rules = list(core)
    for rule, code, tasks in extras.rules():
        if task in tasks:
            at = next((number for number, known in enumerate(rules) if known.code == code), len(rules))
            rules.insert(at, rule)
    return tuple(rules)
