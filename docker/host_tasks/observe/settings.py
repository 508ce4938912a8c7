"""The values of this clone: what is observed on this machine, and what docker/.env keeps of earlier choices."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from host_tasks.ground import envfile
from host_tasks.ground.paths import (
    CA_BUNDLE,
    COMPOSE_FILE,
    DOCKER_DIR,
    ENV_FILE,
    GPU_FILE,
    HARDENED_FILE,
    HARDENED_WORKERS_FILE,
    OVERRIDE_FILES,
    PIP_CONFIG,
    PROXY_CONFIG,
    ROOT,
    SECRETS_DIR,
    WORKERS_FILE,
)
from host_tasks.observe import clone, identity, network
from host_tasks.observe.identity import Identity

# Keys that, where all of them have a value, put a further Compose file after docker-compose.yml.
OPTIONS = {
    ("GPUS",): GPU_FILE.name,
    ("DASK_WORKERS",): WORKERS_FILE.name,
    ("HARDENED",): HARDENED_FILE.name,
    ("DASK_WORKERS", "HARDENED"): HARDENED_WORKERS_FILE.name,
}
OWN_KEYS = (
    *("USER", "UID", "GID", "APP_USER"),
    *("COMPOSE_PROJECT_NAME", "PROJECT_FOLDER", "COMPOSE_FILE", "JUPYTER_PORT", "JUPYTER_BIND"),
    *("BASE_IMAGE", "ENVIRONMENT_FROM", "CA_BUNDLE", "PIP_CONFIG", "PROXY_CONFIG", "MEMORY_LIMIT"),
    *dict.fromkeys(key for keys in OPTIONS for key in keys),
    *network.PROXIES,
)
HEADER = "# Written by `invoke env`: who you are, and what was chosen for this clone."
ENV = envfile.EnvFile(ENV_FILE, OWN_KEYS, HEADER)


@dataclass(frozen=True)
class Settings:
    """The identity, and what docker/.env is to hold."""

    identity: Identity
    plan: envfile.Plan  # from what docker/.env holds to what it is to hold
    values: dict[str, str]  # of our own keys, as they stand in docker/.env once the plan is written
    kept: dict[str, str]  # all that docker/.env holds now
    # What is true of own keys; a choice that is kept is not among them.
    observed: Mapping[str, str | None] = field(default_factory=dict)
    beside: Mapping[Path, str] = field(default_factory=dict)  # what files beside docker/.env are to hold, and do not

    @property
    def project(self) -> str:
        """The name of this clone for Compose."""
        return self.values["COMPOSE_PROJECT_NAME"]

    def with_choices(self, choices: Mapping[str, str | None]) -> envfile.Plan:
        """Return the plan for docker/.env that also has these choices."""
        return ENV.plan({**self.observed, **choices})


def observe(asked: Mapping[str, str | None] = MappingProxyType({})) -> Settings:
    """Return the settings of this moment, with what was asked for of the keys that are a person's choice.

    Raises:
        HostError: the identity, docker/.env or pip's configuration cannot be used.
    """
    kept, pip_config, trusted = ENV.read(), network.pip_config(), network.ca_bundle()
    who, chosen = identity.observe(), _chosen_bundle(kept.get("CA_BUNDLE"), trusted)
    # The engine may not see where this machine keeps its certificates, so they are copied into the clone.
    wanted = {PIP_CONFIG: pip_config, CA_BUNDLE: network.certificates(trusted) if trusted and not chosen else ""}
    wanted[PROXY_CONFIG] = network.proxy_config({**kept, **network.proxies()})
    beside = {path: text for path, text in wanted.items() if text and _content(path) != text}
    observed: dict[str, str | None] = {
        "USER": who.user,
        "UID": str(who.uid),
        "GID": str(who.gid),
        "APP_USER": who.user,  # what Compose goes by: it takes USER from the shell first
        "COMPOSE_PROJECT_NAME": clone.project_name(),
        "PROJECT_FOLDER": str(ROOT) if envfile.can_hold(str(ROOT)) else None,
        "CA_BUNDLE": chosen or (_text(CA_BUNDLE) if wanted[CA_BUNDLE] else _still_there(_text(CA_BUNDLE))),
        "MEMORY_LIMIT": kept.get("MEMORY_LIMIT") or memory_limit(),
        "PIP_CONFIG": _text(PIP_CONFIG) if pip_config else _still_there(kept.get("PIP_CONFIG")),
        "PROXY_CONFIG": _text(PROXY_CONFIG) if wanted[PROXY_CONFIG] else None,
        "COMPOSE_FILE": compose_file({**kept, **asked}),
        **network.proxies(),
        **asked,
    }
    after = {**kept, **observed}
    values = {key: value for key in OWN_KEYS if (value := after.get(key)) is not None}
    return Settings(who, ENV.plan(observed), values, kept, observed, beside)


def _chosen_bundle(named: str | None, trusted: Path | None) -> str | None:
    """Return the CA bundle of docker/.env where a person chose it, and it is no copy of this machine's."""
    if named is None or named == str(trusted) or Path(named).name == CA_BUNDLE.name:
        return None
    return _still_there(named)


def memory_limit() -> str | None:
    """Return nine tenths of this machine's memory, as Compose writes it; None where the system does not tell (Windows).

    A kernel that takes more ends then, and not what else runs here.
    """
    if not hasattr(os, "sysconf"):
        return None
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') * 9 // 10 // 2**20}m"


def compose_file(values: Mapping[str, str | None]) -> str | None:
    """Return COMPOSE_FILE for the options among the values; None = Compose's own choice of files, which is ours.

    Plain Compose reads it from docker/.env too, and then leaves out docker-compose.override.yml where it is not named
    (Compose 5 documentation, "Configure pre-defined environment variables"). Further files that a person names stay.
    """
    named, overrides = values.get("COMPOSE_FILE"), [path.name for path in OVERRIDE_FILES]
    first, *others = named.split(os.pathsep) if named else [COMPOSE_FILE.name]
    chosen = [name for keys, name in OPTIONS.items() if all(map(values.get, keys))]
    if named and not chosen and not set(others) & set(OPTIONS.values()):
        return named
    others = [name for name in others if name not in (*OPTIONS.values(), *overrides)]
    if not chosen and not others and first == COMPOSE_FILE.name:
        return None
    return os.pathsep.join([first, *chosen, *others, *(name for name in overrides if (DOCKER_DIR / name).is_file())])


def exposed_files(uid: int) -> dict[Path, str]:
    """Return the files that may hold a secret and are not their owner's only, and why; none on Windows.

    Those in docker/secrets belong to the identity, else its container could not read them; a link there could lead
    anywhere, and leads nowhere in the container.
    """
    if os.name == "nt":
        return {}
    found = {}
    yours = [each for each in sorted(SECRETS_DIR.rglob("*")) if each.name != "README.md"]
    for path in (ENV_FILE, PIP_CONFIG, PROXY_CONFIG, *yours):
        if path.is_symlink() or not path.exists():
            continue
        status = path.stat()
        if status.st_mode & 0o077:
            found[path] = f"has the mode {status.st_mode & 0o7777:04o}"
        elif path not in (ENV_FILE, PIP_CONFIG, PROXY_CONFIG) and status.st_uid != uid:
            found[path] = f"belongs to uid {status.st_uid}, and the container is {uid}"
    return found


def _content(path: Path) -> str | None:
    """Return the text of a file; None where there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _still_there(kept: str | None) -> str | None:
    """Return a path that a person chose in docker/.env while it exists; Compose sees it from docker/."""
    return kept if kept and (DOCKER_DIR / kept).is_file() else None


def _text(path: Path) -> str:
    """Return a file beside docker/.env as a value of it: by its name where its path does not fit (Compose)."""
    return str(path) if envfile.can_hold(str(path)) else path.name
