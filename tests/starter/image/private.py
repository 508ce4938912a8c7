"""An engine of the tests' own, in namespaces of its own: it can be frozen, killed and filled, and nobody else's is."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aids import PATIENCE, wait_until
from users import User

GATEWAY = "10.213.77.1"  # of the private engine's bridge: build steps and what they ask meet there
TOOLS = ("unshare", "nsenter", "setpriv", "iptables", "dockerd")
SETTINGS = "PRIVATE_ENGINE"  # the variable with a private engine's daemon.json, for those that its own tests start

# `ip link set lo up`, without iproute2 (netdevice(7): SIOCSIFFLAGS with IFF_UP and IFF_RUNNING).
LOOPBACK_UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x41))"

# Programs of other folders lie over /usr as if they were installed, read-only, with the C library that they need; no
# plug-in or setting of the caller's gets in their way.
# Its own /run hides the sockets of the machine's engine and of its containerd, so that it starts one of its own.
# An engine that ends is started again once /run/again is there. Words after the seventh start a rootless one, as its
# person, who also passes through the caller's home, where Python and the repository may be.
ENGINE = """
set -e
if [ -n "$7" ]; then
    mount -t overlay -o "lowerdir=$7:/usr" none /usr
    mkdir -p ~/.docker
    mount -t tmpfs none ~/.docker
fi
mount -t tmpfs none /run
mkdir /run/docker
touch /run/private
[ -z "$6" ] || mount -t tmpfs -o "size=$6" none "$1/data"
"$4" -c "$5"
if [ "$#" -gt 7 ]; then
    mkdir /run/open
    mount -t overlay -o "lowerdir=/run/open:$HOME" none "$HOME"
    mknod -m 0666 /run/tun c 10 200  # as udev leaves it, which not every machine has
    mount --bind /run/tun /dev/net/tun
fi
set +e
while :; do
    if [ "$#" -gt 7 ]; then
        (shift 7 && exec "$@") &
    else
        dockerd --config-file "$1/daemon.json" --data-root "$1/data" --exec-root /run/docker \
            --pidfile /run/docker.pid --host unix:///run/docker.sock --bip "$2/24" \
            --default-address-pool base=10.214.0.0/16,size=24 --cgroup-parent "$3" &
    fi
    wait $!
    [ -e /run/ready ] || exit 1
    rm -f /run/docker.pid
    until rm /run/again 2>/dev/null; do sleep 0.1; done
done
"""
# slirp4netns(1): it is a program's connections that go out, so nothing of the machine's network is touched.
RESOLVER = """
file=$(readlink --canonicalize-missing /etc/resolv.conf)
[ -e "$file" ] || { mkdir -p "${file%/*}" && touch "$file"; }
echo nameserver 10.0.2.3 >/run/resolver
mount --bind /run/resolver "$file"
"""
UPLINK = ("slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path")
# Only there: outside the namespaces the same file names the machine's own engine.
RESTART = """
[ -e /run/private ] || exit 1
kill -KILL "$(cat /run/docker.pid)"
touch /run/again
until ! [ -e /run/again ] && docker info >/dev/null 2>&1; do sleep 0.1; done
"""
ROOTLESS = "/usr/share/docker.io/contrib/dockerd-rootless.sh"  # moby's own, where Debian's package has it
# Podman's settings, in place of those of /etc, which is this machine's. Without the first, 4.3 copies every layer.
OF_PODMAN = {
    "storage.conf": '[storage]\ndriver = "overlay"\n',
    "policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}\n',
}


@dataclass(frozen=True)
class Private:
    """An engine in namespaces of its own; when their first process ends, so does everything in them."""

    pid: int
    data: Path  # what the engine keeps, as it is seen inside
    person: User | None = None  # whose engine it is, where it is rootless

    def argv(self, *words: str) -> list[str]:
        """Return the command that runs a command inside the namespaces, as the person that the engine belongs to."""
        become = as_owner(self.person, self.data.parent) if self.person else []
        return self.as_root(*become, "env", *words)

    def as_root(self, *words: str) -> list[str]:
        """Return the command that runs a command inside the namespaces as root."""
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", "--pid", *words]

    def run(self, *words: str, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run a command inside the namespaces."""
        return subprocess.run(
            self.argv(*words), capture_output=True, text=True, timeout=PATIENCE * timeout_s, check=False
        )

    def reach_out(self) -> None:
        """Let what runs inside reach what this machine reaches, by a program that ends with the namespaces."""
        # In all of them but the network's: that one is what it connects with the outside.
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid"]
        ready, says = os.pipe()
        argv = [*enter, *UPLINK, f"--ready-fd={says}", "/proc/1/ns/net", "tap0"]
        subprocess.Popen(argv, pass_fds=[says], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(says)
        with open(ready, "rb") as told:  # noqa: PTH123 - a descriptor
            assert told.read(1), "slirp4netns ended"
        subprocess.run(self.as_root("sh", "-c", RESOLVER), check=True, timeout=600)

    def answers(self) -> bool:
        """Return whether the engine is ready."""
        return self.run("docker", "info", "--format", "{{.ServerVersion}}").returncode == 0

    def load(self, image: str) -> None:
        """Bring an image of the machine's engine."""
        saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        loaded = subprocess.run(self.argv("docker", "load"), stdin=saved.stdout, capture_output=True, check=False)
        assert (saved.wait(timeout=600), loaded.returncode) == (0, 0), loaded.stderr

    def signal(self, name: str) -> None:
        """Send the engine a signal."""
        self.run("sh", "-c", f"[ -e /run/private ] && kill -{name} $(cat /run/docker.pid)")

    def restart(self) -> None:
        """Start the engine again, whatever state it is in."""
        done = self.run("sh", "-c", RESTART)
        assert done.returncode == 0, done.stderr


def as_owner(person: User, folder: Path) -> list[str]:
    """Return how a command is run by the person with a rootless engine in a folder."""
    become = ["setpriv", f"--reuid={person.name}", f"--regid={person.name}", "--init-groups", "env"]
    own = {"HOME": person.home, "USER": person.name, "LOGNAME": person.name, "XDG_RUNTIME_DIR": folder / "run"}
    elsewhere = ("CACHE", "CONFIG", "DATA", "STATE")
    engine = f"DOCKER_HOST=unix://{folder}/run/docker.sock"
    return [*become, *(f"--unset=XDG_{each}_HOME" for each in elsewhere), *(f"{k}={v}" for k, v in own.items()), engine]


def of_podman(person: User) -> None:
    """Write Podman's settings for a person."""
    folder = person.home / ".config" / "containers"
    folder.mkdir(parents=True)
    for name, text in OF_PODMAN.items():
        (folder / name).write_text(text, encoding="utf-8")
    for path in (folder.parent, folder, *folder.iterdir()):
        shutil.chown(path, person.name, person.name)


def lacks(tools: Sequence[str] = TOOLS) -> str:
    """Return what a private engine needs and is not here, or an empty text."""
    absent = [each for each in tools if shutil.which(each) is None]
    return f"needs root and {', '.join(absent or tools)}" if os.geteuid() != 0 or absent else ""


@contextmanager
def private_engine(
    size: str = "",
    programs: Sequence[Path] = (),
    settings: str = "",
    person: User | None = None,
    *,
    podman: bool = False,
) -> Iterator[Private]:
    """Start an engine with no image and no network, on a disk of a size where one is given; all is gone afterwards.

    Programs are folders whose usr/ lies over the machine's, the first one on top. Settings are a daemon.json. A person
    has a rootless one, Docker's or Podman's.
    """
    if not programs and (reason := lacks()):
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))  # it gets large, and /tmp may be memory
    (folder / "daemon.json").write_text(settings or os.environ.get(SETTINGS, "{}"), encoding="utf-8")
    (folder / "data").mkdir()
    rootless: list[str] = []
    if person:
        (folder / "run").mkdir(mode=0o700)
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, person.name, person.name)
        words = [ROOTLESS, f"--config-file={folder}/daemon.json", f"--data-root={folder}/data"]
        if podman:
            words = ["podman", "system", "service", "--time=0", f"unix://{folder}/run/docker.sock"]
            of_podman(person)
        rootless = [*as_owner(person, folder), f"PATH={os.environ['PATH']}:/usr/sbin:/sbin", *words]
    over_usr = ":".join(f"{each}/usr" for each in programs)
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv = ["setpriv", "--pdeathsig", "KILL", *namespaces, "--propagation", "private", "sh", "-c", ENGINE, "sh"]
    with (folder / "log").open("wb") as log:
        outer = subprocess.Popen(
            [*argv, str(folder), GATEWAY, folder.name, sys.executable, LOOPBACK_UP, size, over_usr, *rootless],
            stdout=log,
            stderr=log,
        )
    try:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        wait_until(lambda: bool(children.read_text().split()), timeout_s=10, what="the namespaces")
        engine = Private(int(children.read_text().split()[0]), folder / "data", person)
        wait_until(lambda: outer.poll() is not None or engine.answers(), timeout_s=60, what="the private engine")
        if outer.poll() is not None:
            pytest.skip(f"no second engine here: {(folder / 'log').read_text(errors='replace')[-300:]}")
        subprocess.run(engine.as_root("touch", "/run/ready"), check=True, timeout=600)
        yield engine
    finally:
        outer.kill()  # the kernel ends every process of its PID namespace with the first
        outer.wait(timeout=600)
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
