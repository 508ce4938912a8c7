"""What Windows alone has: other_systems.py runs it, whose host code sees that system; pytest alone collects it never.

Nothing here was tried on Windows. What differs there is by its documentation, and is handed in.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from other_systems import Process

from host_tasks.kit import client, runner, words
from host_tasks.kit.client import Endpoint
from host_tasks.setup import basics, host_packages
from host_tasks.subjects import engine, identity, images, ports, run, settings

DESKTOP = "start Docker Desktop, or restart it"


def test_lock_lets_others_read_what_the_file_says(tmp_path: Path) -> None:
    """Windows hides what is locked from all others, the container too: the byte is far behind what a probe says."""
    path = tmp_path / ".probe-x.outside"
    path.write_text("mine", encoding="utf-8")
    first, second = basics.open_lock(str(path)), basics.open_lock(str(path))

    taken = basics.try_lock(first)  # other_systems.py refuses a byte that the content may have

    assert (taken, basics.try_lock(second), os.read(second, 100)) == (True, False, b"mine")
    os.close(first)
    assert basics.try_lock(second)
    os.close(second)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_that_is_stopped_is_gone(number: signal.Signals) -> None:
    """A process there takes no SIGINT (ValueError): the console has told it, and what stays is ended."""
    process = Process([sys.executable, "-c", "import time; time.sleep(60)"])
    started = runner._Started(process, (), None, interactive=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner, "GRACE_S", 0.2)

        started.stop(number)

    assert process.wait(timeout=10) < 0


def test_command_that_gives_no_answer_is_ended(tmp_path: Path) -> None:
    """A command beyond its time is told and ended there too, from a thread as well."""
    told: list[words.HostError] = []

    def call() -> None:
        argv = [sys.executable, "-c", "import time; time.sleep(60)"]
        with pytest.raises(words.HostError) as raised:
            runner.run(argv, cwd=tmp_path, capture=True, timeout_s=0.2)
        told.append(raised.value)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(timeout=30)

    assert [error.code for error in told] == [words.ExitCode.TRY_AGAIN]


def test_killed_command_has_the_code_of_a_shell() -> None:
    """There is no SIGKILL there; what the container's shell says of one is 137 all the same."""
    assert run.KILLED == 137


def test_port_that_is_held_is_not_free() -> None:
    """It is asked for alone: SO_REUSEADDR, which is not here, would take it from its holder."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        assert not ports.is_free(number)

    assert ports.is_free(number)


def test_who_and_what_a_windows_machine_is() -> None:
    """No numeric ids: the default user; the engine's pipe; no memory that a system call tells; the processor's name."""
    who = identity.observe()

    assert (who.user, who.uid, who.gid) == (identity.DEFAULT_USER, 1000, 100)
    assert client.DEFAULT_HOST == "npipe:////./pipe/docker_engine"
    assert settings.memory_limit() is None
    assert images.ARCHITECTURES["ARM64"] == "arm64"


def test_fix_can_be_pasted_into_powershell() -> None:
    """Windows PowerShell 5.1 knows neither && nor unset, and its chmod is attrib."""
    assert basics.error_text("p", fix="a && b") == "error: p\nfix: a, then: b"
    assert words.unset("HTTPS_PROXY", "https_proxy") == "Remove-Item Env:HTTPS_PROXY"
    assert client.endpoint({"DOCKER_HOST": "tcp://far:2375"}).back == "Remove-Item Env:DOCKER_HOST"
    assert basics.fix_access(str(Path(__file__))).startswith("attrib -r ")
    assert basics.shell_word(r"C:\Users\Ada L") == r'"C:\Users\Ada L"'


@pytest.mark.parametrize(
    ("where", "fix"),
    [
        pytest.param(Endpoint("npipe://x", "a context", "b", "desktop-linux"), DESKTOP, id="its own context"),
        pytest.param(Endpoint("npipe://x"), DESKTOP, id="the default pipe"),
        pytest.param(Endpoint("tcp://127.0.0.1:1", "DOCKER_HOST=tcp://127.0.0.1:1", "b"), "b", id="DOCKER_HOST"),
    ],
)
def test_engine_that_hangs_is_docker_desktop(where: Endpoint, fix: str) -> None:
    """What brings it back is Docker Desktop, unless somebody has named another engine."""
    found = engine.judge(engine.Engine(where, compose=None))

    assert found.fix == fix


def test_invoke_is_a_script_that_no_path_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cmd reads it in a code page of its own: it names its place by %~dp0, so no name of a person's stands in it."""
    monkeypatch.setattr(basics, "PYTHON", str(tmp_path / "python.exe"))
    (tmp_path / "invoke.exe").touch()

    host_packages.write_scripts()

    program = os.path.relpath(basics.PROGRAM, basics.ROOT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inv.cmd", "invoke.cmd"]
    assert (tmp_path / "invoke.cmd").read_text("ascii").splitlines() == [
        "@setlocal",
        '@set "HOST_TASKS_CALLED_AS=invoke"',
        rf'@"%~dp0python.exe" -I "%~dp0..\..\{program}" %*',
    ]
