"""Tests of the images: which base image, when a stand-in is another one, what an image is made from."""

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from observed import base as base_of, settings as settings_of

from host_tasks.kit import paths, runner
from host_tasks.kit.client import Endpoint, UnreachableError
from host_tasks.loop import Seen
from host_tasks.subjects import base, clone, compose, containers, engine, idmap, images, removal, settings
from host_tasks.subjects.base import Base, published, stand_in_name
from host_tasks.subjects.engine import Engine
from host_tasks.subjects.images import Built, Image

VALUES = {"USER": "ada", "UID": "1815", "GID": "1852", "HTTP_PROXY": "http://p:1"}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what an image, and a stand-in, are made from."""
    docker = tmp_path / "docker"
    shutil.copytree(
        paths.DOCKER_DIR, docker, ignore=shutil.ignore_patterns("__pycache__", "host_tasks", ".*", "README.md")
    )
    for name in (".dockerignore", "environment.yml", "requirements.txt", "postBuild"):
        shutil.copy(paths.ROOT / name, tmp_path)
    places = {
        "ROOT": tmp_path,
        "DOCKER_DIR": docker,
        "STAND_IN_DIR": docker / "stand-in",
        "DOCKERFILE": docker / "Dockerfile",
        "DOCKERIGNORE": tmp_path / ".dockerignore",
        "ENVIRONMENT_YML": tmp_path / "environment.yml",
        "BUILT_FILE": docker / ".built.json",
    }
    for name, path in places.items():
        for module in (base, images):
            monkeypatch.setattr(module, name, path, raising=False)
    return tmp_path


def changed(path: Path) -> None:
    """Change a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write("# changed\n")


def made_from(values: dict[str, str] = VALUES, base_id: str = "sha256:1") -> dict[str, str]:
    """Return what the next build would be made from, with these values in docker/.env, on a base of this id."""
    facts = {settings.now: replace(settings_of(), values=values), base.now: base_of(image=Image(base_id))}
    return dict(images.inputs(Seen(facts)))


# The base image


def chosen_as(name: str | None) -> Base:
    """Return the base image where docker/.env names one, or names none, and the engine has no image."""
    values = {} if name is None else {base.KEY: name}
    return base.now(Seen({settings.now: replace(settings_of(), values=values)}))


@pytest.fixture(autouse=True)
def no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine without an image."""
    monkeypatch.setattr(images, "find", lambda name: None)


def test_published_base_is_the_one_of_the_dockerfile() -> None:
    """One place names it: docker/Dockerfile, by tag and digest."""
    lines = paths.DOCKERFILE.read_text(encoding="utf-8").splitlines()

    assert f"ARG BASE_IMAGE={published()}" in lines
    assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", published())


@pytest.mark.parametrize(("chosen", "name"), [(None, published()), ("", published()), ("mine:1", "mine:1")])
def test_base_is_the_chosen_one(chosen: str | None, name: str) -> None:
    """docker/.env decides; where it says nothing, the Dockerfile does."""
    found = chosen_as(chosen)

    assert (found.name, found.chosen) == (name, chosen == "mine:1")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("conda-pip-docker/stand-in:0123456789ab", True),
        ("conda-pip-docker/stand-in", False),
        ("conda-pip-docker/stand-in-of-mine:1", False),
        ("mine/conda-pip-docker/stand-in:1", False),
        (published(), False),
    ],
)
def test_stand_in_is_known_by_its_name(image: str, *, expected: bool) -> None:
    """Only what this project tags so is a stand-in of ours, to be made again at will."""
    assert chosen_as(image).is_stand_in is expected


def test_stand_in_is_the_same_for_the_same_files(tree: Path) -> None:
    """Every clone with the same files shares one stand-in, wherever it lies; what Python leaves there counts not."""
    before = stand_in_name()
    (tree / "docker" / "stand-in" / "__pycache__").mkdir()

    assert stand_in_name() == before
    assert chosen_as(before).is_stand_in


@pytest.mark.parametrize(
    "name",
    [
        "docker/activate.sh",
        *(f"docker/stand-in/{each.name}" for each in sorted(paths.STAND_IN_DIR.glob("*.*"))),
    ],
)
def test_stand_in_of_other_files_is_another_one(tree: Path, name: str) -> None:
    """A stand-in of other files is never taken for this clone's."""
    before = stand_in_name()

    changed(tree / name)

    assert stand_in_name() != before


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("numpy\n", "numpy >=2  # a comment\n", False),
        ("numpy\n", "numpy  # a comment\n", True),
        ("--requirement", "--constraint", True),
        ("dependencies", "others", False),
    ],
    ids=["conda package", "comment", "pip package", "no list"],
)
def test_stand_in_is_another_one_where_its_channel_is(tree: Path, old: str, new: str, same: bool) -> None:  # noqa: FBT001
    """Of environment.yml only the conda packages count."""
    (tree / "environment.yml").write_text("dependencies:\n- numpy\n- pip:\n  - --requirement x.txt\n")
    before = stand_in_name()
    text = (tree / "environment.yml").read_text()

    (tree / "environment.yml").write_text(text.replace(old, new))

    assert (stand_in_name() == before) is same


def test_stand_in_of_another_system_is_another_one(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another release or architecture of the host makes another stand-in."""
    before = stand_in_name()

    monkeypatch.setattr(base, "system", lambda: "debian trixie riscv64")

    assert stand_in_name() != before


# This clone's own image


INPUTS = [
    *("environment.yml", "requirements.txt", "postBuild"),
    *("docker/Dockerfile", "docker/activate.sh", "docker/create-user.sh", "docker/entrypoint.sh"),
    "docker/jupyter_server_config.py",
]


def test_inputs_are_what_the_dockerfile_copies(tree: Path) -> None:
    """Every file that a COPY names is an input; .dockerignore lets in exactly these."""
    text = (tree / "docker" / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        word
        for line in re.findall(r"^COPY(?! --from)(.*)$", text, re.MULTILINE)
        for word in line.split()[:-1]
        if not word.startswith("--")
    }

    found = made_from()

    assert {str(path.relative_to(tree)) for name in copied for path in tree.glob(name)} <= set(found)
    assert set(INPUTS) <= set(found)


@pytest.mark.parametrize("name", INPUTS)
def test_changed_input_is_named(tree: Path, name: str) -> None:
    """A file that enters the build and was changed is the one that differs, no other."""
    before = made_from()

    changed(tree / name)

    after = made_from()
    assert {key for key in after if after[key] != before[key]} == {name}


@pytest.mark.parametrize(
    ("text", "added"),
    [
        ("*\n!/environment.yml", {"environment.yml"}),
        ("*\n!./environment.yml", {"environment.yml"}),
        ("*\n! environment.yml", {"environment.yml"}),
        ("\ufeff*\n!environment.yml\n#!requirements.txt", {"environment.yml"}),
        ("*\n!mine", {"mine/a.py", "mine/deep/b.py"}),
        ("*\n!mine/", {"mine/a.py", "mine/deep/b.py"}),
        ("*\n!mine/*", {"mine/a.py", "mine/deep/b.py"}),
        ("*\n!mine/*.py", {"mine/a.py"}),
        ("*\n!mine\nmine/deep", {"mine/a.py"}),
        ("*\n!**/b.py", {"mine/deep/b.py"}),
        ("*\n!mine/dee?\n**/b.py", set()),
        ("*\n!mine/[ab].py", {"mine/a.py"}),
        ("*\n!mine/[", set()),
    ],
)
def test_lines_let_in_what_they_let_into_a_build(tree: Path, text: str, added: set[str]) -> None:
    """A line may begin with a slash, name a folder with all that is in it, and take back what one above let in."""
    (tree / "mine" / "deep").mkdir(parents=True)
    (tree / "mine" / "a.py").touch()
    (tree / "mine" / "deep" / "b.py").touch()

    (tree / ".dockerignore").write_text(text, encoding="utf-8")

    assert set(made_from()) == {"the base image", "the user", "docker/Dockerfile", *added}


@pytest.mark.parametrize(
    ("values", "base_id", "names"),
    [
        ({**VALUES, "UID": "7"}, "sha256:1", {"the user"}),
        ({**VALUES, "USER": "bob"}, "sha256:1", {"the user"}),
        (VALUES, "sha256:2", {"the base image"}),
        ({**VALUES, "HTTP_PROXY": "http://other:1", "JUPYTER_PORT": "9000"}, "sha256:1", set()),
    ],
    ids=["uid", "name", "base image", "no input of an image"],
)
def test_changed_value_is_named(tree: Path, values: dict[str, str], base_id: str, names: set[str]) -> None:
    """Who you are and the base count; what only the way to the network is does not."""
    before, after = made_from(), made_from(values, base_id)

    assert {key for key in after if after[key] != before[key]} == names


def test_touched_and_foreign_files_are_no_change(tree: Path) -> None:
    """Neither a new time of a file nor a file that does not enter the build makes an image old."""
    before = made_from()

    (tree / "environment.yml").touch()
    changed(tree / "docker" / "docker-compose.yml")

    assert made_from() == before


def test_missing_input_is_no_traceback(tree: Path) -> None:
    """What is gone differs from what was there: a file of .dockerignore is left out, the Dockerfile counts as empty."""
    before = made_from()
    (tree / "postBuild").unlink()
    (tree / "docker" / "Dockerfile").unlink()

    after = made_from()

    assert set(before) - set(after) == {"postBuild"}
    assert after["docker/Dockerfile"] != before["docker/Dockerfile"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"image": "sha256:1", "inputs": {"postBuild": "ab"}}', Built("sha256:1", {"postBuild": "ab"})),
        (None, Built()),
        ("", Built()),
        ("[]", Built()),
        ('{"image": "sha256:1"}', Built()),
        ('{"image": "sha256:1", "inputs": ["postBuild"]}', Built()),
    ],
    ids=["written", "missing", "empty", "a list", "half", "other inputs"],
)
def test_last_build_is_what_is_written_down(tree: Path, text: str | None, expected: Built) -> None:
    """A record that is missing or broken is none: the image is then built again, from the cache."""
    if text is not None:
        (tree / "docker" / ".built.json").write_text(text, encoding="utf-8")

    assert images.last_build(Seen()) == expected


@pytest.mark.parametrize(
    ("values", "base_id", "base_name", "name", "same"),
    [
        ({**VALUES, "UID": "7"}, "sha256:2", "base:1", "docker/create-user.sh", True),
        (VALUES, "sha256:1", "base:1", "docker/entrypoint.sh", True),
        (VALUES, "sha256:1", "base:2", "docker/entrypoint.sh", False),
        (VALUES, "sha256:1", "base:1", "postBuild", False),
        (VALUES, "sha256:1", "base:1", "docker/Dockerfile", False),
    ],
    ids=["user and base's id", "entrypoint", "base's name", "postBuild", "Dockerfile"],
)
def test_environment_is_known_by_what_it_is_made_from(
    tree: Path, values: dict[str, str], base_id: str, base_name: str, name: str, *, same: bool
) -> None:
    """Whoever has the same heavy inputs shares its tag: neither the user nor an engine's id of the base is one."""
    before = images.environment_tag(made_from(), "base:1")

    changed(tree / name)

    assert (images.environment_tag(made_from(values, base_id), base_name) == before) is same


@pytest.mark.parametrize("answers", [True, False], ids=["an engine that answers", "no engine"])
def test_image_that_is_not_told_is_missing_only_without_an_engine(
    monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    """A busy engine that gives one answer too late must not be taken for one that lacks the image: it has it."""

    def silent(_: str) -> None:
        raise UnreachableError("timed out")

    monkeypatch.setattr(images, "find", silent)
    told = Engine(Endpoint(""), info={"ServerVersion": "26.1"} if answers else {})
    seen = Seen({clone.project: "study", engine.state: told})

    if answers:
        with pytest.raises(UnreachableError):
            images.own(seen)
    else:
        assert images.own(seen) is None


def test_environment_names_its_base_and_its_lock(tree: Path) -> None:
    """For who scans images; neither clone nor commit, for all that have these inputs share it."""
    digest = f"sha256:{'0' * 64}"
    (tree / "environment.lock").mkdir()
    for name, text in (("b.txt", "b\n"), ("a.txt", "a\n")):
        (tree / "environment.lock" / name).write_text(text, encoding="utf-8")

    def told(base_name: str) -> dict[str, str]:
        return images.labels(Seen({settings.now: settings_of(), base.now: replace(base_of(), name=base_name)}))

    locked = told(f"x/base:1@{digest}")
    shutil.rmtree(tree / "environment.lock")

    assert locked == {
        "org.opencontainers.image.base.name": f"x/base:1@{digest}",
        "org.opencontainers.image.base.digest": digest,
        "conda-pip-docker.lock": "sha256:" + hashlib.sha256(b"a\nb\n").hexdigest(),
    }
    assert told("stand-in:1") == {"org.opencontainers.image.base.name": "stand-in:1"}


# Podman


@pytest.fixture
def podman(tree: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Seen, list[tuple[list[str], str]]]:
    """A clone with Podman's engine, and what is run there: each command, with the Dockerfile that it was given.

    Its package caches are the clone's own.
    """
    ran: list[tuple[list[str], str]] = []

    def run(argv: list[str], *, env: dict[str, str], **_: object) -> runner.Finished:
        assert "--file" not in argv or env["TMPDIR"] == str(tree / "cache" / "conda-pip-docker" / "study")
        file = Path(argv[argv.index("--file") + 1]) if "--file" in argv else None
        ran.append((argv, file.read_text(encoding="utf-8") if file else ""))
        return runner.Finished(tuple(argv), 0, "", "")

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tree / "cache"))
    monkeypatch.setattr(
        removal, "environments", lambda project: [f"{project}-environment:{tag}" for tag in ("old", "new")]
    )
    monkeypatch.setattr(images, "find", lambda name: None)
    made = {"context": str(tree), "dockerfile": "docker/Dockerfile", "args": {"uid": "0", "BASE_IMAGE": None}}
    facts = {
        clone.project: "study",
        compose.model: {"services": {compose.SERVICE: {"build": made}, "db": {"build": {**made, "target": "base"}}}},
        idmap.podman: True,
        images.environment: images.Environment("study-environment", "new", None),
        images.inputs: {},
        settings.now: settings_of(),
    }
    return Seen({**facts, base.now: base_of()}), ran


def test_podman_builds_the_environment_first_and_the_image_on_it(
    podman: tuple[Seen, list[tuple[list[str], str]]],
) -> None:
    """It keeps no layers, so the environment has a name, and the old one goes; Compose's labels find the image."""
    seen, ran = podman

    images.build_own(seen, options=())

    first, second, third = (argv for argv, _ in ran)
    assert first[:5] == second[:5] == ["podman", "build", "--format=docker", "--layers=false", "--http-proxy=false"]
    assert first[first.index("--target") + 1] == "environment"
    assert first[first.index("--tag") + 1] == "docker.io/library/study-environment:new"
    assert {"FLAVOR=study-environment:new", "uid=0"} <= set(second)
    assert second[second.index("--tag") + 1] == f"docker.io/library/study-{compose.SERVICE}"
    assert {f"--label={containers.PROJECT_LABEL}=study", f"--label=com.docker.compose.service={compose.SERVICE}"} <= {
        *second
    }
    assert third[-3:] == ["image", "rm", "study-environment:old"]


def test_podman_is_given_nothing_that_is_dockers_alone(podman: tuple[Seen, list[tuple[list[str], str]]]) -> None:
    """Neither options nor arguments of BuildKit, nor a start interval, at which Podman 4.3 ends a build."""
    seen, ran = podman
    options = ("--load", "--progress=plain", "--no-cache-filter=locked", "--no-cache", "--label", "a=b")

    images.build(seen, paths.DOCKERFILE, tag="r.example/a", arguments={images.CACHES: "study"}, options=options)

    [(argv, text)] = ran
    assert argv[5:9] == ["--label", "a=b", "--tag", "r.example/a"]
    assert "--build-arg" not in argv
    assert "HEALTHCHECK --start-period=60s --interval=30s" in text


def test_podman_builds_other_services_as_compose_declares_them(
    podman: tuple[Seen, list[tuple[list[str], str]]],
) -> None:
    """Each by its own model, under the name that Compose starts it by, and as it was where nothing has changed."""
    seen, ran = podman

    images.build_services(seen, "db", compose.SERVICE)

    assert [argv[argv.index("--tag") + 1] for argv, _ in ran] == [
        "docker.io/library/study-db",
        f"docker.io/library/study-{compose.SERVICE}",
    ]
    assert ["--target=base" in argv for argv, _ in ran] == [True, False]
    assert ["--layers" in argv for argv, _ in ran] == [True, False]
