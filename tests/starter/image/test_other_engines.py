"""What cannot be had with Podman is refused by its name, and nothing is begun: Debian's, as an ordinary user.

What can be had is tried by engines.py, in its rows of Podman.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import debian
import pytest
from aids import wait_until
from conftest import Clone

USER = "rootless"
TOOLS = ("newuidmap", "podman", "runuser", "setpriv")
PACKAGES = ("uidmap", "podman", "util-linux")
PODMAN = 'exec podman --root "$1/data" --runroot "$1/exec" system service --time=0 "unix://$1/socket"'
SHIM = '#!/bin/sh\nexec podman "$@"\n'


@pytest.fixture(scope="module", autouse=True)
def tools() -> Iterator[None]:
    """The programs, and a user with subordinate ids; a machine that lends none cannot run such engines."""
    if reason := debian.missing(TOOLS, PACKAGES):
        pytest.skip(reason)
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a user of its own")
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", USER], capture_output=True, check=False)
    if USER not in Path("/etc/subuid").read_text(encoding="utf-8"):
        pytest.skip("no subordinate ids for a new user here")
    yield
    subprocess.run(["runuser", "--user", USER, "--", "sh", "-c", "kill -KILL -1"], check=False)  # Podman leaves one
    subprocess.run(["userdel", "--force", "--remove", USER], capture_output=True, check=False)


def version() -> str:
    """Return the version of this machine's Podman."""
    return subprocess.run(["podman", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]


@contextmanager
def podman() -> Iterator[str]:
    """Run it as the user, in a folder that it can reach, and give its address; it ends with this process."""
    folder = Path(tempfile.mkdtemp())
    subprocess.run(["chown", USER, folder], check=True)
    person = ["runuser", "--user", USER, "--", "env", f"HOME=/home/{USER}", f"XDG_RUNTIME_DIR={folder}"]
    argv = ["setpriv", "--pdeathsig", "TERM", *person, "sh", "-c", PODMAN, "sh", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, cwd="/", stdout=log, stderr=log)
    try:
        wait_until((folder / "socket").exists, timeout_s=60, what="the socket of the engine")
        yield f"unix://{folder}/socket"
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder)


def test_choice_that_cannot_be_had_with_podman_is_refused(clone: Clone) -> None:
    """`up` ends with 78 and the way back, and nothing is made; `doctor` tells Podman, and that it is rootless."""
    with podman() as address:
        up = clone.task("up", "--hardened", "--yes", DOCKER_HOST=address)
        doctor = clone.task("doctor", DOCKER_HOST=address)

    error, fix = up.stderr.splitlines()[-2:]
    assert error == "error: --hardened cannot be had with Podman: it takes no owner for a tmpfs", up.stderr
    assert (up.returncode, fix) == (78, "fix: invoke up --no-hardened")
    assert f"ok    engine: Podman {version()}, Compose " in doctor.stdout
    assert "warn  ids: the engine is rootless, and docker/.env does not say so" in doctor.stdout
    assert not (clone.root / "docker" / ".env").exists()


def test_podmans_command_in_dockers_place_is_named(clone: Clone, tmp_path: Path) -> None:
    """Where `docker` is Podman's command, Compose is not what is missing, and nothing is installed."""
    shim = tmp_path / "docker"
    shim.write_text(SHIM, encoding="utf-8")
    shim.chmod(0o755)

    up = clone.task("up", "--yes", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    assert up.returncode == 78
    assert up.stderr.splitlines()[-2:] == [
        "error: docker is Podman's command here, and this project needs Docker's, also for Podman's engine",
        "fix: install Docker's own, see docs.docker.com/engine/install",
    ]
