"""Programs that some tests need beside the engine, from Debian's archive; also those of another suite, in a folder."""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conda-pip-docker"
HERE = ""  # this machine's own suite
with contextlib.suppress(OSError):  # no Linux
    HERE = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
ROOTLESS = ("libslirp0", "rootlesskit", "slirp4netns", "uidmap")  # for a rootless engine, beside the engine's own
# Podman as its package recommends it, and what a machine may lack of it.
PODMAN = (
    *("aardvark-dns", "catatonit", "conmon", "crun", "golang-github-containers-common"),
    *("golang-github-containers-image", "libslirp0", "netavark", "podman", "slirp4netns", "uidmap"),
)
PODMAN_HERE = (*PODMAN, "libassuan0", "libgpgme11", "libsubid4", "libyajl2")  # of Debian 12
PODMAN_UNSTABLE = (
    *PODMAN,
    *("libassuan9", "libaudit1", "libblake3-0", "libbsd0", "libc6", "libcap2", "libedit2"),
    *("libgcc-s1", "libglib2.0-0t64", "libgmp10", "libgpg-error0", "libgpgme45", "libjansson4", "libjson-c5"),
    *("libmd0", "libmnl0", "libnftables1", "libnftnl11", "libpcre2-8-0", "libreadline8t64", "libseccomp2"),
    *("libselinux1", "libsqlite3-0", "libsubid6", "libsystemd0", "libtinfo6", "libxtables12", "nftables"),
    *("passt",),
)
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# The suite may be a copy that is past its date; nothing of the machine's own apt is read or written but what it
# sets for downloads. `update` fails where a list cannot be had, instead of going on with a warning.
SETTINGS = """
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Dir::Cache "{folder}/cache";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State "{folder}/state";
Dir::State::Status "/dev/null";
"""


class UnreachableError(Exception):
    """A suite whose packages cannot be had here, and why."""


def missing(programs: Sequence[str], packages: Sequence[str]) -> str:
    """Return why programs are not here, or an empty text; root gets their packages, where the archive answers."""
    if not all(map(shutil.which, programs)) and os.geteuid() == 0 and shutil.which("apt-get"):
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        with Path("/run/starter-tests.lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # for two test processes: apt-get waits for no other (apt 2.6)
            for words in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
                subprocess.run(
                    ["apt-get", "--quiet", *words], env=environ, capture_output=True, timeout=600, check=False
                )
    absent = [name for name in programs if not shutil.which(name)]
    return f"no {' and no '.join(absent)} on the PATH; apt-get install {' '.join(packages)}" if absent else ""


def unpacked(suite: str, packages: Sequence[str]) -> Path:
    """Return a folder with the newest of a suite's packages in it, without what they depend on.

    It stays for the next run, which unpacks again only what is newer; the machine's own packages are as before.

    Raises:
        UnreachableError: the archive of this machine does not answer, or has no such suite.
    """
    folder = CACHE / suite
    for name in ("cache/archives/partial", "state/lists/partial", "packages", "roots"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    signed = f"[signed-by={KEYS}] " if KEYS.exists() else ""
    (folder / "sources.list").write_text(f"deb {signed}{_archive()} {suite} main\n", encoding="utf-8")
    (folder / "apt.conf").write_text(SETTINGS.format(folder=folder), encoding="utf-8")
    for words in (["update"], ["download", *packages]):
        _apt_get(*words, cwd=folder / "packages", APT_CONFIG=str(folder / "apt.conf"))
    return _unpacked(folder, _newest(folder / "packages", packages))


def _archive() -> str:
    """Return the address of the archive that has this machine's own release, as apt's settings say it.

    Raises:
        UnreachableError: they name none.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise UnreachableError("this system has no apt")
    words = ["indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]
    settings_alone = [f"--option=APT::Get::IndexTargets::{each}=0" for each in ("OnlyPresent", "ReleaseInfo")]
    for line in "".join(_apt_get(*words, *more) for more in ([], settings_alone)).splitlines():
        if line.startswith(f"{HERE} main "):
            return line.split(" ", 2)[2]
    raise UnreachableError(f"apt's settings name no archive with {HERE or 'this release'}")


def _apt_get(*words: str, cwd: Path = Path("/"), **environ: str) -> str:
    """Return what apt-get prints.

    Raises:
        UnreachableError: it failed, with its first error.
    """
    argv = ["apt-get", "-qq", *words]
    known = {**os.environ, "LC_ALL": "C", **environ}
    done = subprocess.run(argv, cwd=cwd, env=known, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise UnreachableError(errors[0] if errors else f"apt-get {words[0]} ended with {done.returncode}")
    return done.stdout


def _newest(folder: Path, packages: Sequence[str]) -> list[Path]:
    """Return the file of each package that was downloaded last, and delete those of before."""
    kept = []
    for name in packages:
        *old, newest = sorted(folder.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_ctime_ns)
        kept.append(newest)
        for path in old:
            path.unlink()
    return kept


def _unpacked(folder: Path, files: Sequence[Path]) -> Path:
    """Return the folder that has these packages in it; it appears whole, and those of before go."""
    root = folder / "roots" / hashlib.sha256("".join(path.name for path in files).encode()).hexdigest()[:12]
    if not root.exists():
        for old in root.parent.iterdir():
            shutil.rmtree(old)
        for path in files:
            subprocess.run(["dpkg-deb", "--extract", path, root.with_suffix(".new")], check=True, timeout=120)
        root.with_suffix(".new").rename(root)
    return root
