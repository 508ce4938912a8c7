"""Engines that this project cannot use are called by their name, and nothing is begun: real ones, of Debian's packages.

Each runs as an ordinary user, who has no right over the machine's network and containers.
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
TOOLS = ("newuidmap", "rootlesskit", "podman", "runuser", "setpriv")
PACKAGES = ("uidmap", "rootlesskit", "podman", "util-linux")
# dockerd-rootless.sh of moby 26 in its essence: the links to the machine's own /run are cut before the engine starts.
ROOTLESS = """
exec rootlesskit --state-dir="$1/kit" --net=host --copy-up=/etc --copy-up=/run sh -c '
    rm -f /run/docker /run/containerd /run/xtables.lock
    exec dockerd --rootless --bridge=none --iptables=false --ip6tables=false --exec-root="$1/exec" \\
        --data-root="$1/data" --pidfile="$1/pid" --host="unix://$1/socket"' sh "$1"
"""
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


@contextmanager
def engine_of(script: str) -> Iterator[str]:
    """Run an engine as the user, in a folder that it can reach, and give its address; it ends with this process."""
    folder = Path(tempfile.mkdtemp())
    subprocess.run(["chown", USER, folder], check=True)
    person = ["runuser", "--user", USER, "--", "env", f"HOME=/home/{USER}", f"XDG_RUNTIME_DIR={folder}"]
    argv = ["setpriv", "--pdeathsig", "TERM", *person, "sh", "-c", script, "sh", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, cwd="/", stdout=log, stderr=log)
    try:
        wait_until((folder / "socket").exists, timeout_s=60, what="the socket of the engine")
        yield f"unix://{folder}/socket"
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (ROOTLESS, "rootless engine at {}: container ids are mapped, so files cannot belong to you; "),
        (PODMAN, "{} is Podman's socket, and this project needs Docker's"),
    ],
    ids=["rootless Docker", "Podman"],
)
def test_engine_that_cannot_be_used_is_named(clone: Clone, script: str, cause: str) -> None:
    """`up` ends with 78 and the way back, and `doctor` with 1 and the same words; nothing is made."""
    with engine_of(script) as address:
        up = clone.task("up", "--yes", DOCKER_HOST=address)
        doctor = clone.task("doctor", DOCKER_HOST=address)

    error, fix = up.stderr.splitlines()[-2:]
    assert error.startswith(f"error: {cause.format(address)}"), up.stderr
    assert (up.returncode, fix) == (78, "fix: unset DOCKER_HOST")
    assert f"fail  engine: {cause.format(address)}" in doctor.stdout
    assert not (clone.root / "docker" / ".env").exists()


def test_podmans_command_in_dockers_place_is_named(clone: Clone, tmp_path: Path) -> None:
    """Where `docker` is Podman's command, Compose is not what is missing, and nothing is installed."""
    shim = tmp_path / "docker"
    shim.write_text(SHIM, encoding="utf-8")
    shim.chmod(0o755)

    up = clone.task("up", "--yes", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    assert up.returncode == 78
    assert up.stderr.splitlines()[-2:] == [
        "error: docker is Podman's command here, and this project needs Docker's",
        "fix: install Docker's own, see docs.docker.com/engine/install",
    ]
