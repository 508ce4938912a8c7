"""What lies in the project neither slows a build nor gets lost: landing places, odd files, odd checkouts, any order."""

import json
import os
import re
import socket
import time
from collections.abc import Callable

import pytest
from conftest import YOURS, Clone, docker, git, removed, stubbed, wait_until
from lab import api, status_of, submitted

CONTEXT_BYTES = 1_000_000  # bound of what a build sends to the engine
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def context_bytes(progress: str) -> float:
    """Return how much of the build context was sent, by BuildKit's plain progress; the .dockerignore is not counted."""
    after = progress.split("load build context", 1)[1]
    sizes = re.findall(r"transferring context: ([\d.]+)([kMG]?B)", after)
    return max(float(number) * UNITS[unit] for number, unit in sizes)


def test_build_sends_nothing_of_the_data(make_clone: Callable[[str], Clone]) -> None:
    """2 GB, a FIFO, a socket and a folder that only root may read, all in data/: less than 1 MB is sent, `up` works."""
    clone = stubbed(make_clone("study"))
    data = clone.root / "data"
    data.mkdir(exist_ok=True)
    with (data / "large.bin").open("wb") as large:
        large.truncate(2 * 1024**3)
    os.mkfifo(data / "fifo")
    (data / "private").mkdir(mode=0o700)
    (data / "private" / "key").write_text("x", encoding="utf-8")
    with socket.socket(socket.AF_UNIX) as listener:
        where = os.open(data, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{where}/socket")  # a socket's path is short (unix(7)), a test's is not
        os.close(where)

        done = clone.task("up", "--yes")

    assert done.returncode == 0, done.stderr
    assert status_of(done.stdout.splitlines()[-1]) == 200
    assert 0 < context_bytes(done.stderr) < CONTEXT_BYTES
    assert (data / "large.bin").stat().st_size == 2 * 1024**3


def test_checkout_with_windows_line_ends_works(make_clone: Callable[[str], Clone]) -> None:
    """`git -c core.autocrlf=true clone`, as Git for Windows does it by default, gives a clone that works."""
    source = make_clone("source")
    git(source, "init", "--quiet")
    git(source, "add", "--all")
    git(source, "commit", "--quiet", "--message", "x")
    target = source.root.with_name("study")
    git(source, "-c", "core.autocrlf=true", "clone", "--quiet", str(source.root), str(target))
    clone = Clone(target)
    try:
        done = clone.task("up", "--yes")

        assert done.returncode == 0, done.stderr
        assert status_of(done.stdout.splitlines()[-1]) == 200
        assert clone.succeed("run", "--", "bash", "-c", "echo $CONDA_PREFIX") == "/opt/env\n"
    finally:
        removed(clone)


def test_tasks_may_come_in_any_order_and_twice(make_clone: Callable[[str], Clone]) -> None:
    """`down` before `up`, `up` twice, `down` twice: each ends with 0, and the second changes nothing."""
    clone = stubbed(make_clone("study"))

    clone.succeed("down")
    assert not (clone.root / "docker" / ".env").exists()
    first_link = clone.succeed("up", "--yes")
    first = clone.container_id()
    second_link = clone.succeed("up", "--yes")
    second = clone.container_id()
    clone.succeed("down")
    clone.succeed("down")

    assert first
    assert (second, second_link) == (first, first_link)
    assert clone.container_id() == ""
    label = f"label=com.docker.compose.project={clone.project}"
    assert docker("network", "ls", "--quiet", "--filter", label) == ""


@pytest.fixture(scope="module")
def link(running: Clone) -> str:
    """The link of the running clone."""
    return running.succeed("url").splitlines()[-1]


@pytest.mark.parametrize("name", YOURS)
def test_what_is_saved_in_a_folder_is_on_the_host(name: str, running: Clone, link: str) -> None:
    """A file that JupyterLab saves in one of the six folders is on the host at once, byte for byte."""
    saved = {"type": "file", "format": "text", "content": "é\r\n\x00 end"}

    api(link, f"contents/{name}/saved.txt", method="PUT", body=saved)

    assert (running.root / name / "saved.txt").read_bytes() == "é\r\n\x00 end".encode()


@pytest.mark.parametrize("path", ["lost.txt", "lost", "env/lost.txt"], ids=["file", "folder", "environment"])
def test_nothing_can_be_saved_where_it_would_be_lost(path: str, running: Clone, link: str) -> None:
    """Beside the six folders JupyterLab saves nothing, so nothing there can be deleted by `down`."""
    base, token = link.split("/?")[0], link.rpartition("token=")[2]
    body = {"type": "file", "format": "text", "content": "x"} if "." in path else {"type": "directory"}

    status = status_of(f"{base}/api/contents/{path}", method="PUT", body=body, Authorization=f"token {token}")

    assert status == 403
    assert running.inside("test", "-e", f"/home/{running.values()['USER']}/app/{path}").returncode == 1


def test_down_stops_a_looping_kernel_and_keeps_the_notebook(running: Clone, link: str) -> None:
    """`down` while a kernel loops needs no SIGKILL, and the notebook saved before is what it was, byte for byte."""
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    saved = {"type": "notebook", "format": "json", "content": notebook}
    api(link, "contents/notebooks/kept.ipynb", method="PUT", body=saved)
    file = running.root / "notebooks" / "kept.ipynb"
    before = file.read_bytes()
    kernel, connection, _ = submitted(link, "while True: pass")
    wait_until(
        lambda: api(link, f"kernels/{kernel}")["execution_state"] == "busy", timeout_s=30, what="the kernel to loop"
    )

    since, container = str(int(time.time())), running.container_id()
    running.succeed("down")
    which = (
        "--filter=event=die",
        f"--filter=container={container}",
        f"--since={since}",
        f"--until={int(time.time()) + 1}",
    )
    code = docker("events", "--format={{.Actor.Attributes.exitCode}}", *which)

    connection.close()
    assert code not in ("", "137")
    assert file.read_bytes() == before
    assert json.loads(before)["nbformat"] == 4


def test_settings_of_lab_outlive_the_container(make_clone: Callable[[str], Clone]) -> None:
    """What a person sets in JupyterLab is still set after `down` and `up`."""
    clone = make_clone("study")
    theme = "settings/@jupyterlab/apputils-extension:themes"
    first = clone.succeed("up", "--yes").splitlines()[-1]
    api(first, theme, root="lab/api", method="PUT", body={"raw": '{"theme": "JupyterLab Dark"}'})

    clone.succeed("down")
    second = clone.succeed("up", "--yes").splitlines()[-1]

    assert "JupyterLab Dark" in str(api(second, theme, root="lab/api")["raw"])
