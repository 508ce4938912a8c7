"""Docker Compose by its command: one environment, one directory, one place that starts it (D1, D3)."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tasks.ground import envfile, runner
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import DOCKER_DIR
from host_tasks.settings import Settings

SERVICE = "jupyterlab-server"


@dataclass(frozen=True)
class Mount:
    """A bind mount that the Compose model declares."""

    source: Path
    target: str  # absolute, in the container
    read_only: bool


def environment(values: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a Compose call: the shell's, except where it would win over docker/.env.

    Compose prefers an exported variable to its .env (Compose 5 documentation, "Environment variables precedence"),
    and COMPOSE_* name other files, projects and profiles.
    """
    return {**{name: value for name, value in environ.items() if not pinned(name)}, **values}


def pinned(name: str) -> bool:
    """Return whether a variable reaches Compose from docker/.env only, never from the shell."""
    return name.startswith("COMPOSE_") or name in (*envfile.OWN_KEYS, "DOCKER_BUILDKIT")


def command(*words: str) -> list[str]:
    """Return the argument list of a Compose call."""
    return ["docker", "compose", *words]


def call(settings: Settings, *words: str, **options: Any) -> runner.Finished:
    """Run Compose in docker/, where it finds its file and .env as it does for a person.

    The options are those of runner.run.
    """
    return runner.run(command(*words), cwd=DOCKER_DIR, env=environment(settings.values), **options)


def config(settings: Settings) -> None:
    """Print what `docker compose config` prints, byte for byte.

    Raises:
        HostError: Compose cannot read its file (78).
    """
    if not call(settings, "config", interactive=True).ok:
        model(settings)  # says why
        raise HostError(
            "Compose cannot read docker/docker-compose.yml", fix="mend what the line above names", code=ExitCode.CONFIG
        )


def model(settings: Settings) -> dict[str, Any]:
    """Return the model that Compose makes of its files and values.

    Raises:
        HostError: Compose cannot read its file (78).
    """
    finished = call(settings, "config", "--format", "json", capture=True, announce=False, timeout_s=60)
    if not finished.ok:
        raise HostError(
            f"docker/docker-compose.yml cannot be read: {finished.last_line}",
            fix="see it whole: invoke config",
            code=ExitCode.CONFIG,
        )
    # Compose doubles every $ of what it prints, for another Compose to read (docker/compose, cmd/compose/config.go).
    model: dict[str, Any] = json.loads(finished.stdout.replace("$$", "$"))
    return model


def declared_mounts(model: Mapping[str, Any]) -> list[Mount]:
    """Return the bind mounts of the server, as the model declares them."""
    return [
        Mount(Path(each["source"]), each["target"], bool(each.get("read_only")))
        for each in model["services"][SERVICE].get("volumes", [])
        if each["type"] == "bind"
    ]
