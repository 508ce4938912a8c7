"""A second user of this machine, with a folder that both users reach, and servers between the two."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aids import wait_until


@dataclass(frozen=True)
class User:
    """Another user, whom only these tests know."""

    name: str
    folder: Path  # root's, which everybody may read; it is removed at the end

    @property
    def home(self) -> Path:
        """Their home."""
        return self.folder / "home"

    def argv(self, *words: str, **environ: str) -> list[str]:
        """Return the command that runs a command as this user, in an environment of its own."""
        mine = {"HOME": str(self.home), "USER": self.name, "PATH": "/usr/local/bin:/usr/bin:/bin", **environ}
        become = ["setpriv", f"--reuid={self.name}", f"--regid={self.name}", "--init-groups"]
        return [*become, "env", "--ignore-environment", *(f"{key}={value}" for key, value in mine.items()), *words]


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def ending(*servers: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End servers, the last one first."""
    try:
        yield
    finally:
        for each in reversed(servers):
            each.terminate()
            each.wait(timeout=600)


@contextmanager
def second_user(*groups: str) -> Iterator[User]:
    """Make a user, and remove them with their files once nothing of theirs runs any more."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a second user")
    folder = Path(tempfile.mkdtemp(prefix="t"))  # pytest's own folders are closed to other users
    folder.chmod(0o755)
    user = User(f"starter-{os.getpid()}", folder)
    options = ["--create-home", f"--home-dir={user.home}", "--shell=/bin/bash", "--password=*"]
    subprocess.run(["useradd", *options, *(f"--groups={each}" for each in groups), user.name], check=True)
    yield user
    removal = ["userdel", user.name]
    wait_until(
        lambda: subprocess.run(removal, capture_output=True, check=False).returncode in (0, 6),
        what=f"the end of what {user.name} runs",
    )
    shutil.rmtree(folder)
