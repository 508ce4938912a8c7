"""The batch script, and the archive of an image that it starts from."""

import contextlib
import functools
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import pytest
from aids import executable, wait_until
from invoke.context import Context

from host_tasks.extras import slurm
from host_tasks.kit import lock
from host_tasks.kit.paths import ROOT, YOURS
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import Seen
from host_tasks.subjects import environment

ENVIRONMENT = ["ENV_PREFIX=/opt/env", "A=a b"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's root, in which nothing is yet; its lock is one of its own."""
    monkeypatch.setattr(slurm, "ROOT", tmp_path)
    monkeypatch.setattr(slurm, "SETTINGS", tmp_path / "slurm.yml")
    monkeypatch.setattr(slurm, "KEPT", tmp_path / ".slurm")
    monkeypatch.setattr(slurm, "LOCK_DIR", tmp_path / "environment.lock")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "ENVIRONMENT_YML", tmp_path / "environment.yml")
    monkeypatch.setattr(lock, "held", functools.partial(lock.held, tmp_path / ".lock"))
    return tmp_path


def script(*words: str, **options: str) -> str:
    """Return what `slurm` prints, with words behind --."""
    argv = ["invoke", "slurm", *(["--", *words] if words else [])]
    with patch.object(sys, "argv", argv), contextlib.redirect_stdout(io.StringIO()) as out:
        slurm.slurm_task(Context(), **options)
    return out.getvalue()


def refused(**options: str) -> HostError:
    """Return the error of a `slurm` that is to end with one."""
    with pytest.raises(HostError) as error:
        script(**options)
    return error.value


def packed(target: Path, files: dict[str, str], *, links: Iterable[tuple[str, str]] = ()) -> None:
    """Write a tar archive of files and symbolic links."""
    source = Path(tempfile.mkdtemp(dir=target.parent))
    with tarfile.open(target, "w") as archive:
        archive.add(source, "./")
        for name, content in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(content, encoding="utf-8")
            archive.add(source / name, name)
        for name, to in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, to
            archive.addfile(member)


def image(folder: Path, *layers: dict[str, str], links: Iterable[tuple[str, str]] = ()) -> None:
    """Write an archive as `docker save` does; the links are in the first layer."""
    for number, files in enumerate(layers):
        packed(folder / f"{number}.tar", files, links=() if number else links)
    names = [f"{number}.tar" for number in range(len(layers))]
    (folder / "config").write_text(json.dumps({"config": {"Env": ENVIRONMENT}}), encoding="utf-8")
    (folder / "other").write_text(json.dumps({"config": {}}), encoding="utf-8")
    images = [{"Config": "other", "Layers": []}, {"Config": "config", "Layers": names}]
    (folder / "manifest.json").write_text(json.dumps(images), encoding="utf-8")
    with tarfile.open(folder / "image.tar", "w") as archive:
        for name in ("manifest.json", "config", "other", *names):
            archive.add(folder / name, name)


def unpacked(folder: Path) -> Path:
    """Return the folder of the one image that was unpacked."""
    [root] = (folder / ".slurm").glob("image-*/")
    return root


def test_layers_lie_over_each_other(folder: Path) -> None:
    """A later file replaces an earlier one; a whiteout takes one away, an opaque one a whole folder."""
    first = {"a": "1", "b": "1", "c/d": "1", "c/e": "1", "f/g": "1"}
    image(folder, first, {"a": "2", ".wh.b": "", "c/.wh..wh..opq": "", "c/h": "2", ".wh.f": ""})

    script()

    root = unpacked(folder)
    files = {str(path.relative_to(root)): path.read_text("utf-8") for path in root.rglob("*") if path.is_file()}
    assert files == {"a": "2", "c/h": "2"}


def test_archive_is_unpacked_once_and_a_new_one_anew(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is unpacked is taken again, until the archive is another one; only what is done is told."""
    image(folder, {"a": "1"})
    script()
    first = unpacked(folder)
    (first / "mark").touch()
    told = capsys.readouterr().err

    script()
    again = capsys.readouterr().err
    image(folder, {"a": "1", "b": "other"})
    script()

    [other] = set((folder / ".slurm").glob("image-*/")) - {first}  # a job may run from the first
    assert (first / "mark").exists()
    assert not (other / "mark").exists()
    assert told == f"Unpack {folder}/image.tar: {first} is not there yet.\n"
    assert again == ""


def test_two_at_once_unpack_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, and takes what it has unpacked: neither removes what the other is at."""
    image(folder, {"a": "1"})
    assemble = slurm.assemble

    def slowly(archive: Path, root: Path) -> list[str]:
        (folder / f"began-{os.getpid()}").touch()
        time.sleep(0.5)
        return assemble(archive, root)

    monkeypatch.setattr(slurm, "assemble", slowly)
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=script) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()

    assert [process.exitcode for process in both] == [0, 0]
    assert len(list(folder.glob("began-*"))) == 1
    assert (unpacked(folder) / "a").read_text(encoding="utf-8") == "1"


def test_layer_does_not_leave_its_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A link of an earlier layer leads no later one to a file of this machine."""
    outside = tmp_path_factory.mktemp("outside")
    image(folder, {"a": "1"}, {"out/b": "2"}, links=[("out", str(outside))])

    assert refused().code == ExitCode.DATA
    assert list(outside.iterdir()) == []


def test_link_to_another_disk_is_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """docker/.slurm may lead to where there is room: the folder there is made, its owner's only, and is unpacked in."""
    there = tmp_path_factory.mktemp("disk") / "ada" / "slurm"
    (folder / ".slurm").symlink_to(there)
    image(folder, {"a": "1", "b/c": "1"}, {"b/.wh.c": "", "b/d": "2"})

    lines = script().splitlines()

    [root] = there.glob("image-*/")
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == ["a", "d"]
    assert f"image=({folder}/.slurm/{root.name})" in lines
    assert there.stat().st_mode & 0o077 == 0
    assert (folder / ".slurm").is_symlink()
    # What is not there is no folder to git, as a link is none.
    subprocess.run(["git", "check-ignore", "--quiet", "--no-index", "docker/.slurm"], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, ExitCode.UNAVAILABLE, "image.tar is not there"),
        (b"no archive", ExitCode.DATA, "image.tar holds no environment of this project"),
    ],
    ids=["absent", "damaged"],
)
def test_archive_that_cannot_be_used_is_told(folder: Path, content: bytes | None, code: ExitCode, words: str) -> None:
    """One that is not there, or is no archive, is one error, and nothing is taken for an image afterwards."""
    if content:
        (folder / "image.tar").write_bytes(content)

    error = refused()

    assert (error.code, words in error.problem) == (code, True)
    assert not list(slurm.KEPT.glob("image-*"))


@pytest.mark.parametrize("name", [".", "data", "environment.lock", "environment.lock/mine", "../"])
def test_folder_that_is_no_lock_is_told(folder: Path, name: str) -> None:
    """`image` of slurm.yml may name a folder; one without a lock's files, wherever it is, is one error."""
    for made in ("data", "environment.lock/mine"):
        (folder / made).mkdir(parents=True)
    (folder / "slurm.yml").write_text(f"image: {name}\n", encoding="utf-8")

    error = refused()

    assert error.code == ExitCode.UNAVAILABLE
    assert "is no lock for" in error.problem
    assert error.fix == "invoke lock # where Docker is; then bring it here"


def test_script_says_what_was_asked_and_what_slurm_yml_says(folder: Path) -> None:
    """An option goes before slurm.yml, any other key of sbatch goes through, and words stay words."""
    image(folder, {"a": "1"})
    text = (
        "sbatch: {partition: long, time: '1:00', gres: gpu:1, comment: a b}\n"
        "login: a@b\nsetup: module load x\noptions: --nv\n"
    )
    (folder / "slurm.yml").write_text(text, encoding="utf-8")

    lines = script("python", "a b", partition="short").splitlines()

    assert lines[:9] == [
        "#!/bin/bash -l",  # for `module`, which no other shell has where a cron job or --export=NONE calls sbatch
        "#SBATCH --job-name=python",
        f"#SBATCH --output={folder}/.slurm/%j.out",
        "#SBATCH --partition=short",
        "#SBATCH --time=1:00",
        "#SBATCH --gres=gpu:1",
        "#SBATCH --comment='a b'",
        "module load x",
        f"project=({folder})",
    ]
    assert lines[11:17] == [
        "login=(a@b)",
        "folders=(bin data doc notebooks results src)",
        "environment=(ENV_PREFIX=/opt/env 'A=a b')",
        "options=(--nv)",
        "command=(python 'a b')",
        "workers=(0)",
    ]
    assert slurm.KEPT.stat().st_mode & 0o077 == 0


ENTERED = {
    "apptainer": ["exec", "--containall", "--nv", "--bind", "IMAGE"],
    "singularity": ["exec", "--containall", "--nv", "--bind", "IMAGE"],
    "ch-run": ["--nv", "--bind", "IMAGE", "--"],
    "podman": [
        *("run", "--rm", "--network=host", "--userns=keep-id", "--cap-drop=all", "--read-only"),
        *("--nv", "--volume", "--rootfs", "IMAGE"),
    ],
}


@pytest.mark.parametrize(("runtime", "words"), ENTERED.items(), ids=ENTERED)
def test_runtime_gets_the_image_the_folders_and_nothing_of_the_node(
    folder: Path, runtime: str, words: list[str]
) -> None:
    """What a runtime is called with: its own options, the binds, the image, and a command in a clean environment.

    Apptainer 1.3, user guide, "exec"; Charliecloud 0.31, ch-run(1); Podman 4.3, podman-run(1).
    """
    image(folder, {"a": "1"})
    (folder / "slurm.yml").write_text("options: --nv\n", encoding="utf-8")
    programs = ("bash", "chmod", "hostname", "id", "mkdir", "mktemp", "rm")
    for name in programs:
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / name).symlink_to(str(shutil.which(name)))
    executable(folder / "bin" / runtime, f'printf "%s\\n" "$@" >{folder}/argv', interpreter=str(shutil.which("bash")))

    done = subprocess.run(
        ["bash", "-c", script("python", "a b")],
        env={"PATH": f"{folder}/bin", "SLURM_JOB_ID": "7", "SECRET": "of the node"},
        check=False,
    )

    argv = (folder / "argv").read_text(encoding="utf-8").splitlines()
    own = next(each for each in argv if each.endswith(":/mnt")).partition("=")[2].removesuffix("/home:/mnt")
    binds = [f"{own}/{each}" for each in ("tmp:/tmp", "home:/mnt", "app:/srv")]
    binds += [f"{folder}/{each}:/srv/{each}" for each in YOURS]
    before = [
        each
        for word in words
        for each in ([f"{word}={bind}" for bind in binds] if word in ("--bind", "--volume") else [word])
    ]
    root = next(slurm.KEPT.glob("image-*/"))
    assert done.returncode == 0
    assert argv[: len(before)] == [str(root) if word == "IMAGE" else word for word in before]
    assert argv[len(before) : len(before) + 4] == ["/usr/bin/env", "--ignore-environment", *ENVIRONMENT]
    assert argv[-7:] == ["/bin/bash", "-c", 'cd "${PROJECT_DIR}/$1" && exec "${@:2}"', "bash", ".", "python", "a b"]
    assert not [each for each in argv if "of the node" in each]
    assert "DASK_SCHEDULER_ADDRESS=None" in argv  # a stranger's may listen on this node
    assert not Path(own).exists()


OF_THE_JOB = {
    "SLURM_JOB_ID": "7",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_SUBMIT_DIR": "/a b",
    "CUDA_VISIBLE_DEVICES": "1",
    "ROCR_VISIBLE_DEVICES": "0",
    "OMP_NUM_THREADS": "4",
}


def run_by_stub(folder: Path, body: str, **environ: str) -> "subprocess.Popen[str]":
    """Start a script in a runtime that is the node itself, with a command of shell."""
    image(folder, {"a": "1"})
    enter = "while [[ $1 != /usr/bin/env ]]; do case $1 in *:/mnt) ;; esac; shift; done; shift 2\n"
    enter += 'words=(); while [[ $1 == *=* ]]; do words+=("$1"); shift; done\n'
    enter += 'exec env -i "${words[@]}" PROJECT_DIR=/tmp "$@"'
    executable(folder / "bin" / "apptainer", enter, interpreter=str(shutil.which("bash")))
    text = script("bash", "-c", body)
    argv, path = ["bash", "-c", text], f"{folder}/bin:{os.environ['PATH']}"
    return subprocess.Popen(
        argv, env={"PATH": path, **environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_program_is_told_of_its_job(folder: Path) -> None:
    """A part of an array knows which one it is, and of a GPU which one; no other word of the node's goes in."""
    told = run_by_stub(folder, "env -0", SLURM_JWT="of Slurm", NODE="of the node", **OF_THE_JOB).communicate(
        timeout=60
    )[0]

    found = dict(line.partition("=")[::2] for line in told.split("\0"))
    assert {name: found.get(name) for name in OF_THE_JOB} == OF_THE_JOB
    assert {"SLURM_JWT", "NODE"}.isdisjoint(found)


def test_signal_for_the_shell_reaches_the_program(folder: Path) -> None:
    """`--signal=B:USR1@30` asks the program to save its work; it goes on, and its exit code is that of the job."""
    body = f"trap 'echo saved; exit 7' USR1; touch {folder}/begun; while :; do sleep 0.1; done"
    process = run_by_stub(folder, body, SLURM_JOB_ID="7")
    wait_until((folder / "begun").exists, what="the program")

    process.send_signal(signal.SIGUSR1)

    assert process.communicate(timeout=60)[0] == "saved\n"
    assert process.returncode == 7


@pytest.mark.slow
def test_program_that_does_not_end_leaves_nothing_on_the_node(folder: Path) -> None:
    """It is killed before Slurm kills the script, so that there is somebody to clear up."""
    (folder / "own").mkdir()
    process = run_by_stub(
        folder,
        f"trap '' TERM; touch {folder}/begun; while :; do sleep 0.1; done",
        SLURM_JOB_ID="7",
        TMPDIR=str(folder / "own"),
    )
    wait_until((folder / "begun").exists, what="the program")
    began = list((folder / "own").iterdir())

    process.terminate()
    process.communicate(timeout=60)

    assert len(began) == 1
    assert list((folder / "own").iterdir()) == []
    assert process.returncode == 143


def test_script_is_short(folder: Path) -> None:
    """An administrator reads what is asked for; what is done with it is a file of the clone."""
    image(folder, {"a": "1"})

    lines = script().splitlines()

    assert len(lines) <= 20
    assert lines[-1] == f"source {slurm.BODY}"


def test_workers_need_dask_in_the_environment(folder: Path) -> None:
    """Without it they are refused with the packages to add, and how that gets to the cluster; with it, or 0, not."""
    (folder / "environment.yml").write_text("dependencies:\n  - python\n", encoding="utf-8")
    image(folder, {"a": "1"})

    error = refused(workers="2")
    none = script(workers="0")
    (folder / "requirements.txt").write_text("dask\n", encoding="utf-8")

    assert "workers=(2)" in script(workers="2").splitlines()
    assert "workers=(0)" in none.splitlines()
    assert error.code == ExitCode.CONFIG
    assert error.fix.startswith("add distributed, bokeh, jupyter-server-proxy to environment.yml, then: ")
    assert "save " in error.fix


@pytest.mark.parametrize("number", ["-1", "two", "1000"])
def test_number_of_workers_is_one(number: str) -> None:
    """Another word is an error of usage, before anything is unpacked."""
    error = refused(workers=number)

    assert (error.problem, error.code) == (f"--workers {number} is not between 0 and 999", ExitCode.USAGE)


# What stands in for a runtime: a scheduler that runs until it is ended, or ends once the command runs; a command.
RUNTIME = """
for word in "$@"; do case $word in *:/mnt) own=${{word#--bind=}} own=${{own%/home:/mnt}} ;; esac; done
case "$*" in
*'dask scheduler'*)
    printf '{{\\n  "address": "tls://here:1"\\n}}' >"$own/home/dask.json"
    for _ in {{1..1000}}; do [[ -e {folder}/{until} ]] && break; sleep 0.01; done
    exit 9
    ;;
*) touch {folder}/begun; for _ in {{1..1000}}; do [[ {ends} ]] && break; sleep 0.01; done; exit 7 ;;
esac
"""


@pytest.mark.parametrize("lines", [1, 3], ids=["to the end", "the scheduler ends first"])
def test_command_with_workers_ends_with_its_own_exit_code(folder: Path, lines: int) -> None:
    """The workers are submitted as an array and cancelled at the end; of the scheduler's end two lines tell."""
    (folder / "requirements.txt").write_text("dask\n", encoding="utf-8")
    image(folder, {"a": "1"})
    out = slurm.KEPT / "7.out"
    ends = f"$(<{out}) == *'goes on without'*" if lines > 1 else "1"
    body = RUNTIME.format(folder=folder, until="begun" if lines > 1 else "never", ends=ends)
    executable(folder / "bin" / "apptainer", body, interpreter=str(shutil.which("bash")))
    executable(folder / "bin" / "sbatch", f'echo "$*" >{folder}/submitted; echo "5;cluster"')
    executable(folder / "bin" / "scancel", f'echo "$*" >{folder}/cancelled')
    file_of_script = folder / "script"
    file_of_script.write_text(script("python", workers="2"), encoding="utf-8")

    environ = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    with out.open("w", encoding="utf-8") as file:
        code = subprocess.run(
            ["bash", str(file_of_script)], env=environ, stdout=file, stderr=file, check=False
        ).returncode

    said = out.read_text(encoding="utf-8").splitlines()
    submitted = (folder / "submitted").read_text(encoding="utf-8").split()
    assert (code, said[0], len(said)) == (7, "Dask's workers are the jobs 5_1 to 5_2.", lines)
    assert submitted[:2] == ["--parsable", "--array=1-2"]
    assert submitted[-3:] == [str(file_of_script), "7", "tls://here:1"]
    assert (folder / "cancelled").read_text(encoding="utf-8") == "5\n"
    assert not (slurm.KEPT / "7.pem").exists()


def test_node_without_a_runtime_is_told_of_the_lock(folder: Path) -> None:
    """One error of two lines, with an exit code of its own."""
    image(folder, {"a": "1"})
    (folder / "bin").mkdir()
    for name in ("bash", "chmod", "hostname", "mkdir", "mktemp", "rm"):
        (folder / "bin" / name).symlink_to(str(shutil.which(name)))

    done = subprocess.run(
        ["bash", "-c", script()],
        env={"PATH": f"{folder}/bin", "SLURM_JOB_ID": "7"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == ExitCode.UNAVAILABLE
    assert done.stderr.startswith("error: none of apptainer, singularity, ch-run and podman is on the PATH of ")
    fix = done.stderr.splitlines()[1].removeprefix("fix: ")
    subprocess.run(["bash", "-c", fix], check=True)
    assert slurm.source(Seen()) == folder / "environment.lock"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("partition: short\n", "partition: short"),
        ("sbatch: short\n", "sbatch: short"),
        ("- a\n", "no attribute"),
        ("a: [\n", "while parsing"),
        ('options: "\'"\n', "No closing quotation"),
    ],
    ids=["unknown key", "no mapping", "a list", "no YAML", "a quote that does not close"],
)
def test_broken_slurm_yml_is_told(folder: Path, content: str, words: str) -> None:
    """What slurm.yml cannot mean is one error that names it."""
    (folder / "slurm.yml").write_text(content, encoding="utf-8")

    error = refused()

    assert f"{folder}/slurm.yml is no mapping of sbatch, image, login, setup, options: " in error.problem
    assert words in error.problem
    assert error.code == ExitCode.CONFIG


def test_value_of_two_lines_is_refused(folder: Path) -> None:
    """No value of slurm.yml or of an option becomes a line of its own in the script."""
    image(folder, {"a": "1"})
    option = refused(partition="short\nrm -r ~")
    (folder / "slurm.yml").write_text('sbatch: {comment: "a\\nrm -r ~"}\n', encoding="utf-8")
    setting = refused()

    assert (option.problem, option.code) == (r"--partition is 'short\nrm -r ~'", ExitCode.DATA)
    assert (setting.problem, setting.code) == (r"--comment is 'a\nrm -r ~'", ExitCode.DATA)
