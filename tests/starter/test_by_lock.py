"""The environment that conda and pip make of a lock, where there is no container runtime."""

import platform
from pathlib import Path

import pytest
from aids import executable

from host_tasks.act import by_lock, slurm
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.observe import environment_lock, observation

SUBDIR = by_lock.SUBDIRS.get(platform.machine(), platform.machine())
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
    for module, names in {
        by_lock: ("ROOT", "LOCK_DIR"),
        slurm: ("ROOT", "LOCK_DIR", "KEPT"),
        environment_lock: ("ROOT", "LOCK_DIR"),
        observation: ("ENVIRONMENT_YML",),
    }.items():
        places = {"ROOT": tmp_path, "LOCK_DIR": found, "ENVIRONMENT_YML": tmp_path / "environment.yml"}
        for name in names:
            monkeypatch.setattr(module, name, places.get(name, tmp_path / ".slurm"))
    (tmp_path / ".slurm").mkdir()
    (tmp_path / "environment.yml").write_text("dependencies: [python]\nvariables: {GREETING: a b}\n", "utf-8")
    found.mkdir()
    text = "".join(f"{each}\n" for each in environment_lock.inputs())
    (found / "inputs.txt").write_text(text, encoding="utf-8")
    for part, line in {"conda": "@EXPLICIT", "pip": "tabulate==1 --hash=sha256:0"}.items():
        first = environment_lock._comment(text)
        (found / f"{part}-{SUBDIR}.txt").write_text(f"{first}\n{line}\n", encoding="utf-8")
    return found


def test_environment_is_made_once_by_conda_pip_and_post_build(lock: Path) -> None:
    """Conda that `setup` brings makes the lock's packages, pip its own by hash, then postBuild runs in them."""
    folder = lock.parent
    executable(folder / "bin" / "conda", CONDA.format(folder=folder))
    (folder / "postBuild").write_text(f'echo "$GREETING ${{PATH%%:*}}" >>{folder}/asked\n', encoding="utf-8")
    setup = f"PATH={folder}/bin:$PATH"

    prefix, environment = slurm.ready(lock, setup)
    again = slurm.ready(lock, setup)

    assert again == (prefix, environment)
    assert (folder / "asked").read_text(encoding="utf-8").splitlines() == [
        f"conda create --yes --quiet --prefix={prefix} --file={lock}/conda-{SUBDIR}.txt",
        f"python -m pip install --no-deps --require-hashes --requirement {lock}/pip-{SUBDIR}.txt",
        f"a b {prefix}/bin",
    ]
    assert "GREETING=a b" in environment
    assert (prefix / "lib/python3.12/site-packages/project_startup.py").is_file()
    assert (prefix / "etc/jupyter/labconfig/page_config.json").is_file()


def test_half_made_environment_is_made_anew(lock: Path) -> None:
    """What was interrupted is not taken for an environment."""
    executable(lock.parent / "bin" / "conda", CONDA.format(folder=lock.parent) + "exit 1")
    with pytest.raises(HostError) as failed:
        slurm.ready(lock, f"PATH={lock.parent}/bin:$PATH")
    executable(lock.parent / "bin" / "conda", CONDA.format(folder=lock.parent))

    prefix, _ = slurm.ready(lock, f"PATH={lock.parent}/bin:$PATH")

    assert failed.value.code == ExitCode.IO
    assert (prefix / by_lock.MADE).is_file()


def test_machine_without_conda_is_told(lock: Path) -> None:
    """The error names where conda is to come from."""
    with pytest.raises(HostError) as refused:
        slurm.ready(lock, "PATH=/nowhere")

    assert (refused.value.problem, refused.value.code) == ("conda is not on the PATH", ExitCode.UNAVAILABLE)
    assert "setup in slurm.yml" in refused.value.fix


def test_lock_of_other_files_or_none_is_refused(lock: Path) -> None:
    """A line that was added since is named; a folder that is no lock is named too."""
    with (lock.parent / "environment.yml").open("a", encoding="utf-8") as file:
        file.write("# a comment\nname: mine\n")

    with pytest.raises(HostError) as stale:
        by_lock.files(lock)
    with pytest.raises(HostError) as absent:
        by_lock.files(lock / "stand-in")

    assert (stale.value.code, absent.value.code) == (ExitCode.CONFIG, ExitCode.UNAVAILABLE)
    assert "environment.yml:4 `name: mine` is new" in stale.value.problem
