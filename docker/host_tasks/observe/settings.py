"""The values of this clone: what is observed on this machine, and what docker/.env keeps of earlier choices."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from host_tasks.ground import envfile
from host_tasks.ground.paths import (
    COMPOSE_FILE,
    DOCKER_DIR,
    ENV_FILE,
    HARDENED_FILE,
    OVERRIDE_FILES,
    PIP_CONFIG,
    PROXY_CONFIG,
    SECRETS_DIR,
)
from host_tasks.observe import clone, identity, network
from host_tasks.observe.identity import Identity

OWN_KEYS = (
    *("USER", "UID", "GID", "APP_USER"),
    *("COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "JUPYTER_PORT", "JUPYTER_BIND"),
    *("BASE_IMAGE", "CA_BUNDLE", "PIP_CONFIG", "PROXY_CONFIG"),
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
    handed: Mapping[Path, str] = field(default_factory=dict)  # what is handed in as a file: what it is to hold
    stale: tuple[Path, ...] = ()  # which of them hold something else

    @property
    def hardened(self) -> bool:
        """Whether docker/.env names the Compose file of a hardened container, for Compose itself reads it there."""
        return is_hardened(self.values.get("COMPOSE_FILE"))

    @property
    def project(self) -> str:
        """The name of this clone for Compose."""
        return self.values["COMPOSE_PROJECT_NAME"]

    def with_choices(self, choices: Mapping[str, str | None]) -> envfile.Plan:
        """Return the plan for docker/.env that also has these choices."""
        return ENV.plan({**self.observed, **choices})


def observe() -> Settings:
    """Return the settings of this moment.

    Raises:
        HostError: the identity, docker/.env or pip's configuration cannot be used.
    """
    kept, pip_config = ENV.read(), network.pip_config()
    who = identity.observe()
    observed: dict[str, str | None] = {
        "USER": who.user,
        "UID": str(who.uid),
        "GID": str(who.gid),
        "APP_USER": who.user,  # what Compose goes by: it takes USER from the shell first
        "COMPOSE_PROJECT_NAME": clone.project_name(),
        "CA_BUNDLE": _still_there(kept.get("CA_BUNDLE")) or _text(network.ca_bundle()),
        "PIP_CONFIG": _text(PIP_CONFIG) if pip_config else _still_there(kept.get("PIP_CONFIG")),
        **network.proxies(),
    }
    if is_hardened(kept.get("COMPOSE_FILE")):
        observed["COMPOSE_FILE"] = compose_files(kept.get("COMPOSE_FILE"), hardened=True)
    after = {**kept, **observed}
    proxies = "".join(f"{name}={after[name]}\n" for name in network.PROXIES if after.get(name))
    observed["PROXY_CONFIG"] = after["PROXY_CONFIG"] = _text(PROXY_CONFIG) if proxies else None
    handed = {path: text for path, text in ((PIP_CONFIG, pip_config), (PROXY_CONFIG, proxies)) if text}
    values = {key: value for key in OWN_KEYS if (value := after.get(key)) is not None}
    stale = tuple(path for path, text in handed.items() if _content(path) != text)
    return Settings(who, ENV.plan(observed), values, kept, observed, handed, stale)


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
        elif path.parent == SECRETS_DIR and status.st_uid != uid:
            found[path] = f"belongs to uid {status.st_uid}, and the container is {uid}"
    return found


def is_hardened(named: str | None) -> bool:
    """Return whether a value of COMPOSE_FILE names the file of a hardened container."""
    return HARDENED_FILE.name in (named or "").split(os.pathsep)


def compose_files(named: str | None, *, hardened: bool) -> str | None:
    """Return what COMPOSE_FILE is to be from what it is, hardened or not; None = Compose finds its files by itself.

    Where it is set Compose looks for no override (Compose 5 documentation, "Pre-defined environment variables"), so
    that is named as long as it is there. Files of a person's own stay. The last file wins.
    """
    found = [each.name for each in (COMPOSE_FILE, *OVERRIDE_FILES) if each.is_file()]
    standard = (HARDENED_FILE.name, COMPOSE_FILE.name, *(each.name for each in OVERRIDE_FILES))
    before = [each for each in (named or "").split(os.pathsep) if each not in ("", HARDENED_FILE.name)]
    own = any(each not in standard for each in before)
    files = [*(before if own else found), *([HARDENED_FILE.name] if hardened else [])]
    return os.pathsep.join(files) if own or hardened else None


def _content(path: Path) -> str | None:
    """Return the text of a file; None where there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _still_there(kept: str | None) -> str | None:
    """Return a path that a person chose in docker/.env while it exists; Compose sees it from docker/."""
    return kept if kept and (DOCKER_DIR / kept).is_file() else None


def _text(path: Path | None) -> str | None:
    """Return a path as text, None for none."""
    return None if path is None else str(path)
