"""One more package in an environment that runs, and one less: what a kernel imports, and what a failure leaves."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import PROGRAM, Clone, cloned, docker, removed, small

from host_tasks.subjects.base import published

FILES = ("environment.yml", "requirements.txt")
# A process that was there before, as a kernel is: for each module that it is told, whether it can import it.
KERNEL = """
import importlib, sys
for line in sys.stdin:
    try:
        print(bool(importlib.import_module(line.strip())), flush=True)
    except ImportError:
        print(False, flush=True)
"""
STATE = "cd /opt/env && find . ! -name '*.pyc' -printf '%p %s %l\\n' | sort; ls /opt"
INSTALLED = "ls /opt/env/conda-meta/*.json; pip list --format=freeze"


class Kernel:
    """A process in the server that imports what it is told."""

    def __init__(self, clone: Clone) -> None:
        argv = ["docker", "exec", "--interactive", clone.container_id(), "/opt/env/bin/python", "-c", KERNEL]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def imports(self, name: str) -> bool:
        """Return whether it imports a module."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{name}\n")
        return self.process.stdout.readline() == "True\n"


@pytest.fixture(scope="module")
def server(built: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone with a small environment, which runs."""
    docker("tag", built.values().get("BASE_IMAGE") or published(), "packages:base")
    clone = small(cloned(tmp_path_factory.mktemp("packages") / "packages"), "packages:base")
    clone.succeed("up", "--yes")
    yield clone
    removed(clone)
    docker("image", "rm", "packages:base")


@pytest.fixture
def kernel(server: Clone) -> Iterator[Kernel]:
    """A process in the server that was there before."""
    opened = Kernel(server)
    yield opened
    opened.process.kill()
    opened.process.communicate()


def state(clone: Clone) -> tuple[str, ...]:
    """Return the files that name packages, and all that is in the environment, by name, size and link."""
    return (
        *((clone.root / name).read_text(encoding="utf-8") for name in FILES),
        clone.inside("sh", "-c", STATE).stdout,
    )


@pytest.fixture
def before(server: Clone) -> tuple[str, ...]:
    """How it was before."""
    return state(server)


def test_open_kernel_imports_what_is_added_and_the_next_image_has_it(server: Clone, kernel: Kernel) -> None:
    """By conda and by pip; `up` makes an image with the same packages, and nothing is by hand."""
    assert (kernel.imports("setuptools"), kernel.imports("jsonlines")) == (False, False)

    server.succeed("add", "setuptools")
    server.succeed("add", "--pip", "jsonlines >=4", "tabulate")

    assert (kernel.imports("setuptools"), kernel.imports("jsonlines")) == (True, True)
    environment, requirements = state(server)[:2]
    assert "python, setuptools, pip" in environment
    assert requirements.endswith("jsonlines >=4\n")
    assert "Nothing was installed by hand" in server.succeed("diff")
    ran, installed = server.container_id(), server.inside("bash", "-c", INSTALLED).stdout
    server.succeed("up", "--yes")
    assert server.container_id() != ran
    assert server.inside("bash", "-c", INSTALLED).stdout == installed


def test_what_is_removed_goes_with_what_only_it_has_needed(server: Clone, before: tuple[str, ...]) -> None:
    """What was asked for by hand stays, as what other packages need does; then all is as if it had never been there."""
    server.succeed("add", "--pip", "jsonlines <5", "humanize")
    kernel = Kernel(server)
    server.inside("pip", "install", "--quiet", "pyjokes")

    server.succeed("remove", "jsonlines", "humanize")

    found = [kernel.imports(name) for name in ("jsonlines", "attrs", "humanize", "pyjokes", "tabulate")]
    kernel.process.kill()
    kernel.process.communicate()
    assert found == [False, False, False, True, True]
    assert "pyjokes" in server.succeed("diff")
    server.inside("pip", "uninstall", "--yes", "pyjokes")
    assert state(server)[0] == before[0]


@pytest.mark.parametrize(
    ("words", "error", "fix"),
    [
        (["no-such-package-9b1c"], "no-such-package-9b1c: no package of this name, and pip finds none", "add no-such"),
        (["humanize"], "conda's channels do not have humanize, and pip's index does", "add --pip humanize"),
        (["--pip", "jsonlines ==4.0", "attrs <19"], "Cannot install", "correct what the lines above name"),
    ],
    ids=["in neither", "of pip", "unsolvable"],
)
def test_refusal_changes_nothing(
    server: Clone, before: tuple[str, ...], words: list[str], error: str, fix: str
) -> None:
    """Neither a file nor the environment; two lines say why."""
    done = server.task("add", *words)

    assert done.returncode == 70
    told = done.stderr.splitlines()[-2:]
    assert error in told[0]
    assert fix in told[1]
    assert state(server) == before


@pytest.mark.parametrize("words", [["wheel"], ["--pip", "pyjokes"]], ids=["conda", "pip"])
def test_installation_that_breaks_off_leaves_nothing(server: Clone, before: tuple[str, ...], words: list[str]) -> None:
    """A file of the package cannot be written, as on a full disk."""
    blocked = f"/opt/env/lib/python3.*/site-packages/{words[-1]}"
    folder = server.inside("sh", "-c", f"echo {blocked.removesuffix(words[-1])}").stdout.strip() + words[-1]
    docker("exec", "--user=0", server.container_id(), "mkdir", "--mode=755", folder)

    done = server.task("add", *words)

    docker("exec", "--user=0", server.container_id(), "rmdir", folder)
    assert done.returncode == 70
    assert "ermission denied" in done.stderr.splitlines()[-2]
    assert state(server) == before


@pytest.mark.parametrize(
    ("words", "line"),
    [(["wheel"], "solved in"), (["--pip", "networkx"], "Installing collected")],
    ids=["conda", "pip"],
)
def test_interruption_leaves_nothing(server: Clone, before: tuple[str, ...], words: list[str], line: str) -> None:
    """Ctrl-C while it is solved, linked or installed."""
    argv = [sys.executable, "-I", str(server.root / PROGRAM), "add", *words]
    process = subprocess.Popen(argv, cwd=server.root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    next(text for text in process.stderr if line in text)

    process.send_signal(signal.SIGINT)

    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-2] == "error: interrupted"
    assert state(server) == before
