"""Tests of host_tasks.decide.build_failure: the cause of a failed build, out of what the builder says."""

import pytest

from host_tasks.act.steps import build_failed
from host_tasks.decide.build_failure import cause_of_failed_build
from host_tasks.ground.errors import ExitCode

UNREACHED = "#9 1.0 error: Could not resolve host: index.example"
STEP = 'process "/bin/bash -o pipefail -c conda env create" did not complete successfully: exit code: 1'


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            f"#10 28.52 ERROR: No matching distribution found for x\n#10 28.53 failed\n#10 ERROR: {STEP}",
            "No matching distribution found for x",
        ),
        (
            f"28.52 ERROR: first\n28.52 ERROR: No matching distribution found for x\n------\nfailed to solve: {STEP}",
            "No matching distribution found for x",
        ),
        (
            f"#9 2.1 PackagesNotFoundError: The following packages are missing:\n#9 ERROR: {STEP}",
            "The following packages are missing:",
        ),
        (f"#9 ERROR: {STEP}\nfailed to solve: {STEP}", "a step of the build ended with exit code: 1 and said nothing"),
        ("yaml: line 3: did not find expected key\n\n", "yaml: line 3: did not find expected key"),
        ("Error response from daemon: pull access denied\n", "Error response from daemon: pull access denied"),
        (" \n", "the build said nothing"),
    ],
    ids=["pip", "pip-on-a-terminal", "conda", "no-words", "compose", "engine", "silence"],
)
def test_cause_of_a_failed_build_is_what_its_step_said(said: str, cause: str) -> None:
    """The last error that a step itself printed, not the builder's line that names the command alone."""
    error = build_failed(said, {})

    assert (cause_of_failed_build(said), error.problem, error.code) == (cause, cause, ExitCode.SOFTWARE)


def test_full_disk_is_told_wherever_it_is_said() -> None:
    """BuildKit's last line hides it (exit code 1): the cause is a screen above."""
    error = build_failed(f"#9 3.1 cp: error writing 'x': No space left on device\nfailed to solve: {STEP}", {})

    assert (error.problem, error.code) == ("the disk is full", ExitCode.IO)


@pytest.mark.parametrize(
    ("said", "values", "more"),
    [
        (UNREACHED, {}, ""),
        (UNREACHED, {"NO_PROXY": "", "USER": "ada"}, " (the build goes through NO_PROXY= of docker/.env)"),
        (
            UNREACHED,
            {"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://me:secret@p:2"},
            " (the build goes through HTTP_PROXY=http://p:1, HTTPS_PROXY=http://****@p:2 of docker/.env)",
        ),
        ("#9 1.0 error: no such package", {"HTTP_PROXY": "http://p:1"}, ""),
        ("#9 1.0 ERROR: ResolutionImpossible: for help visit x", {"HTTP_PROXY": "http://p:1"}, ""),
    ],
    ids=["no proxy", "empty", "two, one with a password", "another failure", "pip found no versions"],
)
def test_build_that_reached_no_address_names_its_proxy(said: str, values: dict[str, str], more: str) -> None:
    """A proxy of an earlier shell in docker/.env is what nobody thinks of; its password is not shown."""
    assert build_failed(said, values).problem == f"{cause_of_failed_build(said)}{more}"
