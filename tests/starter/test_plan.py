# ruff: noqa: E501, S604 (a person reads these lines whole; `shell` is what a shell exports)
"""The plan of every kind of observation, as `up --dry-run` prints it, without an engine."""

import json
from collections.abc import Callable
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
    model,
    place,
    server,
    settings,
    stopped,
    unwritten,
)

from host_tasks.decide import goals
from host_tasks.decide.plan import Rule, plan
from host_tasks.decide.ports import OPENED
from host_tasks.ground.envfile import Change
from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import ROOT
from host_tasks.observe.by_hand import Package
from host_tasks.observe.compose import SERVICE
from host_tasks.observe.containers import Binding
from host_tasks.observe.engine import Endpoint
from host_tasks.observe.environment_lock import Line, Lock
from host_tasks.observe.images import Image
from host_tasks.observe.mounts import DANGLING, FILE, MISSING, OTHER
from host_tasks.show import doctor

UP = goals.up(None)
DOWN = f"Cannot connect to the Docker daemon at {SOCKET}. Is the docker daemon running?"
DENIED = f"permission denied while trying to connect to the Docker daemon socket at {SOCKET}"
NAMED = Endpoint("tcp://127.0.0.1:2375", "DOCKER_HOST=tcp://127.0.0.1:2375", "unset DOCKER_HOST")
ALLOCATED = "driver failed: Bind for 127.0.0.1:8888 failed: port is already allocated"
DB_PORT = f"driver failed on endpoint db ({'0a' * 32}): Bind for 0.0.0.0:5432 failed: port is already allocated."
STEP_FAILED = 'process "x" did not complete successfully: exit code: 1'
FAILED_BUILD = f"#9 1.2 ERROR: no such package: pandsa\n#9 ERROR: {STEP_FAILED}\nfailed to solve: {STEP_FAILED}"
START = "start port=8888"
TAKE = f"take from=r.example/study:{ENVIRONMENT.tag} to={ENVIRONMENT.name}"


def with_db(*containers: Any, **differs: Any) -> Seen:
    """Return a healthy server whose Compose files declare a service `db` too, with its containers."""
    known = {
        "containers": (server(), *containers),
        "hashes": {SERVICE: "h1", "db": "h2"},
        "model": model(db={"image": "db:1"}),
    }
    return healthy(**{**known, **differs})


class Malformed(Seen):
    """An observation whose docker/.env cannot be read."""

    @property
    def settings(self) -> Any:
        """Refuse."""
        raise HostError("docker/.env:2: no KEY=value", fix="correct line 2, then: invoke env", code=ExitCode.CONFIG)


class Lacking(Seen):
    """An observation of an engine that lacks the images that are named."""

    lacking_images = {"db": "db:1"}  # noqa: RUF012 (a constant)


class Unreadable(Seen):
    """An observation whose scripts cannot be read."""

    @property
    def scripts(self) -> Any:
        """Refuse."""
        raise PermissionError(13, "Permission denied", "postBuild")


def known(seen: Seen, *but: str) -> dict[str, Any]:
    """Return what an observation knows, but some of it, to make another one of it."""
    return {name: part for name, part in vars(seen).items() if name not in ("tried", "said", "before", *but)}


def start(why: str, *, number: int = 1) -> str:
    """Return the text of the step that starts everything."""
    return (
        f"{number}. start jupyterlab-server, wait until it is healthy, and send a probe file through each mount both ways\n"
        f"   why: {why}\n"
        "   touches: the containers and the network of study-1a2b3c4d"
    )


CASES = [
    pytest.param(
        lambda: bare(engine=engine(on_path=False), has_compose=False),
        UP,
        """\
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
"""
        + start("jupyterlab-server is not started", number=5),
        id="bare clone on a bare machine",
    ),
    pytest.param(
        lambda: bare(engine=engine(on_path=False, script_knows_this_system=False), has_compose=False),
        UP,
        """\
Then it would stop:
   error: docker is not on the PATH
   fix: start Docker, or install it, see docs.docker.com""",
        id="bare clone on a machine of an unknown system",
    ),
    pytest.param(
        bare,
        UP,
        """\
1. write docker/.env
   why: there is no docker/.env yet
   touches: USER, UID, GID, COMPOSE_PROJECT_NAME in docker/.env; every other line stays
2. pull base:1, or offer a stand-in where it cannot be reached
   why: base:1 is not on this engine
   touches: the engine's images
3. build the image, from the cache where nothing changed
   why: this clone has no image yet
   touches: the image of study-1a2b3c4d
"""
        + start("jupyterlab-server is not started", number=4),
        id="bare clone, engine there",
    ),
    pytest.param(
        lambda: stopped(engine=engine(info={"ServerVersion": ""}, said=DOWN)),
        UP,
        """\
1. install and start a Docker engine, by docker/install-engine.sh
   why: the engine is not reachable at unix:///var/run/docker.sock
   touches: this machine's packages and services; docker/install-engine.sh --dry-run lists them
"""
        + start("jupyterlab-server is not started", number=2),
        id="engine down",
    ),
    pytest.param(
        lambda: stopped(engine=engine(where=NAMED, info={"ServerVersion": ""}, said=DOWN)),
        UP,
        """\
Then it would stop:
   error: the engine is not reachable at tcp://127.0.0.1:2375 (DOCKER_HOST=tcp://127.0.0.1:2375)
   fix: unset DOCKER_HOST""",
        id="engine down at a named host",
    ),
    pytest.param(
        lambda: stopped(engine=engine(compose=None)),
        UP,
        """\
Then it would stop:
   error: the engine at unix:///var/run/docker.sock gave no answer within 7.5 s
   fix: sudo service docker restart""",
        id="engine hung",
    ),
    pytest.param(
        lambda: stopped(engine=engine(info={"ServerVersion": ""}, said=DENIED)),
        UP,
        """\
Then it would stop:
   error: you may not use the engine at unix:///var/run/docker.sock: you are not in group docker
   fix: sudo usermod -aG docker ada && newgrp docker""",
        id="engine denied",
    ),
    pytest.param(
        lambda: stopped(engine=engine(info={"ServerVersion": ""}, said=DENIED, waits_for_group=True)),
        UP,
        """\
1. run again as a member of group docker
   why: you may not use the engine at unix:///var/run/docker.sock: this login is older than your membership in group docker
   touches: nothing: this process only
"""
        + start("jupyterlab-server is not started", number=2),
        id="engine denied until the next login",
    ),
    pytest.param(
        lambda: stopped(engine=engine(info={"ServerVersion": ""}, said=DENIED, waits_for_group=True), tried=("join",)),
        UP,
        """\
Then it would stop:
   error: you may not use the engine at unix:///var/run/docker.sock: this login is older than your membership in group docker
   fix: newgrp docker""",
        id="engine denied, and joining did not help",
    ),
    pytest.param(
        lambda: stopped(engine=engine(info={"ServerVersion": "20.10.24"})),
        UP,
        """\
Then it would stop:
   error: the engine is too old: needed 25.0, found 20.10.24
   fix: upgrade it, see docs.docker.com/engine/install""",
        id="engine too old",
    ),
    pytest.param(
        lambda: stopped(engine=engine(compose="2.5.0")),
        UP,
        """\
Then it would stop:
   error: Docker Compose is too old: needed 2.26, found 2.5.0
   fix: upgrade it, see docs.docker.com/compose/install""",
        id="Compose too old",
    ),
    pytest.param(
        lambda: stopped(engine=engine(info={"SecurityOptions": ["name=rootless"]})),
        UP,
        """\
Then it would stop:
   error: rootless engine at unix:///var/run/docker.sock: container ids are mapped, so files cannot belong to you; this is not supported yet
   fix: use an engine that runs as root on this machine""",
        id="engine rootless",
    ),
    pytest.param(
        lambda: stopped(engine=engine(where=Endpoint("ssh://u@far", "DOCKER_HOST=ssh://u@far", "unset DOCKER_HOST"))),
        UP,
        """\
Then it would stop:
   error: DOCKER_HOST=ssh://u@far is another machine: containers there would see its files, not yours
   fix: unset DOCKER_HOST && invoke up --on ssh://u@far""",
        id="engine on another machine",
    ),
    pytest.param(
        lambda: stopped(engine=engine(on_path=False), has_compose=False, tried=("install",)),
        UP,
        """\
Then it would stop:
   error: docker is not on the PATH
   fix: invoke up --yes""",
        id="installation did not help",
    ),
    pytest.param(
        lambda: stopped(base=base(image=None)),
        UP,
        """\
1. pull base:1, or offer a stand-in where it cannot be reached
   why: base:1 is not on this engine
   touches: the engine's images
"""
        + start("jupyterlab-server is not started", number=2),
        id="base image missing",
    ),
    pytest.param(
        lambda: stopped(base=base(image=None), tried=("pull image=base:1",)),
        UP,
        """\
1. make the base image conda-pip-docker/stand-in:0123456789ab here
   why: the base image base:1 is neither on this engine nor can it be pulled
   touches: the engine's images, 600 MB; BASE_IMAGE in docker/.env
"""
        + start("jupyterlab-server is not started", number=2),
        id="base image cannot be pulled: a stand-in is offered",
    ),
    pytest.param(
        lambda: stopped(base=base(image=None, can_make=False), tried=("pull image=base:1",)),
        UP,
        """\
Then it would stop:
   error: the base image base:1 is neither on this engine nor can it be pulled
   fix: docker pull base:1""",
        id="base image cannot be pulled, and no stand-in can be made",
    ),
    pytest.param(
        lambda: stopped(base=base(name="mine:1", chosen=True, image=None), tried=("pull image=mine:1",)),
        UP,
        """\
Then it would stop:
   error: the base image mine:1 is neither on this engine nor can it be pulled
   fix: sed -i '/^BASE_IMAGE=/d' docker/.env""",
        id="base image of the person's own cannot be pulled",
    ),
    pytest.param(
        lambda: stopped(base=base(name=STAND_IN, chosen=True)),
        UP,
        start("jupyterlab-server is not started"),
        id="stand-in chosen",
    ),
    pytest.param(
        lambda: stopped(base=base(name="conda-pip-docker/stand-in:000000000000", chosen=True)),
        UP,
        """\
1. make the base image conda-pip-docker/stand-in:0123456789ab here
   why: conda-pip-docker/stand-in:000000000000 was made for another environment.yml or system than today's, which needs conda-pip-docker/stand-in:0123456789ab
   touches: the engine's images, 600 MB; BASE_IMAGE in docker/.env
"""
        + start("jupyterlab-server is not started", number=2),
        id="stand-in outdated",
    ),
    pytest.param(
        lambda: stopped(base=base(name=STAND_IN, chosen=True, image=None)),
        UP,
        """\
1. make the base image conda-pip-docker/stand-in:0123456789ab here
   why: conda-pip-docker/stand-in:0123456789ab is not on this engine any more
   touches: the engine's images, 600 MB; BASE_IMAGE in docker/.env
"""
        + start("jupyterlab-server is not started", number=2),
        id="stand-in gone",
    ),
    pytest.param(
        lambda: stopped(base=base(name=STAND_IN, chosen=True, image=None), tried=(f"stand-in image={STAND_IN}",)),
        UP,
        """\
Then it would stop:
   error: conda-pip-docker/stand-in:0123456789ab is not on this engine any more
   fix: invoke up --yes""",
        id="stand-in made, and still not here",
    ),
    pytest.param(
        lambda: stopped(
            lock=Lock(()),
            lock_inputs=(Line("environment.yml", "  - scipy", 9),),
            inputs={**INPUTS, "environment.yml": "e2"},
        ),
        goals.RUNNABLE,
        """\
1. write environment.lock, what it names stays, where that still fits
   why: environment.lock was made from other lines: environment.yml:9 `- scipy` is new
   touches: environment.lock
2. build the image, from the cache where nothing changed
   why: changed since the image was built: environment.yml
   touches: the image of study-1a2b3c4d""",
        id="lock older than environment.yml",
    ),
    pytest.param(
        lambda: stopped(lock=Lock(()), base=base(name=STAND_IN, chosen=True), image=None),
        goals.RUNNABLE,
        f"""\
1. build the image, from the cache where nothing changed; {STAND_IN} is a stand-in, which has none of the packages that environment.lock names: it is not used here
   why: this clone has no image yet
   touches: the image of study-1a2b3c4d""",
        id="lock that a stand-in does not use",
    ),
    pytest.param(
        lambda: healthy(settings=settings(plan=FIRST_ENV, kept={})),
        UP,
        """\
1. write docker/.env
   why: there is no docker/.env yet
   touches: USER, UID, GID, COMPOSE_PROJECT_NAME in docker/.env; every other line stays""",
        id=".env missing",
    ),
    pytest.param(
        lambda: healthy(
            settings=settings(
                plan=unwritten(Change("UID", "7", "1815"), Change("HTTP_PROXY", "http://me:secret@p:1", None))
            )
        ),
        UP,
        """\
1. write docker/.env
   why: docker/.env says UID=7, but it is 1815; it says HTTP_PROXY=http://****@p:1, but it is gone
   touches: UID, HTTP_PROXY in docker/.env; every other line stays""",
        id=".env stale",
    ),
    pytest.param(
        lambda: Malformed(**known(stopped(), "settings")),
        UP,
        """\
Then it would stop:
   error: docker/.env:2: no KEY=value
   fix: correct line 2, then: invoke env""",
        id=".env malformed",
    ),
    pytest.param(
        lambda: healthy(root=Path("/a\tb"), unreadable_part=Path("/a\tb")),
        UP,
        """\
Then it would stop:
   error: the path '/a\\tb' has a control character (TAB, line break) or is not UTF-8, and Compose reads its own path as a URL
   fix: mv $'/a\\x09b' /a-b""",
        id="path that Compose cannot read",
    ),
    pytest.param(
        lambda: bare(settings=settings(ENVIRONMENT_FROM="r.example/study")),
        UP,
        """\
1. take the environment r.example/study:e1e1-amd64, or build it where it is not there
   why: docker/.env says ENVIRONMENT_FROM=r.example/study, and the image has to be built
   touches: the engine's images
2. build the image, from the cache where nothing changed
   why: this clone has no image yet
   touches: the image of study-1a2b3c4d
3. start jupyterlab-server, wait until it is healthy, and send a probe file through each mount both ways
   why: jupyterlab-server is not started
   touches: the containers and the network of study-1a2b3c4d""",
        id="environment to be taken from elsewhere",
    ),
    pytest.param(
        lambda: bare(settings=settings(ENVIRONMENT_FROM="r.example/study"), tried=(TAKE,)),
        goals.RUNNABLE,
        """\
1. pull base:1, or offer a stand-in where it cannot be reached
   why: base:1 is not on this engine
   touches: the engine's images
2. build the image, from the cache where nothing changed
   why: this clone has no image yet
   touches: the image of study-1a2b3c4d""",
        id="environment that is not there",
    ),
    pytest.param(
        lambda: bare(settings=settings(), environment=replace(ENVIRONMENT, image=Image("sha256:e"))),
        goals.RUNNABLE,
        """\
1. build the image, on the environment study-1a2b3c4d-environment:e1e1-amd64
   why: this clone has no image yet
   touches: the image of study-1a2b3c4d""",
        id="environment that was taken or loaded",
    ),
    pytest.param(
        lambda: healthy(settings=settings(ENVIRONMENT_FROM="r.example/study")),
        UP,
        "Nothing to do.",
        id="environment that is in an image already",
    ),
    pytest.param(
        lambda: stopped(),
        goals.pushed("r.example/study"),
        """\
1. build the environment, from the cache where nothing changed
   why: study-1a2b3c4d-environment:e1e1-amd64 is not here
   touches: the image study-1a2b3c4d-environment:e1e1-amd64
2. push r.example/study:e1e1-amd64
   why: a push was asked for
   touches: r.example/study:e1e1-amd64""",
        id="environment to be pushed",
    ),
    pytest.param(
        lambda: stopped(environment=replace(ENVIRONMENT, image=Image("sha256:e"))),
        goals.pushed("r.example/study"),
        """\
1. push r.example/study:e1e1-amd64
   why: a push was asked for
   touches: r.example/study:e1e1-amd64""",
        id="environment that is here, to be pushed",
    ),
    pytest.param(
        lambda: healthy(root=Path("/x/100% of it/a"), engine=engine(compose="2.40.3-3")),
        UP,
        """\
Then it would stop:
   error: the path '/x/100% of it/a' has a percent sign, and Compose 2.40.3-3 takes it for an escape of a URL
   fix: mv $'/x/100% of it' '/x/100- of it'""",
        id="path that is no URL to a newer Compose",
    ),
    pytest.param(
        lambda: healthy(root=Path('/x/a"b,c${d'), engine=engine(compose="5.0.0")),
        UP,
        """\
Then it would stop:
   error: the path '/x/a"b,c${d' has a comma, a double quote or ${, and Compose 5.0.0 takes it for syntax of bake
   fix: mv $'/x/a"b,c${d' /x/a-b-c-d""",
        id="path that is syntax to a newer Compose",
    ),
    pytest.param(
        lambda: healthy(root=Path("/x/e\u0301t"), engine=engine(compose="v5.1.0")),
        UP,
        """\
Then it would stop:
   error: the path '/x/e\\u0301t' has a decomposed accent, and Compose v5.1.0 composes it
   fix: mv $'/x/e\\xcc\\x81t' '/x/\u00e9t'""",
        id="path whose accents a newer Compose composes",
    ),
    pytest.param(
        lambda: healthy(root=Path('/x/100%20, "e\u0301"${'), engine=engine(compose="2.40.3")),
        UP,
        "Nothing to do.",
        id="path that Compose takes",
    ),
    pytest.param(
        lambda: healthy(left_behind=(replace(server(), project="old-00000000", name="old-1", folder="/old/docker"),)),
        UP,
        """\
Then it would stop:
   error: this clone was moved, and what it started in /old/docker is still there: old-1
   fix: docker compose --project-name old-00000000 down""",
        id="moved clone",
    ),
    pytest.param(
        lambda: healthy(places=(place(ROOT / "data", kind=MISSING), place(ROOT / "doc", kind=MISSING))),
        UP,
        """\
1. make missing folders
   why: data is missing; doc is missing
   touches: data, doc""",
        id="folders missing",
    ),
    pytest.param(
        lambda: healthy(places=(place(Path("/srv/shared"), kind=MISSING),)),
        UP,
        """\
Then it would stop:
   error: /srv/shared is missing
   fix: mkdir /srv/shared""",
        id="folder of the override file missing",
    ),
    pytest.param(
        lambda: healthy(places=(place(of_root=3), place(ROOT / "doc", of_root=1))),
        UP,
        """\
1. give ada (1815:1852) what is root's in the mounted folders
   why: 3 in data belong to root; 1 in doc belong to root
   touches: data, doc""",
        id="files of root's in two folders",
    ),
    pytest.param(
        lambda: healthy(places=(place(uid=7, gid=8, writable=False),)),
        UP,
        """\
Then it would stop:
   error: data is owned by 7:8 with mode 0755, so ada (1815:1852) cannot write there
   fix: sudo chown -R 1815:1852 data""",
        id="folder that cannot be written",
    ),
    pytest.param(
        lambda: healthy(places=(place(Path("/srv/team"), uid=7, gid=50, mode=0o2775, writable=False),)),
        UP,
        """\
Then it would stop:
   error: /srv/team is owned by 7:50 with mode 2775, so ada (1815:1852) cannot write there
   fix: add to jupyterlab-server in docker/docker-compose.override.yml: group_add: ["50"], then: invoke up""",
        id="shared folder of a group that is not added",
    ),
    pytest.param(
        lambda: healthy(places=(place(link=Path("../docker"), real=ROOT / "docker"),)),
        UP,
        """\
Then it would stop:
   error: data leads to docker, whose code runs on this machine: the container must not write it
   fix: rm data && mkdir data""",
        id="link into docker/",
    ),
    pytest.param(
        lambda: healthy(places=(place(link=Path("/etc"), real=Path("/etc")),)),
        UP,
        """\
Then it would stop:
   error: data is a link out of the project, to /etc
   fix: rm data && mkdir data""",
        id="link out of the clone",
    ),
    pytest.param(
        lambda: healthy(places=(place(link=Path("gone"), kind=DANGLING),)),
        UP,
        """\
Then it would stop:
   error: data is a link to gone, which does not exist
   fix: rm data && mkdir data""",
        id="link to nothing",
    ),
    pytest.param(
        lambda: healthy(places=(place(kind=FILE),)),
        UP,
        """\
Then it would stop:
   error: data is a file, not a folder
   fix: mv data data.file && mkdir data""",
        id="file where a folder should be",
    ),
    pytest.param(
        lambda: healthy(
            places=(
                place(Path("/etc/localtime"), kind=FILE, read_only=True),
                place(Path("/run/agent.sock"), kind=OTHER),
            ),
            crossings=(crossing(Path("/etc/localtime")), crossing(Path("/run/agent.sock"))),
        ),
        UP,
        "Nothing to do.",
        id="file and socket that are mounted",
    ),
    pytest.param(
        lambda: healthy(places=(place(read_only_disk=True),)),
        UP,
        """\
Then it would stop:
   error: data is on a read-only file system
   fix: mount -o remount,rw data""",
        id="read-only file system",
    ),
    pytest.param(
        lambda: stopped(busy=[8888]),
        UP,
        """\
1. publish on port 8990
   why: port 8888 is held by node (process 4711)
   touches: JUPYTER_PORT in docker/.env
"""
        + start("jupyterlab-server is not started", number=2),
        id="port busy",
    ),
    pytest.param(
        lambda: stopped(
            busy=[9000],
            settings=settings(JUPYTER_PORT="9000"),
            model=model(ports=[{"target": 8888, "published": "9000"}]),
        ),
        UP,
        """\
1. publish on port 8888
   why: port 9000 is held by node (process 4711)
   touches: JUPYTER_PORT in docker/.env
"""
        + start("jupyterlab-server is not started", number=2),
        id="port busy, kept from before",
    ),
    pytest.param(
        healthy,
        goals.up(9000),
        """\
1. publish on port 9000
   why: port 9000 was asked for, and docker/.env says 8888
   touches: JUPYTER_PORT in docker/.env""",
        id="port asked for",
    ),
    pytest.param(
        lambda: stopped(busy=[9000]),
        goals.up(9000),
        """\
Then it would stop:
   error: port 9000 is held by node (process 4711)
   fix: invoke up""",
        id="port asked for is busy",
    ),
    pytest.param(
        lambda: healthy(busy=[8888]),
        goals.up(8888),
        "Nothing to do.",
        id="port asked for is ours",
    ),
    pytest.param(
        lambda: healthy(settings=settings(JUPYTER_BIND="192.0.2.1"), busy=[0]),
        UP,
        """\
Then it would stop:
   error: docker/.env says JUPYTER_BIND=192.0.2.1, which is no address of this machine
   fix: invoke up --bind 127.0.0.1""",
        id="address of another machine",
    ),
    pytest.param(
        lambda: healthy(exposed_files={ROOT / "docker/.env": "has the mode 0644"}),
        UP,
        """\
1. let nobody but their owner read files that may hold a secret
   why: docker/.env has the mode 0644
   touches: their owners and modes""",
        id="secret that others can read",
    ),
    pytest.param(
        lambda: healthy(exposed_files={ROOT / "docker/.env": "has the mode 0644"}, tried=("close",)),
        UP,
        "Nothing to do.",
        id="secret that cannot be closed: a warning of doctor",
    ),
    pytest.param(
        lambda: stopped(containers=(server(status="created", error=ALLOCATED, bindings=()),), tried=(START,)),
        UP,
        """\
1. publish on port 8990
   why: port 8888 is held by node (process 4711)
   touches: JUPYTER_PORT in docker/.env""",
        id="port lost in a race",
    ),
    pytest.param(
        lambda: stopped(containers=(server(status="created", error=ALLOCATED, bindings=()),), tried=(START,)),
        goals.up(8888),
        """\
Then it would stop:
   error: port 8888 is held by node (process 4711)
   fix: invoke up""",
        id="port lost in a race, that was asked for",
    ),
    pytest.param(
        lambda: stopped(
            settings=settings(JUPYTER_PORT="8990"),
            model=model(ports=[{"target": 8888, "published": "8990"}]),
            containers=(server(status="created", error=ALLOCATED, bindings=()),),
            tried=(START, "choose JUPYTER_PORT=8990"),
        ),
        UP,
        start(
            "jupyterlab-server could not be started: driver failed: Bind for 127.0.0.1:8888 failed: port is already allocated"
        ),
        id="port lost in a race, another written down",
    ),
    pytest.param(
        lambda: healthy(
            busy=[8888, 9999],
            model=model(ports=[{"target": 8888, "published": "9999"}, {"target": 8888, "published": "8888"}]),
            containers=(server(bindings=(Binding(8888, "", 9999), Binding(8888, "127.0.0.1", 8888))),),
        ),
        UP,
        "Nothing to do.",
        id="second published port",
    ),
    pytest.param(
        lambda: healthy(
            busy=[8888],  # by the server itself; Compose's model keeps the ports that it discards
            model=model(network_mode="host"),
            containers=(server(bindings=(), network_mode="host"),),
        ),
        UP,
        "Nothing to do.",
        id="network of the host",
    ),
    pytest.param(
        lambda: stopped(image=None),
        UP,
        """\
1. build the image, from the cache where nothing changed
   why: this clone has no image yet
   touches: the image of study-1a2b3c4d
"""
        + start("jupyterlab-server is not started", number=2),
        id="image missing",
    ),
    pytest.param(
        lambda: stopped(inputs={**INPUTS, "environment.yml": "e2"}),
        UP,
        """\
1. build the image, from the cache where nothing changed
   why: changed since the image was built: environment.yml
   touches: the image of study-1a2b3c4d
"""
        + start("jupyterlab-server is not started", number=2),
        id="image older than one input",
    ),
    pytest.param(
        lambda: stopped(inputs={"the base image": "b2", "the user": "u1", "environment.yml": "e1", "postBuild": "p1"}),
        UP,
        """\
1. build the image, from the cache where nothing changed
   why: changed since the image was built: the base image, postBuild, docker/Dockerfile
   touches: the image of study-1a2b3c4d
"""
        + start("jupyterlab-server is not started", number=2),
        id="image older than several inputs, one of them new and one gone",
    ),
    pytest.param(
        lambda: stopped(image=Image("sha256:other")),
        UP,
        """\
1. build the image, from the cache where nothing changed
   why: the image was not built by these tasks, so what it was made from is not known
   touches: the image of study-1a2b3c4d
"""
        + start("jupyterlab-server is not started", number=2),
        id="image not built by the tasks",
    ),
    pytest.param(
        lambda: stopped(image=None, tried=("build",)),
        UP,
        """\
Then it would stop:
   error: this clone has no image yet
   fix: invoke build""",
        id="image that was built and is not there",
    ),
    pytest.param(
        stopped,
        UP,
        start("jupyterlab-server is not started"),
        id="server not started",
    ),
    pytest.param(
        lambda: stopped(containers=(server(status="exited"),)),
        UP,
        start("jupyterlab-server ended with exit code 0"),
        id="server ended with 0",
    ),
    pytest.param(
        lambda: stopped(containers=(server(status="exited", exit_code=1),)),
        UP,
        start("jupyterlab-server ended with exit code 1"),
        id="server ended with 1",
    ),
    pytest.param(
        lambda: stopped(containers=(server(status="paused"),)),
        UP,
        start("jupyterlab-server is paused"),
        id="server paused",
    ),
    pytest.param(
        lambda: stopped(containers=(server(status="restarting", health="starting", exit_code=3),)),
        UP,
        start("jupyterlab-server ends again and again, 0 times until now"),
        id="server restarting",
    ),
    pytest.param(
        lambda: healthy(containers=(server(health="unhealthy", last_check="curl: (7) refused"),)),
        UP,
        start("jupyterlab-server is not healthy (curl: (7) refused)"),
        id="server unhealthy",
    ),
    pytest.param(
        lambda: healthy(containers=(server(health="starting"),)),
        UP,
        start("jupyterlab-server is still starting"),
        id="server still starting",
    ),
    pytest.param(
        lambda: stopped(containers=(server(status="exited", exit_code=137, out_of_memory=True),)),
        UP,
        start("jupyterlab-server ran out of memory"),
        id="server out of memory",
    ),
    pytest.param(
        lambda: stopped(containers=(server(status="exited", exit_code=137),)),
        UP,
        start("jupyterlab-server was killed with exit code 137, as it is where memory runs out"),
        id="server killed",
    ),
    pytest.param(
        lambda: healthy(containers=(server(image="sha256:old"),)),
        UP,
        start("jupyterlab-server runs on an older image than this clone's"),
        id="server started from an older image",
    ),
    pytest.param(
        lambda: healthy(hashes={SERVICE: "h9"}),
        UP,
        start("the Compose files or docker/.env say something else of jupyterlab-server than when it was started"),
        id="configuration changed since the start",
    ),
    pytest.param(
        lambda: stopped(engine=engine(), containers=(server(oneoff=True),)),
        UP,
        start("jupyterlab-server is not started"),
        id="container of invoke run beside nothing",
    ),
    pytest.param(
        lambda: with_db(beside()),
        UP,
        "Nothing to do.",
        id="further service that runs",
    ),
    pytest.param(
        with_db,
        UP,
        start("db is not started"),
        id="further service not started",
    ),
    pytest.param(
        lambda: with_db(beside(status="created", error=DB_PORT), tried=(START,), before=frozenset(["lab"])),
        UP,
        """\
Then it would stop:
   error: db could not be started: driver failed on endpoint db: Bind for 0.0.0.0:5432 failed: port is already allocated, held by node (process 4711)
   fix: correct db in your Compose files, then: invoke up""",
        id="further service whose port is taken",
    ),
    pytest.param(
        lambda: with_db(beside(status="exited", exit_code=1), tried=(START,), before=frozenset(["lab"])),
        UP,
        """\
Then it would stop:
   error: db ended with exit code 1; its last lines are above
   fix: correct db in your Compose files, then: invoke up""",
        id="further service that ended with 1",
    ),
    pytest.param(
        lambda: with_db(beside(status="exited", exit_code=1)),
        UP,
        start("db ended with exit code 1"),
        id="further service that ended with 1, before the start",
    ),
    pytest.param(
        lambda: with_db(beside(status="exited")),
        UP,
        "Nothing to do.",
        id="job that ended with 0",
    ),
    pytest.param(
        lambda: healthy(containers=(server(), beside())),
        UP,
        start("db is declared no more"),
        id="service that is declared no more",
    ),
    pytest.param(
        lambda: healthy(containers=(server(), beside()), tried=(START,)),
        UP,
        "Nothing to do.",
        id="service of a profile that is not declared without it",
    ),
    pytest.param(
        lambda: with_db(beside(), model=model(db={"build": {"context": "db"}})),
        UP,
        start("db is built by a Dockerfile of its own, and only a build tells whether it changed"),
        id="service with a build of its own",
    ),
    pytest.param(
        lambda: with_db(beside(), model=model(db={"build": {"context": "db"}}), tried=(START,)),
        UP,
        "Nothing to do.",
        id="service with a build of its own, built in this run",
    ),
    pytest.param(
        healthy,
        UP,
        "Nothing to do.",
        id="everything fine",
    ),
    pytest.param(
        lambda: healthy(tried=("env", "build", START)),
        UP,
        "Nothing to do.",
        id="everything fine after several steps",
    ),
    pytest.param(
        lambda: healthy(crossings=(crossing(wrote=False),), tried=(START,)),
        UP,
        """\
Then it would stop:
   error: data cannot be written inside
   fix: sudo chown -R 1815:1852 data""",
        id="mount that cannot be written inside after the start",
    ),
    pytest.param(
        lambda: healthy(crossings=(crossing(source="/old/data"),)),
        UP,
        """\
Then it would stop:
   error: data is not what the container has at /home/ada/app/data: that is /old/data
   fix: invoke down && invoke up""",
        id="mount of another folder",
    ),
    pytest.param(
        lambda: healthy(crossings=(crossing(read=False),), containers=(server(config_hash="h0"),)),
        UP,
        """\
Then it would stop:
   error: study-1a2b3c4d-jupyterlab-server-1 has another folder than data: its clone was moved away from here
   fix: invoke down && invoke up""",
        id="server of a moved clone in whose place this one stands",
    ),
    pytest.param(
        lambda: healthy(crossings=(crossing(owner=(7, 8)),)),
        UP,
        """\
Then it would stop:
   error: data shows a file from inside as 7:8, but you are 1815:1852
   fix: invoke down && invoke up""",
        id="mount that shows another owner",
    ),
    pytest.param(
        lambda: healthy(hashes={SERVICE: "h9"}, crossings=(crossing(source=None),)),
        UP,
        start("the Compose files or docker/.env say something else of jupyterlab-server than when it was started"),
        id="mount that was added since the start",
    ),
    pytest.param(
        lambda: healthy(places=(place(uid=0, gid=0, of_root=1),), crossings=(crossing(wrote=False),)),
        UP,
        """\
1. give ada (1815:1852) what is root's in the mounted folders
   why: 1 in data belong to root
   touches: data""",
        id="root's folder under a server that runs",
    ),
    pytest.param(
        lambda: healthy(crossings=(crossing(source=None),)),
        UP,
        """\
Then it would stop:
   error: data is not mounted in the container
   fix: invoke down && invoke up""",
        id="mount that is not there",
    ),
    pytest.param(
        lambda: stopped(containers=(server(status="exited", exit_code=1),), tried=(START,)),
        UP,
        """\
Then it would stop:
   error: jupyterlab-server ended with exit code 1; its last lines are above
   fix: correct jupyterlab-server in your Compose files, then: invoke up""",
        id="start failed: the server ends",
    ),
    pytest.param(
        lambda: stopped(containers=(server(status="exited", exit_code=1),), tried=(START,), before=frozenset(["lab"])),
        UP,
        """\
Then it would stop:
   error: jupyterlab-server ended with exit code 1; its last lines are above
   fix: invoke logs""",
        id="start failed: a server of before ended",
    ),
    pytest.param(
        lambda: stopped(
            containers=(server(status="created", health="none", bindings=()), beside(status="exited", exit_code=2)),
            hashes={SERVICE: "h1", "db": "h2"},
            model=model(db={"image": "db:1"}),
            tried=(START,),
        ),
        UP,
        """\
Then it would stop:
   error: db ended with exit code 2; its last lines are above
   fix: correct db in your Compose files, then: invoke up""",
        id="start failed: another is to blame, the server waits for it",
    ),
    pytest.param(
        lambda: Lacking(**known(stopped()), tried=(START,)),
        UP,
        """\
Then it would stop:
   error: db needs the image db:1, which is neither on this engine nor can it be pulled
   fix: correct the image of db in your Compose files, then: invoke up""",
        id="start failed: image of another service missing",
    ),
    pytest.param(
        lambda: stopped(tried=(START,), said=FAILED_BUILD),
        UP,
        """\
Then it would stop:
   error: no such package: pandsa
   fix: correct what the lines above name, then: invoke up""",
        id="start failed: a build of another service",
    ),
    pytest.param(
        lambda: stopped(tried=(START,), said="write /x: no space left on device"),
        UP,
        """\
Then it would stop:
   error: the disk is full
   fix: docker system df""",
        id="start failed: disk full",
    ),
    pytest.param(
        lambda: Seen(
            unreadable_part=None,
            root=Path("/s"),
            left_behind=(),
            settings=settings(plan=FIRST_ENV, kept={}),
            exposed_files={},
        ),
        goals.SETTINGS,
        """\
1. write docker/.env
   why: there is no docker/.env yet
   touches: USER, UID, GID, COMPOSE_PROJECT_NAME in docker/.env; every other line stays""",
        id="env: nothing known of an engine",
    ),
    pytest.param(
        lambda: Seen(unreadable_part=None, root=Path("/s"), left_behind=(), settings=settings(), exposed_files={}),
        goals.SETTINGS,
        "Nothing to do.",
        id="env: nothing to do",
    ),
    pytest.param(
        bare,
        goals.RUNNABLE,
        """\
1. write docker/.env
   why: there is no docker/.env yet
   touches: USER, UID, GID, COMPOSE_PROJECT_NAME in docker/.env; every other line stays
2. pull base:1, or offer a stand-in where it cannot be reached
   why: base:1 is not on this engine
   touches: the engine's images
3. build the image, from the cache where nothing changed
   why: this clone has no image yet
   touches: the image of study-1a2b3c4d""",
        id="run: no containers are started",
    ),
    pytest.param(
        stopped,
        goals.RUNNABLE,
        "Nothing to do.",
        id="run: nothing to do",
    ),
    pytest.param(
        lambda: Seen(
            unreadable_part=None,
            root=Path("/s"),
            left_behind=(),
            settings=settings(),
            exposed_files={},
            has_compose=True,
            model=model(),
            places=(place(kind=MISSING), place(ROOT / "doc", of_root=2)),
        ),
        goals.MOUNTED,
        """\
1. make missing folders
   why: data is missing
   touches: data
2. give ada (1815:1852) what is root's in the mounted folders
   why: 2 in doc belong to root
   touches: doc""",
        id="mounts --fix: no engine is asked",
    ),
    pytest.param(
        healthy,
        goals.built(cache=True),
        """\
1. build the image, from the cache where nothing changed
   why: a build was asked for
   touches: the image of study-1a2b3c4d""",
        id="build: everything fine is built all the same",
    ),
    pytest.param(
        healthy,
        goals.built(cache=False),
        """\
1. build the image, every step anew
   why: a build was asked for
   touches: the image of study-1a2b3c4d""",
        id="build --no-cache",
    ),
    pytest.param(
        lambda: healthy(tried=("build cache=no",)),
        goals.built(cache=False),
        "Nothing to do.",
        id="build --no-cache, done",
    ),
]


@pytest.mark.parametrize(("seen", "rules", "text"), CASES)
def test_plan_is_what_is_missing_and_why(seen: Callable[[], Seen], rules: tuple[Rule, ...], text: str) -> None:
    """The plan names each step with its reason and what it touches, or the problem that no step cures."""
    assert str(plan(seen(), rules)) == text


@pytest.mark.parametrize(
    ("store", "has_scanner", "options"),
    [
        ("extfs", True, {}),
        ("io.containerd.snapshotter.v1", False, {"provenance": "mode=min"}),
        ("io.containerd.snapshotter.v1", True, {"provenance": "mode=min", "sbom": "true"}),
    ],
)
def test_environment_says_what_it_was_made_of_where_it_can(
    store: str, options: dict[str, str], *, has_scanner: bool
) -> None:
    """Provenance and a list of packages are asked for only where the engine keeps them: else the build would fail."""
    seen = stopped(engine=engine(info={"DriverStatus": [["driver-type", store]]}), has_sbom_scanner=has_scanner)

    [step] = plan(seen, goals.SHARED).steps

    assert step.values == options


def test_two_folders_are_made_in_one_step() -> None:
    """Two findings that one step cures make one step, with both reasons; a third of another kind its own."""
    seen = stopped(places=(place(kind=MISSING), place(ROOT / "doc", kind=MISSING), place(ROOT / "bin", of_root=1)))

    assert [(step.action, step.touches) for step in plan(seen, goals.MOUNTED).steps] == [
        ("folders", "data, doc"),
        ("give", "bin"),
    ]


# What `invoke doctor` makes of it


ALL_WELL = """\
ok    path: /home/ada/study
ok    engine: engine 26.1.5, Compose 2.26.1, at unix:///var/run/docker.sock
ok    moved: nothing is left of another place
ok    env-file: docker/.env is up to date: ada 1815:1852
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
    found = doctor.examined(examined())

    assert doctor.text(found) == ALL_WELL.format(root=ROOT)
    assert doctor.verdict(found) == 0


DOCTOR = [
    pytest.param(
        lambda: examined(
            settings=settings(JUPYTER_BIND="192.0.2.1"),
            model=model(
                ports=[{"target": 8888, "published": "8888", "host_ip": "192.0.2.1"}, {"target": 1, "published": "1"}],
                db={"ports": [{"target": 2, "published": "2", "host_ip": "::1"}, {"target": 3}]},
            ),
        ),
        0,
        f"""\
warn  reach: jupyterlab-server on 192.0.2.1:8888 is open to other machines: {OPENED}
      fix: invoke up --bind 127.0.0.1
warn  reach: jupyterlab-server on 0.0.0.0:1 is open to other machines: {OPENED}
      fix: invoke up --bind 127.0.0.1""",
        id="open to other machines",
    ),
    pytest.param(
        lambda: examined(settings=settings(HARDENED="yes")),
        0,
        "",
        id="hardened is no warning",
    ),
    pytest.param(
        lambda: examined(planted={ROOT / "data" / ".git" / "config": "has git run what it says"}),
        0,
        """\
warn  planted: data/.git/config has git run what it says, and the container can write it: start that tool elsewhere, or read it first
      fix: mv data/.git/config data/.git/config.off""",
        id="planted for git",
    ),
    pytest.param(
        lambda: examined(exposed_files={ROOT / "docker/.env": "has the mode 0644"}),
        0,
        """\
warn  private-files: docker/.env has the mode 0644
      fix: invoke env""",
        id="secret that others can read",
    ),
    pytest.param(
        lambda: examined(exposed_files={ROOT / "docker/.env": "has the mode 0644"}, tried=("close",)),
        0,
        """\
warn  private-files: docker/.env has the mode 0644
      fix: sudo chmod go= docker/.env""",
        id="secret that cannot be closed",
    ),
    pytest.param(
        lambda: examined(base=base(name=STAND_IN, chosen=True)),
        0,
        """\
warn  stand-in: the base image conda-pip-docker/stand-in:0123456789ab was made on this machine; others build on the published one
      fix: sed -i '/^BASE_IMAGE=/d' docker/.env && invoke up""",
        id="stand-in in use",
    ),
    pytest.param(
        lambda: examined(inputs={**INPUTS, "environment.yml": "e2"}),
        0,
        """\
warn  image: changed since the image was built: environment.yml
      fix: invoke build""",
        id="image older than its inputs",
    ),
    pytest.param(
        lambda: examined(by_hand=(Package("pip", "humanize", "4.1"),), lock_inputs=()),
        0,
        """\
warn  by-hand: installed by hand and named in no file: humanize 4.1
      fix: invoke record""",
        id="package installed by hand",
    ),
    pytest.param(
        lambda: examined(containers=()),
        0,
        """\
warn  server: jupyterlab-server is not started
      fix: invoke up""",
        id="server not started",
    ),
    pytest.param(
        lambda: examined(
            engine=engine(on_path=False), has_compose=False, containers=(), base=base(image=None), image=None
        ),
        1,
        """\
fail  engine: docker is not on the PATH
      fix: invoke up --yes""",
        id="no docker command",
    ),
    pytest.param(
        lambda: examined(engine=engine(compose=None), has_compose=True, containers=()),
        1,
        """\
fail  engine: the engine at unix:///var/run/docker.sock gave no answer within 7.5 s
      fix: sudo service docker restart""",
        id="engine hung",
    ),
    pytest.param(
        lambda: examined(engine=engine(info={"SecurityOptions": ["name=rootless"]})),
        1,
        """\
fail  engine: rootless engine at unix:///var/run/docker.sock: container ids are mapped, so files cannot belong to you; this is not supported yet
      fix: use an engine that runs as root on this machine""",
        id="engine rootless, with a server that runs",
    ),
    pytest.param(
        lambda: examined(places=(place(kind=MISSING), place(ROOT / "doc", uid=7, gid=8, writable=False))),
        1,
        """\
warn  mounts: data is missing
      fix: invoke mounts --fix
fail  mounts: doc is owned by 7:8 with mode 0755, so ada (1815:1852) cannot write there
      fix: sudo chown -R 1815:1852 doc""",
        id="folder missing, and one that cannot be written",
    ),
    pytest.param(
        lambda: examined(containers=(), busy=[8888]),
        0,
        """\
warn  port: port 8888 is held by node (process 4711)
      fix: invoke up
warn  server: jupyterlab-server is not started
      fix: invoke up""",
        id="port busy",
    ),
    pytest.param(
        lambda: examined(containers=(server(status="exited", exit_code=137, out_of_memory=True),)),
        1,
        """\
fail  server: jupyterlab-server ran out of memory
      fix: invoke up""",
        id="server out of memory",
    ),
    pytest.param(
        lambda: examined(containers=(server(health="unhealthy"),), crossings=(crossing(wrote=False),)),
        1,
        """\
fail  server: jupyterlab-server is not healthy
      fix: invoke up""",
        id="server that is ill, and may end amid the probes",
    ),
    pytest.param(
        lambda: examined(crossings=(crossing(wrote=False),)),
        1,
        """\
fail  mounts: data cannot be written inside
      fix: sudo chown -R 1815:1852 data""",
        id="mount that cannot be written inside",
    ),
    pytest.param(
        lambda: Malformed(**known(examined(), "settings")),
        1,
        """\
fail  env-file: docker/.env:2: no KEY=value
      fix: correct line 2, then: invoke env""",
        id="docker/.env that cannot be read",
    ),
    pytest.param(
        lambda: examined(env_file_owner=0),
        0,
        """\
warn  env-owner: docker/.env belongs to uid 0, and you are 1815
      fix: sudo chown 1815 docker/.env""",
        id="docker/.env of root's",
    ),
    pytest.param(
        lambda: examined(
            shell={"UID": "7", "USER": "bob", "COMPOSE_FILE": "x.yml", "HTTP_PROXY": "http://p:1", "HOME": "/x"},
            proxies_of_shell={"HTTP_PROXY": "http://p:1"},
        ),
        0,
        """\
warn  shell: the shell says UID=7, and the tasks go by docker/.env: 1815
      fix: unset UID
warn  shell: the shell says COMPOSE_FILE=x.yml, and the tasks go by docker/.env: nothing
      fix: unset COMPOSE_FILE""",
        id="exported variables",
    ),
    pytest.param(
        lambda: examined(
            settings=settings(HTTP_PROXY="http://me:secret@p:1", NO_PROXY="x"), proxies_of_shell={"NO_PROXY": "x"}
        ),
        0,
        """\
warn  proxy: docker/.env keeps HTTP_PROXY=http://****@p:1 from an earlier shell, and this one has none
      fix: sed -i '/^HTTP_PROXY=/d' docker/.env""",
        id="proxy of an earlier shell",
    ),
    pytest.param(
        lambda: examined(
            addresses={"HTTPS_PROXY": "http://me:secret@p:1", "index-url": "https://i/simple"},
            silent_addresses={"HTTPS_PROXY": "timed out", "index-url": "refused"},
        ),
        1,
        """\
fail  reachable: HTTPS_PROXY is http://****@p:1, and nothing answers there: timed out
      fix: unset HTTPS_PROXY https_proxy; sed -i '/^HTTPS_PROXY=/d' docker/.env
fail  reachable: index-url is https://i/simple, and nothing answers there: refused
      fix: pip config debug""",
        id="proxy and index that do not answer",
    ),
    pytest.param(
        lambda: examined(settings=settings(CA_BUNDLE="/ca.pem"), sizes={"/ca.pem": 600_000}),
        1,
        """\
fail  certificates: /ca.pem has 600000 bytes, and BuildKit takes 512000
      fix: choose a smaller file: CA_BUNDLE in docker/.env""",
        id="CA bundle too large",
    ),
    pytest.param(
        lambda: examined(scripts={ROOT / "postBuild": (True, False), ROOT / "docker" / "activate.sh": (False, False)}),
        0,
        """\
warn  scripts: postBuild has the line endings of Windows (CR LF)
      fix: sed -i 's/\\r$//' postBuild
warn  scripts: postBuild has lost its run bit
      fix: chmod +x postBuild""",
        id="line endings and run bits",
    ),
    pytest.param(
        lambda: examined(free={ROOT: GIB}),
        0,
        f"""\
warn  disk: the clone has 1.0 GiB free in {ROOT}, and 2 are needed to be at ease
      fix: df .""",
        id="disk nearly full",
    ),
    pytest.param(
        lambda: examined(free={ROOT: GIB // 4}),
        1,
        f"""\
fail  disk: the clone has 0.2 GiB free in {ROOT}, and 2 are needed to be at ease
      fix: df .""",
        id="disk full",
    ),
    pytest.param(
        lambda: examined(containers=(server(shm_bytes=64 * 1024**2),)),
        0,
        """\
warn  shared-memory: jupyterlab-server has 64 MiB of shared memory, too little for PyTorch's loaders
      fix: set shm_size in docker/docker-compose.override.yml""",
        id="small /dev/shm",
    ),
    pytest.param(
        lambda: examined(left_behind=(replace(server(), project="old-00000000", name="old-1", folder="/old/docker"),)),
        1,
        """\
fail  moved: this clone was moved, and what it started in /old/docker is still there: old-1
      fix: docker compose --project-name old-00000000 down""",
        id="moved clone",
    ),
    pytest.param(
        lambda: Unreadable(**known(examined(), "scripts")),
        2,
        "warn  scripts: could not look: [Errno 13] Permission denied: 'postBuild'",
        id="a part that cannot be looked at",
    ),
    pytest.param(
        lambda: Unreadable(
            **known(
                examined(env_file_owner=0, containers=(server(status="exited", exit_code=137, out_of_memory=True),)),
                "scripts",
            )
        ),
        1,
        """\
warn  env-owner: docker/.env belongs to uid 0, and you are 1815
      fix: sudo chown 1815 docker/.env
warn  scripts: could not look: [Errno 13] Permission denied: 'postBuild'
fail  server: jupyterlab-server ran out of memory
      fix: invoke up""",
        id="a part that cannot be looked at, beside a fault",
    ),
]


@pytest.mark.parametrize(("seen", "verdict", "text"), DOCTOR)
def test_doctor_names_what_is_wrong_and_nothing_else(seen: Callable[[], Seen], verdict: int, text: str) -> None:
    """Each fault is named with what repairs it; what `up` does unasked is a warning; the exit code is 0, 1 or 2."""
    found = [each for each in doctor.examined(seen()) if each.state != "ok"]

    assert doctor.text(found) == text
    assert doctor.verdict(found) == verdict


def test_doctor_for_programs_is_a_list_of_findings(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON form has code, state, cause and fix of each finding, and the same exit code."""
    seen = examined(settings=settings(plan=unwritten(Change("UID", "7", "1815"))))

    verdict = doctor.print_findings(seen, json=True)

    found = json.loads(capsys.readouterr().out)
    assert verdict == 0
    assert [list(each) for each in found] == [["code", "state", "cause", "fix"]] * 26
    assert [each for each in found if each["state"] != "ok"] == [
        {
            "code": "env-file",
            "state": "warn",
            "cause": "docker/.env says UID=7, but it is 1815",
            "fix": "invoke env",
        }
    ]


def test_restart_is_one_step_for_a_server_that_runs() -> None:
    """It is done once, and what does not run is started instead."""
    step = plan(healthy(), goals.restarted()).steps[0]

    assert (step.key, step.touches) == ("restart", "what runs in it ends; its files and its link stay")
    assert str(plan(healthy(tried=("restart",)), goals.restarted())) == "Nothing to do."
    assert [each.action for each in plan(stopped(), goals.restarted()).steps] == ["start"]
