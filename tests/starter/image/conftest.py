"""Fixtures of the tests with a real engine: a fresh clone of this commit, and its tasks run as a person runs them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aids import PATIENCE, wait_until as wait_until
from warned import warnings

from host_tasks.kit.paths import YOURS as YOURS
from host_tasks.subjects.clone import project_name

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = "docker/host_tasks/setup/program.py"  # what `invoke` runs

# These are the person's to delete, and their tests go with them.
GO_WITH = {
    "test_binder.py": ".binder/Dockerfile",
    "test_browser.py": "notebooks/penguins.ipynb",
    "test_compose_examples.py": "docker/examples/git.yml",
    "test_devcontainer.py": ".devcontainer/devcontainer.json",
    "test_example.py": "notebooks/penguins.ipynb",
    "test_notebooks_anew.py": "notebooks/penguins.ipynb",
}
# What takes long comes first, the longest before the others: begun last, it would keep one process busy and no other.
LONG = (
    "test_fault_matrix.py",
    "test_private_channel.py",
    "test_notebooks_anew.py",
    "test_packages.py",
    "test_slurm.py",
    "test_readme.py",
    "test_environment.py",
    "test_clones.py",
    "test_workers.py",
    "test_main_job.py",
    "test_concurrency.py",
    "test_source_requirements.py",
    "test_ssh.py",
    "test_landing.py",
    "test_first_day.py",
    "test_caches.py",
    "test_devcontainer.py",
    "test_compose_examples.py",
    "test_offline.py",
    "test_other_engines.py",
    "test_container.py",
    "test_identities.py",
    "test_binder.py",
    "test_hardened.py",
)
HEARD: list[str] = []  # what commands have said since the last test

# An environment that is made, saved and sent in a fraction of the time.
SMALL = "channels: [conda-forge]\ndependencies: [python, pip, pip: ['--requirement requirements.txt']]\n"
# In the place of JupyterLab, a server that opens to its link alone: it starts with a third of the work.
SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        token = open(os.environ['JUPYTER_TOKEN_FILE']).read().strip()
        self.send_response(200 if self.path.endswith('?token=' + token) else 403)
        self.end_headers()
http.server.ThreadingHTTPServer(('', 8888), Handler).serve_forever()
"""
STUB = f"""
HEALTHCHECK --start-period=60s --start-interval=0.2s CMD ["env", "BASH_ENV=", "bash", "-c", "</dev/tcp/127.0.0.1/8888"]
CMD {json.dumps(["python3", "-c", SERVER])}
"""
collect_ignore = [test for test, file in GO_WITH.items() if not (ROOT / file).is_file()]


@dataclass(frozen=True)
class Clone:
    """A clone of this repository in a folder of its own."""

    root: Path

    def task(self, *words: str, timeout_s: float = 600, **environ: Any) -> "subprocess.CompletedProcess[str]":
        """Run `invoke <words>` in the clone as this caller; environ adds to this process's environment."""
        argv = [sys.executable, "-I", str(self.root / PROGRAM), *words]
        return self.run(*argv, timeout_s=timeout_s, **environ)

    def run(
        self, *argv: str, cwd: Path | None = None, timeout_s: float = 600, **environ: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in the clone, without a terminal."""
        done = subprocess.run(
            argv,
            cwd=cwd or self.root,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE * timeout_s,
            check=False,
        )
        HEARD.extend([done.stdout, done.stderr])
        return done

    def succeed(self, *words: str, **options: object) -> str:
        """Run a task that must succeed and return its stdout."""
        done = self.task(*words, **options)  # type: ignore[arg-type]
        assert done.returncode == 0, f"invoke {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-4000:]}"
        return done.stdout

    def values(self) -> dict[str, str]:
        """Return docker/.env."""
        lines = (self.root / "docker" / ".env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    @property
    def owner(self) -> tuple[str, str]:
        """The uid and gid outside of what the container's user makes; those inside are in docker/.env."""
        values = self.values()
        return (str(os.getuid()), str(os.getgid())) if "ROOTLESS" in values else (values["UID"], values["GID"])

    @property
    def project(self) -> str:
        """The clone's name for Compose."""
        return project_name(self.root)

    def container_id(self) -> str:
        """Return the id of the running server, or an empty string."""
        labels = (f"project={self.project}", "service=jupyterlab-server")
        filters = [f"--filter=label=com.docker.compose.{each}" for each in labels]
        return docker("ps", "--quiet", "--no-trunc", *filters)

    def inside(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the running server, past the entrypoint."""
        return self.run("docker", "exec", self.container_id(), *argv)


def docker(*words: str) -> str:
    """Return the stripped stdout of a docker command that must succeed."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=PATIENCE * 300, check=False)
    HEARD.extend([done.stdout, done.stderr])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def rootless() -> bool:
    """Return whether the engine's containers know this user as uid 0."""
    return "name=rootless" in docker("info", "--format", "{{.SecurityOptions}}")


def git(clone: Clone, *words: str) -> None:
    """Run a git command that must succeed, as somebody."""
    person = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "core.hooksPath=/dev/null"]
    done = clone.run("git", *person, *words)
    assert done.returncode == 0, done.stderr


def cloned(target: Path) -> Clone:
    """Copy what git tracks, or would track, to a folder, as a clone of the next commit would show it."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return Clone(target)


def removed(clone: Clone) -> None:
    """Remove a clone's containers, networks, volumes and images, whatever state it, or its code, is in."""
    label = f"label=com.docker.compose.project={project_name(clone.root)}"
    listings = {
        ("rm", "--force", "--volumes"): ("ps", "--all", "--quiet"),
        ("network", "rm"): ("network", "ls", "--quiet"),
        ("volume", "rm", "--force"): ("volume", "ls", "--quiet"),
        ("image", "rm", "--force"): ("image", "ls", "--quiet"),
    }
    for removal, listing in listings.items():
        found = docker(*listing, "--filter", label).split()
        if found:
            docker(*removal, *dict.fromkeys(found))
    if environments := docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"{clone.project}-environment").split():
        docker("image", "rm", *environments)


def stubbed(clone: Clone) -> Clone:
    """Have a stub in the place of JupyterLab, for what is true of any server; the rest of the image is as it was."""
    with (clone.root / "docker" / "Dockerfile").open("a", encoding="utf-8") as dockerfile:
        dockerfile.write(f"\nFROM project\n{STUB}")  # a stage of its own, for a stage has one health check
    return clone


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first, then the others of this folder, then those that need no engine."""

    def place(item: pytest.Item) -> int:
        path = item.path
        return LONG.index(path.name) if path.name in LONG else len(LONG) + (path.parent != Path(__file__).parent)

    items.sort(key=place)


def small(clone: Clone, base: str) -> Clone:
    """Have a small environment, and a stub for it, on a base image; return the clone.

    The base's name must be none of a stand-in's, which would be made again for another environment.yml.
    """
    (stubbed(clone).root / "environment.yml").write_text(SMALL, encoding="utf-8")
    (clone.root / "docker" / ".env").write_text(f"BASE_IMAGE={base}\n", encoding="utf-8")
    return clone


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skipped test of this folder a failed one in CI: there, what it proves has not been proved."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def unwarned(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a test that is marked `engines` fail where it, or what was made for it, was warned of something."""
    yield
    heard = [line for text in HEARD for line in warnings(text)]
    HEARD.clear()
    if request.node.get_closest_marker("engines"):
        assert not heard, "\n".join(dict.fromkeys(heard))


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Skip where no engine answers; in CI, fail."""
    done = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        reason = f"no engine: {done.stderr.strip()[-200:]}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone in which nothing runs yet; what it starts is removed at the end of the module."""
    fresh = cloned(tmp_path_factory.mktemp("clones") / "my-project")
    yield fresh
    removed(fresh)


@pytest.fixture(scope="module")
def built(clone: Clone) -> Clone:
    """A clone that has its image, and in which nothing runs."""
    clone.succeed("build", "--yes")
    return clone


@pytest.fixture(scope="module")
def running(clone: Clone) -> Clone:
    """A clone whose server runs."""
    clone.succeed("up", "--yes")
    return clone


@pytest.fixture(scope="module")
def stub(clone: Clone) -> Clone:
    """A clone with a stub in the place of JupyterLab, in which nothing runs yet."""
    return stubbed(clone)


@pytest.fixture(scope="module")
def running_stub(stub: Clone) -> Clone:
    """A clone whose stub runs."""
    stub.succeed("up", "--yes")
    return stub


@pytest.fixture
def make_clone(tmp_path: Path) -> Iterator[Callable[[str], Clone]]:
    """A function that makes a clone in a folder of a given name; all are removed afterwards."""
    made: list[Clone] = []

    def make(name: str) -> Clone:
        made.append(cloned(tmp_path / name))
        return made[-1]

    yield make
    for each in made:
        removed(each)
