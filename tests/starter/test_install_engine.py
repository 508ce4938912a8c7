"""docker/install-engine.sh: what it writes for apt on Debian 12, by a copy that has its apt folder elsewhere.

And what has to be there for a rootless engine.
"""

import os
import subprocess
from pathlib import Path

import pytest
from aids import executable

from host_tasks.kit.paths import INSTALL_ENGINE

TARGETS = """\
http://mirror/debian/ bookworm oldstable main
http://mirror/debian/ bookworm-updates oldstable-updates main
http://mirror/debian-security/ bookworm-security oldstable-security main
"""
KEYS = "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\nSigned-By: /keys.gpg\n"
FROM_TRIXIE = "Types: deb\nURIs: http://mirror/debian\nSuites: trixie\nComponents: main\nSigned-By: /keys.gpg\n"
FROM_ITS_SECURITY = (
    "\nTypes: deb\nURIs: http://mirror/debian-security\nSuites: trixie-security\nComponents: main\n"
    "Signed-By: /keys.gpg\n"
)
ALL_ELSE = "Package: *\nPin: release n=/^trixie(-security)?$/\nPin-Priority: -1\n"
FOUR = (
    "Package: docker.io docker-cli docker-compose docker-buildx\n"
    "Pin: release n=/^trixie(-security)?$/\nPin-Priority: 990\n"
)


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    """A folder like /etc/apt of a Debian 12."""
    for name in ("sources.list.d", "preferences.d"):
        (tmp_path / "apt" / name).mkdir(parents=True)
    (tmp_path / "apt" / "sources.list.d" / "debian.sources").write_text(KEYS, encoding="utf-8")
    return tmp_path / "apt"


def borrowed(apt: Path, targets: str) -> tuple[str, str]:
    """Return what the script writes, without its comments, for an apt that knows these targets."""
    script = INSTALL_ENGINE.read_text(encoding="utf-8").replace("/etc/apt", str(apt))
    script = script.replace('\nmain "$@"\n', f"\napt-get() {{ printf '%b' {targets!r}; }}\nborrow_from_trixie\n")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return written(apt / "sources.list.d"), written(apt / "preferences.d")


def written(folder: Path) -> str:
    """Return a file of the script's without its comments, "" where there is none."""
    for path in folder.glob("conda-pip-docker*"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("#"))
    return ""


def test_four_packages_come_with_their_security_updates(apt: Path) -> None:
    """From the machine's own two archives, by the keys that it trusts; nothing else of trixie is taken."""
    sources, preferences = borrowed(apt, TARGETS)

    assert sources == FROM_TRIXIE + FROM_ITS_SECURITY
    assert preferences == ALL_ELSE + "\n" + FOUR


def test_machine_without_a_security_archive_gets_the_suite_alone(apt: Path) -> None:
    """A mirror may have the main archive only."""
    sources, _ = borrowed(apt, TARGETS.splitlines(keepends=True)[0])

    assert sources == FROM_TRIXIE


def test_trixie_that_somebody_chose_stays_as_it_is(apt: Path) -> None:
    """Where trixie is among the sources already only the four packages are pinned."""
    sources, preferences = borrowed(apt, f"{TARGETS}http://mirror/debian/ trixie trixie main\n")

    assert sources == ""
    assert preferences.strip() == FOUR.strip()


def test_rootless_names_what_an_administrator_has_to_add_and_changes_nothing(tmp_path: Path) -> None:
    """What only root can install is one command for whoever is; the person's home stays as it is."""
    script = INSTALL_ENGINE.read_text(encoding="utf-8").replace("EUID", "SOMEBODY")  # whom no file names
    for name in ("docker", "dockerd", "rootlesskit"):
        executable(tmp_path / "bin" / name, "exit 0")
    executable(tmp_path / "bin" / "id", "echo somebody")
    (tmp_path / "bin" / "grep").symlink_to("/bin/grep")
    environ = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin", "SOMEBODY": "2147483647"}

    done = subprocess.run(
        ["/bin/bash", "-c", script, "sh", "--rootless"], env=environ, capture_output=True, text=True, check=False
    )

    error, fix = done.stderr.splitlines()
    assert (done.returncode, error) == (69, "error: a rootless engine needs what an administrator has to add")
    assert fix == (
        "fix: sudo apt-get install slirp4netns uidmap"
        " && sudo usermod --add-subuids 524288-589823 somebody && sudo usermod --add-subgids 524288-589823 somebody"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, which is refused")
def test_rootless_engine_of_root_is_refused(tmp_path: Path) -> None:
    """Root has an engine by the usual way, and a rootless one would be nobody's."""
    done = subprocess.run(["bash", INSTALL_ENGINE, "--rootless"], capture_output=True, text=True, check=False)

    assert done.returncode == 77
    assert done.stderr.splitlines() == [
        "error: a rootless engine is nobody's but its user's, and you are root",
        "fix: docker/install-engine.sh",
    ]
