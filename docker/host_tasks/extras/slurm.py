"""A batch script for Slurm that runs JupyterLab, or a command, in the environment on a compute node.

What it does is in docker/slurm.sh. It starts from an archive of `save`, unpacked once on the cluster's shared disk: a
folder is what Apptainer, Charliecloud and Podman all take, and no daemon is needed for it. Where there is no such
runtime, conda and pip make the same environment of the lock; without apt.txt, for system packages are that machine's
own.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host_tasks.extras import _dask
from host_tasks.kit import files, report, runner
from host_tasks.kit.paths import DOCKER_DIR, LOCK_DIR, ROOT, YOURS, shown
from host_tasks.kit.task import after_dashes, task
from host_tasks.kit.words import ExitCode, HostError, path_word, task_command
from host_tasks.loop import Ended, Finding, Rule, Seen, Step, achieve, fact, fail, ok, rule
from host_tasks.subjects import environment, environment_lock

if TYPE_CHECKING:
    import tarfile

    from invoke.context import Context

SETTINGS = ROOT / "slurm.yml"
BODY = DOCKER_DIR / "slurm.sh"
KEPT = DOCKER_DIR / ".slurm"  # the outputs of jobs, which hold a token, and environments: their owner's only
KEYS = {"sbatch": dict, "image": str, "login": str, "setup": str, "options": str}
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"  # OCI image specification 1.1, layer.md, "Whiteouts"
SUBDIRS = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}  # conda's name of each architecture
MADE = "conda-meta/made"  # in an environment: it is whole
NOT_FOUND = 127  # POSIX.1-2017, sh, 2.8.2
NO_CONDA = "conda is not on the PATH"
THERE = "# where Docker is; then bring it here"

# look


@fact
def written(seen: Seen) -> Mapping[str, Any]:
    """Return what slurm.yml holds, nothing where there is none.

    Raises:
        HostError: it cannot be read, or has a key that is none (78).
    """
    import yaml

    try:
        read = (yaml.safe_load(SETTINGS.read_text(encoding="utf-8")) if SETTINGS.exists() else None) or {}
        wrong = [f"{key}: {value}" for key, value in read.items() if not isinstance(value, KEYS.get(key, type(None)))]
        shlex.split(read.get("options", "") if not wrong else "")
    except (yaml.YAMLError, OSError, ValueError, AttributeError) as err:
        wrong = [" ".join(str(err).split())]
    if wrong:
        problem = f"{shown(SETTINGS)} is no mapping of {', '.join(KEYS)}: {wrong[0]}"
        fix = f"correct {path_word(SETTINGS)}, then: {task_command('slurm')}"
        raise HostError(problem, fix=fix, code=ExitCode.CONFIG)
    return dict(read)


@fact
def source(seen: Seen) -> Path:
    """Return where the environment comes from: an archive, or the folder of a lock."""
    archive = ROOT / "image.tar"
    default = LOCK_DIR if LOCK_DIR.is_dir() and not archive.exists() else archive
    return ROOT / written(seen)["image"] if "image" in written(seen) else default


@fact
def place(seen: Seen) -> Path:
    """Return the folder of the environment, of which each archive, and each lock with its postBuild, has its own."""
    if source(seen).is_dir():
        parts = [path.read_bytes() for path in (*lock_files(seen), ROOT / "postBuild") if path.is_file()]
        made_from = bytes(0).join([str(KEPT).encode(), *parts])  # its files name their folder
    else:
        status = source(seen).stat()
        made_from = f"{source(seen)} {status.st_size} {status.st_mtime_ns}".encode()
    return KEPT / f"{'environment' if source(seen).is_dir() else 'image'}-{files.digest(made_from)}"


@fact
def lock_files(seen: Seen) -> tuple[Path, Path]:
    """Return conda's and pip's file of the lock for this machine; they may be missing."""
    import platform

    subdir = SUBDIRS.get(platform.machine(), platform.machine())
    return source(seen) / f"conda-{subdir}.txt", source(seen) / f"pip-{subdir}.txt"


def variables(seen: Seen) -> list[str]:
    """Return the variables of a process in the environment, as the image has them; no user's own count."""
    prefix = place(seen)
    if not source(seen).is_dir():
        return list(json.loads(prefix.with_suffix(".json").read_text(encoding="utf-8")))
    return [
        *(f"{name}={value}" for name, value in environment.asked(seen).variables.items()),
        *(f"ENV_PREFIX={prefix}", f"CONDA_PREFIX={prefix}", f"PATH={prefix}/bin:/usr/local/bin:/usr/bin:/bin"),
        *(f"BASH_ENV={DOCKER_DIR}/activate.sh", "CONDA_DIR=/nonexistent", f"JUPYTER_CONFIG_PATH={DOCKER_DIR}"),
        *("LANG=C.UTF-8", "PYTHONNOUSERSITE=1", "SHELL=/bin/bash"),
    ]


# judge


def usable(asked: Mapping[str, str], workers: str) -> Rule:
    """Return the rule that slurm.yml and what was asked for can be used: no value of it becomes a second line."""

    def judge(seen: Seen) -> Iterator[Finding]:
        for name, value in {**(written(seen).get("sbatch") or {}), **asked}.items():
            if not str(value).isprintable():
                yield fail(f"--{name} is {value!r}", "choose a value of one line", ExitCode.DATA)
        if workers != "0":
            again = task_command("lock" if source(seen).is_dir() else f"save {path_word(source(seen))}")
            yield _dask.there(seen, workers, f"{again} {THERE}")

    return Rule("slurm", judge)


@rule("slurm-source")
def fitting(seen: Seen) -> Iterator[Finding]:
    """Ask for an archive, or for a lock of the files that are here, for this machine."""
    path, lock = source(seen), None
    if not path.is_dir():
        if not path.is_file():
            fix = f"{task_command(f'save {path_word(path)}')} {THERE}"
            yield fail(f"{shown(path)} is not there", fix, ExitCode.UNAVAILABLE)
        return
    looks = {LOCK_DIR: environment_lock.committed, LOCK_DIR / environment_lock.STAND_IN: environment_lock.of_stand_in}
    for folder, look in looks.items():
        if folder.exists() and folder.samefile(path):
            lock = look(seen)
    conda, pip = lock_files(seen)
    if lock is None or not (conda.is_file() and pip.is_file()):
        cause = f"{shown(path)} is no lock for {conda.stem.removeprefix('conda-')}"
        yield fail(cause, f"{task_command('lock')} {THERE}", ExitCode.UNAVAILABLE)
    elif other := environment_lock.differences(seen, lock):
        yield fail(f"{shown(path)} was made from other lines: {', '.join(other)}", f"{task_command('lock')} {THERE}")


@rule("slurm-environment")
def made(seen: Seen) -> Iterator[Finding]:
    """Ask for the environment on this machine's disk, whole."""
    by_lock, path, here = source(seen).is_dir(), shown(source(seen)), shown(place(seen))
    step = Step(make, f"make the environment of {path}", here) if by_lock else Step(unpack, f"unpack {path}", here)
    ended = seen.tried.get(step.name)
    if (place(seen) / MADE if by_lock else place(seen)).exists():
        yield ok(f"{here} is there")
    elif not ended:
        yield fail(f"{here} is not there yet", task_command("slurm"), step=step)
    elif ended.said == NO_CONDA:
        fix = "name what brings it, such as 'module load miniforge', as setup in slurm.yml"
        yield fail(NO_CONDA, fix, ExitCode.UNAVAILABLE)
    else:
        yield fail(f"the environment cannot be made: {ended.said}", f"df -h {path_word(KEPT)}", ExitCode.IO)


# repair


def unpack(seen: Seen) -> None:
    """Unpack the image of an archive, and beside it write its environment.

    Raises:
        HostError: it is no archive of an image (65), or it cannot be unpacked (74).
    """
    import tarfile

    archive = source(seen)
    try:
        root = _kept() / place(seen).name
        fresh = root.with_name(root.name.replace("image", "fresh"))
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        root.with_suffix(".json").write_text(json.dumps(assemble(archive, fresh)), encoding="utf-8")
        fresh.rename(root)
    except (tarfile.TarError, ValueError, TypeError, AttributeError, LookupError, StopIteration) as err:
        problem = f"{shown(archive)} holds no environment of this project: {err}"
        raise HostError(problem, fix=f"tar --list --file {path_word(archive)}", code=ExitCode.DATA) from err
    except OSError as err:
        problem = f"{shown(archive)} cannot be unpacked: {err}"
        raise HostError(problem, fix=f"df -h {path_word(KEPT)}", code=ExitCode.IO) from err


def _kept() -> Path:
    """Return the folder of what is kept, made where it is missing: where a link to another disk leads, if it is one."""
    kept = KEPT.resolve()
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept.chmod(0o700)
    return kept


def assemble(archive: Path, root: Path) -> list[str]:
    """Lay the layers of an archive over each other, and return the image's environment."""
    import tarfile

    with tarfile.open(archive, "r:") as outer:
        part: Callable[[str], Any] = outer.extractfile
        # `save` adds the images of other services: the environment is the one that says where it is (Dockerfile).
        images = json.load(part("manifest.json"))
        known = {tuple(each["Layers"]): json.load(part(each["Config"]))["config"].get("Env") or [] for each in images}
        layers, variables = next(each for each in known.items() if any("ENV_PREFIX=" in word for word in each[1]))
        for name in layers:
            with tarfile.open(fileobj=part(name)) as layer:
                for member in layer:
                    _lay(layer, member, root)
        return list(variables)


def _lay(layer: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    """Lay one file of a layer over what earlier layers have left; devices are the runtime's.

    Raises:
        ValueError: it, or what it is a hard link to, would be outside, by its name or by a link of an earlier layer.
    """
    target = root / member.name
    if target == root:
        return
    for path in (target, *([root / member.linkname] if member.islnk() else [])):
        if not path.parent.resolve().is_relative_to(root):
            raise ValueError(f"{path.relative_to(root)} leads out of the image")
    if target.name == OPAQUE:
        _remove(target.parent)
    elif target.name.startswith(WHITEOUT):
        _remove(target.with_name(target.name.removeprefix(WHITEOUT)))
    elif not member.isdev():
        if target.is_symlink() or not (member.isdir() and target.is_dir()):
            _remove(target)
        member.mode |= 0o700 if member.isdir() else 0o400  # the next layer may write there, and the job reads it
        # What leads out is refused here, link by link; newer Pythons (PEP 706) would refuse absolute links too.
        plain: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(layer, "extraction_filter") else {}
        layer.extract(member, root, **plain)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def make(seen: Seen) -> Ended:
    """Make the environment of a lock: by conda, which lines of slurm.yml may bring, by pip, and by postBuild."""
    prefix, (conda, pip), script = place(seen), lock_files(seen), ROOT / "postBuild"
    create = ["conda", "create", "--yes", "--quiet", f"--prefix={prefix}", f"--file={conda}"]
    commands = [["bash", "-c", f'{written(seen).get("setup", "")}\nexec "$@"', "bash", *create]]
    if any(line and not line.startswith("#") for line in pip.read_text(encoding="utf-8").splitlines()):
        install = ("install", "--no-deps", "--require-hashes", "--requirement", str(pip))
        commands.append([f"{prefix}/bin/python", "-m", "pip", *install])
    if script.is_file():
        commands.append(["env", f"HOME={prefix}", *variables(seen), "bash", str(script)])
    try:
        _kept()
        shutil.rmtree(prefix, ignore_errors=True)
        for argv in commands:
            finished = runner.run(argv, cwd=ROOT)
            if not finished.ok:
                no_conda = argv is commands[0] and finished.returncode == NOT_FOUND
                ended = f"the command above ended with {finished.returncode}"
                return Ended(ok=False, said=NO_CONDA if no_conda else ended)
        # As the Dockerfile does: src/ can be imported, and JupyterLab asks its publisher for no news.
        for packages in prefix.glob("lib/python3*/site-packages"):
            shutil.copy(DOCKER_DIR / "environment" / "project_startup.py", packages)
            (packages / "project.pth").write_text("import project_startup\n", encoding="utf-8")
        (prefix / "etc/jupyter/labconfig").mkdir(parents=True, exist_ok=True)
        shutil.copy(DOCKER_DIR / "page_config.json", prefix / "etc/jupyter/labconfig")
        (prefix / MADE).touch()
    except OSError as err:
        return Ended(ok=False, said=str(err))
    return Ended()


# show


def script(seen: Seen, words: Sequence[str], asked: Mapping[str, str], workers: str) -> str:
    """Return the batch script; what was asked for comes before slurm.yml."""
    import getpass
    import socket

    settings, name = written(seen), Path(words[0]).name if words else "jupyterlab"
    sbatch = {"job-name": name, "output": str(KEPT / "%j.out"), **(settings.get("sbatch") or {}), **asked}
    held = {
        "project": [str(ROOT)],
        "kept": [str(KEPT)],
        "image": [str(place(seen))],
        "login": [settings.get("login") or f"{getpass.getuser()}@{socket.gethostname()}"],
        "folders": list(YOURS),
        "environment": variables(seen),
        "options": shlex.split(settings.get("options", "")),
        "command": list(words),
        "workers": [workers],
    }
    lines = [f"#SBATCH --{name}={shlex.quote(str(value))}" for name, value in sbatch.items()]
    lines += [settings["setup"]] if settings.get("setup") else []
    lines += [f"{name}=({shlex.join(values)})" for name, values in held.items()]
    login_shell = " -l" if settings.get("setup") else ""  # `module` is a function of login shells
    return "\n".join([f"#!/bin/bash{login_shell}", *lines, f"source {shlex.quote(str(BODY))}"])


# tasks


@task(
    name="slurm",
    help={
        "partition": "Of the cluster, like all of these; default: as slurm.yml says.",
        "time": "How long: 2:00:00.",
        "memory": "How much: 16G.",
        "account": "Whose.",
        "workers": "How many Dask workers beside it, each a job of the same size.",
    },
)
def slurm_task(
    c: Context, *, partition: str = "", time: str = "", memory: str = "", account: str = "", workers: str = ""
) -> None:
    """Print a batch script for Slurm: JupyterLab, or -- <command>.

    Run it on the cluster, and give its output to sbatch. Unpacks the image, or makes the lock's environment, in
    docker/.slurm where it is new.
    """
    given = {"partition": partition, "time": time, "mem": memory, "account": account}
    asked = {name: value for name, value in given.items() if value}
    number = _dask.number(workers or "0", "slurm") or "0"
    seen = achieve((usable(asked, number), fitting, made))
    report.lines(script(seen, after_dashes(default=()), asked, number))


TASKS = (slurm_task,)
