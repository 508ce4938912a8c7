"""A private index never silently becomes PyPI."""

from pathlib import Path

import pytest
from conftest import Clone

CONFIG = "[global]\nindex-url = http://127.0.0.1:9/simple\n"  # where nothing listens
PACKAGE = "idna"  # PyPI has it


def download(clone: Clone, pip_config: Path, *entrypoint: str) -> str:
    """Return what pip says in a container that was given this file, when it is asked for a package of PyPI's."""
    words = ("download", "--retries", "0", "--no-deps", "--dest", "/tmp/got", PACKAGE)  # noqa: S108
    run = ("docker", "compose", "run", "--rm", "--no-TTY", *entrypoint, "jupyterlab-server")
    pip = () if entrypoint else ("pip",)
    done = clone.run(*run, *pip, *words, cwd=clone.root / "docker", PIP_CONFIG=str(pip_config))
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


@pytest.mark.parametrize("entrypoint", [(), ("--entrypoint", "pip")], ids=["activated", "without-a-shell"])
@pytest.mark.parametrize(("mode", "said"), [(0o644, "127.0.0.1:9"), (0o000, "pip_config-cannot-be-read")])
def test_pip_asks_the_hosts_index_or_nobody(
    running_stub: Clone, tmp_path: Path, mode: int, said: str, entrypoint: tuple[str, ...]
) -> None:
    """Where the file can be read, its index is asked; where it cannot, pip fails and says so: PyPI is never asked."""
    pip_config = tmp_path / "pip.conf"
    pip_config.write_text(CONFIG, encoding="utf-8")
    pip_config.chmod(mode)

    heard = download(running_stub, pip_config, *entrypoint)

    assert said in heard
    assert "No matching distribution found" in heard


def test_changed_index_reaches_a_running_container(running_stub: Clone) -> None:
    """The file is mounted: another one that took its place would not be seen inside."""
    first, second = "http://127.0.0.1:9/first-of-all/simple", "http://127.0.0.1:9/2/simple"
    read = ("sed", "-n", "s/^index-url = //p", "/run/secrets/pip_config")
    running_stub.succeed("up", "--yes", PIP_INDEX_URL=first)
    container = running_stub.container_id()
    before = running_stub.inside(*read).stdout.strip()

    running_stub.succeed("up", "--yes", PIP_INDEX_URL=second)

    assert running_stub.container_id() == container
    assert before == first
    assert running_stub.inside(*read).stdout.strip() == second
