"""The values of this clone: what is observed on this machine, and what docker/.env keeps of earlier choices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from host_tasks.ground import envfile
from host_tasks.ground.paths import DOCKER_DIR, ENV_FILE, PIP_CONFIG
from host_tasks.observe import clone, identity, network
from host_tasks.observe.identity import Identity

OWN_KEYS = (
    *("USER", "UID", "GID", "APP_USER"),
    *("COMPOSE_PROJECT_NAME", "JUPYTER_PORT", "BASE_IMAGE", "ENVIRONMENT_FROM", "CA_BUNDLE", "PIP_CONFIG"),
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
    pip_config: str = ""  # what docker/.pip.conf is to hold; "" = it is left as it is
    pip_config_fits: bool = True  # whether it holds that

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
    after = {**kept, **observed}
    values = {key: value for key in OWN_KEYS if (value := after.get(key)) is not None}
    fits = not pip_config or _content(PIP_CONFIG) == pip_config
    return Settings(who, ENV.plan(observed), values, kept, observed, pip_config, fits)


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
