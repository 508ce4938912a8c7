"""A channel and a package index of one's own, over TLS with a password: nothing else is asked, nothing is kept."""

import base64
import shutil
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import ROOT, Clone, cloned, docker

PASSWORD = "s3cret-of-the-channel"  # noqa: S105 # of the server below, while this test runs
LOGIN = "Basic " + base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
TOOLS = ROOT / "docker" / "environment" / "requirements.txt"


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


def index(folder: Path) -> None:
    """Make a package index with what the build's own tools are, and a package that nobody else has."""
    words = ["download", "--quiet", "--no-deps", "--require-hashes", "--dest", str(folder), "--requirement", str(TOOLS)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    with zipfile.ZipFile(folder / "only_here-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("only_here.py", "answer = 42\n")
        wheel.writestr("only_here-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: only-here\nVersion: 1\n")
        wheel.writestr("only_here-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("only_here-1.dist-info/RECORD", "")
    for wheel_file in list(folder.glob("*.whl")):
        project = folder / wheel_file.name.split("-")[0].replace("_", "-").lower()
        project.mkdir()
        shutil.move(wheel_file, project / wheel_file.name)


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
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Private, directory=str(folder / "www")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, folder
    server.shutdown()


def test_private_channel_and_index_are_all_that_is_asked(
    running: Clone, port: tuple[int, Path], tmp_path: Path
) -> None:
    """The host's authority is trusted, the password sent and kept nowhere; PyPI and conda-forge are not asked."""
    number, folder = port
    clone = cloned(tmp_path / "private")
    address = f"https://ada:{PASSWORD}@localhost:{number}"
    dependencies = "[python, pip, pip: [only-here]]"
    text = f"channels: ['{address}/labs', nodefaults]\ndependencies: {dependencies}\n"
    (clone.root / "environment.yml").write_text(text, encoding="utf-8")
    (clone.root / "postBuild").unlink()
    (folder / "pip.conf").write_text(
        f"[global]\nindex-url = {address}/simple/\nno-cache-dir = true\n", encoding="utf-8"
    )

    # Without a route to elsewhere: the proxy of everything but localhost is a closed port.
    done = clone.run(
        *("docker", "build", "--network=host", "--no-cache", "--file=docker/Dockerfile", "--tag=private:test"),
        *(f"--build-arg=BASE_IMAGE={running.values()['BASE_IMAGE']}", "--build-arg=HTTPS_PROXY=http://127.0.0.1:9"),
        *("--build-arg=HTTP_PROXY=http://127.0.0.1:9", "--build-arg=NO_PROXY=localhost"),
        *(f"--secret=id=ca_bundle,src={folder}/ca.pem", f"--secret=id=pip_config,src={folder}/pip.conf", "."),
        DOCKER_BUILDKIT="1",
    )

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
