"""An engine of the tests' own, in namespaces of its own: it can be frozen, killed and filled, and nobody else's is."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aids import wait_until

GATEWAY = "10.213.77.1"  # of the private engine's bridge: build steps and what they ask meet there
TOOLS = ("unshare", "nsenter", "setpriv", "iptables", "dockerd")

# `ip link set lo up`, without iproute2 (netdevice(7): SIOCSIFFLAGS with IFF_UP and IFF_RUNNING).
LOOPBACK_UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x41))"

# Its own /run hides the sockets of the machine's engine and of its containerd, so that it starts one of its own.
# An engine that ends is started again once /run/again is there.
ENGINE = """
set -e
mount -t tmpfs none /run
mkdir /run/docker
touch /run/private
[ -z "$6" ] || mount -t tmpfs -o "size=$6" none "$1/data"
"$4" -c "$5"
set +e
while :; do
    dockerd --config-file "$1/daemon.json" --data-root "$1/data" --exec-root /run/docker --pidfile /run/docker.pid \
        --host unix:///run/docker.sock --bip "$2/24" --default-address-pool base=10.214.0.0/16,size=24 \
        --cgroup-parent "$3" &
    wait $!
    [ -e /run/ready ] || exit 1
    rm -f /run/docker.pid
    until rm /run/again 2>/dev/null; do sleep 0.1; done
done
"""
# Only there: outside the namespaces the same file names the machine's own engine.
RESTART = """
[ -e /run/private ] || exit 1
kill -KILL "$(cat /run/docker.pid)"
touch /run/again
until ! [ -e /run/again ] && docker info >/dev/null 2>&1; do sleep 0.1; done
"""


@dataclass(frozen=True)
class Private:
    """An engine in namespaces of its own; when their first process ends, so does everything in them."""

    pid: int
    data: Path  # what the engine keeps, as it is seen inside

    def argv(self, *words: str) -> list[str]:
        """Return the command that runs a command inside the namespaces."""
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", "--pid", "env", *words]

    def run(self, *words: str, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run a command inside the namespaces."""
        return subprocess.run(self.argv(*words), capture_output=True, text=True, timeout=timeout_s, check=False)

    def answers(self) -> bool:
        """Return whether the engine is ready."""
        return self.run("docker", "info", "--format", "{{.ServerVersion}}").returncode == 0

    def load(self, image: str) -> None:
        """Bring an image of the machine's engine."""
        saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        loaded = subprocess.run(self.argv("docker", "load"), stdin=saved.stdout, capture_output=True, check=False)
        assert (saved.wait(timeout=60), loaded.returncode) == (0, 0), loaded.stderr

    def signal(self, name: str) -> None:
        """Send the engine a signal."""
        self.run("sh", "-c", f"[ -e /run/private ] && kill -{name} $(cat /run/docker.pid)")

    def restart(self) -> None:
        """Start the engine again, whatever state it is in."""
        done = self.run("sh", "-c", RESTART)
        assert done.returncode == 0, done.stderr


@contextmanager
def private_engine(size: str = "") -> Iterator[Private]:
    """Start an engine with no image and no network, on a disk of a size where one is given; all is gone afterwards."""
    absent = [each for each in TOOLS if shutil.which(each) is None]
    if os.geteuid() != 0 or absent:
        pytest.skip(f"needs root and {', '.join(absent or TOOLS)}")
    folder = Path(tempfile.mkdtemp())
    (folder / "daemon.json").write_text("{}", encoding="utf-8")
    (folder / "data").mkdir()
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv = ["setpriv", "--pdeathsig", "KILL", *namespaces, "--propagation", "private", "sh", "-c", ENGINE, "sh"]
    with (folder / "log").open("wb") as log:
        outer = subprocess.Popen(
            [*argv, str(folder), GATEWAY, folder.name, sys.executable, LOOPBACK_UP, size], stdout=log, stderr=log
        )
    try:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        wait_until(lambda: bool(children.read_text().split()), timeout_s=10, what="the namespaces")
        engine = Private(int(children.read_text().split()[0]), folder / "data")
        wait_until(lambda: outer.poll() is not None or engine.answers(), timeout_s=60, what="the private engine")
        if outer.poll() is not None:
            pytest.skip(f"no second engine here: {(folder / 'log').read_text(errors='replace')[-300:]}")
        engine.run("touch", "/run/ready")
        yield engine
    finally:
        outer.kill()  # the kernel ends every process of its PID namespace with the first
        outer.wait(timeout=30)
        # Of version 2, and of each controller of version 1; they can go once the last process has.
        cgroups = [path for pattern in ("", "*/") for path in Path("/sys/fs/cgroup").glob(f"{pattern}{folder.name}")]
        wait_until(lambda: all(map(gone, cgroups)), timeout_s=30, what="the end of the engine")
        shutil.rmtree(folder)


def gone(cgroup: Path) -> bool:
    """Return whether a control group is removed after this, with those in it."""
    if not cgroup.exists():
        return True
    try:
        for each in sorted([cgroup, *(path for path in cgroup.rglob("*") if path.is_dir())], reverse=True):
            each.rmdir()
    except OSError:
        return False
    return True
