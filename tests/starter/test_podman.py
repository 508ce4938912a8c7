"""What is another way with Podman: how its health is asked for, and how its images are called."""

from types import SimpleNamespace
from typing import Any

import pytest
from observed import healthy, server

from host_tasks.kit import runner
from host_tasks.subjects import compose, containers, removal, services


def test_podman_is_asked_for_the_health_of_what_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without systemd it never looks by itself, and `up` would wait until its time is over."""
    asked: list[str] = []
    monkeypatch.setattr(compose, "call", lambda *_, **__: runner.Finished((), 0, "", ""))
    monkeypatch.setattr(containers, "services", lambda _: (server(health="healthy" if asked else "starting"),))
    monkeypatch.setattr(containers, "look_after", lambda container: asked.append(container.id))
    monkeypatch.setattr(services, "WAIT_S", 1.0)

    ended = services.start(healthy(podman=True))

    assert (ended.ok, asked) == (True, ["lab"])


def test_image_is_called_as_docker_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Podman puts its registry before each name: what has a clone's name is found all the same, and removed."""
    name = "docker.io/library/study-1a2b3c4d-environment:e1-amd64"
    listed: Any = [{"Id": "sha256:e", "RepoTags": [name], "Names": [name]}]
    api = SimpleNamespace(images=lambda **_: listed)
    monkeypatch.setattr(removal, "client", lambda: SimpleNamespace(api=api))

    found = removal.everything("study-1a2b3c4d", kinds=("images",))

    assert set(found["images"]) == {"study-1a2b3c4d-environment:e1-amd64"}
    assert removal.environments("study-1a2b3c4d") == ["study-1a2b3c4d-environment:e1-amd64"]
