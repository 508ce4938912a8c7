"""Docker Compose by its command: one environment, one directory, one place that starts it; and what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tasks.kit import runner
from host_tasks.kit.client import endpoint
from host_tasks.kit.files import digest
from host_tasks.kit.paths import COMPOSE_FILE, DOCKER_DIR, OVERRIDE_FILES, ROOT, shown
from host_tasks.kit.words import ExitCode, HostError, task_command
from host_tasks.loop import Seen, fact
from host_tasks.subjects import containers, engine, images, settings

SERVICE = "jupyterlab-server"
READ_S = 60.0  # for Compose to read its files
REMOVE_S = 120.0  # for Compose to stop and remove what runs


@dataclass(frozen=True)
class Mount:
    """A bind mount that the Compose model declares."""

    source: Path
    target: str  # absolute, in the container
    read_only: bool


# look


@fact
def is_there(seen: Seen) -> bool:
    """Return whether there is a docker command with Compose, to read the Compose files with."""
    return shutil.which("docker") is not None and (containers.any_runs(seen) or bool(engine.state(seen).compose))


@fact
def model(seen: Seen) -> Mapping[str, Any]:
    """Return the model that Compose makes of its files and values.

    Raises:
        HostError: Compose cannot read its files, or they declare no server (78).
    """
    # Compose doubles every $ of what it prints, for another Compose to read (docker/compose, cmd/compose/config.go).
    read: dict[str, Any] = json.loads(_config(settings.now(seen).values, "--format", "json").replace("$$", "$"))
    services = read.get("services") or {}
    if SERVICE not in services:
        problem = f"the Compose files declare no service {SERVICE}, but {', '.join(services) or 'none'}"
        fix = f"name a service {SERVICE} in {shown(COMPOSE_FILE)}, then: {task_command('up')}"
        raise HostError(problem, fix=fix, code=ExitCode.CONFIG)
    return read


@fact
def hashes(seen: Seen) -> Mapping[str, str]:
    """Return Compose's hash of each service's configuration; a container carries that of its own as a label.

    Those of the same model, which the last start wrote down, are spared a call of Compose.
    """
    if (built := images.last_build(seen)).model == model_digest(seen):
        return built.services
    lines = (line.split() for line in _config(settings.now(seen).values, "--hash", "*").splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}


@fact
def model_digest(seen: Seen) -> str:
    """Return what tells the model from others."""
    return digest(json.dumps(model(seen)).encode())


def declared_mounts(model: Mapping[str, Any]) -> tuple[Mount, ...]:
    """Return the bind mounts of the server, as the model declares them."""
    return tuple(
        Mount(Path(volume["source"]), volume["target"], bool(volume.get("read_only")))
        for volume in model["services"][SERVICE].get("volumes") or []
        if volume["type"] == "bind"
    )


def files(values: Mapping[str, str], folder: Path | None = None) -> list[Path]:
    """Return the Compose files in a folder, else in docker/, in the order in which Compose reads them."""
    folder, named = folder or DOCKER_DIR, values.get("COMPOSE_FILE")
    names = named.split(os.pathsep) if named else [COMPOSE_FILE.name, *overrides(folder)[:1]]
    return [folder / name for name in names]


def overrides(folder: Path) -> list[str]:
    """Return the names of the files in a folder that Compose would read after ours, unasked; it takes the first."""
    return [path.name for path in OVERRIDE_FILES if (folder / path.name).is_file()]


def environment(values: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a Compose call: the shell's, except where it would win over docker/.env.

    Compose prefers an exported variable to its .env (Compose 5 documentation, "Environment variables precedence"),
    and COMPOSE_* name other files, projects and profiles. Go takes PWD for the working directory where both are the
    same place (os.Getwd), and a link on the way would make other mount sources of it. A builder of the person's own
    would not see the images of this engine. containerd's image store keeps what buildx attests unasked, and with it an
    image has another id after each build (docker/compose#13636).
    """
    own = {name: value for name, value in environ.items() if not pinned(name)}
    builder = {"BUILDX_BUILDER": endpoint(environ).builder, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    return {**own, **values, "PWD": str(DOCKER_DIR), **builder}


def pinned(name: str) -> bool:
    """Return whether a variable reaches Compose and the builder from docker/.env only, never from the shell.

    Those of buildx and BuildKit may choose another builder, platform or frontend; these few choose none.
    """
    if name in ("BUILDX_CONFIG", "BUILDKIT_PROGRESS", "BUILDKIT_COLORS"):
        return False
    others = ("DOCKER_BUILDKIT", "DOCKER_CONTENT_TRUST", "DOCKER_DEFAULT_PLATFORM")
    return name.startswith(("COMPOSE_", "BUILDX_", "BUILDKIT_")) or name in (*settings.own_keys(), *others)


def call(values: Mapping[str, str], *words: str, **options: Any) -> runner.Finished:
    """Run Compose in docker/, where it finds its file and .env as it does for a person.

    The options are those of runner.run.
    """
    return runner.run(["docker", "compose", *words], cwd=DOCKER_DIR, env=environment(values), **options)


def call_by_name(project: str, *words: str, **options: Any) -> runner.Finished:
    """Run Compose on what carries a project's label, past its file and .env, which may be broken.

    In the root folder it finds neither (docker/compose 2.26, cmd/compose/compose.go, projectOrName).
    """
    argv = ["docker", "compose", "--project-name", project, *words]
    return runner.run(argv, cwd=Path("/").resolve(), env={**environment({}), "PWD": "/"}, **options)


def _config(values: Mapping[str, str], *options: str) -> str:
    """Return what `docker compose config` prints with options."""
    # To read files needs no engine, so a context that cannot be resolved must not look like a broken file.
    here = {**values, "DOCKER_CONTEXT": "default"}
    finished = call(here, "config", *options, capture=True, announce=False, timeout_s=READ_S)
    if not finished.ok:
        raise unreadable(here, finished.last_line)
    return finished.stdout


def unreadable(values: Mapping[str, str], said: str) -> HostError:
    """Return that Compose cannot read its files, in its own words, and where as far as it can be told."""
    place = next(filter(None, map(_bad_yaml, files(values))), "")
    if not place:  # what Compose says of two files does not always name one
        line, ours = re.search(r"\bline (\d+)", said), ("--file", COMPOSE_FILE.name, "config", "--quiet")
        ours_is_good = call(values, *ours, capture=True, announce=False, timeout_s=READ_S).ok
        path = files(values)[-1] if ours_is_good else COMPOSE_FILE
        place = f"{shown(path)}:{line[1]}" if line else shown(path)
    fix = f"correct {place}, then: {task_command('up')}"
    return HostError(f"Compose cannot read {place}: {said}", fix=fix, code=ExitCode.CONFIG)


def _bad_yaml(path: Path) -> str:
    """Return file and line of what is no YAML in a file, "" where all of it is."""
    import yaml

    try:
        yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as err:
        mark = getattr(err, "problem_mark", None) or getattr(err, "context_mark", None)
        return f"{shown(path)}:{mark.line + 1}" if mark else shown(path)
    return ""


# repair


def build(values: Mapping[str, str], *words: str) -> runner.Finished:
    """Build by Compose, and keep what the builder says.

    From 2.37 on Compose builds by bake, which takes `,` `"` and `${` in a path for its own syntax, and composes accents
    (tried: 2.40.3). There it gets a model in which the clone is a link of a plain name, and each Dockerfile a copy, for
    Compose resolves links on the way to one (docker/compose 5.5, build_bake.go, dockerFilePath).
    """
    root = str(ROOT)
    if os.name == "nt" or not (re.search(r'[,"]|\$\{', root) or unicodedata.normalize("NFC", root) != root):
        return call(values, "build", *words, keep=True)
    with tempfile.TemporaryDirectory() as folder:
        link, file = Path(folder, "clone"), Path(folder, "compose.json")
        link.symlink_to(ROOT)
        text = json.dumps(json.loads(_config(values, "--format", "json")), ensure_ascii=False)
        odd = json.dumps(root.replace("$", "$$"), ensure_ascii=False)[1:-1]
        plain = json.loads(text.replace(odd, str(link)))
        for name, service in plain["services"].items():
            made = service.get("build") or {}
            dockerfile = Path(made.get("context", ""), made.get("dockerfile", "Dockerfile"))
            if made and dockerfile.is_file():
                made["dockerfile"] = str(shutil.copy(dockerfile, Path(folder, f"{name}.Dockerfile")))
        file.write_text(json.dumps(plain), encoding="utf-8")
        # The copy is outside of what bake reads unasked (docker/buildx, bake/entitlements.go).
        return call({**values, "BUILDX_BAKE_ENTITLEMENTS_FS": "0"}, "--file", str(file), "build", *words, keep=True)
