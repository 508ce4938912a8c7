"""The stand-in's channel: make_channel.py in the image that it made, where conda and its own imports are."""

import json
import subprocess
from typing import Any

import pytest
from conftest import ROOT, Clone, docker

from host_tasks.subjects.base import STAND_IN

# It prints what each function answers, for the tests below to judge.
SCRIPT = r"""
import email, io, json, sys, tempfile, zipfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, "/opt/stand-in")
import make_channel as made
from conda.models.match_spec import MatchSpec

asked = json.loads(ASKED)


def message(*required):
    return email.message_from_string("".join(f"Requires-Dist: {each}\n" for each in required))


def wheel(folder, name, version, *required, files=(), scripts=""):
    path = Path(folder) / f"{name}-{version}-py3-none-any.whl"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    head += "".join(f"Requires-Dist: {each}\n" for each in required)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}-{version}.dist-info/METADATA", head)
        if scripts:
            archive.writestr(f"{name}-{version}.dist-info/entry_points.txt", scripts)
        for member, content in files:
            archive.writestr(member, content)
    return path


def mismatch(spec):
    return made.python_mismatch([MatchSpec(spec)])


with tempfile.TemporaryDirectory() as folder:
    environment = Path(folder) / "environment.yml"
    environment.write_text("dependencies:\n  - numpy >=2\n  - pip\n  - pip:\n      - tabulate\n")
    files = [("a/x.py", "x"), ("a-1.data/scripts/run", "#!python\nprint(1)"), ("a-1.data/data/share/a.txt", "y")]
    a = wheel(folder, "a", "1", "B[fast] >=2", files=files, scripts="[console_scripts]\na = a:main [fast]\n")
    b = wheel(folder, "b", "2", "c; extra == 'fast'", "d; extra == 'slow'", "e; python_version < '3'")
    package = made.from_wheel(a, ("python", "b"))
    channel = Path(folder) / "channel"
    (channel / "noarch").mkdir(parents=True)
    entry = made.write(package, channel)
    print(json.dumps({
        "python": made.PYTHON,
        "requirement": {spec: made.requirement(MatchSpec(spec)) for spec in asked["requirement"]},
        "prefix_path": {member: made.prefix_path(member, "a-1.data/") for member in asked["prefix_path"]},
        "console_scripts": {text: made.console_scripts(text) for text in asked["console_scripts"]},
        "mismatch": {spec: mismatch(spec) for spec in asked["mismatch"]},
        "asked_for": [str(spec) for spec in made.asked_for(environment)],
        "dependencies": [r.name for r in made.dependencies(message("x", "y; extra == 'e'", "z; extra == 'f'"), ["e"])],
        "wheel_dependencies": made.wheel_dependencies({"a": a, "b": b}),
        "aliases": [p.record() for p in made.aliases([*map(MatchSpec, ("matplotlib-base", "b"))], {"matplotlib": a})],
        "files": {path: [content.decode(), mode] for path, (content, mode) in package.files.items()},
        "link": made.info(package)["link.json"],
        "entry": asdict(entry),
        "size": (channel / "noarch" / "a-1-wheel_0.conda").stat().st_size,
        "system_python": {"links": made.system_python().links, "record": made.system_python().record()},
    }))
"""

REQUIREMENTS = {
    "numpy": "numpy",
    "numpy *": "numpy",
    "pandas >=2.2": "pandas>=2.2",
    "jupyterlab >=4.4,<5": "jupyterlab>=4.4,<5",
    "numpy=1.26": "numpy==1.26.*",
    "numpy 1.26.*": "numpy==1.26.*",
    "numpy=1.26.*": "numpy==1.26.*",
    "numpy==1.26.4": "numpy==1.26.4",
    "numpy 1.26.4": "numpy==1.26.4",
    "numpy !=1.26.1,>=1.26": "numpy!=1.26.1,>=1.26",
    "numpy ~=1.26": "numpy~=1.26",
    "numpy >=1.26.*": "numpy>=1.26",
    "conda-forge::numpy >=2": "numpy>=2",
    "matplotlib-base >=3.9": "matplotlib>=3.9",
    "pytorch": "torch",
}
PATHS = {
    "a/x.py": "site-packages/a/x.py",
    "a-1.dist-info/METADATA": "site-packages/a-1.dist-info/METADATA",
    "a-1.data/purelib/a/y.py": "site-packages/a/y.py",
    "a-1.data/platlib/a/z.so": "site-packages/a/z.so",
    "a-1.data/scripts/run": "python-scripts/run",
    "a-1.data/headers/a.h": "include/a.h",
    "a-1.data/data/share/a/b.txt": "share/a/b.txt",
}
SCRIPTS = {
    "[console_scripts]\njupyter-lab = jupyterlab.labapp:main\n": ["jupyter-lab = jupyterlab.labapp:main"],
    "[console_scripts]\na = a:main [fast,slow]\n": ["a = a:main"],
    "[gui_scripts]\nG = g.ui:Main\n[console_scripts]\nc=c:m\n": ["c = c:m", "G = g.ui:Main"],
    "[pytest11]\nx = y\n": [],
    "[console_scripts]\npercent = a:%(b)s\n": ["percent = a:%(b)s"],
}
MISMATCHES = ["python", "python >=3.10", "python <3", "python 2.7.*", "numpy <1"]


@pytest.fixture(scope="module")
def answers(built: Clone) -> dict[str, Any]:
    """What the functions of make_channel.py answer inside the stand-in of this clone."""
    image = built.values().get("BASE_IMAGE", "")
    if not image.startswith(f"{STAND_IN}:"):
        pytest.skip("the published base image is in use here: there is no stand-in")
    questions = {
        "requirement": list(REQUIREMENTS),
        "prefix_path": list(PATHS),
        "console_scripts": list(SCRIPTS),
        "mismatch": MISMATCHES,
    }
    script = f"ASKED = {json.dumps(questions)!r}\n{SCRIPT}"
    # The file of this commit, also where the image is that of another one.
    mounted = f"type=bind,readonly,source={ROOT}/docker/stand-in/make_channel.py,target=/opt/stand-in/make_channel.py"
    argv = ["docker", "run", "--rm", "--interactive", "--network", "none", "--mount", mounted, image, "python", "-"]
    done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("spec", REQUIREMENTS)
def test_conda_specification_is_written_as_pip_reads_it(answers: dict[str, Any], spec: str) -> None:
    """What environment.yml asks of conda is asked of PyPI in its own words."""
    assert answers["requirement"][spec] == REQUIREMENTS[spec]


@pytest.mark.parametrize("member", PATHS)
def test_member_of_a_wheel_goes_where_it_belongs(answers: dict[str, Any], member: str) -> None:
    """Each kind of file of a wheel has its place in a prefix (PEP 427)."""
    assert answers["prefix_path"][member] == PATHS[member]


@pytest.mark.parametrize("text", SCRIPTS)
def test_entry_points_become_scripts(answers: dict[str, Any], text: str) -> None:
    """Console and window scripts are linked, in their spelling and without their extras; plugins are not."""
    assert answers["console_scripts"][text] == SCRIPTS[text]


def test_python_of_the_system_has_to_fit(answers: dict[str, Any]) -> None:
    """A python that the stand-in does not have is named with both versions; every other package is no matter here."""
    wrong = {spec: reason for spec, reason in answers["mismatch"].items() if reason}

    assert set(wrong) == {"python <3", "python 2.7.*"}
    assert wrong["python <3"].endswith(f"but the stand-in's Python is the system's {answers['python']}")


def test_pip_section_is_not_asked_of_conda(answers: dict[str, Any]) -> None:
    """The channel holds conda's packages; pip finds its own."""
    assert answers["asked_for"] == ["numpy[version='>=2']", "pip"]


def test_dependencies_are_those_of_this_machine_and_the_wanted_extras(answers: dict[str, Any]) -> None:
    """A marker that does not hold here, or an extra that nobody wants, requires nothing."""
    assert answers["dependencies"] == ["x", "y"]
    assert answers["wheel_dependencies"] == {"a": ["python", "b"], "b": ["python", "c"]}


def test_name_that_pypi_spells_otherwise_is_an_empty_package(answers: dict[str, Any]) -> None:
    """Only names that differ get one; it depends on the real package."""
    (alias,) = answers["aliases"]

    assert (alias["name"], alias["depends"], alias["noarch"]) == ("matplotlib-base", ["matplotlib"], "generic")


def test_wheel_becomes_a_package(answers: dict[str, Any]) -> None:
    """Files, a script's first line and its permission, the entry points, and the record with its digest and size."""
    files = answers["files"]

    assert files["site-packages/a/x.py"] == ["x", 0o644]
    assert files["python-scripts/run"] == ["#!/usr/bin/env python\nprint(1)", 0o755]
    assert files["share/a.txt"] == ["y", 0o644]
    assert answers["link"]["noarch"] == {"type": "python", "entry_points": ["a = a:main"]}
    record = answers["entry"]["record"]
    assert (record["name"], record["version"], record["depends"]) == ("a", "1", ["b", "python"])
    assert (answers["entry"]["file_name"], record["size"]) == ("a-1-wheel_0.conda", answers["size"])


def test_python_of_the_channel_is_the_systems(answers: dict[str, Any]) -> None:
    """It is for this machine only, and its interpreter a link to the system's own."""
    short = ".".join(answers["python"].split(".")[:2])

    assert answers["system_python"]["links"]["bin/python"] == f"/usr/bin/python{short}"
    assert "noarch" not in answers["system_python"]["record"]


def test_stand_in_has_conda_where_the_published_image_has_it(built: Clone) -> None:
    """The environment's stage finds conda in /opt/conda in either image."""
    image = f"{built.project}-jupyterlab-server"
    script = "/opt/conda/bin/conda --version; readlink -f /opt/conda"

    version, folder = docker("run", "--rm", image, "sh", "-c", script).splitlines()

    assert version.startswith("conda ")
    assert folder == "/opt/conda"
