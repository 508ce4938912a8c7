"""Every step of the post *Conda, pip, and Docker FTW!*, by docker's own commands, without Invoke."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import YOURS, Clone, cloned, docker, rootless, wait_until
from lab import status_of

POST_ENV = "USER={user}\nUID={uid}\nGID={gid}\n"
SHELL = {name: value for name, value in os.environ.items() if name not in ("USER", "UID", "GID")}


@pytest.fixture(scope="module")
def base(built: Clone) -> str:
    """The base image that this machine can reach, as a line for docker/.env: none where it is the published one."""
    chosen = built.values().get("BASE_IMAGE")
    return f"BASE_IMAGE={chosen}\n" if chosen else ""


@pytest.fixture
def plain(tmp_path: Path, base: str) -> Iterator[Clone]:
    """A clone with only the post's three lines in docker/.env, and what this machine's base image needs."""
    clone = cloned(tmp_path / "plain")
    uid, gid = (0, 0) if rootless() else (1000, 100)
    text = POST_ENV.format(user="al-khawarizmi", uid=uid, gid=gid) + base
    (clone.root / "docker" / ".env").write_text(text, encoding="utf-8")
    for name in YOURS:
        os.chown(clone.root / name, 1000, 100) if os.getuid() == 0 else None
    yield clone
    clone.run("docker", "compose", "down", "--rmi", "local", "--volumes", cwd=clone.root / "docker")


@pytest.mark.engines
def test_plain_compose_configures_starts_and_stops(plain: Clone) -> None:
    """`docker compose config`, `up --build` and `down` need nothing but the post's three lines."""
    folder = plain.root / "docker"

    config = plain.run("docker", "compose", "config", "--quiet", cwd=folder)
    up = plain.run("docker", "compose", "up", "--build", "--detach", "--wait", cwd=folder, JUPYTER_PORT="8951")
    wrote = plain.run(
        *("docker", "compose", "exec", "--no-TTY", "jupyterlab-server", "touch", "results/by-compose"), cwd=folder
    )
    down = plain.run("docker", "compose", "down", cwd=folder)

    assert [each.returncode for each in (config, up, wrote, down)] == [0, 0, 0, 0], up.stderr[-3000:] + wrote.stderr
    saved = (plain.root / "results" / "by-compose").stat()
    assert (saved.st_uid, saved.st_gid) == ((os.getuid(), os.getgid()) if rootless() else (1000, 100))


def container_at(port: int) -> str:
    """Return the container that publishes a port, "" before there is one."""
    return docker("container", "ls", "--quiet", "--filter", f"publish={port}")


def link_of(port: int) -> str:
    """Return the link by the manual's step: the token that `jupyter server list` prints, behind the published port."""
    container = container_at(port)
    done = subprocess.run(
        ["docker", "container", "exec", container, "jupyter", "server", "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    token = re.search(r"token=(\w+)", done.stdout)
    return f"http://127.0.0.1:{port}/lab?token={token[1]}" if container and token else ""


def test_plain_compose_without_env_says_what_to_run(plain: Clone) -> None:
    """Without docker/.env, Compose stops and names the command that writes it, instead of going on with blanks."""
    (plain.root / "docker" / ".env").unlink()

    done = plain.run("env", "-u", "USER", "docker", "compose", "config", "--quiet", cwd=plain.root / "docker")

    assert done.returncode != 0
    assert "python3 tasks.py env" in done.stderr


@pytest.mark.engines
def test_image_build_and_container_run_of_the_post(plain: Clone, base: str) -> None:
    """The post's `docker image build` and `docker container run`, with its build arguments and six volumes, work."""
    folder = plain.root / "docker"
    uid, gid = (0, 0) if rootless() else (1815, 1852)
    build = [
        *("docker", "image", "build"),
        *("--build-arg", "username=ada", "--build-arg", f"uid={uid}", "--build-arg", f"gid={gid}"),
        *(("--build-arg", base.strip()) if base else ()),
        *("--file", "Dockerfile", "--tag", "post:test", "../"),
    ]
    volumes = [word for name in YOURS for word in ("--volume", f"{plain.root}/{name}:/home/ada/app/{name}")]
    for name in YOURS:
        os.chown(plain.root / name, 1815, 1852) if os.getuid() == 0 else (plain.root / name).chmod(0o777)

    built = plain.run(*build, cwd=folder)
    script = "touch results/by-run && id -u && id -un && pwd && readlink env"
    ran = plain.run("docker", "container", "run", "--rm", "--tty", *volumes, "post:test", "bash", "-c", script)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    of_post = ("docker", "container", "run", "--rm", "--tty", *volumes, "--publish", f"{port}:8888", "post:test")
    with subprocess.Popen(of_post, stdout=subprocess.DEVNULL):
        wait_until(lambda: link_of(port), timeout_s=120, what="a link by the manual's step")
        link = link_of(port)
        opened, without = status_of(link), status_of(link.partition("?")[0])
        docker("container", "stop", container_at(port))

    command = docker("image", "inspect", "--format", "{{json .Config.Cmd}}", "post:test")
    docker("image", "rm", "post:test")

    assert built.returncode == 0, built.stderr[-3000:]
    assert (opened, without) == (200, 403)
    assert ran.stdout.split() == [str(uid), "ada", "/home/ada/app", "/opt/env"], ran.stderr
    saved = (plain.root / "results" / "by-run").stat()
    assert (saved.st_uid, saved.st_gid) == ((os.getuid(), os.getgid()) if rootless() else (1815, 1852))
    assert json.loads(command)[:2] == ["jupyter", "lab"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("username", "john.doe"),
        ("username", "root"),
        ("username", "CORP\\jdoe"),
        ("uid", "0"),
        ("uid", "4294967294"),
        ("gid", "x"),
    ],
)
def test_raw_build_refuses_in_one_line(plain: Clone, base: str, argument: str, value: str) -> None:
    """A build argument that no container could run with ends in one line that names it, not in a usage text."""
    words = ["--build-arg", f"{argument}={value}", *(["--build-arg", base.strip()] if base else [])]

    done = plain.run(
        "docker",
        "image",
        "build",
        "--progress",
        "plain",
        *words,
        "--file",
        "Dockerfile",
        "../",
        cwd=plain.root / "docker",
    )

    said = {line.partition("error: ")[2] for line in done.stderr.splitlines() if " error: " in line}
    assert done.returncode != 0
    assert len(said) == 1
    assert said.pop().startswith(f"{argument} '{value}'")


def pair_id(pair: tuple[int, int]) -> str:
    """Return the readable id of a pair."""
    return f"{pair[0]}:{pair[1]}"


@pytest.mark.parametrize(
    "pair",
    [
        *[(1, 1), (1000, 985), (33, 33), (65534, 65534), (1885580785, 1885580785), (2147483647, 2147483647)],
    ],
    ids=pair_id,
)
def test_any_pair_of_ids_is_honoured_exactly(
    make_clone: Callable[[str], Clone], base: str, pair: tuple[int, int]
) -> None:
    """Taken in the image or huge, the pair is what `id` says inside; HOME is right, and the image grows little."""
    clone = make_clone("pair")
    uid, gid = pair
    words = [f"--build-arg={each}" for each in (f"uid={uid}", f"gid={gid}", "username=someone", base.strip()) if each]
    built = clone.run("docker", "build", *words, "--file", "docker/Dockerfile", "--tag", "pair:test", ".")
    assert built.returncode == 0, built.stderr[-2000:]
    (clone.root / "results").chmod(0o777)

    volume = f"{clone.root}/results:/home/someone/app/results"
    script = 'touch results/p && echo $(id -u):$(id -g):$(id -un):$HOME:$(id -G | tr " " "\\n" | grep -cx 100)'
    ran = clone.run("docker", "run", "--rm", "--volume", volume, "pair:test", "sh", "-c", script)

    saved = (clone.root / "results" / "p").stat()
    assert ran.stdout.strip() == f"{uid}:{gid}:someone:/home/someone:1", ran.stderr
    assert (saved.st_uid, saved.st_gid) == pair
    sizes = docker("history", "--format", "{{.Size}}", "--human=false", "pair:test").split()
    assert sum(map(int, sizes[:7])) < 1_000_000
    docker("image", "rm", "--force", "pair:test")
