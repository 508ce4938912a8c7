"""The environment without a container: made by conda and pip of what a lock names, for machines that have no runtime.

apt.txt is not in it: system packages are that machine's own.
"""

import hashlib
import platform
import shutil
from pathlib import Path

from host_tasks.decide.environment import read_environment
from host_tasks.decide.environment_lock import differences
from host_tasks.ground import report, runner
from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import DOCKER_DIR, LOCK_DIR, ROOT, shown
from host_tasks.observe import environment_lock
from host_tasks.observe.observation import Observation

SUBDIRS = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}  # conda's name of each architecture
NOT_FOUND = 127  # POSIX.1-2017, sh, 2.8.2
MADE = "conda-meta/made"  # in an environment: it is whole


def files(lock: Path) -> tuple[Path, Path]:
    """Return conda's and pip's file of a lock for this machine.

    Raises:
        HostError: there is none (69), or it was made from other files than those that are here (78).
    """
    again = f"{task_command('lock')} # where Docker is; then bring {shown(LOCK_DIR)} here"
    subdir = SUBDIRS.get(platform.machine(), platform.machine())
    found = environment_lock.find(str(lock.relative_to(LOCK_DIR)))
    conda, pip = (lock / f"{part}-{subdir}.txt" for part in ("conda", "pip"))
    if found is None or not (conda.is_file() and pip.is_file()):
        raise HostError(f"{shown(lock)} is no lock for {subdir}", fix=again, code=ExitCode.UNAVAILABLE)
    if other := differences(Observation(), found):
        problem = f"{shown(lock)} was made from other lines: {', '.join(other)}"
        raise HostError(problem, fix=again, code=ExitCode.CONFIG)
    return conda, pip


def made(lock: Path, kept: Path, setup: str) -> Path:
    """Return the folder of the environment, made in `kept` where the lock or postBuild is new.

    setup is lines of shell that bring conda.

    Raises:
        HostError: the lock cannot be used, or the environment cannot be made (74).
    """
    conda, pip = files(lock)
    script = ROOT / "postBuild"
    parts = [path.read_bytes() for path in (conda, pip, script) if path.is_file()]
    digest = hashlib.sha256(b"\0".join([str(kept).encode(), *parts])).hexdigest()[:12]  # its files name their folder
    prefix = kept / f"environment-{digest}"
    if (prefix / MADE).exists():
        return prefix
    shutil.rmtree(prefix, ignore_errors=True)
    report.note(f"Making the environment of {shown(lock)} in {shown(prefix)} ...")
    create = ["conda", "create", "--yes", "--quiet", f"--prefix={prefix}", f"--file={conda}"]
    _run("bash", "-c", f'{setup}\nexec "$@"', "bash", *create)
    entered = ["env", f"HOME={prefix}", *variables(prefix)]
    if any(line and not line.startswith("#") for line in pip.read_text(encoding="utf-8").splitlines()):
        words = ("install", "--no-deps", "--require-hashes", "--requirement", str(pip))
        _run(f"{prefix}/bin/python", "-m", "pip", *words)
    if script.is_file():
        _run(*entered, "bash", str(script))
    for packages in prefix.glob("lib/python3*/site-packages"):  # src/ can be imported, as in the image
        shutil.copy(DOCKER_DIR / "environment" / "project_startup.py", packages)
        (packages / "project.pth").write_text("import project_startup\n", encoding="utf-8")
    (prefix / "etc/jupyter/labconfig").mkdir(parents=True, exist_ok=True)
    shutil.copy(DOCKER_DIR / "page_config.json", prefix / "etc/jupyter/labconfig")
    (prefix / MADE).touch()
    return prefix


def variables(prefix: Path) -> list[str]:
    """Return the variables of a process in the environment, as the image has them (Dockerfile); no user's own count."""
    asked = read_environment(Observation().environment_yml or "").variables
    return [
        *(f"{name}={value}" for name, value in asked.items()),
        *(f"ENV_PREFIX={prefix}", f"CONDA_PREFIX={prefix}", f"PATH={prefix}/bin:/usr/local/bin:/usr/bin:/bin"),
        *(f"BASH_ENV={DOCKER_DIR}/activate.sh", "CONDA_DIR=/nonexistent", f"JUPYTER_CONFIG_PATH={DOCKER_DIR}"),
        *("LANG=C.UTF-8", "PYTHONNOUSERSITE=1", "SHELL=/bin/bash"),
    ]


def _run(*argv: str) -> None:
    """Run a command, which says itself what goes wrong."""
    done = runner.run(argv, cwd=ROOT)
    if done.returncode == NOT_FOUND:
        fix = "name what brings it, such as 'module load miniforge', as setup in slurm.yml"
        raise HostError("conda is not on the PATH", fix=fix, code=ExitCode.UNAVAILABLE)
    if not done.ok:
        problem = f"the environment cannot be made: the command above ended with {done.returncode}"
        raise HostError(problem, fix=f"df -h {path_word(ROOT)}", code=ExitCode.IO)
