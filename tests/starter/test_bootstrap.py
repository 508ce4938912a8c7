"""One way in: `python3 tasks.py` with nothing installed, on real virtual environments and real processes."""

import ast
import base64
import hashlib
import importlib.metadata
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aids import executable, wait_until

from host_tasks.kit.paths import DOCKER_DIR, ROOT
from host_tasks.setup import basics, bootstrap, host_packages

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in programs here are POSIX scripts")

SETUP = DOCKER_DIR / "host_tasks" / "setup"

TASKS = """
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "docker"))
if __name__ == "__main__":
    from host_tasks.setup import bootstrap
    bootstrap.main()
import invoke
@invoke.task
def hello(c, yes=False, word=""):
    "Say hello."
    print("hello", word, os.getcwd(), sys.prefix)
@invoke.task
def called(c):
    "Say how."
    print(os.environ["HOST_TASKS_CALLED_AS"])
@invoke.task
def test(c):
    "Test, as tests/starter/suite.py does."
    from host_tasks.setup import bootstrap
    bootstrap.ensure(bootstrap.TESTS)
    print("tested")
"""

# A quick uv: writes down each call, waits where it is told to, makes a real .venv and puts this Invoke into it.
UV = """
import os, pathlib, sys, time, venv
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as calls:
    print(" ".join(sys.argv[1:]), file=calls)
while (here / "wait").exists():
    time.sleep(0.01)
if (here / "fail").exists():
    sys.exit("error: no route to the index")
if sys.argv[1] == "venv":
    venv.create(sys.argv[-1], symlinks=True)
else:
    python = pathlib.Path(sys.argv[sys.argv.index("--python") + 1])
    [site] = python.parents[1].glob("lib/python*/site-packages")
    for source in map(pathlib.Path, {sources!r}):
        if not (site / source.name).exists():
            (site / source.name).symlink_to(source)
"""

APT_GET = """
import os, pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as calls:
    print(os.environ["DEBIAN_FRONTEND"], *sys.argv[1:], file=calls)
if "install" in sys.argv and not (here / "fail").exists():
    (here.parent / "hidden" / "ensurepip.py").unlink()
"""


@dataclass(frozen=True)
class Clone:
    """A clone with a tasks.py of two tasks, and a PATH with nothing on it but what the test puts there."""

    root: Path
    bin: Path
    wheels: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def stamp(self) -> Path:
        """The stamp of its .venv."""
        return self.root / ".venv" / ".stamp"

    @property
    def calls(self) -> list[str]:
        """What the stand-in programs were called with."""
        return (self.bin / "calls").read_text().splitlines() if (self.bin / "calls").exists() else []

    def program(self, name: str, text: str) -> None:
        """Put a Python script on the PATH."""
        executable(self.bin / name, text, interpreter=sys.executable)

    def start(self, *words: str, cwd: Path | None = None) -> "subprocess.Popen[str]":
        """Start `python3 tasks.py` with the words."""
        pipe = subprocess.PIPE
        env = {
            "PATH": str(self.bin),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.wheels.as_uri(),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environment,
        }
        command = [sys.executable, str(self.root / "tasks.py"), *words]
        return subprocess.Popen(command, cwd=cwd or self.root, env=env, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run `python3 tasks.py` with the words to its end."""
        process = self.start(*words, cwd=cwd)
        stdout, stderr = process.communicate(timeout=600)
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel of the Invoke that runs these tests: what pip installs without a network."""
    distribution = importlib.metadata.distribution("invoke")
    folder = tmp_path_factory.mktemp("wheels")
    kept = [file for file in distribution.files or () if ".." not in file.parts and "__pycache__" not in file.parts]
    with zipfile.ZipFile(folder / f"invoke-{distribution.version}-py3-none-any.whl", "w") as wheel:
        for file in kept:
            if file.name == "RECORD":
                wheel.writestr(str(file), "".join(f"{_record_line(each)}\n" for each in kept))
            elif file.name not in ("INSTALLER", "REQUESTED", "direct_url.json"):
                wheel.write(Path(str(file.locate())), str(file))
    return folder


def _record_line(file: importlib.metadata.PackagePath) -> str:
    """Return a line of a wheel's RECORD (PyPA specifications, "Binary distribution format")."""
    if file.name == "RECORD":
        return f"{file},,"
    data = Path(str(file.locate())).read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{file},sha256={digest},{len(data)}"


def make_clone(folder: Path, wheels: Path, name: str = "clone") -> Clone:
    """Return a clone in a folder, with hashed requirement files that pip can satisfy from the wheels."""
    clone = Clone(folder / name, folder / "programs", wheels)
    (clone.root / "tests" / "starter").mkdir(parents=True)
    clone.bin.mkdir(exist_ok=True)
    shutil.copytree(SETUP, clone.root / "docker" / "host_tasks" / "setup", ignore=shutil.ignore_patterns("__pycache__"))
    (clone.root / "tasks.py").write_text(TASKS)
    [wheel] = wheels.iterdir()
    version = importlib.metadata.version("invoke")
    pinned = f"invoke=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    (clone.root / bootstrap.HOST).write_text(pinned)
    (clone.root / bootstrap.TESTS).write_text(pinned + "# and more\n")
    return clone


@pytest.fixture
def bare(tmp_path: Path, wheels: Path) -> Clone:
    """Return a clone on a machine without uv."""
    return make_clone(tmp_path, wheels)


@pytest.fixture
def clone(tmp_path: Path, wheels: Path) -> Clone:
    """Return a clone on a machine with a quick stand-in for uv."""
    return with_uv(make_clone(tmp_path, wheels))


def with_uv(clone: Clone) -> Clone:
    """Return the clone with the stand-in for uv on its PATH."""
    invoke = importlib.metadata.distribution("invoke")
    folders = {file.parts[0] for file in invoke.files or () if file.parts[0].startswith("invoke")}
    clone.program("uv", UV.replace("{sources!r}", repr([str(invoke.locate_file(name)) for name in sorted(folders)])))
    return clone


def errors(text: str) -> list[str]:
    """Return the error lines of a stderr."""
    return [line for line in text.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
def test_main_on_a_bare_machine_installs_by_hash_and_becomes_invoke(tmp_path: Path, wheels: Path) -> None:
    """Two lines of progress, then the task's own words, from any folder, in any path; the next start is warm."""
    clone = make_clone(tmp_path, wheels, "it's: a `touch pwned` $(touch pwned) 研究")
    (clone.bin / "fail").touch()
    with_uv(clone)  # fails: pip takes over

    first = clone.run("hello", "--word=x y", cwd=tmp_path)
    again = clone.run("hello", cwd=tmp_path)

    assert first.stdout == f"hello x y {tmp_path} {clone.root / '.venv'}\n"
    assert first.stderr == "Setting up .venv with docker/host-requirements.txt ...\n.venv is ready.\n"
    assert (first.returncode, again.returncode, again.stderr) == (0, 0, "")
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.slow
def test_main_without_arguments_lists_the_tasks(clone: Clone) -> None:
    """Nothing given shows what there is, and `--help <task>` calls the program by its name."""
    listed = clone.run()
    helped = clone.run("--help", "hello")

    assert "hello    Say hello." in listed.stdout
    assert helped.stdout.startswith(f"Usage: {sys.executable} {clone.root / 'tasks.py'} [--core-opts] hello ")


def test_main_passes_the_exit_code_on(clone: Clone) -> None:
    """A task that does not exist is Invoke's error, not ours."""
    assert clone.run("nothing").returncode == 1


def test_main_warm_imports_next_to_nothing(clone: Clone) -> None:
    """A warm start stays cheap: none of the modules that cost milliseconds is imported on the way to exec."""
    clone.run("hello")
    code = f"""
        import os, sys
        sys.path.insert(0, {str(clone.root / "docker")!r})
        from host_tasks.setup import bootstrap
        os.execv = lambda *_: print(*sorted(sys.modules))
        bootstrap.main()
    """
    base = os.path.realpath(sys.executable)

    done = subprocess.run(
        [base, "-I", "-S", "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=600, check=True
    )

    assert "hashlib" in done.stdout.split()
    assert not {"subprocess", "shutil", "pathlib", "typing", "dataclasses", "re"} & set(done.stdout.split())


def calls(clone: Clone) -> dict[str, tuple[Path, list[str]]]:
    """Return command lines that call tasks.py from folders, by the words in which a person sees them again."""
    inside = clone.root / "tests" / "starter"
    script = clone.root / "tasks.py"
    return {
        "python3 tasks.py": (clone.root, ["python3", "tasks.py"]),
        "python3 ../../tasks.py": (inside, ["python3", "../../tasks.py"]),
        "python3 clone/tasks.py": (clone.root.parent, ["python3", "clone/tasks.py"]),
        f"python3 {script}": (clone.root.parent, ["python3", str(script)]),
        "./tasks.py": (clone.root, ["./tasks.py"]),
        "../../tasks.py": (inside, ["../../tasks.py"]),
        "'./my py' tasks.py": (clone.root, ["./my py", "tasks.py"]),
    }


@pytest.mark.slow
def test_tasks_know_how_they_were_called(clone: Clone) -> None:
    """What a person typed, from whatever folder, is what a fix tells them to type, and it works when pasted."""
    shebang = (ROOT / "tasks.py").read_text().partition("\n")[0]
    (clone.root / "tasks.py").write_text(f"{shebang}\n{TASKS}")
    (clone.root / "tasks.py").chmod(0o755)
    for link in (clone.bin / "python3", clone.root / "my py"):
        link.symlink_to(sys.executable)
    environ = {"PATH": f"{clone.bin}:/usr/bin:/bin"}

    def said(command: str, folder: Path) -> str:
        argv = ["bash", "-c", f"{command} called; true"]  # "; true": bash starts it, as at its prompt, instead of exec
        return subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False).stdout

    expected = calls(clone)
    typed = {words: said(shlex.join(argv), folder) for words, (folder, argv) in expected.items()}
    pasted = {words: said(words, folder) for words, (folder, _) in expected.items()}

    assert typed == {words: f"{words}\n" for words in expected}
    assert pasted == typed


def _edit(clone: Clone) -> None:
    with (clone.root / bootstrap.HOST).open("a") as stream:
        stream.write("# edited\n")


def _lose_stamp(clone: Clone) -> None:
    clone.stamp.unlink()


def _empty(clone: Clone) -> None:
    shutil.rmtree(clone.root / ".venv")
    (clone.root / ".venv").mkdir()


def _break_link(clone: Clone) -> None:
    python = clone.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    clone.stamp.write_text(ascii((str(clone.root), "/nowhere/python3")) + clone.stamp.read_text().partition(")")[2])


def _upgrade_python(clone: Clone) -> None:
    python = clone.root / ".venv" / "bin" / "python"
    other = clone.root.parent / "python3.99"
    shutil.copy(os.path.realpath(sys.executable), other)
    python.unlink()
    python.symlink_to(other)


def _garble(clone: Clone) -> None:
    clone.stamp.write_bytes(b"\xff\x00garbage")


def _file(clone: Clone) -> None:
    shutil.rmtree(clone.root / ".venv")
    (clone.root / ".venv").touch()


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_edit, id="requirement file edited"),
        pytest.param(_lose_stamp, id="killed before the stamp"),
        pytest.param(_empty, id="empty folder"),
        pytest.param(_break_link, id="interpreter gone"),
        pytest.param(_upgrade_python, id="interpreter replaced"),
        pytest.param(_garble, id="stamp garbled"),
        pytest.param(_file, id="a file"),
    ],
)
def test_main_makes_a_stale_or_broken_venv_again(spoil: Callable[[Clone], None], clone: Clone) -> None:
    """What is stale or half made is made again from nothing, once."""
    clone.run("hello")
    leftover = clone.root / ".venv" / "leftover"
    leftover.touch()
    spoil(clone)

    done = clone.run("hello")
    again = clone.run("hello")

    assert (done.returncode, done.stderr.count("Setting up")) == (0, 1)
    assert (again.returncode, again.stderr) == (0, "")
    assert not leftover.exists()


@pytest.mark.slow
def test_main_after_a_move_makes_venv_again(clone: Clone, tmp_path: Path) -> None:
    """A clone that was moved has the old path in its scripts: .venv is made again."""
    clone.run("hello")
    moved = Clone(clone.root.rename(tmp_path / "moved"), clone.bin, clone.wheels)

    done = moved.run("hello")

    assert done.stdout == f"hello  {moved.root} {moved.root / '.venv'}\n"
    assert "Setting up" in done.stderr


def test_main_cuts_a_link_and_spares_what_it_leads_to(clone: Clone, tmp_path: Path) -> None:
    """Where .venv is a link, the environment behind it is not ours to delete."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "work.txt").touch()
    (clone.root / ".venv").symlink_to(theirs)

    done = clone.run("hello")

    assert done.returncode == 0
    assert [path.name for path in theirs.iterdir()] == ["work.txt"]


@pytest.mark.slow
def test_main_test_adds_the_packages_of_the_tests(clone: Clone) -> None:
    """A task that needs more adds it to the .venv that is there; other tasks neither add nor drop it."""
    clone.run("hello")
    kept = clone.root / ".venv" / "kept"
    kept.touch()

    added = clone.run("test")
    clone.run("hello")
    clone.run("test")

    assert (added.stdout, added.stderr.splitlines()[0]) == (
        "tested\n",
        "Setting up .venv with tests/starter/requirements.txt ...",
    )
    assert [call.partition(" --python")[0] for call in clone.calls] == [
        "venv --no-project",
        "pip install",
        "pip install",
    ]
    assert kept.exists()


@pytest.mark.slow
def test_main_after_an_edit_brings_the_packages_of_the_tests_back(clone: Clone) -> None:
    """A new .venv holds what the old one held."""
    clone.run("test")
    _edit(clone)

    clone.run("hello")

    assert clone.run("test").stderr == ""


@pytest.mark.slow
def test_main_failed_addition_leaves_a_working_venv(clone: Clone) -> None:
    """Where uv has gone, its .venv gets pip from ensurepip; where a package is missing, other tasks still work."""
    clone.run("hello")
    (clone.bin / "uv").unlink()
    (clone.root / bootstrap.TESTS).write_text("nothing==1 --hash=sha256:" + "0" * 64 + "\n")

    failed = clone.run("test")
    again = clone.run("hello")

    assert (failed.returncode, len(errors(failed.stderr))) == (basics.UNAVAILABLE, 1)
    assert "No matching distribution found for nothing==1" in failed.stderr
    assert (again.returncode, again.stderr) == (0, "")


def test_main_two_at_once_install_once(clone: Clone) -> None:
    """The second waits for the first, says so, and finds .venv ready."""
    (clone.bin / "wait").touch()
    first = clone.start("hello")
    wait_until(lambda: clone.calls)
    second = clone.start("hello")
    assert second.stderr is not None
    waiting = second.stderr.readline()

    (clone.bin / "wait").unlink()

    assert waiting == "Another task sets .venv up: waiting for it to end.\n"
    assert [process.communicate(timeout=600)[0].split()[0] for process in (first, second)] == ["hello", "hello"]
    assert [call.split()[0] for call in clone.calls] == ["venv", "pip"]


@pytest.mark.slow
def test_main_killed_leaves_the_lock_to_its_installer(clone: Clone) -> None:
    """After kill -9 the orphaned installer still writes to .venv: the next run waits for it, then starts over."""
    (clone.bin / "wait").touch()
    killed = clone.start("hello")
    wait_until(lambda: clone.calls)
    killed.kill()
    killed.wait(timeout=600)
    second = clone.start("hello")
    assert second.stderr is not None
    waiting = second.stderr.readline()

    (clone.bin / "wait").unlink()
    stdout, stderr = second.communicate(timeout=600)
    killed.communicate(timeout=600)

    assert "waiting" in waiting
    assert (second.returncode, stdout.split()[0], stderr.count("Setting up")) == (0, "hello", 1)


def test_main_interrupted_ends_with_130(clone: Clone) -> None:
    """Ctrl-C while installing: one error, 130, no traceback, no stamp."""
    (clone.bin / "wait").touch()
    process = clone.start("hello")
    wait_until(lambda: clone.calls)

    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=600)
    (clone.bin / "wait").unlink()

    again = shlex.join([sys.executable, str(clone.root / "tasks.py"), "hello"])
    assert (process.returncode, stderr.splitlines()[-2:]) == (
        basics.INTERRUPTED,
        ["error: interrupted", f"fix: {again}"],
    )
    assert "Traceback" not in stderr
    assert not clone.stamp.exists()


@pytest.mark.slow
def test_main_failed_install_is_one_error_line(bare: Clone) -> None:
    """A package without a hash is not installed: 69, pip's last words, one error line, no stamp."""
    requirements = bare.root / bootstrap.HOST
    requirements.write_text(requirements.read_text().partition(" ")[0] + "\n")

    done = bare.run("hello")

    assert (done.returncode, done.stdout) == (basics.UNAVAILABLE, "")
    assert "Hashes are required in --require-hashes mode" in done.stderr
    assert len(errors(done.stderr)) == 1
    assert "Traceback" not in done.stderr
    assert not bare.stamp.exists()


def test_main_without_its_requirement_file(clone: Clone) -> None:
    """A missing requirement file is named, with the command that brings it back."""
    (clone.root / bootstrap.HOST).unlink()

    done = clone.run("hello")

    assert (done.returncode, done.stderr) == (
        basics.CONFIG,
        f"error: {bootstrap.HOST} is missing\nfix: git checkout -- {bootstrap.HOST}\n",
    )


def hide_ensurepip(clone: Clone) -> Clone:
    """Return the clone on a Debian without its venv package."""
    hidden = clone.bin.parent / "hidden"
    hidden.mkdir()
    (hidden / "ensurepip.py").write_text("raise ImportError")
    clone.program("apt-get", APT_GET)
    clone.program("sudo", "import os, sys; os.execvp(*[(a := [w for w in sys.argv[1:] if w[0] != '-'])[0], a])")
    (clone.bin / "env").symlink_to("/usr/bin/env")
    clone.environment["PYTHONPATH"] = str(hidden)
    return clone


def test_main_without_ensurepip_names_the_package(bare: Clone) -> None:
    """A Debian without python3-venv is told which package it needs; nothing is installed unasked."""
    hide_ensurepip(bare)

    done = bare.run("hello")

    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    assert (done.returncode, bare.calls) == (basics.UNAVAILABLE, [])
    assert done.stderr.endswith(
        "error: this Python cannot make virtual environments: its module ensurepip is missing\n"
        f"fix: sudo apt-get install {package}\n"
    )


@pytest.mark.slow
def test_main_without_ensurepip_and_yes_installs_the_package(bare: Clone) -> None:
    """With --yes the package is installed, and the run goes on."""
    hide_ensurepip(bare)

    done = bare.run("hello", "--yes")

    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    assert (done.returncode, done.stdout.split()[0]) == (0, "hello")
    assert bare.calls == ["noninteractive update", f"noninteractive install --yes {package}"]


def test_main_without_ensurepip_needs_no_package_with_uv(clone: Clone) -> None:
    """Uv makes .venv without ensurepip."""
    hide_ensurepip(clone)

    assert clone.run("hello").returncode == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root gives files away")
def test_main_as_root_gives_venv_to_the_owner_of_the_clone(clone: Clone) -> None:
    """After `sudo python3 tasks.py` the person can renew .venv without sudo."""
    os.chown(clone.root, 1234, 1235)

    clone.run("hello")

    made = [clone.root / ".venv.lock", *(path for path in clone.root.glob(".venv/**/*") if not path.is_symlink())]
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in made} == {(1234, 1235)}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_main_under_a_wide_umask_makes_no_venv_that_others_write(clone: Clone) -> None:
    """What the person runs is written by nobody else, and a lock that others may open they may hold for ever."""
    umask = os.umask(0)
    try:
        clone.run("hello")
    finally:
        os.umask(umask)

    made = [path for path in clone.root.glob(".venv/**/*") if not path.is_symlink()]
    assert [path for path in made if path.stat().st_mode & 0o022] == []
    assert oct((clone.root / ".venv.lock").stat().st_mode) == "0o100600"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root mounts a small disk")
def test_main_on_a_full_disk_says_so(tmp_path: Path, wheels: Path) -> None:
    """A disk without room is one error with 74 that shows the disks, and no riddle about package indexes."""
    small = tmp_path / "clone"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(small)], check=False).returncode:
        pytest.skip("no mount here")
    try:
        done = make_clone(tmp_path, wheels).run("hello")
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)

    assert done.returncode == basics.IO
    assert done.stderr.splitlines()[-2:] == [
        "error: there is no room for .venv",
        f"fix: make room, 200 MB: df -h {shlex.quote(str(small))} /tmp",
    ]


HOSTILE = "raise SystemExit('foreign code ran')"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param("invoke", "", id="no settings", marks=pytest.mark.slow),
        pytest.param("invoke", "tasks: {collection_name: evil, search_root: NOTEBOOKS}", id="led astray"),
        pytest.param("inv", "tasks: [broken", id="broken", marks=pytest.mark.slow),
    ],
)
def test_invoke_of_venv_runs_this_clones_tasks_only(clone: Clone, name: str, settings: str) -> None:
    """Code that a container wrote beside the work never runs outside, whatever the home's settings of Invoke say."""
    clone.run("hello")
    notebooks = clone.root / "notebooks"
    (notebooks / "invoke").mkdir(parents=True)
    for file in ("tasks.py", "evil.py", "invoke.py", "yaml.py", "invoke/__init__.py"):
        (notebooks / file).write_text(HOSTILE)
    (notebooks / "invoke.yaml").write_text("tasks: {collection_name: evil}")
    (clone.bin / ".invoke.yaml").write_text(settings.replace("NOTEBOOKS", str(notebooks)))
    script = clone.root / ".venv" / "bin" / name
    environ = {"PATH": f"{script.parent}:/usr/bin:/bin", "HOME": str(clone.bin), "PYTHONPATH": str(notebooks)}

    def said(*argv: str) -> str:
        options = {"cwd": notebooks, "env": environ, "timeout": 60}
        return subprocess.run(argv, capture_output=True, text=True, check=False, **options).stdout  # type: ignore[call-overload, no-any-return]

    assert said(name, "hello") == f"hello  {notebooks} {clone.root / '.venv'}\n"
    assert said("sh", "-c", f"{name} called; true") == f"{name}\n"
    assert said(f"../.venv/bin/{name}", "called") == f"../.venv/bin/{name}\n"


def test_invoke_of_a_venv_of_other_packages_names_tasks_py(clone: Clone) -> None:
    """What `upgrade` brings may need other packages: `invoke` says so before it uses them, and its fix brings them."""
    clone.run("hello")
    executable(clone.bin / "python3", f'exec {shlex.quote(sys.executable)} "$@"')
    script = clone.root / ".venv" / "bin" / "invoke"
    environ = {"PATH": f"{script.parent}:{clone.bin}:/usr/bin:/bin", "HOME": str(clone.bin)}

    def run(*argv: str) -> "subprocess.CompletedProcess[str]":
        options = {"cwd": clone.root / "docker", "env": environ, "timeout": 60}
        return subprocess.run(argv, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]

    words = ("invoke", "hello", "--word=a b")
    before = run(*words)
    _edit(clone)
    refused = run(*words)
    pasted = run("sh", "-c", refused.stderr.splitlines()[1].removeprefix("fix: "))
    after = run(*words)

    assert (before.returncode, before.stderr) == (0, "")
    assert (refused.returncode, refused.stdout, refused.stderr.splitlines()) == (
        *(basics.CONFIG, ""),
        [
            "error: .venv was made for another docker/host-requirements.txt",
            "fix: python3 ../tasks.py hello '--word=a b'",
        ],
    )
    assert pasted.stdout == after.stdout == before.stdout


def test_main_ignores_a_foreign_python_path(clone: Clone, tmp_path: Path) -> None:
    """Neither PYTHONPATH nor the working directory, which a container may write to, is imported from."""
    clone.run("hello")
    for folder in ("path", "notebooks"):
        (tmp_path / folder / "invoke").mkdir(parents=True)
        (tmp_path / folder / "invoke" / "__init__.py").write_text("raise SystemExit('foreign code ran')")
    clone.environment["PYTHONPATH"] = str(tmp_path / "path")

    done = clone.run("hello", cwd=tmp_path / "notebooks")

    assert (done.returncode, done.stdout.split()[0]) == (0, "hello")


def test_import_under_an_older_python_says_so() -> None:
    """Python 3.9 ends with one error and 69, and not with a traceback."""
    code = f"""
        import sys
        sys.path.insert(0, {str(DOCKER_DIR)!r})
        sys.version_info = (3, 9, 18, "final", 0)
        sys.version = "3.9.18 (main)"
        from host_tasks.setup import bootstrap
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PATH": ""}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (
        basics.UNAVAILABLE,
        "error: tasks.py needs Python 3.10 or newer and this is 3.9.18\n"
        "fix: install a newer Python, then run tasks.py with it\n",
    )


@pytest.mark.parametrize(
    "source",
    [ROOT / "tasks.py", *SETUP.glob("*.py")],
    ids=lambda p: p.name,
)
def test_syntax_is_readable_for_an_older_python(source: Path) -> None:
    """What Python 3.6 cannot parse it cannot refuse in one line."""
    ast.parse(source.read_text(), feature_version=(3, 6))


@pytest.mark.parametrize("name", [bootstrap.HOST, bootstrap.TESTS])
def test_requirement_files_are_pinned_by_hash(name: str) -> None:
    """Every package has one version and a hash, and no index is named."""
    text = (ROOT / name).read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]

    assert all("==" in line and "--hash=sha256:" in line for line in lines)
    assert "://" not in text
    assert [line for line in lines if line.startswith("invoke==")]


def test_requirement_files_agree() -> None:
    """The packages of the tests replace none of the host packages."""
    pins = [
        {line.split()[0] for line in (ROOT / name).read_text().splitlines() if "==" in line and line[0].isalpha()}
        for name in (bootstrap.HOST, bootstrap.TESTS)
    ]

    assert pins[0] <= pins[1]


@pytest.mark.parametrize(
    ("environ", "bundle", "expected"),
    [
        pytest.param(
            {"A": "1"},
            "/ca",
            {"A": "1", "REQUESTS_CA_BUNDLE": "/ca", "SSL_CERT_FILE": "/ca"},
            id="the machine's bundle",
        ),
        pytest.param({"PIP_CERT": "/mine"}, "/ca", {"PIP_CERT": "/mine"}, id="a named bundle wins"),
        pytest.param({}, "", {}, id="no bundle"),
        pytest.param(dict.fromkeys(host_packages.DISTRACTING, "/x"), "", {}, id="distracting variables"),
        pytest.param({"PIP_USER": "1", "PIP_INDEX_URL": "u"}, "", {"PIP_INDEX_URL": "u"}, id="the person's index"),
    ],
)
def test_child_environment(environ: dict[str, str], bundle: str, expected: dict[str, str]) -> None:
    """The installer keeps the person's settings, trusts the machine's certificates, and is led nowhere else."""
    assert host_packages.child_environment(environ, bundle) == {**expected, "PIP_USER": "0"}
