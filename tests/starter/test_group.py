"""Tests of host_tasks.subjects.engine: a membership in group docker that is younger than the login."""

import os
import shlex
import shutil
import sys
from types import SimpleNamespace

import pytest

from host_tasks.loop import Seen
from host_tasks.subjects import engine

grp = pytest.importorskip("grp")
pwd = pytest.importorskip("pwd")


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What this process becomes; outside a test, execvp does not return."""
    found: list[list[str]] = []
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name="staff"))
    monkeypatch.setattr(os, "execvp", lambda file, argv: found.append(argv))
    monkeypatch.setattr(sys, "orig_argv", ["python3", "tasks.py", "up", "it's"])
    monkeypatch.setenv(engine.IN_GROUP_MARK, "")
    return found


def test_same_command_runs_again_with_the_group(executed: list[list[str]]) -> None:
    """A new member need not log in again: the same command runs with the group, under the old primary group."""
    engine.join(Seen())

    [[_, name, _, command]] = executed
    _, *inner = shlex.split(command)
    assert (name, inner[:3]) == ("docker", ["sg", "staff", "-c"])
    assert shlex.split(inner[3]) == ["exec", sys.executable, "tasks.py", "up", "it's"]


@pytest.mark.parametrize("why", ["ran before", "no sg", "group without a name"])
def test_command_runs_again_once_and_only_where_it_can(
    executed: list[list[str]], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Where the group did not help, or nothing gives it, this returns: the next round says what to do."""
    if why == "ran before":
        monkeypatch.setenv(engine.IN_GROUP_MARK, "1")
    elif why == "no sg":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    else:
        monkeypatch.setattr(grp, "getgrgid", {}.__getitem__)

    engine.join(Seen())

    assert executed == []


@pytest.mark.parametrize(
    ("members", "gid", "expected"),
    [(["ada"], 987654, True), (["bob"], 987654, False), (["ada"], os.getgid(), False)],
    ids=["waits", "no member", "has it"],
)
def test_membership_waits_for_a_login(
    monkeypatch: pytest.MonkeyPatch, members: list[str], gid: int, *, expected: bool
) -> None:
    """The group database is ahead of this process only where it names the caller and the process has not the group."""
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="ada"))
    monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_mem=members, gr_gid=gid))

    assert engine.waits_for_group() is expected


def test_no_group_docker_is_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the group has nobody waiting for it."""
    monkeypatch.setattr(grp, "getgrnam", {}.__getitem__)

    assert engine.waits_for_group() is False
