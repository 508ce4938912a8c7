"""A batch script for Slurm that runs JupyterLab, or a command, in the environment on a compute node.

Its end is docker/slurm.sh. What it starts from is an archive of `docker save`, unpacked once on the cluster's shared
disk: a folder is what Apptainer, Charliecloud and Podman all take, and no daemon is needed for it.
"""

import getpass
import hashlib
import json
import shlex
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from host_tasks.ground import report, runner
from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import DOCKER_DIR, ROOT, YOURS, shown

SETTINGS = ROOT / "slurm.yml"
BODY = DOCKER_DIR / "slurm.sh"
KEPT = DOCKER_DIR / ".slurm"  # the outputs of jobs, which hold a token, and unpacked images: their owner's only
KEYS = {"sbatch": dict, "image": str, "login": str, "setup": str, "options": str}
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"  # OCI image specification 1.1, layer.md, "Whiteouts"


def script(words: Sequence[str], asked: Mapping[str, str]) -> str:
    """Return the batch script; what was asked for comes before slurm.yml.

    Raises:
        HostError: slurm.yml or the image cannot be used.
    """
    settings = read_settings()
    sbatch = {
        "job-name": "jupyterlab" if not words else Path(words[0]).name,
        "output": str(KEPT / "%j.out"),
        **(settings.get("sbatch") or {}),
        **{name: value for name, value in asked.items() if value},
    }
    KEPT.mkdir(mode=0o700, exist_ok=True)
    KEPT.chmod(0o700)
    root = unpacked(ROOT / settings.get("image", "image.tar"))
    held = {
        "project": [str(ROOT)],
        "image": [str(root)],
        "login": [settings.get("login") or f"{getpass.getuser()}@{socket.gethostname()}"],
        "folders": list(YOURS),
        "environment": json.loads((root.parent / f"{root.name}.json").read_text(encoding="utf-8")),
        "options": shlex.split(settings.get("options", "")),
    }
    lines = [f"#SBATCH --{name}={one_line(str(value), name)}" for name, value in sbatch.items()]
    setup = [settings["setup"]] if settings.get("setup") else []
    arrays = [f"{name}=({shlex.join(values)})" for name, values in held.items()]
    return "\n".join(["#!/bin/bash", *lines, *setup, *arrays, f"set -- {shlex.join(words)}", BODY.read_text("utf-8")])


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
    """Return the root folder of an image: the folder that is named, or an archive's, unpacked where it is new.

    Raises:
        HostError: there is none (69), it is no archive of an image (65), or it cannot be unpacked (74).
    """
    if not archive.is_file():
        image = '"$(docker compose --project-directory docker config --images)"'
        fix = f"docker save --output {path_word(archive)} {image} # where Docker is; then bring it here"
        raise HostError(f"{shown(archive)} is not there", fix=fix, code=ExitCode.UNAVAILABLE)
    found = archive.stat()
    digest = hashlib.sha256(f"{archive} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:12]
    root = KEPT / f"image-{digest}"
    if not root.exists():
        report.note(f"Unpacking {shown(archive)} to {shown(root)} ...")
        parts, fresh = KEPT / f"parts-{digest}", KEPT / f"fresh-{digest}"
        for folder in (parts, fresh):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        tar(archive, "--extract", into=parts)
        _assemble(parts, fresh, root.parent / f"{root.name}.json", archive)
        shutil.rmtree(parts)
        fresh.rename(root)
    return root


def _assemble(parts: Path, root: Path, environment: Path, archive: Path) -> None:
    """Lay the layers of an unpacked archive over each other, and write down the image's environment."""
    try:
        manifest = json.loads((parts / "manifest.json").read_text(encoding="utf-8"))[0]
        config = json.loads((parts / manifest["Config"]).read_text(encoding="utf-8"))["config"]
        layers = [parts / each for each in manifest["Layers"]]
    except (OSError, ValueError, LookupError) as err:
        problem = f"{shown(archive)} is no archive of `docker save`: {err}"
        raise HostError(problem, fix=f"tar --list --file {path_word(archive)}", code=ExitCode.DATA) from err
    for layer in layers:
        names = [Path(name) for name in tar(layer, "--list", into=root).splitlines()]
        for folder in {name.parent for name in names}:
            if not (root / folder).resolve().is_relative_to(root):
                problem = f"{shown(archive)} writes to /{folder}, which a link leads out of the image"
                raise HostError(problem, fix="build it anew", code=ExitCode.DATA)
        for hidden in names:
            if hidden.name == OPAQUE:
                shutil.rmtree(root / hidden.parent, ignore_errors=True)
            elif hidden.name.startswith(WHITEOUT):
                _remove(root / hidden.parent / hidden.name.removeprefix(WHITEOUT))
        # Devices are the runtime's; a folder that its owner may not write to would refuse the next layer.
        tar(layer, "--extract", "--exclude=.wh.*", "--exclude=dev/*", "--no-same-owner", into=root)
        opened = ["find", str(root), "-type", "d", "!", "-perm", "-700", "-exec", "chmod", "u+rwx", "{}", "+"]
        runner.run(opened, cwd=ROOT, capture=True, announce=False)
    environment.write_text(json.dumps(config.get("Env") or []), encoding="utf-8")


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def tar(archive: Path, *words: str, into: Path) -> str:
    """Return what tar prints.

    Raises:
        HostError: it failed (74).
    """
    argv = ["tar", f"--file={archive}", f"--directory={into}", *words]
    done = runner.run(argv, cwd=ROOT, capture=True, announce=False)
    if not done.ok:
        problem = f"{shown(archive)} cannot be unpacked: {done.last_line}"
        raise HostError(problem, fix=f"df -h {path_word(into)}", code=ExitCode.IO)
    return done.stdout
