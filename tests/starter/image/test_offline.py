"""With the network cut after the first success, `down` and `up` still work: nothing is fetched that is here already.

Proved in an engine of the test's own, in namespaces of its own: its only network is a package index beside it.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PROGRAM, Clone, cloned, docker, wait_until

from host_tasks.observe import images

GATEWAY = "10.213.77.1"  # of the private engine's bridge: build steps and the index meet there
TOOLS = ("unshare", "nsenter", "setpriv", "iptables", "dockerd")

# `ip link set lo up`, without iproute2 (netdevice(7): SIOCSIFFLAGS with IFF_UP and IFF_RUNNING).
LOOPBACK_UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x41))"

# Its own /run hides the sockets of the machine's engine and of its containerd, so that it starts one of its own.
ENGINE = """
set -e
mount -t tmpfs none /run
mkdir /run/docker
"$4" -c "$5"
exec dockerd --config-file "$1/daemon.json" --data-root "$1/data" --exec-root /run/docker --pidfile /run/docker.pid \
    --host unix:///run/docker.sock --bip "$2/24" --default-address-pool base=10.214.0.0/16,size=24 --cgroup-parent "$3"
"""


@dataclass(frozen=True)
class Private:
    """An engine in namespaces of its own; when its process ends, so does everything in them."""

    pid: int

    def argv(self, *words: str) -> list[str]:
        """Return the command that runs a command inside the namespaces."""
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", "--pid", "env", *words]

    def run(self, *words: str, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run a command inside the namespaces."""
        return subprocess.run(self.argv(*words), capture_output=True, text=True, timeout=timeout_s, check=False)

    def answers(self) -> bool:
        """Return whether the engine is ready."""
        return self.run("docker", "info", "--format", "{{.ServerVersion}}").returncode == 0


@pytest.fixture(scope="module")
def private() -> Iterator[Private]:
    """An engine with no image and no network; all of it is gone afterwards."""
    absent = [each for each in TOOLS if shutil.which(each) is None]
    if os.geteuid() != 0 or absent:
        pytest.skip(f"needs root and {', '.join(absent or TOOLS)}")
    folder = Path(tempfile.mkdtemp())
    (folder / "daemon.json").write_text("{}", encoding="utf-8")
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv = ["setpriv", "--pdeathsig", "KILL", *namespaces, "--propagation", "private", "sh", "-c", ENGINE, "sh"]
    with (folder / "log").open("wb") as log:
        outer = subprocess.Popen(
            [*argv, str(folder), GATEWAY, folder.name, sys.executable, LOOPBACK_UP], stdout=log, stderr=log
        )
    try:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        wait_until(lambda: bool(children.read_text().split()), timeout_s=10, what="the namespaces")
        engine = Private(int(children.read_text().split()[0]))
        wait_until(lambda: outer.poll() is not None or engine.answers(), timeout_s=60, what="the private engine")
        if outer.poll() is not None:
            pytest.skip(f"no second engine here: {(folder / 'log').read_text(errors='replace')[-300:]}")
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


def wheel(name: str) -> bytes:
    """Return a wheel of an empty package (PEP 427)."""
    stream = io.BytesIO()
    info = f"{name}-999.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 999\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(stream, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))
    return stream.getvalue()


@dataclass(frozen=True)
class Index:
    """A package index inside the private network."""

    process: "subprocess.Popen[str]"
    log: Path
    url: str


@pytest.fixture
def index(private: Private, clone: Clone, tmp_path: Path) -> Iterator[Index]:
    """An index that has what requirements.txt asks for, and nothing else."""
    lines = (clone.root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for name in [match[0].lower() for line in lines if (match := re.match(r"[\w-]+", line))]:
        (tmp_path / "simple" / name).mkdir(parents=True)
        (tmp_path / "simple" / name / f"{name}-999-py3-none-any.whl").write_bytes(wheel(name))
    log = tmp_path / "log"
    words = [sys.executable, "-u", "-m", "http.server", "--bind", GATEWAY, "--directory", str(tmp_path), "0"]
    # In the network alone: to enter the PID namespace nsenter would fork, and be killed instead of the server.
    enter = ["nsenter", "--target", str(private.pid), "--net"]
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen([*enter, *words], stdout=subprocess.PIPE, stderr=stream, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().split("port ")[1].split()[0]
    yield Index(process, log, f"http://{GATEWAY}:{port}/simple/")
    process.kill()
    process.wait(timeout=20)


def test_down_and_up_fetch_nothing(running: Clone, private: Private, index: Index, tmp_path: Path) -> None:
    """After the first `up` the network is cut: `down` and `up` work, on the image of before."""
    base = running.values().get("BASE_IMAGE", "")
    if not base.startswith(f"{images.STAND_IN}:"):
        pytest.skip("conda-forge's own packages would have to be brought into the private network")
    saved = subprocess.Popen(["docker", "save", base], stdout=subprocess.PIPE)
    loaded = subprocess.run(private.argv("docker", "load"), stdin=saved.stdout, capture_output=True, check=False)
    assert (saved.wait(timeout=60), loaded.returncode) == (0, 0), loaded.stderr
    clone = cloned(tmp_path / "offline")
    (clone.root / "docker" / ".env").write_text(f"BASE_IMAGE={base}\n", encoding="utf-8")
    environ = [f"PIP_INDEX_URL={index.url}", f"PIP_TRUSTED_HOST={GATEWAY}", "PIP_CONFIG_FILE=/dev/null"]
    invoke = [*environ, sys.executable, "-I", str(clone.root / PROGRAM)]

    first = private.run(*invoke, "up", "--yes", timeout_s=300)
    assert first.returncode == 0, first.stderr[-3000:]
    fetched = index.log.read_text(encoding="utf-8").count(".whl HTTP")
    image = image_of(private, clone)
    index.process.kill()
    index.process.wait(timeout=20)
    look = private.run(sys.executable, "-c", f"import urllib.request; urllib.request.urlopen({index.url!r}, timeout=5)")
    down = private.run(*invoke, "down")
    second = private.run(*invoke, "up", "--yes")

    assert fetched > 0
    assert "Connection refused" in look.stderr
    assert down.returncode == 0, down.stderr[-3000:]
    assert second.returncode == 0, second.stderr[-3000:]
    assert second.stdout.splitlines()[-1].startswith("http://127.0.0.1:")
    assert image_of(private, clone) == image
    destinations = [line.split()[1] for line in private.run("cat", "/proc/net/route").stdout.splitlines()[1:]]
    assert destinations
    assert "00000000" not in destinations  # no default route
    assert private.run(*invoke, "down").returncode == 0


def image_of(private: Private, clone: Clone) -> str:
    """Return the id of the image on which the clone's server runs in the private engine."""
    found = private.run("docker", "ps", "--quiet", "--filter", f"label=com.docker.compose.project={clone.project}")
    shown = private.run("docker", "inspect", found.stdout.strip())
    return str(json.loads(shown.stdout)[0]["Image"])


def test_engine_of_the_machine_is_untouched(running: Clone) -> None:
    """The private engine has left the machine's own engine, its bridge and its containers as they were."""
    assert running.inside("true").returncode == 0
    assert docker("network", "inspect", "--format", "{{.Driver}}", "bridge") == "bridge"
