"""With the network cut after the first success, `down` and `up` still work: nothing is fetched that is here already.

Proved in an engine of the test's own, in namespaces of its own: its only network is a package index beside it.
"""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PROGRAM, Clone, cloned, docker, small
from private import GATEWAY, Private, private_engine
from texts import still_ours

from host_tasks.subjects.base import STAND_IN


@pytest.fixture(scope="module")
def private() -> Iterator[Private]:
    """An engine with no image and no network; all of it is gone afterwards."""
    with private_engine() as engine:
        yield engine


def shown_with(words: str) -> list[str]:
    """Return the lines of the manual's block that holds these words."""
    [block] = [each for each in still_ours()["docker/README.md"].blocks if words in each]
    return block.splitlines()


@pytest.mark.engines
def test_environment_from_a_file_needs_no_network(running: Clone, private: Private, tmp_path: Path) -> None:
    """As the manual shows it: `save` here, `load` and `up` where there is no image, no base and no network.

    A file of other inputs is refused before it is loaded.
    """
    save, load, up = [shlex.split(line)[2:] for line in shown_with("save environment.tar")]
    there = cloned(tmp_path / "there")
    invoke = [sys.executable, "-I", str(there.root / PROGRAM)]
    assert private.run("docker", "image", "ls", "--quiet").stdout == ""

    running.succeed(*save)
    (running.root / save[1]).rename(there.root / load[1])
    (there.root / "postBuild").rename(tmp_path / "kept")
    refused = private.run("env", "--chdir", str(there.root), *invoke, *load)
    (tmp_path / "kept").rename(there.root / "postBuild")
    loaded = private.run("env", "--chdir", str(there.root), *invoke, *load, timeout_s=300)
    started = private.run(*invoke, *up, timeout_s=120)

    assert refused.returncode == 65
    assert "holds the environment" in refused.stderr
    assert loaded.returncode == 0, loaded.stderr[-3000:]
    assert started.returncode == 0, started.stderr[-3000:]
    assert started.stdout.startswith("http://127.0.0.1:")
    assert f"FLAVOR={loaded.stdout.strip()}" in started.stderr
    assert private.run(*invoke, "clean").returncode == 0
    assert private.run("docker", "image", "ls", "--quiet").stdout == ""


def test_host_packages_from_a_folder_need_no_network(tmp_path: Path) -> None:
    """As the manual shows it: wheels that were fetched before make .venv where there is no network."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to cut the network off")
    fetch, install = shown_with("PIP_NO_INDEX=1")
    clone = cloned(tmp_path / "bare")
    venv.create(tmp_path / "person", with_pip=True)
    path = f"{tmp_path / 'person' / 'bin'}:/usr/bin:/bin"  # no uv

    fetched = clone.run("bash", "-c", fetch, PATH=path)
    listed = clone.run("unshare", "--net", "bash", "-c", install, PATH=path)

    assert fetched.returncode == 0, fetched.stderr
    assert listed.returncode == 0, listed.stderr
    assert "Build and start JupyterLab" in listed.stdout


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


def real_wheels(requirements: Path, image: str, scratch: Path) -> list[Path]:
    """Return the wheels of hashed requirements for the Python of an image, fetched as this machine's pip does."""
    version = docker("run", "--rm", image, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    venv.create(scratch / "venv", with_pip=True, symlinks=True)
    words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(scratch)]
    pip = [str(scratch / "venv" / "bin" / "python"), "-m", "pip", *words, "--python-version", version]
    subprocess.run([*pip, "--requirement", str(requirements)], check=True)
    return sorted(scratch.glob("*.whl"))


@pytest.fixture
def index(private: Private, running: Clone, tmp_path: Path) -> Iterator[Index]:
    """An index that has what requirements.txt asks for, and what the environment is made with, and nothing else."""
    clone, tools = running, running.root / "docker" / "environment" / "requirements.txt"
    for path in real_wheels(tools, running.values()["BASE_IMAGE"], tmp_path):
        name = path.name.split("-")[0].replace("_", "-").lower()
        (tmp_path / "simple" / name).mkdir(parents=True)
        path.rename(tmp_path / "simple" / name / path.name)
    lines = (clone.root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for name in [match[0].lower() for line in lines if (match := re.match(r"[\w-]+", line))]:
        (tmp_path / "simple" / name).mkdir(parents=True, exist_ok=True)
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
    if not base.startswith(f"{STAND_IN}:"):
        pytest.skip("conda-forge's own packages would have to be brought into the private network")
    private.load(base)
    assert private.run("docker", "tag", base, "offline:base").returncode == 0
    clone = small(cloned(tmp_path / "offline"), "offline:base")
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
