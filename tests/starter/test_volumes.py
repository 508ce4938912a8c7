"""Volumes and tmpfs of a person's Compose files: which cannot be written, and which keep nothing."""

from collections.abc import Sequence
from typing import Any

import pytest
from observed import Seen, examined, model, server

from host_tasks import loop
from host_tasks.kit.words import ExitCode
from host_tasks.subjects import containers, services, volumes
from host_tasks.subjects.compose import SERVICE

CACHE = "/home/ada/.cache/huggingface"


def with_volume() -> containers.Container:
    """Return a server that has a volume of the person's, beside our own."""
    return server(volumes={"/home/ada/.jupyter/lab": "settings", CACHE: "study_cache"})


@pytest.mark.parametrize("answer", [b"", f"{CACHE}\n".encode()], ids=["the identity's", "root's"])
def test_volume_is_tried_from_inside(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of the server is asked, of all volumes that can be written but our own."""
    asked: list[Sequence[str]] = []

    def run_in(_: containers.Container, argv: Sequence[str]) -> bytes:
        asked.append(argv)
        return answer

    monkeypatch.setattr(containers, "run_in", run_in)

    found = volumes.unwritable(loop.Seen({containers.ours: (with_volume(),)}))

    assert found == ((CACHE,) if answer else ())
    assert [list(argv[4:]) for argv in asked] == [[CACHE]]


@pytest.mark.parametrize("container", [server(), server(status="exited", volumes={CACHE: "v"})], ids=["none", "ended"])
def test_nothing_is_asked_where_there_is_no_volume(
    container: containers.Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start without volumes of the person's takes no call more."""
    monkeypatch.setattr(containers, "run_in", lambda *_: pytest.fail("asked"))

    assert volumes.unwritable(loop.Seen({containers.ours: (container,)})) == ()


@pytest.mark.parametrize("rule", [volumes.volumes, services.proved], ids=["doctor", "up"])
def test_volume_that_cannot_be_written_fails(rule: loop.Rule) -> None:
    """It is judged like a folder: 77, both values, and the one command that cures."""
    [finding] = list(rule.found(examined(containers=(with_volume(),), unwritable=(CACHE,))))

    assert finding.cause == f"ada (1815:1852) cannot write in {CACHE}, which is the volume study_cache"
    run = "docker run --rm --user=0 --network=none --entrypoint=/bin/chown --volume=study_cache:/volume sha256:i"
    assert finding.fix == f"{run} 1815:1852 /volume && invoke up"
    assert finding.exit_code == ExitCode.PERMISSION


def mounted(**declared: Any) -> Seen:
    """Return an observation of a server that declares this."""
    known = model()
    known["services"][SERVICE].update(declared)
    return examined(model=known)


@pytest.mark.parametrize(
    "declared",
    [
        {"tmpfs": ["/home/ada/app/scratch:size=1g", "/run"]},
        {"volumes": [{"type": "tmpfs", "target": "/home/ada/app/scratch"}, {"type": "tmpfs", "target": "/scratch"}]},
    ],
    ids=["tmpfs", "volumes"],
)
def test_tmpfs_below_the_project_is_told(declared: dict[str, Any]) -> None:
    """Where a person looks for files, one that ends with the container is named; elsewhere it is nobody's surprise."""
    [finding] = volumes.lost.found(mounted(**declared))

    assert (finding.state, finding.cause) == (
        "warn",
        "/home/ada/app/scratch is a tmpfs: what is written there ends with the container",
    )


def test_tmpfs_elsewhere_is_no_fault() -> None:
    """The hardened server has some in its home."""
    assert list(volumes.lost.found(mounted(tmpfs=["/run", "/home/ada/.cache:size=1m"]))) == []
