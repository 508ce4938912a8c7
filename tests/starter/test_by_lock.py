"""The environment that conda and pip make of a lock, where there is no container runtime."""

import contextlib
import functools
import hashlib
import io
import platform
import re
import shlex
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from aids import executable
from invoke.context import Context

from host_tasks.extras import slurm
from host_tasks.kit import lock as lock_of
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import Seen
from host_tasks.subjects import environment, environment_lock

SUBDIR = slurm.SUBDIRS.get(platform.machine(), platform.machine())
# What stand in for conda and for the environment's Python write down what they are asked.
CONDA = """echo "conda $*" >>{folder}/asked
prefix=${{4#--prefix=}}
mkdir -p "$prefix"/bin "$prefix"/conda-meta "$prefix"/lib/python3.12/site-packages
printf '#!/bin/sh\\necho "python $*" >>{folder}/asked\\n' >"$prefix"/bin/python
chmod +x "$prefix"/bin/python
"""


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock of a project, which is this clone."""
    found = tmp_path / "environment.lock"
    places = {"ROOT": tmp_path, "LOCK_DIR": found, "ENVIRONMENT_YML": tmp_path / "environment.yml"}
    places |= {"KEPT": tmp_path / ".slurm", "SETTINGS": tmp_path / "slurm.yml"}
    for module in (slurm, environment_lock, environment):
        for name in places.keys() & vars(module).keys():
            monkeypatch.setattr(module, name, places[name])
    monkeypatch.setattr(lock_of, "held", functools.partial(lock_of.held, tmp_path / ".lock"))
    (tmp_path / "environment.yml").write_text("dependencies: [python]\nvariables: {GREETING: a b}\n", "utf-8")
    found.mkdir()
    text = "".join(f"{line}\n" for line in environment_lock.lines_now(Seen()))
    (found / "inputs.txt").write_text(text, encoding="utf-8")
    first = f"# inputs: sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    for part, line in {"conda": "@EXPLICIT", "pip": "tabulate==1 --hash=sha256:0"}.items():
        (found / f"{part}-{SUBDIR}.txt").write_text(f"{first}\n{line}\n", encoding="utf-8")
    return found


def made(lock: Path, setup: str) -> tuple[Path, list[str]]:
    """Return the folder and the variables of the environment in the script that `slurm` prints; setup brings conda."""
    (lock.parent / "slurm.yml").write_text(f"setup: {setup}\n", encoding="utf-8")
    with patch.object(sys, "argv", ["invoke", "slurm"]), contextlib.redirect_stdout(io.StringIO()) as out:
        slurm.slurm_task(Context())
    words = {name: shlex.split(value) for name, value in re.findall(r"^(\w+)=\((.*)\)$", out.getvalue(), re.MULTILINE)}
    return Path(words["image"][0]), words["environment"]


def refused(lock: Path, setup: str = "PATH=/nowhere") -> HostError:
    """Return the error of a `slurm` that is to end with one."""
    with pytest.raises(HostError) as error:
        made(lock, setup)
    return error.value


def test_environment_is_made_once_by_conda_pip_and_post_build(lock: Path) -> None:
    """Conda that `setup` brings makes the lock's packages, pip its own by hash, then postBuild runs in them."""
    folder = lock.parent
    executable(folder / "bin" / "conda", CONDA.format(folder=folder))
    (folder / "postBuild").write_text(f'echo "$GREETING ${{PATH%%:*}}" >>{folder}/asked\n', encoding="utf-8")
    setup = f"PATH={folder}/bin:$PATH"

    prefix, variables = made(lock, setup)
    again = made(lock, setup)

    assert again == (prefix, variables)
    assert (folder / "asked").read_text(encoding="utf-8").splitlines() == [
        f"conda create --yes --quiet --prefix={prefix} --file={lock}/conda-{SUBDIR}.txt",
        f"python -m pip install --no-deps --require-hashes --requirement {lock}/pip-{SUBDIR}.txt",
        f"a b {prefix}/bin",
    ]
    assert "GREETING=a b" in variables
    assert (prefix / "lib/python3.12/site-packages/project_startup.py").is_file()
    assert (prefix / "etc/jupyter/labconfig/page_config.json").is_file()


def test_half_made_environment_is_made_anew(lock: Path) -> None:
    """What was interrupted is not taken for an environment."""
    executable(lock.parent / "bin" / "conda", CONDA.format(folder=lock.parent) + "exit 1")
    failed = refused(lock, f"PATH={lock.parent}/bin:$PATH")
    executable(lock.parent / "bin" / "conda", CONDA.format(folder=lock.parent))

    prefix, _ = made(lock, f"PATH={lock.parent}/bin:$PATH")

    assert failed.code == ExitCode.IO
    assert failed.problem == "the environment cannot be made: the command above ended with 1"
    assert (prefix / slurm.MADE).is_file()


def test_machine_without_conda_is_told(lock: Path) -> None:
    """The error names where conda is to come from."""
    error = refused(lock)

    assert (error.problem, error.code) == ("conda is not on the PATH", ExitCode.UNAVAILABLE)
    assert "setup in slurm.yml" in error.fix


def test_post_build_that_lacks_a_command_is_not_taken_for_a_lack_of_conda(lock: Path) -> None:
    """A command that postBuild does not find ends it with the same exit code as a missing conda."""
    executable(lock.parent / "bin" / "conda", CONDA.format(folder=lock.parent))
    (lock.parent / "postBuild").write_text("not-a-command-of-anybody\n", encoding="utf-8")

    error = refused(lock, f"PATH={lock.parent}/bin:$PATH")

    assert (error.problem, error.code) == (
        "the environment cannot be made: the command above ended with 127",
        ExitCode.IO,
    )


def test_lock_of_other_files_or_none_is_refused(lock: Path) -> None:
    """A line that was added since is named; a folder that is no lock is named too."""
    with (lock.parent / "environment.yml").open("a", encoding="utf-8") as file:
        file.write("# a comment\nname: mine\n")

    stale = refused(lock)
    (lock / f"pip-{SUBDIR}.txt").unlink()
    absent = refused(lock)

    assert (stale.code, absent.code) == (ExitCode.CONFIG, ExitCode.UNAVAILABLE)
    assert "environment.yml:4 `name: mine` is new" in stale.problem
    assert f"is no lock for {SUBDIR}" in absent.problem
    assert {stale.fix, absent.fix} == {"invoke lock # where Docker is; then bring it here"}
