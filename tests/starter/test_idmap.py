"""Who a container's uid is, by what the engine says of itself; what the tasks make of it is in test_plan.py."""

from types import SimpleNamespace
from typing import Any

import pytest
from observed import ADA, healthy, place, settings

from host_tasks.kit.paths import ROOT
from host_tasks.loop import Seen, examined
from host_tasks.subjects import idmap, mounts
from host_tasks.subjects.idmap import inside


@pytest.mark.parametrize(
    ("kept", "ids", "rootless"),
    [({}, ("1815", "1852"), False), ({"ROOTLESS": "yes"}, ("0", "0"), True), ({"UID": "0"}, ("1815", "1852"), False)],
    ids=["as root", "rootless", "uid 0 by hand"],
)
def test_image_has_the_persons_ids_or_a_rootless_engines(
    kept: dict[str, str], ids: tuple[str, str], *, rootless: bool
) -> None:
    """On this machine the person stays who they are; that files are compared with, and the image is made with `ids`."""
    who, uid, gid = inside(ADA, kept)

    assert (who.user, who.uid, who.gid, who.rootless) == ("ada", 1815, 1852, rootless)
    assert (uid, gid) == ids


def test_engine_that_gives_no_answer_is_no_reason_to_change_ids() -> None:
    """Its own rule tells of it; docker/.env stays as it was, rootless or not."""
    seen = healthy(engine_says={}, settings=settings(ROOTLESS="yes"))

    assert examined(seen, (idmap.ids_fit, idmap.limits)) == []


@pytest.mark.parametrize(("kept", "fix"), [({}, "group_add"), ({"ROOTLESS": "yes"}, "setfacl -m u:1815:rwx")])
def test_folder_of_a_group_is_opened_as_the_engine_can(kept: dict[str, str], fix: str) -> None:
    """A rootless engine knows none of a person's further groups, so to add one to the container would not start it."""
    shared = place(ROOT.parent / "shared", uid=7, gid=1900, mode=0o770, writable=False)
    who, _, _ = inside(ADA, kept)
    seen = healthy(places=(shared,), settings=settings(who=who))

    [finding] = [found for found in mounts.outside(seen) if found]
    assert fix in finding.fix


@pytest.mark.parametrize(("cgroup", "without"), [("1", set(idmap.LIMITS)), ("2", set())])
@pytest.mark.parametrize("rootless", [True, False])
def test_podman_is_known_by_its_own_words(
    monkeypatch: pytest.MonkeyPatch, cgroup: str, without: set[str], *, rootless: bool
) -> None:
    """In Docker's form 4.3 leaves out that it is rootless, and 5.8 too claims limits that cgroup v1 keeps away."""
    of_podman: dict[str, Any] = {"BuildahVersion": "1.28.2", "Rootless": rootless, "SecurityOptions": []}
    told = {**of_podman, "CgroupVersion": cgroup, **dict.fromkeys(idmap.LIMITS, True)}
    monkeypatch.setattr(idmap, "client", lambda: SimpleNamespace(info=lambda: told))
    seen = Seen()

    assert idmap.podman(seen)
    assert idmap.rootless(seen) is rootless
    assert {key for key in idmap.LIMITS if not idmap.info(seen)[key]} == (without if rootless else set())
