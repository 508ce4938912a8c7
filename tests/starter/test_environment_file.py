"""Tests of host_tasks.subjects.environment: what environment.yml asks for, and which line of it is wrong."""

import pytest
from observed import healthy
from person_files import Environment, FaultError, read_environment

from host_tasks.kit.paths import ENVIRONMENT_YML
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.subjects.environment import asked, missing


def test_own_file_is_read() -> None:
    """The project's own environment.yml has a channel, packages and a pip section."""
    found = read_environment(ENVIRONMENT_YML.read_text(encoding="utf-8"))

    assert [*found.channels] == ["conda-forge"]
    assert "numpy" in found.conda
    assert [*found.pip] == ["--requirement requirements.txt"]


def test_scalars_stay_as_written() -> None:
    """Python 3.10 is not 3.1, `yes` is no boolean, and each package knows its line."""
    text = "channels: [c]\ndependencies:\n- python=3.10\n- pip:\n  - x\nvariables:\n  A: yes\n  B: 1.10\n"

    found = read_environment(text)

    assert found == Environment({"c": 1}, {"python=3.10": 3}, {"x": 5}, {"A": "yes", "B": "1.10"})


@pytest.mark.parametrize(
    "spec",
    [
        *(
            "numpy",
            "NumPy",
            "numpy 2.4",
            "numpy=2.4",
            "numpy==2.4",
            "numpy=2.4.*",
            "numpy =2.4",
            "numpy>=2",
            "numpy >= 2",
        ),
        *("numpy >=1,<2", "numpy >=1, <2", "numpy ~=2.1", "numpy !=2.1,>=2", "numpy>=1|<0.5", "numpy (>=1)"),
        *("numpy=1.26.4=py311h64a7726_0", "numpy 1.26.4 py311h64a7726_0", "blas=*=mkl", "numpy=*=*openblas*"),
        *("numpy >=1,<2 *_cpython", "conda-forge::numpy", "conda-forge/linux-64::numpy=2", "numpy[version='>=1']"),
        *("https://x.example/c/noarch/a-1-0.conda", "r-base=4.4", "_libgcc_mutex=0.1=conda_forge", "x264=1!164.3095"),
        *(
            "pytorch=2.4.*=cuda120*",
            "python=3.11.*",
            "jpeg=9e",
            "tzdata=2024a=h8827d51_1",
            "perl=5.32.1=7_hd590300_perl5",
        ),
    ],
)
def test_specification_that_conda_takes_is_taken(spec: str) -> None:
    """What conda reads as a package, an export's build strings too, is no fault."""
    assert read_environment(f"dependencies:\n  - {spec}\n").conda == {spec: 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "environment.yml:1: the file is empty"),
        ("# nothing\n", "environment.yml:1: the file is empty"),
        ("- numpy\n", "environment.yml:1: there is no `dependencies:`"),
        ("channels:\n  - conda-forge\n", "environment.yml:1: there is no `dependencies:`"),
        ("channels:\n  - a\ndependencies:\n", "environment.yml:3: `dependencies:` has no packages"),
        ("dependencies: null\n", "environment.yml:1: `dependencies:` has no packages"),
        ("dependencies: []\n", "environment.yml:1: `dependencies:` has no packages"),
        ("dependencies: numpy\n", "environment.yml:1: `dependencies:` is not a list"),
        ("dependencies:\n\t- numpy\n", "environment.yml:2: a tab"),
        ("dependencies:\n  - numpy\n - pandas\n", "environment.yml:3: `- pandas` does not fit the lines above"),
        ("channels:\n  - a\n  dependencies:\n  - numpy\n", "environment.yml:3: `dependencies:` does not fit"),
        (
            "dependencies:\n- a\ndependencies:\n- b\n",
            "environment.yml:3: `dependencies:` is there twice, first in line",
        ),
        ("dependencies:\n- numpy\n- pandas<<2\n", "environment.yml:3: `pandas<<2` is no package"),
        ("dependencies:\n- numpy >\n", "environment.yml:2: `numpy >` is no package"),
        ("dependencies:\n- numpy: 1.2\n", "environment.yml:2: `numpy: 1.2` is a mapping"),
        ("dependencies:\n- numpy: '>=2'\n", "environment.yml:2: `numpy: >=2` is a mapping"),
        ("dependencies:\n- - numpy\n", "environment.yml:2: a list in the list"),
        ("dependencies:\n-\n- numpy\n", "environment.yml:2: a package has to be"),
        ("dependencies:\n- pip:\n    x: 1\n", "environment.yml:3: `pip:` is not a list"),
        ("dependencies:\n- pip: -r requirements.txt\n", "environment.yml:2: `pip:` is not a list"),
        ("dependencies:\n- pip:\n  - a: 1\n", "environment.yml:3: a pip package has to be"),
        ("channels: conda-forge\ndependencies:\n- a\n", "environment.yml:1: `channels:` is not a list"),
        ("dependencies:\n- a\nvariables:\n- A=1\n", "environment.yml:4: `variables:` is not lines of `NAME: value`"),
        ("dependencies:\n- 'numpy\n", "environment.yml:"),
        ("dependencies:\n- a\x07\n", "environment.yml:2: the character"),
        ("dependencies:\n- *undefined\n", "environment.yml:2: found undefined alias"),
    ],
)
def test_fault_is_named_with_its_line(text: str, says: str) -> None:
    """What cannot be read is the line and the words, never a traceback (65)."""
    with pytest.raises(HostError) as refusal:
        asked(healthy(environment_yml=text))

    assert refusal.value.problem.startswith(says)
    assert refusal.value.code == ExitCode.DATA


def test_mapping_is_written_as_a_package() -> None:
    """The error shows how the version is written."""
    with pytest.raises(FaultError, match=r"written `numpy=1\.2`"):
        read_environment("dependencies:\n- numpy: 1.2\n")


def test_missing_file_is_found_under_its_other_names() -> None:
    """A project with environment.yaml is told to rename it; one without either, where to get it."""
    assert missing(["environment.yaml", "x"]).fix == "mv environment.yaml environment.yml"
    assert (missing([]).problem, missing([]).code) == ("there is no environment.yml", ExitCode.CONFIG)
