# ruff: noqa: E501, S604 (a person reads these lines whole; `shell` is what a shell exports)
"""What each task finds missing in every kind of world, and what `invoke doctor` finds wrong in it, without an engine."""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from observed import (
    ENVIRONMENT,
    FIRST_ENV,
    GIB,
    INPUTS,
    SOCKET,
    STAND_IN,
    Seen,
    bare,
    base,
    beside,
    crossing,
    engine,
    examined,
    healthy,
    held,
    model,
    place,
    server,
    settings,
    stopped,
    unwritten,
)

from host_tasks import goals, loop
from host_tasks.extras import share
from host_tasks.extras.record import Package
from host_tasks.kit.client import Endpoint
from host_tasks.kit.envfile import Change
from host_tasks.kit.paths import ROOT
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.loop import ANEW, Ended, Finding, Rule, plan
from host_tasks.subjects import doctor
from host_tasks.subjects.compose import SERVICE
from host_tasks.subjects.containers import Binding
from host_tasks.subjects.environment_lock import Line, Lock
from host_tasks.subjects.images import Image
from host_tasks.subjects.mounts import DANGLING, FILE, MISSING, OTHER
from host_tasks.subjects.ports import OPENED
from host_tasks.subjects.services import BUILD

UP = goals.up()
TARGET = "/home/ada/app/data"
PUSHED = (*goals.shared(), share.pushed("r.example/study"))
DOWN = f"Cannot connect to the Docker daemon at {SOCKET}. Is the docker daemon running?"
DENIED = f"permission denied while trying to connect to the Docker daemon socket at {SOCKET}"
NAMED = Endpoint("tcp://127.0.0.1:2375", "DOCKER_HOST=tcp://127.0.0.1:2375", "unset DOCKER_HOST")
ALLOCATED = "driver failed: Bind for 127.0.0.1:8888 failed: port is already allocated"
DB_PORT = f"driver failed on endpoint db ({'0a' * 32}): Bind for 0.0.0.0:5432 failed: port is already allocated."
STEP_FAILED = 'process "x" did not complete successfully: exit code: 1'
FAILED_BUILD = f"#9 1.2 ERROR: no such package: pandsa\n#9 ERROR: {STEP_FAILED}\nfailed to solve: {STEP_FAILED}"
ARCHIVE = Path(tempfile.gettempdir(), "root.tar")
BUILT_DB = model(db={"build": {"context": "db"}})
MALFORMED = HostError("docker/.env:2: no KEY=value", fix="correct line 2, then: invoke env", code=ExitCode.CONFIG)
UNREADABLE = PermissionError(13, "Permission denied", "postBuild")
LEFT = {"volumes": ["old-00000000_lab"], "images": []}
# Steps by their names.
START = "start on port 8888"
PULL = "pull base:1, or offer a stand-in where it cannot be reached"
MAKE = f"make the base image {STAND_IN} here"
TAKE = f"take the environment r.example/study:{ENVIRONMENT.tag}, or build it where it is not there"
CLOSE = "let nobody but their owner read files that may hold a secret"
# What steps touch, by how they begin.
TOUCHES = {
    "run again": "nothing: this process only",
    "pull": "the engine's images",
    "take over": "the volume old-00000000_lab; JupyterLab's settings are copied first",
    "take the": "the engine's images",
    "make the base image": "the engine's images, 600 MB; BASE_IMAGE in docker/.env",
    "write environment.lock": "environment.lock",
    "build the image": "the image of study-1a2b3c4d",
    "build the environment": f"the image {ENVIRONMENT.name}",
    "build db": "the images of db, and containers of them",
    "keep": "JUPYTER_PORT in docker/.env; every other line stays",
    "push": f"r.example/study:{ENVIRONMENT.tag}",
    "let nobody": "their owners and modes",
    "publish": "JUPYTER_PORT in docker/.env",
    "start": "the containers and the network of study-1a2b3c4d",
}


def with_db(*containers: Any, **differs: Any) -> Seen:
    """Return a healthy server whose Compose files declare a service `db` too, with its containers."""
    known = {
        "containers": (server(), *containers),
        "hashes": {SERVICE: "h1", "db": "h2"},
        "model": model(db={"image": "db:1"}),
    }
    return healthy(**{**known, **differs})


def start(why: str) -> str:
    """Return the step that starts everything, as a case tells it."""
    return f"start {SERVICE}, wait until it is healthy, and send a probe file through each mount both ways < {why}"


STARTED = start(f"{SERVICE} is not started")
PULLED = f"{PULL} < base:1 is not on this engine"
BUILT = "build the image, from the cache where nothing changed < this clone has no image yet"


ROOTLESS = {
    "SecurityOptions": ["name=seccomp", "name=rootless"],
    "CgroupVersion": "1",
    "MemoryLimit": False,
    "PidsLimit": False,
}


def case(name: str, seen: Callable[[], Seen], *told: str, rules: tuple[Rule, ...] = UP) -> Any:
    """Return a world and its plan: each step as "what < why", and the problem that no step cures, with its fix."""
    return pytest.param(seen, rules, list(told), id=name)


CASES = [
    case(
        "bare clone on a machine of an unknown system",
        lambda: bare(engine=engine(on_path=False, script_knows_this_system=False), has_compose=False),
        "error: docker is not on the PATH",
        "fix: start Docker, or install it, see docs.docker.com",
    ),
    case("bare clone, engine there", bare, "write docker/.env < there is no docker/.env yet", PULLED, BUILT, STARTED),
    case(
        "engine down",
        lambda: stopped(engine=engine(info={"ServerVersion": ""}, said=DOWN)),
        "install and start a Docker engine, by docker/install-engine.sh < the engine is not reachable at unix:///var/run/docker.sock",
        STARTED,
    ),
    case(
        "engine down at a named host",
        lambda: stopped(engine=engine(where=NAMED, info={"ServerVersion": ""}, said=DOWN)),
        "error: the engine is not reachable at tcp://127.0.0.1:2375 (DOCKER_HOST=tcp://127.0.0.1:2375)",
        "fix: unset DOCKER_HOST",
    ),
    case(
        "engine restarted by the installation, which is away again",
        lambda: stopped(engine=engine(info={"ServerVersion": ""}, said=DOWN), tried=(ANEW,)),
        "error: the engine is not reachable at unix:///var/run/docker.sock",
        "fix: invoke up --yes",
    ),
    case(
        "engine hung",
        lambda: stopped(engine=engine(compose=None)),
        "error: the engine at unix:///var/run/docker.sock gave no answer within 7.5 s",
        "fix: sudo service docker restart",
    ),
    case(
        "engine denied",
        lambda: stopped(engine=engine(info={"ServerVersion": ""}, said=DENIED)),
        "error: you may not use the engine at unix:///var/run/docker.sock: you are not in group docker",
        "fix: sudo usermod -aG docker $(id -un) && newgrp docker",
    ),
    case(
        "engine denied until the next login",
        lambda: stopped(engine=engine(info={"ServerVersion": ""}, said=DENIED, waits_for_group=True)),
        "run again as a member of group docker < you may not use the engine at unix:///var/run/docker.sock: this login is older than your membership in group docker",
        STARTED,
    ),
    case(
        "engine denied, and joining did not help",
        lambda: stopped(
            engine=engine(info={"ServerVersion": ""}, said=DENIED, waits_for_group=True),
            tried=("run again as a member of group docker",),
        ),
        "error: you may not use the engine at unix:///var/run/docker.sock: this login is older than your membership in group docker",
        "fix: newgrp docker",
    ),
    case(
        "engine too old",
        lambda: stopped(engine=engine(info={"ServerVersion": "20.10.24"})),
        "error: the engine is too old: needed 25.0, found 20.10.24",
        "fix: upgrade it, see docs.docker.com/engine/install",
    ),
    case(
        "Compose too old",
        lambda: stopped(engine=engine(compose="2.5.0")),
        "error: Docker Compose is too old: needed 2.26, found 2.5.0",
        "fix: upgrade it, see docs.docker.com/compose/install",
    ),
    case(
        "bare clone, engine rootless",
        lambda: bare(engine_says=ROOTLESS),
        "write docker/.env < the engine is rootless, and docker/.env does not say so; there is no docker/.env yet",
        PULLED,
        BUILT,
        STARTED,
    ),
    case(
        "engine rootless, and docker/.env of one that was not",
        lambda: stopped(engine_says=ROOTLESS),
        "write docker/.env < the engine is rootless, and docker/.env does not say so",
        STARTED,
    ),
    case(
        "engine that is no longer rootless",
        lambda: stopped(settings=settings(ROOTLESS="yes")),
        "write docker/.env < the engine is not rootless, and docker/.env does not say so",
        STARTED,
    ),
    case(
        "engine rootless, as docker/.env says",
        lambda: healthy(engine_says=ROOTLESS, settings=settings(ROOTLESS="yes")),
    ),
    case(
        "Podman of root, which nobody has tried",
        lambda: bare(podman=True),
        "error: this Podman runs as root, which is not supported yet",
        "fix: use it as an ordinary user, without sudo",
    ),
    case(
        "Podman, bare clone",
        lambda: bare(podman=True, engine_says=ROOTLESS),
        "write docker/.env < the engine is rootless, and docker/.env does not say so; there is no docker/.env yet",
        PULLED,
        "build the image, every step of it: with Podman the environment as a whole is what is kept < this clone has no image yet",
        STARTED,
    ),
    case(
        "Podman, and a hardened container is asked for",
        lambda: healthy(podman=True, engine_says=ROOTLESS, settings=settings(ROOTLESS="yes", HARDENED="yes")),
        "error: --hardened cannot be had with Podman: it takes no owner for a tmpfs",
        "fix: invoke up --no-hardened",
    ),
    case(
        "Podman, and workers are asked for",
        lambda: healthy(podman=True, engine_says=ROOTLESS, settings=settings(ROOTLESS="yes", DASK_WORKERS="2")),
        "error: --workers cannot be had with Podman: Compose waits for a health that it does not tell without systemd",
        "fix: invoke up --workers 0",
    ),
    case(
        "Podman, and a GPU is asked for",
        lambda: healthy(podman=True, engine_says=ROOTLESS, settings=settings(ROOTLESS="yes", GPUS="all")),
        "error: --gpu cannot be had with Podman: it gives GPUs in a way of its own, which was not tried",
        "fix: invoke up --no-gpu",
    ),
    case(
        "engine on another machine",
        lambda: stopped(engine=engine(where=Endpoint("ssh://u@far", "DOCKER_HOST=ssh://u@far", "unset DOCKER_HOST"))),
        "error: DOCKER_HOST=ssh://u@far is another machine: containers there would see its files, not yours",
        "fix: unset DOCKER_HOST && invoke up --on ssh://u@far",
    ),
    case(
        "installation did not help",
        lambda: stopped(engine=engine(on_path=False), has_compose=False, tried=(ANEW,)),
        "error: docker is not on the PATH",
        "fix: invoke up --yes",
    ),
    case(
        "installation failed",
        lambda: stopped(
            engine=engine(on_path=False),
            has_compose=False,
            tried={ANEW: Ended(ok=False, said="docker/install-engine.sh ended with 1")},
        ),
        "error: docker/install-engine.sh ended with 1",
        "fix: sudo bash docker/install-engine.sh",
    ),
    case("base image missing", lambda: stopped(base=base(image=None)), PULLED, STARTED),
    case(
        "base image cannot be pulled: a stand-in is offered",
        lambda: stopped(base=base(image=None), tried={PULL: Ended(ok=False)}),
        "make the base image conda-pip-docker/stand-in:0123456789ab here < the base image base:1 is neither on this engine nor can it be pulled",
        STARTED,
    ),
    case(
        "base image cannot be pulled, and why",
        lambda: stopped(
            base=base(image=None, can_make=False), tried={"pull base:1": Ended(ok=False, said="no such host")}
        ),
        "error: the base image base:1 is neither on this engine nor can it be pulled: no such host",
        "fix: docker pull base:1",
    ),
    case(
        "base image cannot be pulled for want of a credential helper, which no stand-in cures",
        lambda: stopped(
            base=base(image=None),
            tried={
                PULL: Ended(
                    ok=False,
                    said='error getting credentials - err: exec: "docker-credential-x": executable file not found in $PATH',
                )
            },
        ),
        "error: docker-credential-x, which keeps logins by your ~/.docker/config.json, is not on the PATH",
        "fix: install docker-credential-x, or take the line that names it (credsStore, credHelpers) out of ~/.docker/config.json",
    ),
    case(
        "base image cannot be pulled, and no stand-in can be made",
        lambda: stopped(base=base(image=None, can_make=False), tried={"pull base:1": Ended(ok=False)}),
        "error: the base image base:1 is neither on this engine nor can it be pulled",
        "fix: docker pull base:1",
    ),
    case(
        "base image of the person's own cannot be pulled",
        lambda: stopped(base=base(name="mine:1", chosen=True, image=None), tried={"pull mine:1": Ended(ok=False)}),
        "error: the base image mine:1 is neither on this engine nor can it be pulled",
        "fix: invoke env --unset BASE_IMAGE",
    ),
    case("stand-in chosen", lambda: stopped(base=base(name=STAND_IN, chosen=True)), STARTED),
    case(
        "stand-in outdated",
        lambda: stopped(base=base(name="conda-pip-docker/stand-in:000000000000", chosen=True)),
        "make the base image conda-pip-docker/stand-in:0123456789ab here < conda-pip-docker/stand-in:000000000000 was made for another environment.yml or system than today's, which needs conda-pip-docker/stand-in:0123456789ab",
        STARTED,
    ),
    case(
        "stand-in gone",
        lambda: stopped(base=base(name=STAND_IN, chosen=True, image=None)),
        "make the base image conda-pip-docker/stand-in:0123456789ab here < conda-pip-docker/stand-in:0123456789ab is no longer on this engine",
        STARTED,
    ),
    case(
        "stand-in made, and still not here",
        lambda: stopped(base=base(name=STAND_IN, chosen=True, image=None), tried=(MAKE,)),
        "error: conda-pip-docker/stand-in:0123456789ab is no longer on this engine",
        "fix: invoke up --yes",
    ),
    case(
        "stand-in cannot be built",
        lambda: stopped(
            base=base(name=STAND_IN, chosen=True, image=None),
            tried={MAKE: Ended(ok=False, said="no such package: pandsa")},
        ),
        "error: the stand-in base image cannot be made: no such package: pandsa",
        "fix: change environment.yml, or use a machine that reaches the registry",
    ),
    case(
        "root file system of the stand-in cannot be made",
        lambda: stopped(base=base(name=STAND_IN, chosen=True, image=None), tried={MAKE: Ended(ok=False)}),
        "error: the root file system of the stand-in cannot be made",
        f"fix: sudo bash docker/stand-in/root-file-system.sh {ARCHIVE}",
    ),
    case(
        "lock older than environment.yml",
        lambda: stopped(
            lock=Lock(()),
            lock_inputs=(Line("environment.yml", "  - scipy", 9),),
            inputs={**INPUTS, "environment.yml": "e2"},
        ),
        "write environment.lock, what it names stays, where that still fits < environment.lock was made from other lines: environment.yml:9 `- scipy` is new",
        "build the image, from the cache where nothing changed < changed since the image was built: environment.yml",
        rules=goals.runnable(),
    ),
    case(
        "lock that a stand-in does not use",
        lambda: stopped(lock=Lock(()), base=base(name=STAND_IN, chosen=True), image=None),
        "build the image, from the cache where nothing changed; conda-pip-docker/stand-in:0123456789ab is a stand-in, which has none of the packages that environment.lock names: it is not used here < this clone has no image yet",
        rules=goals.runnable(),
    ),
    case(
        ".env missing",
        lambda: healthy(settings=settings(plan=FIRST_ENV, kept={})),
        "write docker/.env < there is no docker/.env yet",
    ),
    case(
        ".env stale",
        lambda: healthy(
            settings=settings(
                plan=unwritten(Change("UID", "7", "1815"), Change("HTTP_PROXY", "http://me:secret@p:1", None))
            )
        ),
        "write docker/.env < docker/.env says UID=7, but it is 1815; it says HTTP_PROXY=http://****@p:1, but it is gone",
    ),
    case(
        ".env malformed",
        lambda: stopped(settings=MALFORMED),
        "error: docker/.env:2: no KEY=value",
        "fix: correct line 2, then: invoke env",
    ),
    case(
        "path that Compose cannot read",
        lambda: healthy(root=Path("/a\tb")),
        "error: the path '/a\\tb' has a control character (TAB, line break) or is not UTF-8, and Compose reads its own path as a URL",
        "fix: mv $'/a\\x09b' /a-b",
    ),
    case(
        "environment to be taken from elsewhere",
        lambda: bare(settings=settings(ENVIRONMENT_FROM="r.example/study")),
        "take the environment r.example/study:e1e1-amd64, or build it where it is not there < ENVIRONMENT_FROM is r.example/study, and the image has to be built",
        BUILT,
        STARTED,
    ),
    case(
        "environment that is not there",
        lambda: bare(settings=settings(ENVIRONMENT_FROM="r.example/study"), tried=(TAKE,)),
        PULLED,
        BUILT,
        rules=goals.runnable(),
    ),
    case(
        "environment that was taken or loaded",
        lambda: bare(settings=settings(), environment=replace(ENVIRONMENT, image=Image("sha256:e"))),
        "build the image, on the environment study-1a2b3c4d-environment:e1e1-amd64 < this clone has no image yet",
        rules=goals.runnable(),
    ),
    case(
        "environment that is in an image already",
        lambda: healthy(settings=settings(ENVIRONMENT_FROM="r.example/study")),
    ),
    case(
        "environment to be pushed",
        stopped,
        "build the environment, from the cache where nothing changed < study-1a2b3c4d-environment:e1e1-amd64 is not here",
        "push r.example/study:e1e1-amd64 < it was asked for",
        rules=PUSHED,
    ),
    case(
        "environment that is here, to be pushed",
        lambda: stopped(environment=replace(ENVIRONMENT, image=Image("sha256:e"))),
        "push r.example/study:e1e1-amd64 < it was asked for",
        rules=PUSHED,
    ),
    case(
        "environment pushed",
        lambda: stopped(
            environment=replace(ENVIRONMENT, image=Image("sha256:e")), tried=("push r.example/study:e1e1-amd64",)
        ),
        rules=PUSHED,
    ),
    case(
        "environment that the registry refuses",
        lambda: stopped(
            environment=replace(ENVIRONMENT, image=Image("sha256:e")),
            tried={"push r.example/study:e1e1-amd64": Ended(ok=False, said="denied: requested access")},
        ),
        "error: r.example/study takes no push: denied: requested access",
        "fix: docker login r.example",
        rules=PUSHED,
    ),
    case(
        "path that is no URL to a newer Compose",
        lambda: healthy(root=Path("/x/100% of it/a"), engine=engine(compose="2.40.3-3")),
        "error: the path '/x/100% of it/a' has a percent sign, and Compose 2.40.3-3 takes it for an escape of a URL",
        "fix: mv '/x/100% of it' '/x/100- of it'",
    ),
    case(
        "path that is syntax of bake, for which the build has a way round",
        lambda: healthy(root=Path('/x/a"b,c${d'), engine=engine(compose="5.0.0")),
    ),
    case(
        "path whose accents bake composes, for which the build has a way round",
        lambda: healthy(root=Path("/x/e\u0301t"), engine=engine(compose="v5.1.0")),
    ),
    case(
        "path that Compose takes", lambda: healthy(root=Path('/x/100%20, "e\u0301"${'), engine=engine(compose="2.40.3"))
    ),
    case(
        "moved clone",
        lambda: healthy(former="old-00000000", of_former={"containers": ["old-1"]}),
        "error: this clone was moved, and what it started as old-00000000 is still there: old-1",
        "fix: docker compose --project-name old-00000000 down",
    ),
    case(
        "moved clone that left its settings",
        lambda: healthy(former="old-00000000", of_former=LEFT),
        "take over what old-00000000 has < this clone was moved, and under its old name there is still the volume "
        "old-00000000_lab",
    ),
    case(
        "moved clone that left what cannot be removed: that is no reason not to work",
        lambda: healthy(former="old-00000000", of_former=LEFT, tried=["take over what old-00000000 has"]),
    ),
    case(
        "Compose file of one's own that is read instead of ours",
        lambda: healthy(own_files=(["compose.yaml"], [])),
        "error: Compose reads docker/compose.yaml instead of docker/docker-compose.yml",
        "fix: mv docker/compose.yaml docker/docker-compose.override.yml",
    ),
    case(
        "Compose file that is read instead of ours, and one that is read after it",
        lambda: healthy(own_files=(["compose.yml"], ["compose.override.yml"])),
        "error: Compose reads docker/compose.yml instead of docker/docker-compose.yml",
        "fix: mv docker/compose.yml docker/compose.yml.old",
    ),
    case(
        "two override files, of which Compose takes one",
        lambda: healthy(own_files=([], ["compose.override.yml", "docker-compose.override.yml"])),
        "error: Compose reads docker/compose.override.yml, and passes over docker-compose.override.yml",
        "fix: put all of them into docker/compose.override.yml, and remove the others, then: invoke up",
    ),
    case(
        "folders missing",
        lambda: healthy(places=(place(ROOT / "data", kind=MISSING), place(ROOT / "doc", kind=MISSING))),
        "make missing folders < data is missing; doc is missing",
    ),
    case(
        "folder of the override file missing",
        lambda: healthy(places=(place(Path("/srv/shared"), kind=MISSING),)),
        "error: /srv/shared is missing",
        "fix: mkdir /srv/shared",
    ),
    case(
        "files of root's in two folders",
        lambda: healthy(places=(place(of_root=3), place(ROOT / "doc", of_root=1))),
        "give ada (1815:1852) what is root's in the mounted folders < 3 in data belong to root; 1 in doc belong to root",
    ),
    case(
        "folder that cannot be written",
        lambda: healthy(places=(place(uid=7, gid=8, writable=False),)),
        "error: data is owned by 7:8 with mode 0755, so ada (1815:1852) cannot write there",
        "fix: sudo chown -R 1815:1852 data",
    ),
    case(
        "shared folder of a group that is not added",
        lambda: healthy(places=(place(Path("/srv/team"), uid=7, gid=50, mode=0o2775, writable=False),)),
        "error: /srv/team is owned by 7:50 with mode 2775, so ada (1815:1852) cannot write there",
        'fix: add to jupyterlab-server in docker/docker-compose.override.yml: group_add: ["50"], then: invoke up',
    ),
    case(
        "link into docker/",
        lambda: healthy(places=(place(link=Path("../docker"), real=ROOT / "docker"),)),
        "error: data leads to docker, whose code runs on this machine: the container must not write it",
        "fix: rm data && mkdir data",
    ),
    case(
        "link out of the clone",
        lambda: healthy(places=(place(link=Path("/etc"), real=Path("/etc")),)),
        "error: data is a link out of the project, to /etc",
        "fix: add to volumes as in docker/examples/data-disk.yml, in docker/docker-compose.override.yml: "
        '{type: bind, source: "/etc", target: "/home/ada/app/data"}, then: invoke up',
    ),
    case(
        "link to nothing",
        lambda: healthy(places=(place(link=Path("gone"), kind=DANGLING),)),
        "error: data is a link to gone, which does not exist",
        "fix: rm data && mkdir data",
    ),
    case(
        "file where a folder should be",
        lambda: healthy(places=(place(kind=FILE),)),
        "error: data is a file, not a folder",
        "fix: mv data data.file && mkdir data",
    ),
    case(
        "file and socket that are mounted",
        lambda: healthy(
            places=(
                place(Path("/etc/localtime"), kind=FILE, read_only=True),
                place(Path("/run/agent.sock"), kind=OTHER),
            ),
            crossings=(crossing(Path("/etc/localtime")), crossing(Path("/run/agent.sock"))),
        ),
    ),
    case(
        "read-only file system",
        lambda: healthy(places=(place(read_only_disk=True),)),
        "error: data is on a read-only file system",
        "fix: mount -o remount,rw data",
    ),
    case(
        "port busy",
        lambda: stopped(busy=[8888]),
        "publish on port 8990 < port 8888 is held by node (process 4711)",
        STARTED,
    ),
    case(
        "port busy, kept from before",
        lambda: stopped(
            busy=[9000],
            settings=settings(JUPYTER_PORT="9000"),
            model=model(ports=[{"target": 8888, "published": "9000"}]),
        ),
        "publish on port 8888 < port 9000 is held by node (process 4711)",
        STARTED,
    ),
    case(
        "port asked for",
        lambda: healthy(
            asked={"JUPYTER_PORT": "9000"},
            settings=replace(settings(JUPYTER_PORT="9000"), chosen=unwritten(Change("JUPYTER_PORT", "8888", "9000"))),
            model=model(ports=[{"target": 8888, "published": "9000"}]),
            hashes={SERVICE: "other"},
        ),
        start(f"the Compose files or docker/.env say something else of {SERVICE} than when it was started"),
        "keep what was chosen < the next `up` goes by docker/.env: JUPYTER_PORT 8888 -> 9000",
    ),
    case(
        "port asked for is busy",
        lambda: stopped(
            busy=[9000],
            asked={"JUPYTER_PORT": "9000"},
            settings=settings(JUPYTER_PORT="9000"),
            model=model(ports=[{"target": 8888, "published": "9000"}]),
        ),
        "error: port 9000 is held by node (process 4711)",
        "fix: invoke up",
    ),
    case("port asked for is ours", lambda: healthy(busy=[8888], asked={"JUPYTER_PORT": "8888"})),
    case(
        "address of another machine",
        lambda: healthy(settings=settings(JUPYTER_BIND="192.0.2.1"), busy=[0]),
        "error: JUPYTER_BIND=192.0.2.1 is no address of this machine",
        "fix: invoke up --bind 127.0.0.1",
    ),
    case(
        "secret that others can read",
        lambda: healthy(exposed_files={ROOT / "docker/.env": "has the mode 0644"}),
        "let nobody but their owner read files that may hold a secret < docker/.env has the mode 0644",
    ),
    case(
        "secret that cannot be closed: a warning of doctor",
        lambda: healthy(exposed_files={ROOT / "docker/.env": "has the mode 0644"}, tried=(CLOSE,)),
    ),
    case(
        "port lost in a race",
        lambda: stopped(containers=(server(status="created", error=ALLOCATED, bindings=()),), tried=(START,)),
        "publish on port 8990 < port 8888 is held by node (process 4711)",
    ),
    case(
        "port lost in a race, that was asked for",
        lambda: stopped(
            containers=(server(status="created", error=ALLOCATED, bindings=()),),
            tried=(START,),
            asked={"JUPYTER_PORT": "8888"},
        ),
        "error: port 8888 is held by node (process 4711)",
        "fix: invoke up",
    ),
    case(
        "port lost in a race, another written down",
        lambda: stopped(
            settings=settings(JUPYTER_PORT="8990"),
            model=model(ports=[{"target": 8888, "published": "8990"}]),
            containers=(server(status="created", error=ALLOCATED, bindings=()),),
            tried=(START, "publish on port 8990"),
        ),
        start(
            "jupyterlab-server could not be started: driver failed: Bind for 127.0.0.1:8888 failed: port is already allocated"
        ),
    ),
    case(
        "second published port",
        lambda: healthy(
            busy=[8888, 9999],
            model=model(ports=[{"target": 8888, "published": "9999"}, {"target": 8888, "published": "8888"}]),
            containers=(server(bindings=(Binding(8888, "", 9999), Binding(8888, "127.0.0.1", 8888))),),
        ),
    ),
    case(
        "network of the host",
        lambda: healthy(
            busy=[8888],  # by the server itself; Compose's model keeps the ports that it discards
            model=model(network_mode="host"),
            containers=(server(bindings=(), network_mode="host"),),
        ),
    ),
    case("image missing", lambda: stopped(image=None), BUILT, STARTED),
    case(
        "image older than one input",
        lambda: stopped(inputs={**INPUTS, "environment.yml": "e2"}),
        "build the image, from the cache where nothing changed < changed since the image was built: environment.yml",
        STARTED,
    ),
    case(
        "image older than several inputs, one of them new and one gone",
        lambda: stopped(inputs={"the base image": "b2", "the user": "u1", "environment.yml": "e1", "postBuild": "p1"}),
        "build the image, from the cache where nothing changed < changed since the image was built: the base image, postBuild, docker/Dockerfile",
        STARTED,
    ),
    case(
        "image not built by the tasks",
        lambda: stopped(image=Image("sha256:other")),
        "build the image, from the cache where nothing changed < the image was not built by these tasks, so its inputs are not known",
        STARTED,
    ),
    case(
        "image that was built and is not there",
        lambda: stopped(image=None, tried=("build",)),
        "error: this clone has no image yet",
        "fix: invoke build",
    ),
    case(
        "build failed",
        lambda: stopped(image=None, requirement_texts={}, tried={"build": Ended(ok=False, said=FAILED_BUILD)}),
        "error: no such package: pandsa",
        "fix: correct what the lines above name, then: invoke up",
    ),
    case("server not started", stopped, STARTED),
    case(
        "server ended with 0",
        lambda: stopped(containers=(server(status="exited"),)),
        start("jupyterlab-server ended with exit code 0"),
    ),
    case(
        "server ended with 1",
        lambda: stopped(containers=(server(status="exited", exit_code=1),)),
        start("jupyterlab-server ended with exit code 1"),
    ),
    case("server paused", lambda: stopped(containers=(server(status="paused"),)), start("jupyterlab-server is paused")),
    case(
        "server restarting",
        lambda: stopped(containers=(server(status="restarting", health="starting", exit_code=3),)),
        start("jupyterlab-server keeps restarting, 0 times until now"),
    ),
    case(
        "server unhealthy",
        lambda: healthy(containers=(server(health="unhealthy", last_check="curl: (7) refused"),)),
        start("jupyterlab-server is not healthy (curl: (7) refused)"),
    ),
    case(
        "server still starting",
        lambda: healthy(containers=(server(health="starting"),)),
        start("jupyterlab-server is still starting"),
    ),
    case(
        "server out of memory",
        lambda: stopped(containers=(server(status="exited", exit_code=137, out_of_memory=True),)),
        start("jupyterlab-server ran out of memory"),
    ),
    case(
        "server killed",
        lambda: stopped(containers=(server(status="exited", exit_code=137),)),
        start("jupyterlab-server was killed with exit code 137, as it is where memory runs out"),
    ),
    case(
        "server started from an older image",
        lambda: healthy(containers=(server(image="sha256:old"),)),
        start("jupyterlab-server runs on an older image than this clone's"),
    ),
    case(
        "configuration changed since the start",
        lambda: healthy(hashes={SERVICE: "h9"}),
        start("the Compose files or docker/.env say something else of jupyterlab-server than when it was started"),
    ),
    case(
        "container of invoke run beside nothing",
        lambda: stopped(engine=engine(), containers=(server(oneoff=True),)),
        STARTED,
    ),
    case("further service that runs", lambda: with_db(beside())),
    case("further service not started", with_db, start("db is not started")),
    case(
        "further service whose port is taken",
        lambda: with_db(beside(status="created", error=DB_PORT), tried=(START,), before=(server(),)),
        "error: db could not be started: driver failed on endpoint db: Bind for 0.0.0.0:5432 failed: port is already allocated, held by node (process 4711)",
        "fix: correct db in your Compose files, then: invoke up",
    ),
    case(
        "further service that ended with 1",
        lambda: with_db(beside(status="exited", exit_code=1), tried=(START,), before=(server(),)),
        "error: db ended with exit code 1; its last lines are above",
        "fix: correct db in your Compose files, then: invoke up",
    ),
    case(
        "further service that ended with 1, before the start",
        lambda: with_db(beside(status="exited", exit_code=1)),
        start("db ended with exit code 1"),
    ),
    case("job that ended with 0", lambda: with_db(beside(status="exited"))),
    case(
        "service that is no longer declared",
        lambda: healthy(containers=(server(), beside())),
        start("the Compose files no longer declare db"),
    ),
    case(
        "service of a profile that is not declared without it",
        lambda: healthy(containers=(server(), beside()), tried=(START,)),
    ),
    case(
        "service with a build of its own",
        lambda: with_db(beside(), model=BUILT_DB),
        "build db, from the cache where nothing changed, and start anew what has < only a build tells whether the Dockerfile of db has changed",
    ),
    case(
        "service with a build of its own, built in this run",
        lambda: with_db(beside(), model=BUILT_DB, tried=(BUILD,)),
        start("a build was done of db"),
    ),
    case(
        "service with a build of its own, built and started in this run",
        lambda: with_db(beside(), model=BUILT_DB, tried=(BUILD, START)),
    ),
    case("everything fine", healthy),
    case("everything fine after several steps", lambda: healthy(tried=("write docker/.env", "build", START))),
    case(
        "mount that cannot be written inside after the start",
        lambda: healthy(crossings=(crossing(wrote=False),), tried=(START,)),
        "error: data cannot be written inside",
        "fix: sudo chown -R 1815:1852 data",
    ),
    case(
        "mount of another folder",
        lambda: healthy(crossings=(crossing(source="/old/data", read=False),)),
        "error: data is not what the container has at /home/ada/app/data, which the engine calls /old/data",
        "fix: invoke down && invoke up",
    ),
    case(
        "server of a moved clone in whose place this one stands",
        lambda: healthy(held=(held(is_deleted=False),), containers=(server(config_hash="h0"),)),
        "error: the server has another folder than data: its clone was moved away from here",
        "fix: invoke down && invoke up",
    ),
    case(
        "folder that was deleted and made again while the server runs",
        lambda: healthy(held=(held(), held(ROOT / "doc", same=True))),
        start("data was replaced while the server runs: what is saved there goes nowhere"),
    ),
    case(
        "folder that was renamed, and another one made",
        lambda: healthy(held=(held(is_deleted=False), held(ROOT / "doc", same=True))),
        start("data was replaced while the server runs: what is saved there goes to the old one"),
    ),
    case(
        "all folders deleted with the clone, which was cloned again",
        lambda: healthy(held=(held(), held(ROOT / "docker" / "secrets", read_only=True))),
        start("data was replaced while the server runs: what is saved there goes nowhere"),
    ),
    case(
        "folder that may only be read was replaced",
        lambda: healthy(held=(held(read_only=True),)),
        start("data was replaced while the server runs: it still has the old one"),
    ),
    case(
        "folder that is missing under a server that runs",
        lambda: healthy(places=(place(kind=MISSING),), held=(held(is_there=False),)),
        "make missing folders < data is missing",
        start("data was removed while the server runs: what is saved there goes nowhere"),
    ),
    case(
        "folder that was replaced, and a restart that failed",
        lambda: healthy(
            held=(held(),),
            tried={START: Ended(ok=False, said="error: no such container")},
            lacking_images={},
            before=(server(),),
        ),
        "error: no such container; the old jupyterlab-server goes on",
        "fix: we do not know why; more: invoke doctor",
    ),
    case(
        "folder of the engine's machine that this one does not have",
        lambda: healthy(held=(held(is_deleted=False),), tried=(START,), containers=(server(started="2"),), before=()),
        f"error: the engine has another folder at {ROOT / 'data'} than this machine",
        "fix: run the tasks where the engine's files are, then: invoke up",
    ),
    case(
        "disk that was mounted below a folder while the server runs",
        lambda: healthy(
            held=(held(same=True), held(ROOT / "data" / "disk", target=TARGET, below=True, is_deleted=False))
        ),
        "error: data/disk was mounted while the server runs, which does not see it",
        "fix: invoke restart",
    ),
    case(
        "server whose processes are used up",
        lambda: healthy(processes=(8190, 8192), crossings=(crossing(read=False),)),
        "error: no further process can be started in jupyterlab-server: pids limit 8192 (PIDS_LIMIT in docker/.env)",
        "fix: invoke restart",
    ),
    case(
        "server whose processes are used up, and that is to be started anew",
        lambda: healthy(processes=(8192, 8192), hashes={SERVICE: "h9"}),
        start("the Compose files or docker/.env say something else of jupyterlab-server than when it was started"),
    ),
    case("server with room for a further process", lambda: healthy(processes=(8189, 8192))),
    case("server without a limit", lambda: healthy(processes=(8189, 0))),
    case(
        "server that a `down` which was killed has told to end",
        lambda: healthy(containers=(server(status="ending"),), engine=engine()),
        start("jupyterlab-server is ending"),
    ),
    case(
        "start that failed beside a server that only starts",
        lambda: healthy(
            containers=(server(health="starting"),),
            before=(server(health="starting"),),
            lacking_images={},
            tried={START: Ended(ok=False, said="error: Requested CPUs are not available")},
        ),
        "error: Requested CPUs are not available; the old jupyterlab-server goes on",
        "fix: we do not know why; more: invoke doctor",
    ),
    case(
        "mount that shows another owner",
        lambda: healthy(crossings=(crossing(owner=(7, 8)),)),
        "error: data shows a file from inside as 7:8, but you are 1815:1852",
        "fix: invoke down && invoke up",
    ),
    case(
        "mount that was added since the start",
        lambda: healthy(hashes={SERVICE: "h9"}, crossings=(crossing(source=None),)),
        start("the Compose files or docker/.env say something else of jupyterlab-server than when it was started"),
    ),
    case(
        "root's folder under a server that runs",
        lambda: healthy(places=(place(uid=0, gid=0, of_root=1),), crossings=(crossing(wrote=False),)),
        "give ada (1815:1852) what is root's in the mounted folders < 1 in data belong to root",
    ),
    case(
        "mount that is not there",
        lambda: healthy(crossings=(crossing(source=None),)),
        "error: data is not mounted in the container",
        "fix: invoke down && invoke up",
    ),
    case(
        "server that does not answer its link",
        lambda: healthy(
            link=HostError(
                "the server does not answer on 127.0.0.1:8888: refused", fix="invoke logs", code=ExitCode.UNAVAILABLE
            )
        ),
        "error: the server does not answer on 127.0.0.1:8888: refused",
        "fix: invoke logs",
    ),
    case(
        "link is asked only where nothing else is left to do",
        lambda: stopped(link=HostError("the server is not running", fix="invoke up", code=ExitCode.UNAVAILABLE)),
        STARTED,
    ),
    case(
        "start failed: the server ends",
        lambda: stopped(containers=(server(status="exited", exit_code=1),), tried=(START,)),
        "error: jupyterlab-server ended with exit code 1; its last lines are above",
        "fix: correct jupyterlab-server in your Compose files, then: invoke up",
    ),
    case(
        "start failed: a server that was there before ended",
        lambda: stopped(containers=(server(status="exited", exit_code=1),), tried=(START,), before=(server(),)),
        "error: jupyterlab-server ended with exit code 1; its last lines are above",
        "fix: invoke logs",
    ),
    case(
        "start failed: another is to blame, the server waits for it",
        lambda: stopped(
            containers=(server(status="created", health="none", bindings=()), beside(status="exited", exit_code=2)),
            hashes={SERVICE: "h1", "db": "h2"},
            model=model(db={"image": "db:1"}),
            tried=(START,),
        ),
        "error: db ended with exit code 2; its last lines are above",
        "fix: correct db in your Compose files, then: invoke up",
    ),
    case(
        "start failed: image of another service missing",
        lambda: stopped(lacking_images={"db": "db:1"}, tried={START: Ended(ok=False)}),
        "error: db needs the image db:1, which is neither on this engine nor can it be pulled",
        "fix: correct the image of db in your Compose files, then: invoke up",
    ),
    case(
        "start failed: only Compose's words tell why, and they are known",
        lambda: stopped(
            lacking_images={},
            tried={
                START: Ended(
                    ok=False, said="Error response from daemon: all predefined address pools have been fully subnetted"
                )
            },
        ),
        "error: the engine has no addresses left for a further network",
        "fix: docker network prune",
    ),
    case(
        "start failed: the server that was there before goes on",
        lambda: healthy(
            lacking_images={}, before=(server(),), tried={START: Ended(ok=False, said="error: no such network")}
        ),
        "error: no such network; the old jupyterlab-server goes on",
        "fix: we do not know why; more: invoke doctor",
    ),
    case(
        "build of another service failed",
        lambda: with_db(beside(), model=BUILT_DB, tried={BUILD: Ended(ok=False, said=FAILED_BUILD)}),
        "error: no such package: pandsa",
        "fix: correct what the lines above name, then: invoke up",
    ),
    case(
        "start failed: disk full",
        lambda: stopped(
            lacking_images={"db": "db:1"}, tried={START: Ended(ok=False, said="write /x: no space left on device")}
        ),
        "error: the disk is full",
        "fix: docker system df",
    ),
    case(
        "env: nothing known of an engine",
        lambda: Seen(
            root=Path("/s"),
            of_former={},
            settings=settings(plan=FIRST_ENV, kept={}),
            exposed_files={},
        ),
        "write docker/.env < there is no docker/.env yet",
        rules=goals.settled(),
    ),
    case(
        "env: nothing to do",
        lambda: Seen(root=Path("/s"), of_former={}, settings=settings(), exposed_files={}),
        rules=goals.settled(),
    ),
    case(
        "run: no containers are started",
        bare,
        "write docker/.env < there is no docker/.env yet",
        PULLED,
        BUILT,
        rules=goals.runnable(),
    ),
    case("run: nothing to do", stopped, rules=goals.runnable()),
    case(
        "mounts --fix: no engine is asked",
        lambda: Seen(
            root=Path("/s"),
            of_former={},
            settings=settings(),
            exposed_files={},
            has_compose=True,
            model=model(),
            places=(place(kind=MISSING), place(ROOT / "doc", of_root=2)),
        ),
        "make missing folders < data is missing",
        "give ada (1815:1852) what is root's in the mounted folders < 2 in doc belong to root",
        rules=goals.mounted(),
    ),
    case(
        "build: everything fine is built all the same",
        healthy,
        "build the image, from the cache where nothing changed < it was asked for",
        rules=goals.built(cache=True),
    ),
    case(
        "build --no-cache",
        healthy,
        "build the image, every step anew < it was asked for",
        rules=goals.built(cache=False),
    ),
    case("build --no-cache, done", lambda: healthy(tried=("build",)), rules=goals.built(cache=False)),
]


@pytest.mark.parametrize(("seen", "rules", "told"), CASES)
def test_plan_is_what_is_missing_and_why(seen: Callable[[], Seen], rules: tuple[Rule, ...], told: list[str]) -> None:
    """The plan names each step with its reason and what it touches, or the problem that no step cures."""
    planned = plan(seen(), rules)

    problem = [f"error: {planned.problem.cause}", f"fix: {planned.problem.fix}"] if planned.problem else []
    assert [*(f"{step.what} < {step.why}" for step in planned.steps), *problem] == told
    for step in planned.steps:
        assert [step.touches.removesuffix("; kernels and terminals end")] * any(map(step.what.startswith, TOUCHES)) == [
            touches for begin, touches in TOUCHES.items() if step.what.startswith(begin)
        ]


def test_plan_as_a_person_reads_it() -> None:
    """`up --dry-run` on a bare machine prints each step with its reason and what it touches."""
    seen = bare(engine=engine(on_path=False), has_compose=False)

    assert (
        str(plan(seen, UP))
        == """\
1. install and start a Docker engine, by docker/install-engine.sh
   why: docker is not on the PATH
   touches: this machine's packages and services; docker/install-engine.sh --dry-run lists them
2. write docker/.env
   why: there is no docker/.env yet
   touches: USER, UID, GID, COMPOSE_PROJECT_NAME in docker/.env; every other line stays
3. pull base:1, or offer a stand-in where it cannot be reached
   why: base:1 is not on this engine
   touches: the engine's images
4. build the image, from the cache where nothing changed
   why: this clone has no image yet
   touches: the image of study-1a2b3c4d
5. start jupyterlab-server, wait until it is healthy, and send a probe file through each mount both ways
   why: jupyterlab-server is not started
   touches: the containers and the network of study-1a2b3c4d"""
    )


@pytest.mark.parametrize(
    ("store", "has_scanner", "attested"),
    [
        ("extfs", True, ()),
        ("io.containerd.snapshotter.v1", False, ("--provenance=mode=min",)),
        ("io.containerd.snapshotter.v1", True, ("--provenance=mode=min", "--sbom=true")),
    ],
)
def test_environment_says_what_it_was_made_of_where_it_can(
    store: str, attested: tuple[str, ...], *, has_scanner: bool
) -> None:
    """Provenance and a list of packages are asked for only where the engine keeps them: else the build would fail."""
    seen = stopped(engine=engine(info={"DriverStatus": [["driver-type", store]]}), has_sbom_scanner=has_scanner)

    [step] = plan(seen, goals.shared()).steps

    assert step.do.keywords == {"attested": attested}  # type: ignore[attr-defined] # a functools.partial


def test_two_folders_are_made_in_one_step() -> None:
    """Two findings that one step cures make one step, with both reasons; a third of another kind its own."""
    seen = stopped(places=(place(kind=MISSING), place(ROOT / "doc", kind=MISSING), place(ROOT / "bin", of_root=1)))

    assert [(step.what, step.touches) for step in plan(seen, goals.mounted()).steps] == [
        ("make missing folders", "data, doc"),
        ("give ada (1815:1852) what is root's in the mounted folders", "bin"),
    ]


def test_restart_is_one_step_for_a_server_that_runs() -> None:
    """It is done once, and what does not run is started instead."""
    step, done = plan(healthy(), goals.restarted()).steps[0], "restart jupyterlab-server"

    assert (step.what, step.touches) == (done, "what runs in it ends; its files and its link stay")
    assert str(plan(healthy(tried=(done,), before=(server(),)), goals.restarted())) == "Nothing to do."
    assert [each.name for each in plan(stopped(), goals.restarted()).steps] == [START]
    again = healthy(tried=(START,), before=(server(started="1"),), containers=(server(started="2"),))
    assert str(plan(again, goals.restarted())) == "Nothing to do."
    outdated = plan(healthy(hashes={SERVICE: "h9"}), goals.restarted())
    assert [each.name for each in outdated.steps] == [START, "restart jupyterlab-server"]


def test_restart_that_failed_ends_in_what_compose_said() -> None:
    """It is not tried twice, nor taken for done because the server still runs."""
    tried = {"restart jupyterlab-server": Ended(ok=False, said="error: no such container")}

    problem = plan(healthy(tried=tried, before=(server(),)), goals.restarted()).problem

    assert problem
    assert problem.cause == "jupyterlab-server was not restarted: no such container"


# What `invoke doctor` makes of it

CODES = [
    "path",
    "engine",
    "moved",
    "limits",
    "env-file",
    "ids",
    "private-files",
    "env-owner",
    "shell",
    "proxy",
    "reachable",
    "certificates",
    "environment-yml",
    "scripts",
    "disk",
    "compose-files",
    "base-image",
    "stand-in",
    "environment-lock",
    "mounts",
    "planted",
    "port",
    "reach",
    "hardened",
    "image",
    "gpu",
    "workers",
    "server",
    "mounts",
    "by-hand",
    "shared-memory",
]


def test_codes_of_findings_are_those_that_programs_know() -> None:
    """`doctor --json` prints these, in this order; a rule that ends in an error keeps its code."""
    chosen = settings(HARDENED="yes", GPUS="all", DASK_WORKERS="2")
    seen = examined(settings=chosen, lacking_for_gpu="", environment_yml="dependencies: [dask]", requirement_texts={})

    assert [finding.code for finding in loop.examined(seen, goals.doctor())] == CODES

    def broken(seen: loop.Seen) -> Iterator[Finding]:
        raise MALFORMED

    for rule in goals.doctor():
        [finding] = replace(rule, judge=broken).found(seen)
        assert (finding.code, finding.cause) == (rule.code, MALFORMED.problem)


ALL_WELL = """\
ok    path: /home/ada/study
ok    engine: engine 26.1.5, Compose 2.26.1, at unix:///var/run/docker.sock
ok    moved: nothing is left of another place
ok    limits: the engine enforces limits
ok    env-file: docker/.env is up to date: ada 1815:1852
ok    ids: ids in the container are those of this machine
ok    private-files: what may hold a secret is readable by its owner only
ok    env-owner: docker/.env can be changed by you
ok    shell: nothing in the shell stands against docker/.env
ok    proxy: none
ok    reachable: no proxy and no index of your own is named
ok    certificates: none of this machine's own
ok    environment-yml: conda packages: 2, lines for pip: 1
ok    scripts: 1 scripts are in order
ok    disk: the clone has 100 GiB free in {root}
ok    compose-files: they declare jupyterlab-server
ok    base-image: base:1 is here
ok    stand-in: not in use
ok    environment-lock: there is no environment.lock: a build takes the newest packages that fit
ok    mounts: 1 of 1 are good on this machine
ok    planted: nothing in the mounted folders is run by git or another tool on this machine
ok    port: 127.0.0.1:8888
ok    reach: only this machine reaches what is published
ok    image: the image was made from what is here now
ok    server: jupyterlab-server runs
ok    mounts: 1 of 1 carry files both ways
ok    by-hand: nothing was installed by hand that no file names
ok    shared-memory: large enough"""


def test_doctor_of_a_healthy_clone_has_nothing_to_repair() -> None:
    """Each check says what it saw, and the exit code is 0."""
    found = loop.examined(examined(), goals.doctor())

    assert doctor.text(found) == ALL_WELL.format(root=ROOT)
    assert doctor.verdict(found) == 0


def examination(name: str, seen: Callable[[], Seen], verdict: int, *lines: str) -> Any:
    """Return a world, the exit code of `doctor` there, and what it prints of what is not as it should be."""
    return pytest.param(seen, verdict, list(lines), id=name)


DOCTOR = [
    examination(
        "open to other machines",
        lambda: examined(
            settings=settings(JUPYTER_BIND="192.0.2.1"),
            model=model(
                ports=[{"target": 8888, "published": "8888", "host_ip": "192.0.2.1"}, {"target": 1, "published": "1"}],
                db={"ports": [{"target": 2, "published": "2", "host_ip": "::1"}, {"target": 3}]},
            ),
        ),
        0,
        f"warn  reach: jupyterlab-server on 192.0.2.1:8888 is open to other machines: {OPENED}",
        "      fix: invoke up --bind 127.0.0.1",
        f"warn  reach: jupyterlab-server on 0.0.0.0:1 is open to other machines: {OPENED}",
        "      fix: invoke up --bind 127.0.0.1",
    ),
    examination("hardened is no warning", lambda: examined(settings=settings(HARDENED="yes")), 0),
    examination(
        "planted for git",
        lambda: examined(planted={ROOT / "data" / ".git" / "config": "has git run what it says"}),
        0,
        "warn  planted: data/.git/config has git run what it says, and the container can write it: start that tool elsewhere, or read it first",
        "      fix: mv data/.git/config data/.git/config.off",
    ),
    examination(
        "secret that others can read",
        lambda: examined(exposed_files={ROOT / "docker/.env": "has the mode 0644"}),
        0,
        "warn  private-files: docker/.env has the mode 0644",
        "      fix: invoke env",
    ),
    examination(
        "secret that cannot be closed",
        lambda: examined(exposed_files={ROOT / "docker/.env": "has the mode 0644"}, tried=(CLOSE,)),
        0,
        "warn  private-files: docker/.env has the mode 0644",
        "      fix: sudo chmod go= docker/.env",
    ),
    examination(
        "stand-in in use",
        lambda: examined(base=base(name=STAND_IN, chosen=True)),
        0,
        "warn  stand-in: the base image conda-pip-docker/stand-in:0123456789ab was made on this machine; others build on the published one",
        "      fix: invoke env --unset BASE_IMAGE && invoke up",
    ),
    examination(
        "image older than its inputs",
        lambda: examined(inputs={**INPUTS, "environment.yml": "e2"}),
        0,
        "warn  image: changed since the image was built: environment.yml",
        "      fix: invoke build",
    ),
    examination(
        "package installed by hand",
        lambda: examined(by_hand=(Package("pip", "humanize", "4.1"),), lock_inputs=()),
        0,
        "warn  by-hand: installed by hand and named in no file: humanize 4.1",
        "      fix: invoke record",
    ),
    examination(
        "server not started",
        lambda: examined(containers=()),
        0,
        "warn  server: jupyterlab-server is not started",
        "      fix: invoke up",
    ),
    examination(
        "no docker command",
        lambda: examined(
            engine=engine(on_path=False), has_compose=False, containers=(), base=base(image=None), image=None
        ),
        1,
        "fail  engine: docker is not on the PATH",
        "      fix: invoke up --yes",
    ),
    examination(
        "engine hung",
        lambda: examined(engine=engine(compose=None), has_compose=True, containers=()),
        1,
        "fail  engine: the engine at unix:///var/run/docker.sock gave no answer within 7.5 s",
        "      fix: sudo service docker restart",
    ),
    examination(
        "engine rootless, without cgroup v2",
        lambda: examined(engine_says=ROOTLESS, settings=settings(ROOTLESS="yes")),
        0,
        "warn  limits: the engine enforces no limit of memory, processes (cgroup v1)",
        "      fix: have cgroup v2 delegated to you, see docs.docker.com/engine/security/rootless",
    ),
    examination(
        "folder missing, and one that cannot be written",
        lambda: examined(places=(place(kind=MISSING), place(ROOT / "doc", uid=7, gid=8, writable=False))),
        1,
        "warn  mounts: data is missing",
        "      fix: invoke mounts --fix",
        "fail  mounts: doc is owned by 7:8 with mode 0755, so ada (1815:1852) cannot write there",
        "      fix: sudo chown -R 1815:1852 doc",
        "fail  mounts: data was removed while the server runs",
        "      fix: invoke restart",
    ),
    examination(
        "folder replaced while the server runs",
        lambda: examined(held=(held(), held(ROOT / "doc", same=True))),
        1,
        "fail  mounts: data was replaced while the server runs: what is saved there goes nowhere",
        "      fix: invoke up",
    ),
    examination(
        "processes used up, which keeps all from being looked at",
        lambda: examined(processes=(60, 60), crossings=(crossing(read=False),)),
        1,
        "fail  server: no further process can be started in jupyterlab-server: pids limit 60 (PIDS_LIMIT in docker/.env)",
        "      fix: invoke restart",
    ),
    examination(
        "kernels killed for memory",
        lambda: examined(killed_for_memory=2, settings=settings(MEMORY_LIMIT="900m")),
        0,
        "warn  memory: memory ran out in jupyterlab-server, and 2 of its processes ended: MEMORY_LIMIT=900m",
        "      fix: set MEMORY_LIMIT in docker/.env, then: invoke up",
    ),
    examination(
        "clone that everybody can write",
        lambda: examined(open_to_all=(ROOT / "tasks.py", ROOT / "docker")),
        0,
        "warn  clone-mode: everybody on this machine can write tasks.py, docker, which runs as you",
        "      fix: chmod -R o-w .",
    ),
    examination(
        "port busy",
        lambda: examined(containers=(), busy=[8888]),
        0,
        "warn  port: port 8888 is held by node (process 4711)",
        "      fix: invoke up",
        "warn  server: jupyterlab-server is not started",
        "      fix: invoke up",
    ),
    examination(
        "server out of memory",
        lambda: examined(containers=(server(status="exited", exit_code=137, out_of_memory=True),)),
        1,
        "fail  server: jupyterlab-server ran out of memory",
        "      fix: invoke up",
    ),
    examination(
        "server that is ill, and may end amid the probes",
        lambda: examined(containers=(server(health="unhealthy"),), crossings=(crossing(wrote=False),)),
        1,
        "fail  server: jupyterlab-server is not healthy",
        "      fix: invoke up",
    ),
    examination(
        "mount that cannot be written inside",
        lambda: examined(crossings=(crossing(wrote=False),)),
        1,
        "fail  mounts: data cannot be written inside",
        "      fix: sudo chown -R 1815:1852 data",
    ),
    examination(
        "docker/.env that cannot be read",
        lambda: examined(settings=MALFORMED),
        1,
        "fail  env-file: docker/.env:2: no KEY=value",
        "      fix: correct line 2, then: invoke env",
    ),
    examination(
        "docker/.env of root's",
        lambda: examined(env_file_owner=0),
        0,
        "warn  env-owner: docker/.env belongs to uid 0, and you are 1815",
        "      fix: sudo chown 1815 docker/.env",
    ),
    examination(
        "exported variables",
        lambda: examined(
            shell={"UID": "7", "USER": "bob", "COMPOSE_FILE": "x.yml", "HTTP_PROXY": "http://p:1", "HOME": "/x"},
        ),
        0,
        "warn  shell: the shell says UID=7, and the tasks go by docker/.env: 1815",
        "      fix: unset UID",
        "warn  shell: the shell says COMPOSE_FILE=x.yml, and the tasks go by docker/.env: nothing",
        "      fix: unset COMPOSE_FILE",
    ),
    examination(
        "proxy of an earlier shell",
        lambda: examined(settings=settings(HTTP_PROXY="http://me:secret@p:1", NO_PROXY="x"), shell={"NO_PROXY": "x"}),
        0,
        "warn  proxy: docker/.env keeps HTTP_PROXY=http://****@p:1 from an earlier shell, and this one has none",
        "      fix: invoke env --unset HTTP_PROXY",
    ),
    examination(
        "proxy and index that do not answer",
        lambda: examined(
            addresses={"HTTPS_PROXY": "http://me:secret@p:1", "index-url": "https://i/simple"},
            silent_addresses={"HTTPS_PROXY": "timed out", "index-url": "refused"},
        ),
        1,
        "fail  reachable: HTTPS_PROXY is http://****@p:1, and nothing answers there: timed out",
        "      fix: unset HTTPS_PROXY https_proxy && invoke env --unset HTTPS_PROXY",
        "fail  reachable: index-url is https://i/simple, and nothing answers there: refused",
        "      fix: pip config debug",
    ),
    examination(
        "CA bundle too large",
        lambda: examined(settings=settings(CA_BUNDLE="/ca.pem"), bundle_bytes=600_000),
        1,
        "fail  certificates: /ca.pem has 600000 bytes, and BuildKit takes 512000",
        "      fix: choose a smaller file: CA_BUNDLE in docker/.env",
    ),
    examination(
        "line endings and run bits",
        lambda: examined(scripts={ROOT / "postBuild": (True, False), ROOT / "docker" / "activate.sh": (False, False)}),
        0,
        "warn  scripts: postBuild has the line endings of Windows (CR LF)",
        "      fix: save postBuild with those of Linux (LF)",
        "warn  scripts: postBuild has lost its run bit",
        "      fix: chmod +x postBuild",
    ),
    examination(
        "disk nearly full",
        lambda: examined(free={"the clone": (ROOT, GIB)}),
        0,
        f"warn  disk: the clone has 1.0 GiB free in {ROOT}, and 2 are recommended",
        "      fix: df .",
    ),
    examination(
        "disk full",
        lambda: examined(free={"the clone": (ROOT, GIB // 4)}),
        1,
        f"fail  disk: the clone has 0.2 GiB free in {ROOT}, and 2 are recommended",
        "      fix: df .",
    ),
    examination(
        "small /dev/shm",
        lambda: examined(containers=(server(shm_bytes=64 * 1024**2),)),
        0,
        "warn  shared-memory: jupyterlab-server has 64 MiB of shared memory, too little for PyTorch's loaders",
        "      fix: set shm_size in docker/docker-compose.override.yml",
    ),
    examination(
        "moved clone",
        lambda: examined(former="old-00000000", of_former={"containers": ["old-1"]}),
        1,
        "fail  moved: this clone was moved, and what it started as old-00000000 is still there: old-1",
        "      fix: docker compose --project-name old-00000000 down",
    ),
    examination(
        "moved clone that left its settings",
        lambda: examined(former="old-00000000", of_former=LEFT),
        0,
        "warn  moved: this clone was moved, and under its old name there is still the volume old-00000000_lab",
        "      fix: invoke up",
    ),
    examination(
        "a part that cannot be looked at",
        lambda: examined(scripts=UNREADABLE),
        2,
        "warn  scripts: could not look: [Errno 13] Permission denied: 'postBuild'",
    ),
    examination(
        "a part that cannot be looked at, beside a fault",
        lambda: examined(
            scripts=UNREADABLE,
            env_file_owner=0,
            containers=(server(status="exited", exit_code=137, out_of_memory=True),),
        ),
        1,
        "warn  env-owner: docker/.env belongs to uid 0, and you are 1815",
        "      fix: sudo chown 1815 docker/.env",
        "warn  scripts: could not look: [Errno 13] Permission denied: 'postBuild'",
        "fail  server: jupyterlab-server ran out of memory",
        "      fix: invoke up",
    ),
]


@pytest.mark.parametrize(("seen", "verdict", "lines"), DOCTOR)
def test_doctor_names_what_is_wrong_and_nothing_else(seen: Callable[[], Seen], verdict: int, lines: list[str]) -> None:
    """Each fault is named with what repairs it; what `up` does unasked is a warning; the exit code is 0, 1 or 2."""
    found = [finding for finding in loop.examined(seen(), goals.doctor()) if finding.state != "ok"]

    assert doctor.text(found).splitlines() == lines
    assert doctor.verdict(found) == verdict


def test_doctor_for_programs_is_a_list_of_findings(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON form has code, state, cause and fix of each finding, and the same exit code."""
    seen = examined(settings=settings(plan=unwritten(Change("UID", "7", "1815"))))

    verdict = doctor.print_findings(seen, goals.doctor(), json=True)

    found = json.loads(capsys.readouterr().out)
    assert verdict == 0
    assert {tuple(finding) for finding in found} == {("code", "state", "cause", "fix")}
    cause = "docker/.env says UID=7, but it is 1815"
    assert [finding for finding in found if finding["state"] != "ok"] == [
        {"code": "env-file", "state": "warn", "cause": cause, "fix": "invoke env"}
    ]


@pytest.mark.parametrize(("as_is", "state", "verdict"), [(False, "warn", 0), (True, "fail", 1)])
def test_what_up_does_unasked_is_a_warning_unless_findings_are_wanted_as_they_are(
    state: str, verdict: int, *, as_is: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lock --check` ends with 1 where a lock has to be written."""
    seen = examined(settings=settings(plan=unwritten(Change("UID", "7", "1815"))))

    assert doctor.print_findings(seen, goals.settled(), as_is=as_is) == verdict
    assert f"{state}  env-file: docker/.env says UID=7, but it is 1815\n" in capsys.readouterr().out
