"""docker/.env and the files beside it: what they hold, and what is true of this machine, this person and choices."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from host_tasks import choices
from host_tasks.kit import envfile, files, report
from host_tasks.kit.paths import (
    BEFORE_COMPOSE_FILE,
    CA_BUNDLE,
    COMPOSE_FILE,
    DOCKER_DIR,
    ENV_FILE,
    OVERRIDE_FILES,
    PIP_CONFIG,
    PROXY_CONFIG,
    ROOT,
    SECRETS_DIR,
    shown,
)
from host_tasks.kit.words import ExitCode, HostError, masked, path_word, task_command, unset
from host_tasks.loop import Finding, Rule, Seen, Step, fact, fail, ok, once, rule, warn
from host_tasks.subjects import clone, compose, identity, idmap, network, ports, removal

HEADER = "# Written by `python3 tasks.py env`: who you are, and what was chosen for this clone."
GONE = "docker-compose.hardened-workers.yml"  # a Compose file of earlier starters, whose docker/.env may name it


@functools.cache
def own_keys() -> tuple[str, ...]:
    """Return the keys of docker/.env that are ours; every other line is the person's."""
    return (
        *("USER", "UID", "GID", "APP_USER", "COMPOSE_PROJECT_NAME", "PROJECT_FOLDER", "COMPOSE_FILE", "BASE_IMAGE"),
        *("CA_BUNDLE", "PIP_CONFIG", "PROXY_CONFIG", "MEMORY_LIMIT", idmap.KEY, *choices.keys(), *network.PROXIES),
    )


def env(path: Path = ENV_FILE) -> envfile.EnvFile:
    """Return docker/.env, as a file of which some keys are ours."""
    return envfile.EnvFile(path, own_keys(), HEADER)


@dataclass(frozen=True)
class Settings:
    """The identity, and what docker/.env is to hold."""

    identity: identity.Identity
    plan: envfile.Plan  # from what docker/.env holds to what it is to hold
    values: dict[str, str]  # of our own keys, as they stand in docker/.env once the plan is written
    kept: dict[str, str]  # all that docker/.env holds now
    # What is true of own keys; a choice that is kept is not among them.
    observed: Mapping[str, str | None] = field(default_factory=dict)
    beside: Mapping[Path, str] = field(default_factory=dict)  # what files beside docker/.env are to hold, and do not
    chosen: envfile.Plan | None = None  # what this call chose, to be written once the server runs by it


# look


@fact
def now(seen: Seen) -> Settings:
    """Return the settings of this moment, with what was asked for."""
    return observe(seen.asked)


@fact
def exposed(seen: Seen) -> Mapping[Path, str]:
    """Return the files that may hold a secret and are not their owner's only, and why; none on Windows.

    Those in docker/secrets belong to the identity, else its container could not read them; a link there could lead
    anywhere, and leads nowhere in the container.
    """
    found, uid = {}, now(seen).identity.uid
    yours = [path for path in sorted(SECRETS_DIR.rglob("*")) if path.name != "README.md"]
    for path in (ENV_FILE, PIP_CONFIG, PROXY_CONFIG, *yours) if os.name != "nt" else ():
        if not path.is_symlink() and path.exists():
            status = path.stat()
            if status.st_mode & 0o077:
                found[path] = f"has the mode {status.st_mode & 0o7777:04o}"
            elif path in yours and status.st_uid != uid:
                found[path] = f"belongs to uid {status.st_uid}, and the container is {uid}"
    return found


@fact
def own_files(seen: Seen) -> tuple[list[str], list[str]]:
    """Return the person's Compose files that are read instead of ours, and those that are read after it, by name."""
    return [path.name for path in BEFORE_COMPOSE_FILE if path.is_file()], compose.overrides(DOCKER_DIR)


def of_old_place(seen: Seen) -> dict[str, str]:
    """Return what docker/.env keeps of another place of this clone: its old name, by which an engine knows its things.

    Where none answers now, nothing can be taken over, and without that name nothing ever could.
    """
    settings = now(seen)
    renamed = any(change.key == "COMPOSE_PROJECT_NAME" and change.old for change in settings.plan.changes)
    if not renamed or removal.of_former(seen) is not None:
        return {}
    return {key: settings.kept[key] for key in ("COMPOSE_PROJECT_NAME", "PROJECT_FOLDER") if key in settings.kept}


@fact
def uid(seen: Seen) -> int | None:
    """Return the caller's uid; None on Windows."""
    return os.getuid() if hasattr(os, "getuid") else None


@fact
def shell(seen: Seen) -> Mapping[str, str]:
    """Return what the shell exports."""
    return dict(os.environ)


@fact
def env_file_owner(seen: Seen) -> int | None:
    """Return the uid of docker/.env; None where there is none."""
    return ENV_FILE.stat().st_uid if ENV_FILE.exists() else None


def observe(asked: Mapping[str, str | None] = MappingProxyType({})) -> Settings:
    """Return the settings of this moment, with what was asked for of the keys that are a person's choice.

    Raises:
        HostError: the identity, docker/.env or pip's configuration cannot be used.
    """
    kept, pip_config, trusted = env(ENV_FILE).read(), network.pip_config(), network.ca_bundle()
    (who, uid, gid), chosen = idmap.inside(identity.observe(), kept), _chosen_bundle(kept.get("CA_BUNDLE"), trusted)
    # The engine may not see where this machine keeps its certificates, so they are copied into the clone.
    wanted = {PIP_CONFIG: pip_config, CA_BUNDLE: network.certificates(trusted) if trusted and not chosen else ""}
    through = {**kept, **network.proxies()}  # as docker/activate.sh reads it
    wanted[PROXY_CONFIG] = "".join(f"{name}={through[name]}\n" for name in network.PROXIES if through.get(name))
    beside = {path: text for path, text in wanted.items() if text and files.content(path) != text.encode()}
    observed: dict[str, str | None] = {
        "USER": who.user,
        "UID": uid,
        "GID": gid,
        "APP_USER": who.user,  # what Compose goes by: it takes USER from the shell first
        "COMPOSE_PROJECT_NAME": clone.project_name(),
        "PROJECT_FOLDER": str(ROOT) if envfile.can_hold(str(ROOT)) else None,
        "CA_BUNDLE": chosen or (_text(CA_BUNDLE) if wanted[CA_BUNDLE] else _still_there(_text(CA_BUNDLE))),
        "MEMORY_LIMIT": kept.get("MEMORY_LIMIT") or memory_limit(),
        "PIP_CONFIG": _text(PIP_CONFIG) if pip_config else _still_there(kept.get("PIP_CONFIG")),
        "PROXY_CONFIG": _text(PROXY_CONFIG) if wanted[PROXY_CONFIG] else None,
        "COMPOSE_FILE": compose_file(kept),
        **network.proxies(),
    }
    later: dict[str, str | None] = {**asked, "COMPOSE_FILE": compose_file({**kept, **asked})}
    after = {**kept, **observed, **later}
    values = {key: value for key in own_keys() if (value := after.get(key)) is not None}
    return Settings(
        who, env(ENV_FILE).plan(observed), values, kept, observed, beside, env(ENV_FILE).plan(later if asked else {})
    )


def _chosen_bundle(named: str | None, trusted: Path | None) -> str | None:
    """Return the CA bundle of docker/.env where a person chose it, and it is no copy of this machine's."""
    if named is None or named == str(trusted) or Path(named).name == CA_BUNDLE.name:
        return None
    return _still_there(named)


def memory_limit(total_bytes: int = 0) -> str | None:
    """Return nine tenths of a memory, or of this machine's, as Compose writes it; None where no system tells (Windows).

    A kernel that takes more ends then, and not what else runs here.
    """
    if not total_bytes and hasattr(os, "sysconf"):
        total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{total_bytes * 9 // 10 // 2**20}m" if total_bytes else None


def compose_file(values: Mapping[str, str | None]) -> str | None:
    """Return COMPOSE_FILE for the choices among the values; None = Compose's own choice of files, which is ours.

    Plain Compose reads it from docker/.env too, and then leaves out docker-compose.override.yml where it is not named
    (Compose 5 documentation, "Configure pre-defined environment variables"). Further files that a person names stay.
    """
    named = values.get("COMPOSE_FILE")
    first, *others = named.split(os.pathsep) if named else [COMPOSE_FILE.name]
    ours = [GONE, *(choice.file for choice in choices.table() if choice.file)]
    chosen = list(choices.files(values))
    if named and not chosen and not set(others) & set(ours):
        return named
    others = [name for name in others if name not in (*ours, *(path.name for path in OVERRIDE_FILES))]
    if not chosen and not others and first == COMPOSE_FILE.name:
        return None
    return os.pathsep.join([first, *chosen, *others, *compose.overrides(DOCKER_DIR)[:1]])


def _still_there(kept: str | None) -> str | None:
    """Return a path that a person chose in docker/.env while it exists; Compose sees it from docker/."""
    return kept if kept and (DOCKER_DIR / kept).is_file() else None


def _text(path: Path) -> str:
    """Return a file beside docker/.env as a value of it: by its name where its path does not fit (Compose)."""
    return str(path) if envfile.can_hold(str(path)) else path.name


# judge


@rule("env-file")
def env_file(seen: Seen) -> Iterator[Finding]:
    """Ask for docker/.env, and the files beside it, to say what is true of this machine and this person."""
    settings, name = now(seen), shown(ENV_FILE)
    port, stays = settings.kept.get(ports.KEY, ""), of_old_place(seen)
    plan = replace(settings.plan, changes=tuple(each for each in settings.plan.changes if each.key not in stays))
    if port and not ports.is_port(port):
        line = env(ENV_FILE).line_numbers()[ports.KEY]
        problem = f"{name}:{line}: {ports.KEY}={port} is not between {ports.LOWEST_PORT} and {ports.HIGHEST_PORT}"
        yield fail(problem, f"correct or remove line {line}, then: {task_command('env')}")
    elif plan.changes:
        keys = ", ".join(change.key for change in plan.changes)
        step = Step(write, f"write {name}", f"{keys} in {name}; every other line stays")
        yield fail(reason(plan), task_command("env"), step=step)
    elif settings.beside:
        names = " and ".join(map(shown, settings.beside))
        cause = f"{names} does not hold what this machine says now"
        yield fail(cause, task_command("env"), step=Step(write, f"write {names}", names))
    else:
        who = settings.identity
        yield ok(f"{name} is up to date: {who.user} {who.uid}:{who.gid}")


def taken_out(key: str) -> Rule:
    """Return the rule of `env --unset`: the key goes, and comes back where this machine says it anew.

    Raises:
        HostError: it is none of ours (64).
    """
    if key not in own_keys():
        problem = f"--unset {key} names no key of {shown(ENV_FILE)} that the tasks write"
        raise HostError(problem, fix=task_command("config --explain"), code=ExitCode.USAGE)
    gone: dict[str, Any] = {key: None}
    step = Step(functools.partial(write, **gone), f"take {key} out", f"{key} in {shown(ENV_FILE)}")
    return once("unset", lambda seen: step, task_command("env"), lambda seen, ended: ok(ended.said))


@rule("choices", upon=("env-file",))
def choices_kept(seen: Seen) -> Iterator[Finding]:
    """Ask for docker/.env to hold what this call chose; a choice that does not come true is not kept."""
    if (plan := now(seen).chosen) and plan.changes:
        keys = ", ".join(change.key for change in plan.changes)
        step = Step(keep, "keep what was chosen", f"{keys} in {shown(ENV_FILE)}; every other line stays")
        cause = f"the next `up` goes by {shown(ENV_FILE)}: {', '.join(map(str, plan.changes))}"
        yield fail(cause, task_command("up"), step=step)


def reason(plan: envfile.Plan) -> str:
    """Return why docker/.env has to be written, with both values where there are two."""
    if plan.before is None:
        return f"there is no {shown(ENV_FILE)} yet"
    differs, lacks = [], []
    for change in plan.changes:
        new = "" if change.new is None else masked(change.key, change.new)
        if change.old is None:
            lacks.append(f"does not say {change.key}={new}")
        else:
            differs.append(f"says {change.key}={masked(change.key, change.old)}, but it is {new or 'gone'}")
    return f"{shown(ENV_FILE)} {'; it '.join(differs + lacks)}"


@rule("private-files", upon=("env-file",))
def private_files(seen: Seen) -> Iterator[Finding]:
    """Ask for what may hold a secret to be its owner's only, and what is in docker/secrets to be the container's."""
    if not exposed(seen):
        yield ok("what may hold a secret is readable by its owner only")
        return
    cause = "; ".join(f"{shown(path)} {why}" for path, why in exposed(seen).items())
    step = Step(close, "let nobody but their owner read files that may hold a secret", "their owners and modes")
    if step.name in seen.tried:  # another user's, or a file system without modes
        yield warn(cause, f"sudo chmod go= {' '.join(path_word(path) for path in exposed(seen))}")
    else:
        yield fail(cause, task_command("env"), step=step)


@rule("compose-files")
def compose_names(seen: Seen) -> Iterator[Finding]:
    """Refuse Compose files of the person's own that keep others from being read."""
    (instead, after), up = own_files(seen), task_command("up")
    if instead:
        cause = f"Compose reads docker/{instead[0]} instead of {shown(COMPOSE_FILE)}"
        name = f"{instead[0]}.old" if after else "docker-compose.override.yml"
        yield fail(cause, f"mv {path_word(DOCKER_DIR / instead[0])} {path_word(DOCKER_DIR / name)}")
    elif after[1:]:
        cause = f"Compose reads docker/{after[0]}, and passes over {' and '.join(after[1:])}"
        yield fail(cause, f"put all of them into docker/{after[0]}, and remove the others, then: {up}")


@rule("compose-files", upon=("env-file", "compose-files"))
def compose_files(seen: Seen) -> Iterator[Finding]:
    """Ask for files that Compose can read; reading them says why it cannot."""
    if compose.is_there(seen):
        yield ok(f"they declare {', '.join(compose.model(seen)['services'])}")


@rule("podman", upon=("env-file", "engine"))
def podman_can(seen: Seen) -> Iterator[Finding]:
    """Refuse what was chosen and cannot be had with Podman."""
    for choice in choices.table() if idmap.podman(seen) else ():
        if choice.not_podman and now(seen).values.get(choice.key):
            back = f"up --no-{choice.option}" if choice.switch else f"up --{choice.option} 0"
            yield fail(f"--{choice.option} cannot be had with Podman: {choice.not_podman}", task_command(back))


@rule("env-owner")
def env_owner(seen: Seen) -> Iterator[Finding]:
    """Ask for docker/.env to be the caller's."""
    owner, caller = env_file_owner(seen), uid(seen)
    if owner is None or caller in (None, 0, owner):
        yield ok(f"{shown(ENV_FILE)} can be changed by you")
        return
    cause = f"{shown(ENV_FILE)} belongs to uid {owner}, and you are {caller}"
    yield warn(cause, f"sudo chown {caller} {path_word(ENV_FILE)}")


@rule("shell")
def shell_unheard(seen: Seen) -> Iterator[Finding]:
    """Name what the shell exports and plain Compose would take before docker/.env."""
    values = now(seen).values
    unheard = {
        name: value
        for name, value in shell(seen).items()
        if compose.pinned(name) and name not in ("USER", *network.PROXIES) and value != values.get(name, "")
    }
    for name, value in unheard.items():
        kept = masked(name, values.get(name, "")) or "nothing"
        cause = f"the shell says {name}={masked(name, value)}, and the tasks go by docker/.env: {kept}"
        yield warn(cause, unset(name))
    if not unheard:
        yield ok("nothing in the shell stands against docker/.env")


# repair


def write(seen: Seen, **values: str | None) -> None:
    """Write docker/.env as it is to be, with further choices, and the files that it names, for one user only.

    A shell that names no index leaves the file of an earlier one alone, for docker/.env still names it.
    """
    settings = now(seen)
    for path, text in settings.beside.items():
        # A running container has this very file mounted, where there is one.
        (files.write_in_place if path.is_file() else files.write)(path, text.encode())
    if clone.is_root(seen):  # the container has them mounted, and its pip refuses what it cannot read
        for path in filter(Path.is_file, (PIP_CONFIG, PROXY_CONFIG, CA_BUNDLE)):
            with files.where_modes_are():
                os.chown(path, settings.identity.uid, settings.identity.gid)
    plan = env(ENV_FILE).plan({**settings.observed, **of_old_place(seen), **values})
    envfile.write(plan)
    for change in plan.changes:
        report.note(f"{shown(ENV_FILE)}: {change}")


def keep(seen: Seen) -> None:
    """Write what this call chose."""
    chosen = now(seen).chosen
    write(seen, **{change.key: change.new for change in chosen.changes} if chosen else {})


def close(seen: Seen) -> None:
    """Let nobody but their owner read files that may hold a secret; root gives those in docker/secrets to their reader.

    What cannot be changed is left to the next round.
    """
    for path in exposed(seen):
        with contextlib.suppress(OSError):
            path.chmod(path.stat().st_mode & 0o700)
            if clone.is_root(seen) and SECRETS_DIR in path.parents:
                os.chown(path, now(seen).identity.uid, now(seen).identity.gid)
