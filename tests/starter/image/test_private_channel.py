"""A channel and a package index of one's own, over TLS with a password: nothing else is asked, nothing is kept."""

import base64
import hashlib
import io
import json
import os
import re
import secrets
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Clone, cloned, docker, git, removed
from leaks import in_files, in_layers, names_in, overheard

PASSWORD, INDEX_PASSWORD, PROXY_PASSWORD, OWN_SECRET = (secrets.token_hex(12) for _ in range(4))
HOST = "packages.invalid"  # no machine has this name (RFC 6761, 6.4): only the proxy below knows where it leads
TOOLS = [
    *(ROOT / "docker" / "environment" / name for name in ("requirements.txt", "lock-requirements.txt")),
    *(ROOT / "docker" / "stand-in" / name for name in ("requirements.txt", "conda.txt")),
]
DEPENDENCIES = "[python, pip, pip: [only-here]]"
ELSEWHERE = "http://127.0.0.1:9"  # a closed port, as the proxy of everything but localhost


def login(password: str) -> str:
    """Return what is sent for a user's password (RFC 7617)."""
    return "Basic " + base64.b64encode(f"ada:{password}".encode()).decode()


class Private(SimpleHTTPRequestHandler):
    """Files for who knows the password; what was asked for, and refused, is kept."""

    asked: list[tuple[str, bool]] = []  # noqa: RUF012 # one server a module

    def do_GET(self) -> None:
        """Answer 401 without the password."""
        password = {"labs": PASSWORD, "simple": INDEX_PASSWORD}.get(self.path.split("/")[1], "")
        welcome = self.headers.get("Authorization") == login(password)
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


class Way(BaseHTTPRequestHandler):
    """A proxy for who knows its password; whatever is asked for, it leads to the server above."""

    asked: list[str] = []  # noqa: RUF012 # one proxy a module
    leads_to = 0

    def do_CONNECT(self) -> None:
        """Pass on what both ends say, until one of them ends (RFC 9110, 9.3.6)."""
        if self.headers.get("Proxy-Authorization") != login(PROXY_PASSWORD):
            self.send_error(407)
            return
        self.asked.append(self.path)
        with socket.create_connection(("127.0.0.1", self.leads_to)) as there:
            self.send_response(200)
            self.end_headers()
            other = {self.connection: there, there: self.connection}
            while ready := select.select(list(other), [], [], 60)[0]:
                for end in ready:
                    if not (piece := end.recv(2**16)):
                        return
                    other[end].sendall(piece)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def certificate(folder: Path) -> None:
    """Make a certificate authority in ca.pem and a certificate of localhost in server.pem."""
    script = f"""set -e
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-authority
    openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost
    printf 'subjectAltName=DNS:localhost,DNS:{HOST}' >extensions
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
    """Make a package index with the tools of the builds, a stand-in's too, and a package that nobody else has."""
    tools = (["--require-hashes", "--requirement", str(each)] for each in TOOLS)
    for words in (*tools, ["pip", "packaging", "setuptools", "wheel"]):
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *words]
        subprocess.run(argv, check=True, capture_output=True)
    only_here(folder, "1")
    for wheel_file in list(folder.glob("*.whl")):
        project = folder / wheel_file.name.split("-")[0].replace("_", "-").lower()
        project.mkdir(exist_ok=True)
        shutil.move(wheel_file, project / wheel_file.name)


def for_another_architecture(channel: Path) -> None:
    """List the channel's packages for the other architecture too, where none of them is: a lock asks for the list."""
    (channel / "linux-aarch64").mkdir()
    text = (channel / "linux-64" / "repodata.json").read_text(encoding="utf-8")
    (channel / "linux-aarch64" / "repodata.json").write_text(text.replace("linux-64", "linux-aarch64"), "utf-8")


@pytest.fixture(scope="module")
def port(built: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a server on loopback with both, and the folder of its certificate authority."""
    base = built.values().get("BASE_IMAGE", "")
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
    text = f"channels: ['https://ada:{PASSWORD}@localhost:{number}/labs', nodefaults]\ndependencies: {DEPENDENCIES}\n"
    (clone.root / "environment.yml").write_text(text, encoding="utf-8")
    (clone.root / "postBuild").unlink()
    address = f"https://ada:{INDEX_PASSWORD}@localhost:{number}/simple/"
    (folder / "pip.conf").write_text(f"[global]\nindex-url = {address}\nno-cache-dir = true\n", encoding="utf-8")
    return clone


def build(clone: Clone, built: Clone, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Build something of a clone without a route to elsewhere."""
    return clone.run(
        *("docker", "buildx", "build", "--network=host", "--file=docker/Dockerfile", *options),
        *(f"--build-arg=BASE_IMAGE={built.values()['BASE_IMAGE']}", f"--build-arg=HTTPS_PROXY={ELSEWHERE}"),
        *(f"--build-arg=HTTP_PROXY={ELSEWHERE}", "--build-arg=NO_PROXY=localhost"),
        *(f"--secret=id=ca_bundle,src={folder}/ca.pem", f"--secret=id=pip_config,src={folder}/pip.conf", "."),
    )


@dataclass(frozen=True)
class Door:
    """JupyterLab of a clone that needed every secret on its way; and what was to be heard of it."""

    clone: Clone
    environ: dict[str, Any]  # of its tasks
    link: str
    said: str  # by the tasks, but for the link
    commands: set[str]  # of every process of this machine
    hidden: dict[str, bytes]  # what may be seen nowhere, by its name


@pytest.fixture(scope="module")
def door(built: Clone, port: tuple[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """JupyterLab that was built from scratch through a proxy with a password, and nothing else leads anywhere."""
    number, folder = port
    clone = private_clone(tmp_path_factory.mktemp("door") / "door", number, folder)
    text = (clone.root / "environment.yml").read_text(encoding="utf-8")
    text = text.replace(f"localhost:{number}", HOST).replace("[python", "[python, jupyterlab")
    (clone.root / "environment.yml").write_text(text, encoding="utf-8")
    (clone.root / "docker" / "secrets" / "api_key").write_text(OWN_SECRET, encoding="utf-8")
    # By a name that is none of a stand-in's: it needs not be made again for another environment.yml.
    docker("tag", built.values()["BASE_IMAGE"], "private:base")
    (clone.root / "docker" / ".env").write_text("BASE_IMAGE=private:base\n", encoding="utf-8")
    gateway = docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", "bridge")
    Way.leads_to = number
    proxy = ThreadingHTTPServer((gateway, 0), Way)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    address = f"http://ada:{PROXY_PASSWORD}@{gateway}:{proxy.server_port}"
    environ: dict[str, Any] = {"HTTP_PROXY": address, "HTTPS_PROXY": address, "NO_PROXY": "localhost,127.0.0.1"}
    environ["SSL_CERT_FILE"] = str(folder / "ca.pem")
    environ["PIP_INDEX_URL"] = f"https://ada:{INDEX_PASSWORD}@{HOST}/simple"
    with overheard() as commands:
        done = [clone.task("build", "--yes", "--no-cache", **environ), clone.task("up", "--yes", **environ)]
        assert [each.returncode for each in done] == [0, 0], done[0].stderr[-4000:] + done[1].stderr[-4000:]
        link = done[1].stdout.splitlines()[-1]
        said = "".join(each.stdout + each.stderr for each in done).replace(link, "")
        said += clone.task("url", **environ).stderr + clone.succeed("run", "--", "true", **environ)
    yield Door(clone, environ, link, said, commands, hidden_values(folder, link))
    proxy.shutdown()
    removed(clone)
    docker("image", "rm", "private:base")


def hidden_values(folder: Path, link: str) -> dict[str, bytes]:
    """Return the secrets, also as they are sent, and a line of the certificate, by their names."""
    passwords = {"channel": PASSWORD, "index": INDEX_PASSWORD, "proxy": PROXY_PASSWORD, "own": OWN_SECRET}
    texts = {**passwords, "token": link.rpartition("token=")[2]}
    texts |= {f"{name}, encoded": login(each).split()[1] for name, each in passwords.items()}
    texts["certificate"] = (folder / "ca.pem").read_text(encoding="ascii").splitlines()[5]
    return {name: each.encode() for name, each in texts.items()}


def test_private_channel_and_index_are_all_that_is_asked(door: Door) -> None:
    """The host's authority is trusted, passwords are sent; PyPI and conda-forge are not asked."""
    served = {path.split("/")[1] for path, welcome in Private.asked if welcome}

    assert door.clone.inside("python", "-c", "import only_here; print(only_here.answer)").stdout == "42\n"
    assert served == {"labs", "simple"}
    assert set(Way.asked) == {f"{HOST}:443"}


def test_secrets_are_in_no_layer(door: Door) -> None:
    """Nor in the settings of the image; its base's layers are among those that are looked through."""
    found = in_layers(f"{door.clone.project}-jupyterlab-server", {**door.hidden, "what is there": b"only_here"})

    assert set().union(*found.values()) == {"what is there"}, found


def test_secrets_are_in_no_command_line(door: Door) -> None:
    """Of the tasks, docker, the build's steps, the server, and what runs in it."""
    assert {"up", "compose", "pip install", "jupyter lab"} <= {
        each for each in ("up", "compose", "pip install", "jupyter lab") for line in door.commands if each in line
    }
    assert [line for line in door.commands if names_in(line.encode(), door.hidden)] == []


def test_secrets_are_in_nothing_that_is_told(door: Door) -> None:
    """Neither by the tasks, nor by the engine, Compose, the log and git."""
    clone, image = door.clone, f"{door.clone.project}-jupyterlab-server"
    git(clone, "init", "--quiet", ".")
    git(clone, "add", "--all", ":!environment.yml")
    told = {
        "said": door.said,
        "inspect": docker("inspect", clone.container_id()),
        "image": docker("image", "inspect", image),
        "history": docker("history", "--no-trunc", image),
        "volumes": docker("volume", "inspect", *docker("volume", "ls", "--quiet").split()),
        "config": clone.succeed("config", **door.environ),
        "explain": clone.succeed("config", "--explain", **door.environ),
        "logs": docker("logs", clone.container_id()) + clone.succeed("logs", **door.environ),
        "status": clone.succeed("status", "--json", **door.environ).replace(door.link, ""),
        "doctor": clone.task("doctor", **door.environ).stdout,
        "git": clone.run("git", "grep", "--cached", "-e", "\n".join(map(bytes.decode, door.hidden.values()))).stdout,
    }

    assert {name: names for name, text in told.items() if (names := names_in(text.encode(), door.hidden))} == {}


def test_secrets_are_in_their_owners_files_only(door: Door) -> None:
    """All that the clone holds of them is in files of mode 0600; environment.yml is the person's own text."""
    (door.clone.root / "environment.yml").unlink()

    assert in_files(door.clone.root, door.hidden) == {
        "docker/.env 600": {"proxy"},
        "docker/.proxies.conf 600": {"proxy"},
        "docker/.pip.conf 600": {"index"},
        "docker/.ca-bundle.pem 600": {"certificate"},
        "docker/secrets/api_key 600": {"own"},
    }


def test_stand_in_that_is_made_with_them_holds_none(door: Door) -> None:
    """It is made of what the private index has, through the proxy; all its layers are looked through."""
    text = "channels: [conda-forge]\ndependencies: [python, pip, only-here]\n"
    (door.clone.root / "environment.yml").write_text(text, encoding="utf-8")
    # Passwords are not part of what a step is known by: it would be taken from a build without them.
    with (door.clone.root / "docker" / "stand-in" / "conda.sh").open("a", encoding="utf-8") as file:
        file.write(f"# {uuid.uuid4()}\n")
    code = "from host_tasks.loop import Seen; from host_tasks.subjects import base, settings"
    code += "; base.stand_in_name = lambda: 'private:stand-in'; settings.write = lambda *_, **__: None"
    code += "; assert base.make_stand_in(Seen()).ok"

    with overheard() as commands:
        done = door.clone.run(sys.executable, "-c", code, cwd=door.clone.root / "docker", **door.environ)
    assert done.returncode == 0, done.stderr[-4000:]
    found = in_layers("private:stand-in", {**door.hidden, "what is there": b"only-here"})
    docker("image", "rm", "private:stand-in")

    assert set().union(*found.values()) == {"what is there"}, found
    assert names_in(done.stderr.encode() + "\n".join(commands).encode(), door.hidden) == set()


def lock_again(clone: Clone, built: Clone, folder: Path, update: str = "") -> dict[str, str]:
    """Lock a clone as the task does, and return the versions that its lock has by their names."""
    archive = folder / "lock.tar"
    words = ("--target=lock", "--no-cache-filter=locked", f"--build-arg=UPDATE={update}")
    done = build(clone, built, folder, *words, f"--output=type=tar,dest={archive}")
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


def test_lock_changes_only_what_is_asked(built: Clone, port: tuple[int, Path], tmp_path: Path) -> None:
    """What is newer than the lock stays out of it, but for the one package that may change, conda's or pip's."""
    number, folder = port
    clone = private_clone(tmp_path / "kept", number, folder)
    declared = clone.root / "environment.yml"
    declared.write_text(declared.read_text(encoding="utf-8").replace("[python,", "[python, late-one, late-two,"))
    listed = folder / "www" / "labs" / "noarch" / "repodata.json"
    before = listed.read_text(encoding="utf-8")
    released(folder, "1")
    first = lock_again(clone, built, folder)
    released(folder, "2")
    os.utime(listed, (later := time.time() + 60, later))  # a web server tells changes by the second

    same = lock_again(clone, built, folder)
    conda = lock_again(clone, built, folder, "late-one")
    pip = lock_again(clone, built, folder, "only-here")
    everything = lock_again(clone, built, folder, "*")

    listed.write_text(before, encoding="utf-8")
    os.utime(listed, (later + 60, later + 60))
    (folder / "www" / "simple" / "only-here" / "only_here-2-py3-none-any.whl").unlink()
    names = ("late-one", "late-two", "only-here")
    said = [tuple(each[name] for name in names) for each in (first, same, conda, pip, everything)]
    assert said == [("1", "1", "1"), ("1", "1", "1"), ("2", "1", "1"), ("2", "1", "2"), ("2", "2", "2")]
    assert first.keys() == everything.keys()


@pytest.fixture(scope="module")
def locked(
    built: Clone, port: tuple[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Clone, Path]]:
    """A clone with a lock of that channel, whose list of packages is gone since; and the server's folder."""
    number, folder = port
    clone = private_clone(tmp_path_factory.mktemp("locked") / "locked", number, folder)
    lock_again(clone, built, folder)
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
    assert not [name for name, text in texts.items() if PASSWORD in text or INDEX_PASSWORD in text]


def test_locked_builds_are_equal_and_solve_nothing(built: Clone, locked: tuple[Clone, Path]) -> None:
    """Two builds have the same packages, though the channel has no list any more; stock conda installs the lock too."""
    clone, folder = locked
    said = []
    for tag in ("locked:1", "locked:2"):
        done = build(clone, built, folder, "--no-cache-filter=environment", "--load", f"--tag={tag}")
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
def test_package_that_is_another_is_refused(built: Clone, locked: tuple[Clone, Path], part: str) -> None:
    """One changed byte of a conda package, or another wheel of the same name, ends the build."""
    clone, folder = locked
    path = clone.root / "environment.lock" / f"{part}-linux-64.txt"
    before = path.read_text(encoding="utf-8")
    other_hash = re.sub(r"--hash=sha256:\w{4}", "--hash=sha256:0000", before)
    path.write_text(before + changed_package(folder, before) if part == "conda" else other_hash, encoding="utf-8")

    done = build(clone, built, folder, "--target=environment", "--output=type=cacheonly")

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
