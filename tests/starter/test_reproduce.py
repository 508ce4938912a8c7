"""Notebooks that are run anew: what the container gets, what is asked before, and what is read of its report."""

import json
import subprocess
from pathlib import Path

import observed
import pytest
import reproduce as inside

from host_tasks.extras import reproduce
from host_tasks.kit.words import HostError
from host_tasks.loop import FAIL, OK, plan

HOME, OWNER = "/home/ada/app", "uid=1815,gid=1852"


def bind(name: str, **differs: object) -> dict[str, object]:
    """Return a folder of the model's, mounted in the project."""
    return {"type": "bind", "source": f"/study/{name}", "target": f"{HOME}/{name}", **differs}


def test_container_has_no_network_and_none_of_the_five_folders() -> None:
    """Data, and what else is mounted, is read-only; limits and hardening are those of JupyterLab."""
    volumes = [bind("data"), bind("notebooks"), bind("results"), {"type": "volume", "target": "/lab"}]
    good = {"cap_drop": ["ALL"], "mem_limit": 1, "tmpfs": ["/run/mine"], "image": "i"}
    server = {**good, "volumes": volumes, "networks": {"default": None}, "ports": [8888], "depends_on": {"db": {}}}
    model = {"name": "study", "services": {"jupyterlab-server": server, "db": {}}, "volumes": {"lab": {}}}

    found = reproduce.isolated(model, HOME, OWNER, {"reproduce.py": Path("/a"), "results": Path("/r")})

    place = "/opt/reproduce"
    alone = found["services"].pop("jupyterlab-server")
    assert found == {"name": "study", "services": {}}
    assert alone == {
        **good,
        "network_mode": "none",
        "tmpfs": ["/run/mine", *(f"{HOME}/{name}:exec,{OWNER}" for name in inside.FOLDERS)],
        "volumes": [
            bind("data", read_only=True),
            {"type": "bind", "source": "/a", "target": f"{place}/reproduce.py", "read_only": True},
            {"type": "bind", "source": "/r", "target": f"{place}/results", "read_only": False},
        ],
    }
    assert (place, reproduce.NAME, reproduce.FRESH) == (str(inside.PLACE), inside.NAME, inside.FOLDERS)


@pytest.mark.parametrize(("changed", "state"), [((), OK), (("src/a.py", "b", "c", "d"), FAIL)])
def test_files_have_to_be_those_of_the_last_commit(changed: tuple[str, ...], state: str) -> None:
    """What another person gets is run; the fix takes the files as they are."""
    seen = observed.Seen(uncommitted=changed)

    [finding] = reproduce.committed.found(seen)

    assert finding.state == state
    if changed:
        assert finding.cause == "not as the last commit has it: src/a.py, b, c and 1 more"
        assert finding.fix == "invoke reproduce --as-is"
        assert plan(seen, (reproduce.committed,)).problem


def test_archive_holds_the_commit_and_goes_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was changed since, and what is beside the five folders, is not in it."""
    monkeypatch.setattr(reproduce, "DOCKER_DIR", tmp_path)
    monkeypatch.setattr("host_tasks.kit.git.ROOT", tmp_path)
    for name in ("src/a", "data/b", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old", encoding="utf-8")
    person = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "core.hooksPath=/dev/null")
    for words in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message=m")):
        subprocess.run(["git", *person, *words], cwd=tmp_path, check=True)
    (tmp_path / "src" / "a").write_text("new", encoding="utf-8")

    with reproduce.commit() as archive:
        listed = subprocess.run(["tar", "tf", archive], capture_output=True, text=True, check=True).stdout
        text = subprocess.run(["tar", "xOf", archive, "src/a"], capture_output=True, text=True, check=True).stdout

    assert (listed.split(), text) == (["src/", "src/a"], "old")
    assert not archive.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"notebooks": [{"cells": [[]]}]}', "[" * 100_000])
def test_report_that_is_none_is_one_error(content: str, tmp_path: Path) -> None:
    """What the container leaves is not trusted to be a report; one that is one is read."""
    path = tmp_path / "reproduced.json"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(HostError) as raised:
        reproduce.told(tmp_path)

    cell = {"cell": 1, "state": "differs", "why": "\x1b[2J"}
    path.write_text(json.dumps({"notebooks": [{"notebook": "a", "state": "differs", "cells": [cell]}]}))
    assert raised.value.code == 65
    assert "\x1b" not in reproduce.text(reproduce.told(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("a 0.30000000000000004", "a 0.3", None),
        ("a 0.31", "a 0.3", "number"),
        ("1000000000000000", "1000000000000001", "number"),
        ("-1.5e-9", "1.5e-9", "number"),
        ("0x7f12", "0x7f13", "text"),
        ("1.2.3", "1.2.4", "text"),
        ("1", "a", "text"),
        ("1e999", "2e999", None),
        ("nan", "0.0", "text"),
        ("a", "a\nb", "text"),
    ],
)
def test_texts_are_the_same_but_for_the_noise_of_numbers(old: str, new: str, kind: str | None) -> None:
    """A whole number is exact, one with a point may differ by the tolerance, and all else by nothing."""
    found = inside.of_texts(old, new, 1e-12)

    assert (found and found[0]) == kind


def test_output_that_is_gone_or_new_is_a_difference() -> None:
    """It is named; equal ones are none."""
    assert inside.difference({"stdout": "a"}, {"stdout": "a"}, 0) is None
    assert inside.difference({"stdout": "a"}, {}, 0) == ("text", "stdout is no longer there")
    assert inside.difference({}, {"image/png": "a"}, 0) == ("picture", "image/png is new")
    assert inside.difference({"image/png": "a"}, {"image/png": "b"}, 0) == (
        "picture",
        "image/png: its bytes differ",
    )
