"""A channel and a package index of one's own, over TLS with a password: nothing else is asked, nothing is kept."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Clone, cloned, docker

PASSWORD = "s3cret-of-the-channel"  # noqa: S105 # of the server below, while this test runs
LOGIN = "Basic " + base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
TOOLS = [ROOT / "docker" / "environment" / name for name in ("requirements.txt", "lock-requirements.txt")]
DEPENDENCIES = "[python, pip, pip: [only-here]]"
ELSEWHERE = "http://127.0.0.1:9"  # a closed port, as the proxy of everything but localhost


class Private(SimpleHTTPRequestHandler):
    """Files for who knows the password; what was asked for, and refused, is kept."""

    asked: list[tuple[str, bool]] = []  # noqa: RUF012 # one server a module

    def do_GET(self) -> None:
        """Answer 401 without the password."""
        welcome = self.headers.get("Authorization") == LOGIN
        self.asked.append((self.path, welcome))
        if welcome:
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=x")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET  # noqa: N815 # the name that http.server calls

    def end_headers(self) -> None:
        """Have what is listed asked for again each time."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def certificate(folder: Path) -> None:
    """Make a certificate authority in ca.pem and a certificate of localhost in server.pem."""
    script = """set -e
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-authority
    openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost
    printf 'subjectAltName=DNS:localhost' >extensions
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \\
        -extfile extensions -out server.pem
    """
    subprocess.run(["bash", "-c", script], cwd=folder, check=True, capture_output=True)


def only_here(folder: Path, version: str) -> None:
    """Make a release of the package that nobody else has."""
    about = f"only_here-{version}.dist-info"
    with zipfile.ZipFile(folder / f"only_here-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("only_here.py", "answer = 42\n")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: only-here\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")


def index(folder: Path) -> None:
    """Make a package index with what the build's own tools are, and a package that nobody else has."""
    words = ["download", "--quiet", "--no-deps", "--require-hashes", "--dest", str(folder)]
    words += [word for each in TOOLS for word in ("--requirement", str(each))]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    only_here(folder, "1")
    for wheel_file in list(folder.glob("*.whl")):
        project = folder / wheel_file.name.split("-")[0].replace("_", "-").lower()
        project.mkdir()
        shutil.move(wheel_file, project / wheel_file.name)


def for_another_architecture(channel: Path) -> None:
    """List the channel's packages for the other architecture too, where none of them is: a lock asks for the list."""
    (channel / "linux-aarch64").mkdir()
    text = (channel / "linux-64" / "repodata.json").read_text(encoding="utf-8")
    (channel / "linux-aarch64" / "repodata.json").write_text(text.replace("linux-64", "linux-aarch64"), "utf-8")


@pytest.fixture(scope="module")
def port(running: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a server on loopback with both, and the folder of its certificate authority."""
    base = running.values().get("BASE_IMAGE", "")
    if "stand-in" not in base:
        pytest.skip("only the stand-in carries a channel that can be served")
    folder = tmp_path_factory.mktemp("private")
    certificate(folder)
    (folder / "www" / "simple").mkdir(parents=True)
    index(folder / "www" / "simple")
    container = docker("create", base, "true")
    docker("cp", f"{container}:/opt/conda/channels/conda-forge", str(folder / "www" / "labs"))
    docker("rm", container)
    for_another_architecture(folder / "www" / "labs")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Private, directory=str(folder / "www")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, folder
    server.shutdown()


def private_clone(target: Path, number: int, folder: Path) -> Clone:
    """Return a clone whose packages are all from the private channel and the private index."""
    clone = cloned(target)
    address = f"https://ada:{PASSWORD}@localhost:{number}"
    text = f"channels: ['{address}/labs', nodefaults]\ndependencies: {DEPENDENCIES}\n"
    (clone.root / "environment.yml").write_text(text, encoding="utf-8")
    (clone.root / "postBuild").unlink()
    (folder / "pip.conf").write_text(
        f"[global]\nindex-url = {address}/simple/\nno-cache-dir = true\n", encoding="utf-8"
    )
    return clone


def build(clone: Clone, running: Clone, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Build something of a clone without a route to elsewhere."""
    return clone.run(
        *("docker", "buildx", "build", "--network=host", "--file=docker/Dockerfile", *options),
        *(f"--build-arg=BASE_IMAGE={running.values()['BASE_IMAGE']}", f"--build-arg=HTTPS_PROXY={ELSEWHERE}"),
        *(f"--build-arg=HTTP_PROXY={ELSEWHERE}", "--build-arg=NO_PROXY=localhost"),
        *(f"--secret=id=ca_bundle,src={folder}/ca.pem", f"--secret=id=pip_config,src={folder}/pip.conf", "."),
    )


def test_private_channel_and_index_are_all_that_is_asked(
    running: Clone, port: tuple[int, Path], tmp_path: Path
) -> None:
    """The host's authority is trusted, the password sent and kept nowhere; PyPI and conda-forge are not asked."""
    number, folder = port
    clone = private_clone(tmp_path / "private", number, folder)

    done = build(clone, running, folder, "--no-cache", "--load", "--tag=private:test")

    assert done.returncode == 0, done.stderr[-4000:]
    assert docker("run", "--rm", "private:test", "python", "-c", "import only_here; print(only_here.answer)") == "42"
    served = {path.split("/")[1] for path, welcome in Private.asked if welcome}
    assert served == {"labs", "simple"}
    saved = subprocess.Popen(["docker", "save", "private:test"], stdout=subprocess.PIPE)
    found = subprocess.run(
        ["grep", "--count", "--text", PASSWORD], stdin=saved.stdout, stdout=subprocess.PIPE, check=False
    )
    saved.wait()
    docker("image", "rm", "--force", "private:test")
    assert found.stdout.strip() == b"0"


def lock_again(clone: Clone, running: Clone, folder: Path, update: str = "") -> dict[str, str]:
    """Lock a clone as the task does, and return the versions that its lock has by their names."""
    archive = folder / "lock.tar"
    words = ("--target=lock", "--no-cache-filter=locked", f"--build-arg=UPDATE={update}")
    done = build(clone, running, folder, *words, f"--output=type=tar,dest={archive}")
    assert done.returncode == 0, done.stderr[-4000:]
    with tarfile.open(archive) as opened:
        opened.extractall(clone.root / "environment.lock", filter="data")
    conda, pip = ((clone.root / "environment.lock" / f"{each}-linux-64.txt").read_text() for each in ("conda", "pip"))
    found = re.findall(r"/([\w-]+)-([\w.]+)-\w+\.(?:conda|tar\.bz2)#", conda) + re.findall(r"(?m)^([\w-]+)==(\S+)", pip)
    return dict(found)


def released(folder: Path, version: str) -> None:
    """Release a version of two conda packages, late-one and late-two, and of the pip package."""
    listed = folder / "www" / "labs" / "noarch" / "repodata.json"
    data = json.loads(listed.read_text(encoding="utf-8"))
    for name in ("late-one", "late-two"):
        file, record = conda_package(folder / "www" / "labs", name, version)
        data["packages"][file.name] = {**hashed(record, file.read_bytes()), "size": file.stat().st_size}
    only_here(folder / "www" / "simple" / "only-here", version)
    listed.write_text(json.dumps(data), encoding="utf-8")


def test_lock_changes_only_what_is_asked(running: Clone, port: tuple[int, Path], tmp_path: Path) -> None:
    """What is newer than the lock stays out of it, but for the one package that may change, conda's or pip's."""
    number, folder = port
    clone = private_clone(tmp_path / "kept", number, folder)
    declared = clone.root / "environment.yml"
    declared.write_text(declared.read_text(encoding="utf-8").replace("[python,", "[python, late-one, late-two,"))
    listed = folder / "www" / "labs" / "noarch" / "repodata.json"
    before = listed.read_text(encoding="utf-8")
    released(folder, "1")
    first = lock_again(clone, running, folder)
    released(folder, "2")
    os.utime(listed, (later := time.time() + 60, later))  # a web server tells changes by the second

    same = lock_again(clone, running, folder)
    conda = lock_again(clone, running, folder, "late-one")
    pip = lock_again(clone, running, folder, "only-here")
    everything = lock_again(clone, running, folder, "*")

    listed.write_text(before, encoding="utf-8")
    os.utime(listed, (later + 60, later + 60))
    (folder / "www" / "simple" / "only-here" / "only_here-2-py3-none-any.whl").unlink()
    names = ("late-one", "late-two", "only-here")
    said = [tuple(each[name] for name in names) for each in (first, same, conda, pip, everything)]
    assert said == [("1", "1", "1"), ("1", "1", "1"), ("2", "1", "1"), ("2", "1", "2"), ("2", "2", "2")]
    assert first.keys() == everything.keys()


@pytest.fixture(scope="module")
def locked(
    running: Clone, port: tuple[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Clone, Path]]:
    """A clone with a lock of that channel, whose list of packages is gone since; and the server's folder."""
    number, folder = port
    clone = private_clone(tmp_path_factory.mktemp("locked") / "locked", number, folder)
    lock_again(clone, running, folder)
    lists = sorted((folder / "www" / "labs").glob("*/repodata.json"))
    for each in lists:
        each.rename(each.with_suffix(".gone"))
    yield clone, folder
    for each in lists:
        each.with_suffix(".gone").rename(each)


def test_lock_is_for_both_architectures_and_holds_no_password(locked: tuple[Clone, Path]) -> None:
    """Each has its addresses with hashes, for conda and for pip."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in (locked[0].root / "environment.lock").iterdir()}
    subdirs = ("linux-64", "linux-aarch64")

    assert set(texts) == {"inputs.txt", *(f"{part}-{each}.txt" for part in ("conda", "pip") for each in subdirs)}
    for each in subdirs:
        conda = rf"^https://localhost:\d+/labs/{each}/python-\S+\.conda#[0-9a-f]{{32}}$"
        assert re.search(conda, texts[f"conda-{each}.txt"], re.MULTILINE)
        assert re.search(r"^only-here==1 \\\n    --hash=sha256:[0-9a-f]{64}$", texts[f"pip-{each}.txt"], re.MULTILINE)
    assert not [name for name, text in texts.items() if PASSWORD in text]


def test_locked_builds_are_equal_and_solve_nothing(running: Clone, locked: tuple[Clone, Path]) -> None:
    """Two builds have the same packages, though the channel has no list any more; stock conda installs the lock too."""
    clone, folder = locked
    said = []
    for tag in ("locked:1", "locked:2"):
        done = build(clone, running, folder, "--no-cache-filter=environment", "--load", f"--tag={tag}")
        assert done.returncode == 0, done.stderr[-4000:]
        script = "conda list --explicit --md5 && pip freeze && python -c 'import only_here; print(only_here.answer)'"
        said.append(docker("run", "--rm", tag, "bash", "-c", script))
    lock = (clone.root / "environment.lock" / "conda-linux-64.txt").read_text(encoding="utf-8")
    (folder / "lock.txt").write_text(lock.replace("https://", f"https://ada:{PASSWORD}@"), encoding="utf-8")
    volumes = (f"--volume={folder}/lock.txt:/tmp/lock.txt:ro", f"--volume={folder}/ca.pem:/run/secrets/ca_bundle:ro")
    words = ("conda", "create", "--yes", "--quiet", "--prefix=/tmp/made", "--file=/tmp/lock.txt")

    docker("run", "--rm", "--network=host", "--user=0", *volumes, "locked:1", *words)

    docker("image", "rm", "--force", "locked:1", "locked:2")
    assert said[0] == said[1]
    assert said[0].endswith("only-here==1\n42")
    addresses = [line for line in lock.splitlines() if line.startswith("https")]
    assert sorted(addresses) == sorted(line for line in said[0].splitlines() if line.startswith("https"))


@pytest.mark.parametrize("part", ["conda", "pip"])
def test_package_that_is_another_is_refused(running: Clone, locked: tuple[Clone, Path], part: str) -> None:
    """One changed byte of a conda package, or another wheel of the same name, ends the build."""
    clone, folder = locked
    path = clone.root / "environment.lock" / f"{part}-linux-64.txt"
    before = path.read_text(encoding="utf-8")
    other_hash = re.sub(r"--hash=sha256:\w{4}", "--hash=sha256:0000", before)
    path.write_text(before + changed_package(folder, before) if part == "conda" else other_hash, encoding="utf-8")

    done = build(clone, running, folder, "--target=environment", "--output=type=cacheonly")

    path.write_text(before, encoding="utf-8")
    assert done.returncode == 1
    assert {"conda": "hash mismatch", "pip": "DO NOT MATCH THE HASHES"}[part] in done.stderr


def conda_package(labs: Path, name: str, version: str) -> tuple[Path, dict[str, Any]]:
    """Put an empty package into the channel; return its file and its record."""
    record: dict[str, Any] = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": []}
    record |= {"subdir": "noarch", "noarch": "generic"}
    file = labs / "noarch" / f"{name}-{version}-0.tar.bz2"
    with tarfile.open(file, "w:bz2") as archive:
        for member, value in (("info/index.json", record), ("info/paths.json", {"paths": [], "paths_version": 1})):
            content = json.dumps(value).encode()
            head = tarfile.TarInfo(member)
            head.size = len(content)
            archive.addfile(head, io.BytesIO(content))
    return file, record


def hashed(record: dict[str, Any], content: bytes) -> dict[str, Any]:
    """Return a record with the hashes of a file."""
    return {**record, **{each: hashlib.new(each, content).hexdigest() for each in ("md5", "sha256")}}


def changed_package(folder: Path, lock: str) -> str:
    """Serve a package that no cache knows, and return the lines of a lock for one that differs by a byte."""
    file, record = conda_package(folder / "www" / "labs", f"late-{uuid.uuid4().hex}", "1")
    locked = bytearray(file.read_bytes())  # the archive that is served stays whole, so that its hash alone is wrong
    locked[-1] ^= 1
    record = hashed(record, bytes(locked))
    channel = re.findall(r"^(https://\S+/labs)/", lock, re.MULTILINE)[0]
    return f"# {json.dumps(record)}\n{channel}/noarch/{file.name}#{record['md5']}\n"
