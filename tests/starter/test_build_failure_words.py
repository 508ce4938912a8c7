"""Tests of host_tasks.subjects.build_failure: what each program says, and what a person is told of it."""

import pytest

from host_tasks.subjects.build_failure import cause_of_failed_build

# ruff: noqa: E501, RUF001, S108 # lines, quotes and paths are as those programs write them


STEP = 'process "/bin/bash -o pipefail -c conda env create" did not complete successfully: exit code: 1'


def step(text: str, number: int = 11) -> str:
    """Return what Compose prints of a step that said a text and failed, between the lines of another step."""
    said = "".join(f"#{number} 1.{index:03} {line}\n" for index, line in enumerate(text.splitlines()))
    other = "#4 0.1 error: of another step that went on\n"
    return (
        f"{other}{said}{other}#{number} ERROR: {STEP}\n------\n > [env 2/6] RUN x:\n------\nfailed to solve: {STEP}\n"
    )


PIP_FRAME = """\
  error: subprocess-exited-with-error

  × Getting requirements to build wheel did not run successfully.
  │ exit code: 1
  ╰─> [18 lines of output]
      Traceback (most recent call last):
      ModuleNotFoundError: No module named 'numpy'
      [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
ERROR: Failed to build 'old-package' when getting requirements to build wheel
"""
NO_PG_CONFIG = """\
  × Getting requirements to build wheel did not run successfully.
  │ exit code: 1
  ╰─> [21 lines of output]
      running egg_info
      Error: pg_config executable not found.

      pg_config is required to build psycopg2 from source.  Please add the directory
      <https://www.psycopg.org/docs/install.html>).
      [end of output]
ERROR: Failed to build 'psycopg2' when getting requirements to build wheel
"""
NO_HEADER = """\
  ╰─> [9 lines of output]
      src/_x.c:3:10: fatal error: libpq-fe.h: No such file or directory
      compilation terminated.
      error: command '/usr/bin/gcc' failed with exit code 1
      [end of output]
  ERROR: Failed building wheel for x
Failed to build x
ERROR: Failed to build installable wheels for some pyproject.toml based projects (x)
"""
DPKG = """\
update-alternatives: error: error creating symbolic link '/usr/share/man/man1/java.1.gz.dpkg-tmp': No such file or directory
dpkg: error processing package openjdk-17-jre-headless:amd64 (--configure):
 installed openjdk-17-jre-headless:amd64 package post-installation script subprocess returned error exit status 2
dpkg: dependency problems prevent configuration of default-jre-headless:
 default-jre-headless depends on openjdk-17-jre-headless; however:
dpkg: error processing package default-jre-headless (--configure):
 dependency problems - leaving unconfigured
Errors were encountered while processing:
 openjdk-17-jre-headless:amd64
 default-jre-headless
E: Sub-process /usr/bin/dpkg returned an error code (1)
"""
NO_COMPILER = """\
  error: subprocess-exited-with-error

  × Building wheel for cpk (pyproject.toml) did not run successfully.
  ╰─> [6 lines of output]
      error: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'
      [end of output]
  ERROR: Failed building wheel for cpk
error: failed-wheel-build-for-install

× Failed to build installable wheels for some pyproject.toml based projects
╰─> cpk
"""
CONFLICT = """\
ERROR: Cannot install a==1 and b==2 because these package versions have conflicting dependencies.

The conflict is caused by:
    a 1 depends on c>2
    b 2 depends on c<2

ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/
"""
TWO_STREAMS = """\
ERROR: Cannot install a>=1 because these package versions have conflicting dependencies.
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/

The conflict is caused by:
    The user requested a>=1
    The user requested (constraint) a<1

Additionally, some packages in these conflicts have no matching distributions available for your environment:
    a
"""
NOT_PINNED = """\
ERROR: In --require-hashes mode, all requirements must have their versions pinned with ==. These do not:
    humanize from https://files.example/humanize-4.17.0-py3-none-any.whl (from -r b.txt (line 2))
"""
OTHER_HASH = """\
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. Someone may have tampered with them.
    tabulate==0.9.0 from https://files.example/tabulate-0.9.0-py3-none-any.whl (from -r a.txt (line 1)):
        Expected sha256 00
             Got        02
"""
INVALID = """\
ERROR: Invalid requirement: 'numpy >>2': Expected semicolon (after name with no version specifier) or end
    numpy >>2
          ^ (from line 1 of d.txt)
"""
CLASSIC = """\
Collecting package metadata (repodata.json): ...working... done
Solving environment: ...working... failed

ResolvePackageNotFound:
  - r-base
  - gh=2
"""
CLASSIC_NOT_FOUND = """\
PackagesNotFoundError: The following packages are not available from current channels:

  - r-base

Current channels:

  - conda-forge
"""
MAMBA = """\
LibMambaUnsatisfiableError: Encountered problems while solving:
  - nothing provides requested r-base 99**

Could not solve for environment specs
The following package could not be installed
└─ r-base 99** does not exist (perhaps a typo or a missing channel).
"""
RATTLER = """\
error: the environment cannot be made: Cannot solve the request because of: The following packages are incompatible
└─ pandas * can be installed with any of the following options:
   └─ pandas 3.1.1 would require
      └─ numpy <1, for which no candidates were found.
"""
GATEWAY = """\
error: the environment cannot be made: error sending request for url (https://c.example/noarch/repodata.json)
Caused by: client error (Connect)
Caused by: dns error
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            "ERROR: Could not find a version (from versions: none)\nERROR: No matching distribution found for x",
            "No matching distribution found for x",
        ),
        (
            CONFLICT,
            "Cannot install a==1 and b==2 because these package versions have conflicting dependencies. a 1 depends on c>2; b 2 depends on c<2",
        ),
        (
            TWO_STREAMS,
            "Cannot install a>=1 because these package versions have conflicting dependencies. The user requested a>=1; The user requested (constraint) a<1",
        ),
        (
            NOT_PINNED,
            "In --require-hashes mode, all requirements must have their versions pinned with ==. These do not: humanize (from -r b.txt (line 2))",
        ),
        (
            OTHER_HASH,
            "THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. Someone may have tampered with them. tabulate==0.9.0 (from -r a.txt (line 1)):; Expected sha256 00; Got        02",
        ),
        (
            INVALID,
            "Invalid requirement: 'numpy >>2': Expected semicolon (after name with no version specifier) or end: numpy >>2",
        ),
        (
            PIP_FRAME,
            "Failed to build 'old-package' when getting requirements to build wheel: ModuleNotFoundError: No module named 'numpy'",
        ),
        (
            NO_PG_CONFIG,
            "Failed to build 'psycopg2' when getting requirements to build wheel: Error: pg_config executable not found.",
        ),
        (
            NO_HEADER,
            "Failed to build installable wheels for some pyproject.toml based projects (x): src/_x.c:3:10: fatal error: libpq-fe.h: No such file or directory",
        ),
        (
            DPKG,
            "dpkg: error processing package openjdk-17-jre-headless:amd64 (--configure): installed openjdk-17-jre-headless:amd64 package post-installation script subprocess returned error exit status 2 update-alternatives: error: error creating symbolic link '/usr/share/man/man1/java.1.gz.dpkg-tmp': No such file or directory",
        ),
        (
            NO_COMPILER,
            "cpk has to be compiled, and the image has no compiler: take it from conda, or name build-essential in apt.txt",
        ),
        (CLASSIC, "ResolvePackageNotFound: r-base; gh=2"),
        (CLASSIC_NOT_FOUND, "The following packages are not available from current channels: r-base"),
        (MAMBA, "Encountered problems while solving: nothing provides requested r-base 99**"),
        (
            RATTLER,
            "the environment cannot be made: Cannot solve the request because of: The following packages are incompatible: pandas * can be installed with any of the following options:; pandas 3.1.1 would require; numpy <1, for which no candidates were found.",
        ),
        (
            "error: the environment cannot be made: No candidates were found for r-base *.",
            "the environment cannot be made: No candidates were found for r-base *.",
        ),
        (
            GATEWAY,
            "the environment cannot be made: error sending request for url (https://c.example/noarch/repodata.json)",
        ),
        ("error: environment.yml:3: there is no list", "environment.yml:3: there is no list"),
        (
            "/tmp/post-build/postBuild: line 4: nbstripout: command not found",
            "/tmp/post-build/postBuild: line 4: nbstripout: command not found",
        ),
        (
            "/tmp/post-build/postBuild: line 6: jupyter: command not found",
            "jupyter: command not found: environment.yml asks for no jupyterlab, and postBuild runs it",
        ),
        (
            "/usr/bin/env: ‘bash\\r’: No such file or directory",
            "a script ends its lines with CR LF, which Linux does not read: see .gitattributes",
        ),
        (
            "/tmp/x: line 2: $'\\r': command not found",
            "a script ends its lines with CR LF, which Linux does not read: see .gitattributes",
        ),
        (
            "E: Unable to locate package nope\nE: Unable to locate package nope2",
            "Unable to locate package nope; Unable to locate package nope2",
        ),
        ("curl: (6) Could not resolve host: x.example", "curl: (6) Could not resolve host: x.example"),
        (
            "fatal: unable to access 'https://h/': Could not resolve host: h",
            "unable to access 'https://h/': Could not resolve host: h",
        ),
        ("OSError: [Errno 28] No space left on device", "no space left on device"),
        (
            "  ERROR: Cannot find command 'git' - do you have 'git' installed and in your PATH?",
            "a requirement of git+... needs git, and the base image has none: name git in apt.txt",
        ),
        ("a word\nthe last words", "the last words"),
    ],
)
def test_cause_is_what_the_failed_step_said(text: str, cause: str) -> None:
    """The header with its items, never a builder's command line, and nothing of a step that ran beside it."""
    assert cause_of_failed_build(step(text)) == cause


def test_cause_is_not_longer_than_a_person_reads() -> None:
    """A list of forty packages is cut."""
    assert len(cause_of_failed_build(step(f"error: {'x' * 1000}"))) == 400


def test_engine_that_went_away_is_no_word_of_a_step() -> None:
    """What the last step said before the engine ended is not why it ended."""
    said = "#12 5.2 error: harmless\n#12 5.3 Successfully installed x\nfailed to receive status: rpc error: EOF\n"

    assert cause_of_failed_build(said) == "failed to receive status: rpc error: EOF"
