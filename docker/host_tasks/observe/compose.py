"""Docker Compose by its command: one environment, one directory, one place that starts it; and what it says."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tasks.ground import runner
from host_tasks.ground.commands import task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import COMPOSE_FILE, DOCKER_DIR, OVERRIDE_FILES, shown
from host_tasks.observe.engine import endpoint
from host_tasks.observe.settings import OWN_KEYS

SERVICE = "jupyterlab-server"
READ_S = 60.0  # for Compose to read its files
REMOVE_S = 120.0  # for Compose to stop and remove what runs


@dataclass(frozen=True)
class Mount:
    """A bind mount that the Compose model declares."""

    source: Path
    target: str  # absolute, in the container
    read_only: bool


def environment(values: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a Compose call: the shell's, except where it would win over docker/.env.

    Compose prefers an exported variable to its .env (Compose 5 documentation, "Environment variables precedence"),
    and COMPOSE_* name other files, projects and profiles. Go takes PWD for the working directory where both are the
    same place (os.Getwd), and a link on the way would make other mount sources of it. A builder of the person's own
    would not see the images of this engine. Bake, by which Compose 2.37 to 2.40 builds unless it is told not to, takes
    `,` `"` and `${` in the clone's path for its own syntax, and composes the letters of its accents (tried: 2.40.3).
    """
    own = {name: value for name, value in environ.items() if not pinned(name)}
    builder = {"COMPOSE_BAKE": "false", "BUILDX_BUILDER": endpoint(environ).builder}
    return {**own, **values, "PWD": str(DOCKER_DIR), **builder}


def pinned(name: str) -> bool:
    """Return whether a variable reaches Compose from docker/.env only, never from the shell."""
    return name.startswith("COMPOSE_") or name in (*OWN_KEYS, "DOCKER_BUILDKIT")


def command(*words: str) -> list[str]:
    """Return the argument list of a Compose call."""
    return ["docker", "compose", *words]


def call(values: Mapping[str, str], *words: str, **options: Any) -> runner.Finished:
    """Run Compose in docker/, where it finds its file and .env as it does for a person.

    The options are those of runner.run.
    """
    return runner.run(command(*words), cwd=DOCKER_DIR, env=environment(values), **options)


def call_by_name(project: str, *words: str, **options: Any) -> runner.Finished:
    """Run Compose on what carries a project's label, past its file and .env, which may be broken.

    In the root folder it finds neither (docker/compose 2.26, cmd/compose/compose.go, projectOrName).
    """
    argv = command("--project-name", project, *words)
    return runner.run(argv, cwd=Path("/").resolve(), env={**environment({}), "PWD": "/"}, **options)


def model(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the model that Compose makes of its files and values.

    Raises:
        HostError: Compose cannot read its files (78).
    """
    # Compose doubles every $ of what it prints, for another Compose to read (docker/compose, cmd/compose/config.go).
    read: dict[str, Any] = json.loads(_read(values, "--format", "json").replace("$$", "$"))
    if SERVICE not in (read.get("services") or {}):
        raise HostError(
            f"the Compose files declare no service {SERVICE}, but {', '.join(read.get('services') or {}) or 'none'}",
            fix=f"name a service {SERVICE} in {shown(COMPOSE_FILE)}, then: {task_command('up')}",
            code=ExitCode.CONFIG,
        )
    return read


def hashes(values: Mapping[str, str]) -> dict[str, str]:
    """Return Compose's hash of each service's configuration; a container carries that of its own as a label."""
    lines = (line.split() for line in _read(values, "--hash", "*").splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}


def _read(values: Mapping[str, str], *options: str) -> str:
    """Return what `docker compose config` prints with options."""
    # To read files needs no engine, so a context that cannot be resolved must not look like a broken file.
    here = {**values, "DOCKER_CONTEXT": "default"}
    finished = call(here, "config", *options, capture=True, announce=False, timeout_s=READ_S)
    if not finished.ok:
        raise unreadable(here, finished.last_line)
    return finished.stdout


def unreadable(values: Mapping[str, str], said: str) -> HostError:
    """Return that Compose cannot read its files, in its own words, and where as far as it can be told."""
    place = _place_of_fault(values, said)
    fix = f"correct {place}, then: {task_command('up')}"
    return HostError(f"Compose cannot read {place}: {said}", fix=fix, code=ExitCode.CONFIG)


def _place_of_fault(values: Mapping[str, str], said: str) -> str:
    """Return which Compose file is broken, and where: what Compose says of two files does not always name one."""
    for path in (found := files(values)):
        if place := _place_of_bad_yaml(path):
            return place
    line = re.search(r"\bline (\d+)", said)
    alone = call(
        values, "--file", COMPOSE_FILE.name, "config", "--quiet", capture=True, announce=False, timeout_s=READ_S
    )
    path = found[-1] if alone.ok else COMPOSE_FILE
    return f"{shown(path)}:{line[1]}" if line else shown(path)


def _place_of_bad_yaml(path: Path) -> str:
    """Return file and line of what is no YAML in a file, "" where all of it is."""
    import yaml

    try:
        yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        return f"{shown(path)}:{mark.line + 1}" if mark else shown(path)
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        return shown(path)
    return ""


def files(values: Mapping[str, str], folder: Path | None = None) -> list[Path]:
    """Return the Compose files in a folder, else in docker/, in the order in which Compose reads them."""
    folder, named = folder or DOCKER_DIR, values.get("COMPOSE_FILE")
    overrides = [path.name for path in OVERRIDE_FILES if (folder / path.name).is_file()]
    return [folder / name for name in (named.split(os.pathsep) if named else [COMPOSE_FILE.name, *overrides])]


def declared_mounts(model: Mapping[str, Any]) -> tuple[Mount, ...]:
    """Return the bind mounts of the server, as the model declares them."""
    return tuple(
        Mount(Path(each["source"]), each["target"], bool(each.get("read_only")))
        for each in model["services"][SERVICE].get("volumes") or []
        if each["type"] == "bind"
    )
