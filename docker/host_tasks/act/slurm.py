"""A batch script for Slurm that runs JupyterLab, or a command, in the environment on a compute node.

Its end is docker/slurm.sh. What it starts from is an archive of `save`, unpacked once on the cluster's shared
disk: a folder is what Apptainer, Charliecloud and Podman all take, and no daemon is needed for it. Where there is no
such runtime it is the lock, of which conda and pip make the same environment (by_lock.py).
"""

import getpass
import hashlib
import json
import shlex
import shutil
import socket
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from host_tasks.decide.plan import FAIL
from host_tasks.decide.workers import KEY, dask, wished_workers
from host_tasks.ground import report
from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import DOCKER_DIR, LOCK_DIR, ROOT, YOURS, shown
from host_tasks.observe.observation import Observation

SETTINGS = ROOT / "slurm.yml"
BODY = DOCKER_DIR / "slurm.sh"
KEPT = DOCKER_DIR / ".slurm"  # the outputs of jobs, which hold a token, and environments: their owner's only
KEYS = {"sbatch": dict, "image": str, "login": str, "setup": str, "options": str}
# What leads out of the image is refused here, link by link; newer Pythons (PEP 706) would refuse absolute links too.
PLAIN: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"  # OCI image specification 1.1, layer.md, "Whiteouts"


def script(words: Sequence[str], asked: Mapping[str, str], workers: str = "") -> str:
    """Return the batch script; what was asked for comes before slurm.yml.

    Raises:
        HostError: slurm.yml or the image cannot be used, or it has no Dask for workers.
    """
    settings = read_settings()
    number = wished_workers(workers, "slurm").get(KEY)
    source = place(settings)
    if number:
        again = task_command("lock" if source.is_dir() else f"save {path_word(source)}")
        found = dask(Observation(), number, f"{again} # where Docker is; then bring it here")
        if found.state == FAIL:
            raise found.error()
    sbatch = {
        "job-name": "jupyterlab" if not words else Path(words[0]).name,
        "output": str(KEPT / "%j.out"),
        **(settings.get("sbatch") or {}),
        **{name: value for name, value in asked.items() if value},
    }
    KEPT.mkdir(mode=0o700, exist_ok=True)
    KEPT.chmod(0o700)
    root, environment = ready(source, settings.get("setup", ""))
    held = {
        "project": [str(ROOT)],
        "kept": [str(KEPT)],
        "image": [str(root)],
        "login": [settings.get("login") or f"{getpass.getuser()}@{socket.gethostname()}"],
        "folders": list(YOURS),
        "environment": environment,
        "options": shlex.split(settings.get("options", "")),
        "command": list(words),
        "workers": [number or "0"],
    }
    lines = [f"#SBATCH --{name}={one_line(str(value), name)}" for name, value in sbatch.items()]
    setup = [settings["setup"]] if settings.get("setup") else []
    arrays = [f"{name}=({shlex.join(values)})" for name, values in held.items()]
    return "\n".join(["#!/bin/bash", *lines, *setup, *arrays, BODY.read_text("utf-8")])


def place(settings: Mapping[str, Any]) -> Path:
    """Return what the environment is to come from: an archive, or the folder of a lock."""
    archive = ROOT / "image.tar"
    default = LOCK_DIR if LOCK_DIR.is_dir() and not archive.exists() else archive
    return ROOT / settings["image"] if "image" in settings else default


def ready(source: Path, setup: str) -> tuple[Path, list[str]]:
    """Return where the environment is, made ready where it is new, and its variables; setup is lines of shell for it.

    Raises:
        HostError: there is none, or it cannot be made ready.
    """
    if source.is_dir():
        from host_tasks.act import by_lock

        root = by_lock.made(source, KEPT, setup)
        return root, by_lock.variables(root)
    root = unpacked(source)
    return root, json.loads(root.with_suffix(".json").read_text(encoding="utf-8"))


def read_settings() -> dict[str, Any]:
    """Return what slurm.yml holds, nothing where there is none.

    Raises:
        HostError: it cannot be read, or has a key that is none (78).
    """
    import yaml

    try:
        read = (yaml.safe_load(SETTINGS.read_text(encoding="utf-8")) if SETTINGS.exists() else None) or {}
        wrong = [f"{key}: {value}" for key, value in read.items() if not isinstance(value, KEYS.get(key, type(None)))]
    except (yaml.YAMLError, OSError, UnicodeDecodeError, AttributeError) as err:
        wrong = [" ".join(str(err).split())]
    if wrong:
        problem = f"{shown(SETTINGS)} is no mapping of {', '.join(KEYS)}: {wrong[0]}"
        fix = f"correct {path_word(SETTINGS)}, then: {task_command('slurm')}"
        raise HostError(problem, fix=fix, code=ExitCode.CONFIG)
    return dict(read)


def one_line(value: str, name: str) -> str:
    """Return a value of an #SBATCH line, which is one word to Slurm and no second line to the shell."""
    if not value.isprintable():
        raise HostError(f"--{name} is {value!r}", fix="choose a value of one line", code=ExitCode.DATA)
    return shlex.quote(value)


def unpacked(archive: Path) -> Path:
    """Return the root folder of the image in an archive, unpacked where the archive is new; beside it its environment.

    Raises:
        HostError: there is none (69), it is no archive of an image (65), or it cannot be unpacked (74).
    """
    if not archive.is_file():
        fix = f"{task_command(f'save {path_word(archive)}')} # where Docker is; then bring it here"
        raise HostError(f"{shown(archive)} is not there", fix=fix, code=ExitCode.UNAVAILABLE)
    found = archive.stat()
    digest = hashlib.sha256(f"{archive} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:12]
    root, fresh = KEPT / f"image-{digest}", KEPT / f"fresh-{digest}"
    if root.exists():
        return root
    report.note(f"Unpacking {shown(archive)} to {shown(root)} ...")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        environment = _assemble(archive, fresh)
    except (tarfile.TarError, ValueError, LookupError, StopIteration) as err:
        problem = f"{shown(archive)} holds no environment of this project: {err}"
        raise HostError(problem, fix=f"tar --list --file {path_word(archive)}", code=ExitCode.DATA) from err
    except OSError as err:
        problem = f"{shown(archive)} cannot be unpacked: {err}"
        raise HostError(problem, fix=f"df -h {path_word(KEPT)}", code=ExitCode.IO) from err
    root.with_suffix(".json").write_text(json.dumps(environment), encoding="utf-8")
    fresh.rename(root)
    return root


def _assemble(archive: Path, root: Path) -> list[str]:
    """Lay the layers of an archive over each other, and return the image's environment."""
    with tarfile.open(archive, "r:") as outer:

        def part(name: str) -> IO[bytes]:
            found = outer.extractfile(name)
            if found is None:
                raise ValueError(f"{name} is no file")
            return found

        # `save` adds the images of other services: the environment is the one that says where it is (Dockerfile).
        manifest = json.load(part("manifest.json"))
        found = {tuple(each["Layers"]): json.load(part(each["Config"]))["config"].get("Env") or [] for each in manifest}
        layers, environment = next(each for each in found.items() if any("ENV_PREFIX=" in word for word in each[1]))
        for name in layers:
            with tarfile.open(fileobj=part(name)) as layer:
                for member in layer:
                    _lay(layer, member, root)
        return list(environment)


def _lay(layer: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    """Lay one file of a layer over what earlier layers have left; devices are the runtime's.

    Raises:
        ValueError: it, or what it is a hard link to, would be outside, by its name or by a link of an earlier layer.
    """
    target = root / member.name
    if target == root:
        return
    sources = [root / member.linkname] if member.islnk() else []
    if outside := [each for each in (target, *sources) if not each.parent.resolve().is_relative_to(root)]:
        raise ValueError(f"{outside[0].relative_to(root)} leads out of the image")
    if target.name == OPAQUE:
        _remove(target.parent)
    elif target.name.startswith(WHITEOUT):
        _remove(target.with_name(target.name.removeprefix(WHITEOUT)))
    elif not member.isdev():
        if target.is_symlink() or not (member.isdir() and target.is_dir()):
            _remove(target)
        member.mode |= 0o700 if member.isdir() else 0o400  # the next layer may write there, and the job reads it
        layer.extract(member, root, **PLAIN)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
