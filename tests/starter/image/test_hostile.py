"""What code in the container does against the tasks outside: it is not trusted, not followed, and not waited for."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import Clone
from lab import status_of


def attack(clone: Clone, script: str) -> None:
    """Run a script in the container as its user, who runs the notebooks too; bash reads no start-up file first."""
    done = clone.inside("/usr/bin/env", "BASH_ENV=", "/bin/bash", "-euc", script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "script",
    [
        'ln -s /etc/passwd "$T"',
        'ln -s /dev/zero "$T"',
        'truncate -s 300M "$T"',
        'mkfifo "$T"',
        'mkdir "$T"',
        r'printf "a\033]0;x\007b" >"$T"',
        r'printf "x@evil.example/?" >"$T"',
        r'printf "\377\376" >"$T"',
    ],
    ids=["link", "endless", "huge", "pipe", "folder", "control characters", "another host", "no text"],
)
def test_what_is_no_token_is_told_and_makes_no_link(running: Clone, script: str) -> None:
    """Whatever a notebook puts in its place, `url` ends with one error, and goes on working with the token again."""
    attack(running, f'T="$JUPYTER_TOKEN_FILE"; mv "$T" "$T.kept"; {script}')

    told = running.task("url", timeout_s=60)
    attack(running, 'T="$JUPYTER_TOKEN_FILE"; rm -rf "$T"; mv "$T.kept" "$T"')

    assert (told.returncode, told.stdout) == (69, "")
    assert told.stderr.splitlines()[-2].startswith("error: ")
    assert "has no server with a token" in told.stderr
    assert running.succeed("url").startswith("http://127.0.0.1:")


def test_planted_programs_are_not_run_by_the_tasks(running: Clone) -> None:
    """Programs that never end, first on the container's PATH, hold no task up; `sh` there is not what a task calls."""
    names = "cat head id ls mkdir rm sh stat test timeout touch"
    endless = r'printf "#!/bin/bash\nexec /bin/sleep 999\n" >"$n"; /bin/chmod +x "$n"'
    attack(running, f"cd /opt/env/bin; for n in {names}; do {endless}; done")
    first = running.inside("python", "-c", "import shutil; print(shutil.which('sh'))").stdout.strip()

    told = [
        running.task(*words, timeout_s=60) for words in (("mounts", "--json"), ("url",), ("status",), ("up", "--yes"))
    ]

    attack(running, f"cd /opt/env/bin; /bin/rm {names}")
    assert first == "/opt/env/bin/sh"
    assert [each.returncode for each in told] == [0, 0, 0, 0], told[0].stderr
    assert {each["inside"] for each in json.loads(told[0].stdout)} == {"ok"}


def test_output_that_is_no_text_is_no_traceback(running: Clone) -> None:
    """Bytes that are not UTF-8, the last that a server says: `up` and `logs` show them."""
    override = running.root / "docker" / "docker-compose.override.yml"
    command = ["/bin/bash", "-c", r"printf '\377\376 not text\n'; exit 3"]
    service = {
        "command": command,
        "logging": {"driver": "local"},
    }  # Docker's default driver writes text whatever it gets
    override.write_text(json.dumps({"services": {"jupyterlab-server": service}}), encoding="utf-8")

    failed, log = running.task("up", "--yes"), running.task("logs")
    override.unlink()
    again = running.task("up", "--yes")

    assert failed.returncode == 70, failed.stderr
    assert "Traceback" not in failed.stderr + log.stderr
    assert "\ufffd\ufffd not text" in failed.stderr
    assert (log.returncode, again.returncode) == (0, 0), again.stderr


def test_link_to_host_code_is_mounted_by_no_task(running: Clone) -> None:
    """A folder in results/ that a person mounts once more becomes a link to docker/: `up` refuses."""
    override = running.root / "docker" / "docker-compose.override.yml"
    target = f"/home/{running.values()['USER']}/raw"
    override.write_text(
        f"services: {{jupyterlab-server: {{volumes: ['../results/raw:{target}']}}}}\n", encoding="utf-8"
    )
    container = running.container_id()
    attack(running, 'ln -s ../docker "$PROJECT_DIR/results/raw"')

    refused = running.task("up", "--yes")
    still = running.container_id()
    attack(running, 'rm "$PROJECT_DIR/results/raw"')
    override.unlink()

    assert refused.returncode == 78, refused.stderr
    assert "results/raw" in refused.stderr.splitlines()[-2]
    assert still == container


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Yield an address of this machine, and what is asked there."""
    asked: list[str] = []

    class Heard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Heard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/led-astray", asked
    server.shutdown()


def test_redirect_of_the_server_is_not_followed(running: Clone) -> None:
    """A server that answers every page with another address makes the tasks ask nothing there."""
    code = """
import http.server, sys
class S(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == '/api' else 302)
        self.send_header('X-Identity-Provider', 'LinkOnly')  # as the health check asks for it
        self.send_header('Location', sys.argv[1]); self.send_header('Content-Length', '0'); self.end_headers()
http.server.ThreadingHTTPServer(('', 8888), S).serve_forever()
"""
    with listening() as (address, asked):
        service = {"services": {"jupyterlab-server": {"command": ["python", "-c", code, address]}}}
        (running.root / "docker" / "docker-compose.override.yml").write_text(json.dumps(service), encoding="utf-8")

        up = running.task("up", "--yes")
        url = running.task("url")
        link = up.stdout.splitlines()[-1]
        before, followed = list(asked), status_of(link)

    assert (up.returncode, url.returncode) == (0, 0), up.stderr
    assert (before, followed, asked) == ([], 204, ["/led-astray"])  # by who follows it, and by nobody before
