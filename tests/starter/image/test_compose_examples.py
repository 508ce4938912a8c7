"""The files in docker/examples, each as docker/docker-compose.override.yml of a clone."""

import os
import shutil
import socket
from pathlib import Path

import pytest
from aids import wait_until
from conftest import ROOT, Clone, docker, git
from lab import status_of

EXAMPLES = sorted((ROOT / "docker" / "examples").glob("*.yml"))

# What the image postgres:17 does, as far as the example needs it, with Debian's or Ubuntu's PostgreSQL.
DOCKERFILE = """
FROM {image}
USER 0
RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends postgresql
ENV PGDATA=/var/lib/postgresql/data
COPY --chmod=0555 start /usr/local/bin/start
ENTRYPOINT ["start"]
"""
START = """#!/bin/bash
set -euo pipefail
PATH="$(echo /usr/lib/postgresql/*/bin):${PATH}"
as_postgres=(setpriv --reuid postgres --regid postgres --clear-groups)
install --directory --owner postgres --mode 0700 "${PGDATA}"
if [[ ! -e "${PGDATA}/PG_VERSION" ]]; then
    echo "${POSTGRES_PASSWORD}" >/tmp/password
    "${as_postgres[@]}" initdb --username "${POSTGRES_USER}" --pwfile /tmp/password --auth-host scram-sha-256
    echo "host all all all scram-sha-256" >>"${PGDATA}/pg_hba.conf"
    echo "create database ${POSTGRES_DB}" | "${as_postgres[@]}" postgres --single postgres
fi
exec "${as_postgres[@]}" postgres -c "listen_addresses=*"
"""


def override(clone: Clone, name: str, **replaced: str) -> None:
    """Do what an example's third line says, with some of its words replaced."""
    text = (clone.root / "docker" / "examples" / name).read_text(encoding="utf-8")
    for old, new in replaced.items():
        text = text.replace(old, new)
    (clone.root / "docker" / "docker-compose.override.yml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_explains_itself_and_is_right_for_compose(path: Path, running_stub: Clone) -> None:
    """Three lines say what an example does; the third one is the command, and plain Compose takes the file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    copied = f"cp docker/examples/{path.name} docker/docker-compose.override.yml"

    assert [line[:2] for line in lines[:4]] == ["# ", "# ", "# ", "se"]
    assert lines[2] == f"# {copied} && python3 tasks.py up"
    done = running_stub.run("bash", "-c", f"{copied} && cd docker && docker compose config --quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_postgres_keeps_its_data_and_serves_the_lab(running_stub: Clone, tmp_path: Path) -> None:
    """The Lab starts after a healthy database and reaches it; `down` and `up` keep what is in it."""
    (tmp_path / "Dockerfile").write_text(
        DOCKERFILE.format(image=f"{running_stub.project}-jupyterlab-server"), encoding="utf-8"
    )
    (tmp_path / "start").write_text(START, encoding="utf-8")
    image, label = f"{running_stub.project}-postgres", f"com.docker.compose.project={running_stub.project}"
    docker("build", "--quiet", "--tag", image, "--label", label, str(tmp_path))
    override(running_stub, "postgres.yml", **{"postgres:17": image})

    def sql(command: str) -> str:
        words = ["--host=postgres", "--username=lab", "--tuples-only", f"--command={command}"]
        return docker("exec", "--env=PGPASSWORD=lab", f"{running_stub.project}-postgres-1", "psql", *words)

    running_stub.succeed("up", "--yes")
    reach = "import os, socket, urllib.parse as p; u = p.urlsplit(os.environ['DATABASE_URL'])"
    running_stub.succeed(
        "run", "--", "python", "-c", f"{reach}; socket.create_connection((u.hostname, 5432), timeout=20)"
    )
    sql("create table kept as select 42 as answer")
    running_stub.succeed("down")
    running_stub.succeed("up", "--yes")

    assert sql("select answer from kept") == "42"


def test_second_port_is_published(running_stub: Clone) -> None:
    """What listens on the second port in the container answers on this machine, on the port that docker/.env names."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    override(running_stub, "second-port.yml")
    with (running_stub.root / "docker" / ".env").open("a", encoding="utf-8") as file:
        file.write(f"\nTENSORBOARD_PORT={port}\n")

    running_stub.succeed("up", "--yes")
    docker("exec", "--detach", running_stub.container_id(), "python", "-m", "http.server", "6006")

    def answers() -> bool:
        try:
            return status_of(f"http://127.0.0.1:{port}") == 200
        except OSError:
            return False

    wait_until(answers, timeout_s=60, what="an answer on the second port")


def test_data_disk_can_be_read_and_not_written(running_stub: Clone, tmp_path: Path) -> None:
    """The disk is beside the six folders, as it is on this machine, and stays as it is."""
    tmp_path.chmod(0o755)
    (tmp_path / "large.csv").write_text("x\n", encoding="utf-8")
    override(running_stub, "data-disk.yml", **{"/mnt/data": str(tmp_path)})

    running_stub.succeed("up", "--yes")

    assert running_stub.succeed("run", "--", "cat", "disk/large.csv") == "x\n"
    assert running_stub.task("run", "--", "rm", "--force", "disk/large.csv").returncode == 1
    assert (tmp_path / "large.csv").is_file()


def test_git_config_is_the_persons(running_stub: Clone, tmp_path: Path) -> None:
    """What git looks for in the home is the file of this machine's home."""
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Ada\n", encoding="utf-8")
    override(running_stub, "git-config.yml")

    running_stub.succeed("up", "--yes", HOME=str(tmp_path))

    done = running_stub.task("run", "--", "bash", "-c", "cat ~/.gitconfig", HOME=str(tmp_path))
    assert done.stdout == "[user]\n\tname = Ada\n"


def test_git_reads_the_history_and_writes_nothing(running_stub: Clone) -> None:
    """In a folder, log, blame, status and diff say what is here; nothing of .git can be written, its setup least."""
    readme = running_stub.root / "notebooks" / "README.md"
    git(running_stub, "init", "--quiet", ".")
    git(running_stub, "add", "--all")
    git(running_stub, "commit", "--quiet", "--message", "first")
    if os.getuid() == 0:  # as the clone of a person, which is theirs
        running_stub.run("chown", "--recursive", ":".join(running_stub.owner), ".git")
    readme.write_text("changed\n", encoding="utf-8")
    override(running_stub, "git.yml")
    script = """cd notebooks && git log --format=%s
        git blame --line-porcelain HEAD -- README.md | grep --count ^boundary
        git status --short . && git diff --shortstat .
        for words in "add ." "config core.fsmonitor ./evil" "commit --all --message=inside"; do
            git $words 2>/dev/null && echo "wrote: $words"
        done
        echo evil 2>/dev/null >"$(git rev-parse --git-dir)/hooks/pre-commit" && echo "wrote: a hook"
        true"""

    running_stub.succeed("up", "--yes")
    said = running_stub.succeed("run", "--", "bash", "-c", script).splitlines()

    shutil.rmtree(running_stub.root / ".git")
    readme.write_text("\n", encoding="utf-8")
    assert (said[0], int(said[1]) > 0, said[2], len(said)) == ("first", True, " M README.md", 4), said
    assert "1 file changed, 1 insertion(+)" in said[3]


def test_linked_folder_opens_inside(running_stub: Clone, tmp_path: Path) -> None:
    """A link that leads out of the six folders is told by `up`, and opens once its folder has its own path inside."""
    tmp_path.chmod(0o755)
    (tmp_path / "large.csv").write_text("x\n", encoding="utf-8")
    (running_stub.root / "data" / "disk").symlink_to(tmp_path)
    (running_stub.root / "docker" / "docker-compose.override.yml").unlink(missing_ok=True)

    before = running_stub.task("up", "--yes")
    override(running_stub, "linked-folder.yml", **{"/mnt/data": str(tmp_path)})
    after = running_stub.task("up", "--yes")

    assert f"not in the container, 1: data/disk to {tmp_path}" in before.stderr
    assert f'source: "{tmp_path}", target: "{tmp_path}"' in before.stderr
    assert "data/disk" not in after.stderr
    assert running_stub.inside("cat", "data/disk/large.csv").stdout == "x\n"


def test_volume_that_is_roots_is_told_and_cured(running_stub: Clone) -> None:
    """The engine makes it root's where the image has no such folder; the fix gives it to the user, who can write it."""
    volume = f"{running_stub.project}_models"
    lines = ["services:", "  jupyterlab-server:", "    volumes:", "      - models:/home/${APP_USER}/.cache/huggingface"]
    text = "\n".join([*lines, "volumes:", f"  models: {{name: {volume}}}", ""])
    (running_stub.root / "docker" / "docker-compose.override.yml").write_text(text, encoding="utf-8")

    refused = running_stub.task("up", "--yes")
    fix = refused.stderr.rpartition("fix: ")[2].strip()
    cured = running_stub.run("bash", "-c", fix.partition(" && ")[0])
    running_stub.succeed("up", "--yes")

    assert (refused.returncode, cured.returncode) == (77, 0), refused.stderr + cured.stderr
    assert f"which is the volume {volume}" in refused.stderr
    assert running_stub.inside("sh", "-c", "touch ~/.cache/huggingface/model").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root works for another identity")
def test_what_is_read_inside_can_be_read_after_roots_umask(running_stub: Clone) -> None:
    """After `umask 077` of root the container's user reads its settings, secrets and tests all the same."""
    (running_stub.root / "docker" / "docker-compose.override.yml").unlink(missing_ok=True)
    (running_stub.root / "docker" / "secrets" / "key").write_text("secret", encoding="utf-8")
    (running_stub.root / "tests" / "test_mine.py").write_text("def test_mine(): pass\n", encoding="utf-8")
    for path in running_stub.root.rglob("*"):
        if not path.is_symlink() and not path.name.startswith("."):  # docker/.* is written by the tasks
            os.chown(path, 0, 0)
            path.chmod(path.stat().st_mode & 0o700)

    running_stub.succeed("up", "--yes")

    read = "cd /run/secrets && cat ca_bundle pip_config proxies yours/README.md >/dev/null && cat yours/key"
    done = running_stub.inside("sh", "-c", read)
    assert (done.stdout, done.stderr) == ("secret", "")
    assert " passed" in running_stub.succeed("test", "--yes")
