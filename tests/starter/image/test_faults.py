"""What goes wrong on a real engine ends in one line that says what to do; nothing is lost, nothing is left."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import YOURS, Clone, cloned, docker, removed

PERSON = 1234  # uid and gid of an ordinary user that this machine need not know
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SOCKET = Path("/var/run/docker.sock")


def content(root: Path) -> dict[str, str]:
    """Return a digest of every file of the person's own, the target of every link, and the kind of the rest."""
    found = {}
    for path in [each for name in YOURS for each in (root / name, *(root / name).rglob("*"))]:
        kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file" if path.is_file() else "-"
        what = str(path.readlink()) if kind == "link" else ""
        found[str(path.relative_to(root))] = kind + (
            hashlib.sha256(path.read_bytes()).hexdigest() if kind == "file" else what
        )
    return found


def leftovers(clone: Clone) -> str:
    """Return the containers, in any state, and the networks of a clone."""
    label = f"label=com.docker.compose.project={clone.project}"
    return docker("ps", "--all", "--quiet", "--filter", label) + docker("network", "ls", "--quiet", "--filter", label)


def error_of(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    """Return the two lines of the one error of a task that ended with a code, without a traceback."""
    lines = done.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    # Of ours: conda shows one of its own amid a build.
    traceback = re.search("^Traceback", done.stderr, re.MULTILINE) is not None
    assert (done.returncode, len(errors), traceback) == (code, 1, False), done.stderr[-3000:]
    assert lines[-2] == errors[0]
    assert lines[-1].startswith("fix: ")
    return "\n".join(lines[-2:])


@pytest.fixture(scope="module")
def shared(clone: Clone) -> Clone:
    """A clone that has been up once; each test leaves it down, its files as they were."""
    (clone.root / "data" / "mine.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    clone.succeed("up", "--yes")
    return clone


@pytest.fixture
def calm(shared: Clone) -> Iterator[Clone]:
    """The shared clone with nothing running; afterwards no file of the person's own may have changed, and none be left.

    What a test adds to docker/ it adds as docker-compose.override.yml, which is removed.
    """
    shared.succeed("down")
    before = content(shared.root)
    yield shared
    (shared.root / "docker" / "docker-compose.override.yml").unlink(missing_ok=True)
    assert content(shared.root) == before
    assert leftovers(shared) == ""


def override(clone: Clone, text: str) -> None:
    """Let the person's own Compose file say something of the server."""
    indented = "".join(f"    {line}\n" for line in text.splitlines())
    path = clone.root / "docker" / "docker-compose.override.yml"
    path.write_text(f"services:\n  jupyterlab-server:\n{indented}", encoding="utf-8")


def test_missing_source_is_made_as_the_identitys(calm: Clone) -> None:
    """`mounts` names the missing folder and its repair, which repairs it; `up` makes it too, never as root's."""
    values = calm.values()
    owner = (int(values["UID"]), int(values["GID"]))
    folder = calm.root / "results"
    readme = (folder / "README.md").read_bytes()
    shutil.rmtree(folder)

    said = error_of_mounts(calm.task("mounts"), "error: results is missing\nfix: invoke mounts --fix")
    planned = calm.succeed("mounts", "--fix", "--dry-run")
    was_made = folder.exists()
    calm.succeed("mounts", "--fix")
    fixed = folder.stat()
    folder.rmdir()
    calm.succeed("up", "--yes")

    assert "results" in said
    assert "1. make missing folders\n   why: results is missing\n   touches: results" in planned
    assert not was_made
    assert (fixed.st_uid, fixed.st_gid) == owner
    assert (folder.stat().st_uid, folder.stat().st_gid) == owner
    calm.succeed("down")
    (folder / "README.md").write_bytes(readme)


def error_of_mounts(done: "subprocess.CompletedProcess[str]", expected: str) -> str:
    """Return the table of a `mounts` that ended with 78 and this error."""
    assert (done.returncode, "\n".join(done.stderr.splitlines()[-2:])) == (78, expected), done.stderr
    return done.stdout


def a_file(folder: Path) -> str:
    """Put a file in a folder's place and return what is then wrong."""
    folder.rmdir()
    folder.write_text("precious", encoding="utf-8")
    return "is a file, not a folder"


def a_dangling_link(folder: Path) -> str:
    """Put a link to nowhere in a folder's place and return what is then wrong."""
    folder.rmdir()
    folder.symlink_to("gone")
    return "is a link to gone, which does not exist"


def a_link_outside(folder: Path) -> str:
    """Put a link out of the project in a folder's place and return what is then wrong."""
    folder.rmdir()
    folder.symlink_to(folder.parents[1])
    return f"is a link out of the project, to {folder.parents[1]}"


@pytest.mark.parametrize("plant", [a_file, a_dangling_link, a_link_outside], ids=lambda plant: plant.__name__)
def test_source_that_is_no_folder_starts_nothing(calm: Clone, plant: Callable[[Path], str]) -> None:
    """A source that is a file or a link out of the project ends with 78; it stays as it is, and nothing starts."""
    folder = calm.root / "doc"
    shutil.move(folder, calm.root / "doc.aside")
    folder.mkdir()
    wrong = plant(folder)
    planted = content(calm.root)

    said = error_of(calm.task("up", "--yes"), 78)

    after, left = content(calm.root), leftovers(calm)
    folder.unlink()
    shutil.move(calm.root / "doc.aside", folder)
    assert said.startswith(f"error: doc {wrong}\nfix: ")
    assert after == planted
    assert left == ""


@pytest.fixture
def person_clone() -> Iterator[Clone]:
    """A clone that belongs to an ordinary user, in a folder that this user can reach."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    clone = cloned(folder / "theirs")
    (folder / "home").mkdir()
    for path in [folder / "home", clone.root, *clone.root.rglob("*")]:
        os.chown(path, PERSON, PERSON, follow_symlinks=False)
    yield clone
    removed(clone)
    shutil.rmtree(folder)


def as_person(clone: Clone, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run `python3 tasks.py <words>` as an ordinary user who may use the engine."""
    groups = str(SOCKET.stat().st_gid)
    become = ["setpriv", f"--reuid={PERSON}", f"--regid={PERSON}", f"--groups={groups}", "--no-new-privs"]
    become += ["env"]  # what setpriv itself starts is still found with the rights of root
    python = next((each for each in (sys.executable, "/usr/bin/python3") if runs_as_person(become, each)), None)
    if python is None:
        pytest.skip("no Python of this machine lets an ordinary user make environments")
    become += [f"HOME={clone.root.parent / 'home'}", "USER=somebody", f"PATH={SYSTEM_PATH}"]
    return clone.run(*become, python, "tasks.py", *words)


def runs_as_person(become: list[str], python: str) -> bool:
    """Return whether the ordinary user may run this interpreter, and make environments with it."""
    done = subprocess.run([*become, python, "-c", "import venv, ensurepip"], cwd="/", capture_output=True, check=False)
    return done.returncode == 0


def test_ordinary_user_is_told_of_an_unwritable_source_and_owns_all_that_is_made(person_clone: Clone) -> None:
    """Root's results/ ends with 77 and the chown; after it `up` works, and every file belongs to the user outside."""
    results = person_clone.root / "results"
    os.chown(results, 0, 0)

    said = error_of(as_person(person_clone, "up", "--yes"), 77)
    left = leftovers(person_clone)
    command = said.rpartition("\nfix: sudo ")[2].split()
    subprocess.run(command, cwd=person_clone.root, check=True)
    up = as_person(person_clone, "up", "--yes")

    assert said.startswith(f"error: results is owned by 0:0 with mode 0755, so u{PERSON} ({PERSON}:{PERSON}) cannot")
    assert command == ["chown", "-R", f"{PERSON}:{PERSON}", "results"]
    assert left == ""
    assert up.returncode == 0, up.stderr[-3000:]
    assert up.stdout.splitlines()[-1].startswith("http://127.0.0.1:")
    inside = as_person(
        person_clone, "run", "--", "sh", "-c", "cd ~/app && touch results/r notebooks/n && id -u && id -g"
    )
    assert inside.stdout.split() == [str(PERSON)] * 2, inside.stderr
    whose = {(path.lstat().st_uid, path.lstat().st_gid) for path in (*results.rglob("*"), *yours(person_clone.root))}
    assert whose == {(PERSON, PERSON)}
    assert as_person(person_clone, "mounts").returncode == 0
    assert as_person(person_clone, "down").returncode == 0
    assert leftovers(person_clone) == ""
    owners = {path.lstat().st_uid for path in (person_clone.root, *(person_clone.root / "docker").rglob("*"))}
    assert owners == {PERSON}


def yours(root: Path) -> Iterator[Path]:
    """Yield everything in the six folders."""
    for name in YOURS:
        yield from (root / name, *(root / name).rglob("*"))


@pytest.fixture
def busy() -> Iterator[int]:
    """A port of 127.0.0.1 on which a program listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def test_port_that_a_program_holds_is_refused_where_it_was_asked_for(calm: Clone, busy: int) -> None:
    """With --port the wish is refused with 75; no container is left in the state `created`."""
    said = error_of(calm.task("up", "--yes", "--port", str(busy)), 75)

    assert said.startswith(f"error: port {busy} is held by ")
    assert leftovers(calm) == ""


def test_port_that_a_container_holds_is_refused_with_its_name(calm: Clone, busy: int) -> None:
    """The container that publishes the port is named."""
    image = f"{calm.project}-jupyterlab-server"
    name = f"{calm.project}-holder"
    port = busy - 1 if busy > 40000 else busy + 1
    docker("run", "--detach", "--name", name, "--publish", f"127.0.0.1:{port}:1", "--entrypoint", "sleep", image, "600")

    try:
        said = error_of(calm.task("up", "--yes", "--port", str(port)), 75)
    finally:
        docker("rm", "--force", name)

    assert said.startswith(f"error: port {port} is held by container {name}\nfix: invoke up")
    assert leftovers(calm) == ""


def test_busy_port_that_was_not_asked_for_is_replaced_and_said(calm: Clone, busy: int) -> None:
    """Without --port a taken port is replaced by a free one; that is said, kept and in the link."""
    env_file = calm.root / "docker" / ".env"
    lines = [line for line in env_file.read_text(encoding="utf-8").splitlines() if not line.startswith("JUPYTER_PORT")]
    env_file.write_text("\n".join([*lines, f"JUPYTER_PORT={busy}", ""]), encoding="utf-8")

    done = calm.task("up", "--yes")

    taken = calm.values()["JUPYTER_PORT"]
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Publish on port {taken}: port {busy} is held by pytest (process " in done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"http://127.0.0.1:{taken}/")
    calm.succeed("down")


def test_server_that_exits_at_once_shows_its_last_lines(calm: Clone) -> None:
    """A server that ends is no server: its last words, its exit code, 70, and nothing is left."""
    override(calm, "command: [sh, -c, 'echo last words; exit 3']")

    done = calm.task("up", "--yes", timeout_s=60)

    assert error_of(done, 70).startswith(
        "error: jupyterlab-server ended with exit code 3; its last lines are above\nfix: "
    )
    assert "last words" in done.stderr.splitlines()[-3]


def test_server_that_never_gets_healthy_ends_within_its_checks(calm: Clone) -> None:
    """A server whose check fails is told from one that ends: the check's words, its last lines, 70."""
    override(
        calm,
        "command: [sh, -c, 'echo still here; sleep 600']\n"
        "healthcheck: {test: [CMD, sh, -c, 'echo no; exit 1'], interval: 500ms, retries: 2, start_period: 1s}",
    )

    done = calm.task("up", "--yes", timeout_s=60)

    assert error_of(done, 70).startswith(
        "error: jupyterlab-server is not healthy (no); its last lines are above\nfix: "
    )
    assert "still here" in done.stderr.splitlines()[-3]


def test_server_that_runs_out_of_memory_is_told(calm: Clone) -> None:
    """Only the engine knows of it: exit code 137 alone would tell nobody."""
    override(calm, "mem_limit: 64m\nmemswap_limit: 64m")

    done = calm.task("up", "--yes", timeout_s=60)

    assert error_of(done, 70).startswith(
        ("error: jupyterlab-server ran out of memory; ", "error: jupyterlab-server was killed with exit code 137, ")
    )


def test_repaired_server_starts_after_each_failure(calm: Clone) -> None:
    """Once the cause is gone `up` succeeds with nothing else to clean."""
    override(calm, "command: ['false']")
    error_of(calm.task("up", "--yes", timeout_s=60), 70)
    (calm.root / "docker" / "docker-compose.override.yml").unlink()

    calm.succeed("up", "--yes")
    calm.succeed("down")


def test_failed_build_step_shows_its_cause_and_leaves_the_running_server_alone(calm: Clone) -> None:
    """A package that pip does not find ends with 70 and pip's words; the server of before still runs."""
    calm.succeed("up", "--yes")
    before = calm.container_id()
    requirements = calm.root / "requirements.txt"
    good = requirements.read_text(encoding="utf-8")
    requirements.write_text(good + "no-such-package-9b1c ==999\n", encoding="utf-8")

    done = calm.task("up", "--yes")

    requirements.write_text(good, encoding="utf-8")
    assert error_of(done, 70).startswith("error: No matching distribution found for no-such-package-9b1c==999\nfix: ")
    assert calm.container_id() == before
    assert calm.inside("true").returncode == 0
    calm.succeed("down")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    init: true\n", "\tinit: true\n", r"line \d+"),
        ("    init: true\n", "    init: true\n    init: true\n", r"line \d+"),
        ("    init: true\n", "<<<<<<< HEAD\n    init: true\n=======\n", r"line \d+"),
        ("    init: true\n", "    init: true\n    innit: true\n", "innit"),
    ],
    ids=["tab", "duplicate-key", "merge-mark", "unknown-key"],
)
@pytest.mark.parametrize("task", ["up", "config", "mounts"])
def test_broken_compose_file_ends_with_78_and_the_line(calm: Clone, task: str, old: str, new: str, said: str) -> None:
    """What Compose cannot read is named by its line, or by the word that it does not know, and stays as it is."""
    compose_file = calm.root / "docker" / "docker-compose.yml"
    good = compose_file.read_text(encoding="utf-8")
    broken = good.replace(old, new)
    assert broken != good
    compose_file.write_text(broken, encoding="utf-8")

    try:
        done = calm.task(task, *(["--yes"] if task == "up" else []))
        kept = compose_file.read_text(encoding="utf-8")
    finally:
        compose_file.write_text(good, encoding="utf-8")

    assert re.search(said, error_of(done, 78))
    assert kept == broken


def test_server_can_be_stopped_with_a_broken_compose_file(calm: Clone) -> None:
    """`down` needs nothing of the file: who has broken it can still stop what runs."""
    calm.succeed("up", "--yes")
    compose_file = calm.root / "docker" / "docker-compose.yml"
    good = compose_file.read_text(encoding="utf-8")
    compose_file.write_text(good.replace("    init: true\n", "\tinit: true\n"), encoding="utf-8")

    try:
        calm.succeed("down")
    finally:
        compose_file.write_text(good, encoding="utf-8")

    assert leftovers(calm) == ""
