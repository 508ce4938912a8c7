"""Tests of host_tasks.subjects.build_failure: cause and line of a failed build, by what is said of it."""

from dataclasses import replace

import pytest
from observed import VALUES, Seen, healthy, settings

from host_tasks.kit.words import ExitCode
from host_tasks.subjects.build_failure import cause_of_failed_build, explained, known_cause

# ruff: noqa: E501 # lines are as those programs write them


UNREACHED = "#9 1.0 error: Could not resolve host: index.example"
STEP = 'process "/bin/bash -o pipefail -c conda env create" did not complete successfully: exit code: 1'


ENVIRONMENT_YML = """\
channels:
  - conda-forge
  - https://conda.example.org/team
dependencies:
  - python
  - pip  # for what only PyPI has
  - conda-forge::pandas >=2
  - numpy <1
  - r-base
  - pip:
      - -r requirements.txt
      - Foo_Bar[extra] ==1 ; python_version > "3"
"""
TEXTS = {
    "requirements.txt": "# pip, b and no-such-thing are words\n-c constraints.txt\nno_such.Thing >=1\nb==2 # c\n",
    "constraints.txt": "c<2\n",
    "apt.txt": "git\nno-such-package # pip\n",
}


def seen(**values: str) -> Seen:
    """Return an observation with files that name packages, and these values in docker/.env."""
    return healthy(
        settings=replace(settings(), values={**VALUES, **values}),
        environment_yml=ENVIRONMENT_YML,
        requirement_texts=TEXTS,
        pyproject_of_src='[project]\nname = "x"\ndependencies = [\n    "of.src >=1",\n]\n',
    )


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
    finding = explained(said, seen())

    assert (cause_of_failed_build(said), finding.cause, finding.exit_code) == (cause, cause, ExitCode.SOFTWARE)


def test_lock_that_cannot_be_names_the_lines_of_pip_and_conda() -> None:
    """What pip is asked for may not be in the place of conda's: both lines have to be looked at."""
    uv = (
        "Because you require pandas==2.2.3 and pandas==3.0.1, we can conclude that your requirements are unsatisfiable."
    )
    said = f"#9 1.0 error: pip's packages cannot be locked: {uv}\n#9 ERROR: {STEP}"
    files = healthy(environment_yml=ENVIRONMENT_YML, requirement_texts={"requirements.txt": "b\npandas ==2.2.3\n"})

    finding = explained(said, files)

    assert finding.cause.startswith("requirements.txt:2: pip's packages cannot be locked: Because you require pandas")
    assert finding.fix == "correct requirements.txt:2 and environment.yml:7, then: invoke up"


def test_full_disk_is_told_wherever_it_is_said() -> None:
    """BuildKit's last line hides it (exit code 1): the cause is a screen above."""
    finding = explained(f"#9 3.1 cp: error writing 'x': No space left on device\nfailed to solve: {STEP}", seen())

    assert (finding.cause, finding.exit_code) == ("the disk is full", ExitCode.IO)


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
    assert explained(said, seen(**values)).cause == f"{cause_of_failed_build(said)}{more}"


ROOTS = """\
error: the environment cannot be made: Cannot solve the request because of: The following packages are incompatible
├─ pandas >=2 can be installed with any of the following options:
│  └─ pandas 2.3.3 would require
│     └─ pip >=99, which cannot be installed because there are no viable options
└─ numpy <1 cannot be installed because there are no viable options
"""
PIP_CONFLICT = """\
ERROR: Cannot install -r /tmp/pip/requirements.txt (line 4) and foo-bar==1 because these package versions have conflicting dependencies.

The conflict is caused by:
    b 2 depends on pip<2
    The user requested (constraint) c<2
"""
OF_ANOTHER = """\
ERROR: Could not find a version that satisfies the requirement python-thing>9 (from foo-bar) (from versions: none)
ERROR: No matching distribution found for python-thing>9
"""
LINE_OF_FILE = """\
ERROR: Invalid requirement: 'numpy >>2': Expected end
    numpy >>2
          ^ (from line 3 of /tmp/pip/requirements.txt)
"""
SECTION = """\
ERROR: Hashes are required in --require-hashes mode: foo (from -r /tmp/pip/section.txt (line 2))
"""
NO_INDEX = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError("Connection refused")': /simple/b/
ERROR: No matching distribution found for b
"""
TRUSTED = """\
Looking in indexes: https://x.example/simple, adding trusted host: 'x.example' (from line 3 of /tmp/pip/requirements.txt)
ERROR: No matching distribution found for b==2
"""
BY_LOCK = """\
ERROR: No matching distribution found for {} (from -r {}.txt (line 2))
"""
DPKG = """\
dpkg: error processing package of-another:amd64 (--configure):
 installed of-another:amd64 package post-installation script subprocess returned error exit status 2
dpkg: error processing package no-such-package (--configure):
 dependency problems - leaving unconfigured
E: Sub-process /usr/bin/dpkg returned an error code (1)
"""
UNMET = """\
error: the environment cannot be made: the channels do not have, for linux-64:
- numpy <1: no such version or build, but 2.0, 2.1
- r-base *: no package of this name
"""
NO_CHANNEL = "error: {}: error sending request for url (https://conda.example.org/team/noarch/repodata.json)"


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("ERROR: No matching distribution found for no-such-thing>=1", ["requirements.txt:3"]),
        ("ERROR: No matching distribution found for foo.bar==1", ["environment.yml:12"]),
        (OF_ANOTHER, ["environment.yml:12"]),
        (PIP_CONFLICT, ["requirements.txt:4", "environment.yml:12"]),
        (LINE_OF_FILE, ["requirements.txt:3"]),
        (SECTION, ["environment.yml:12"]),
        ("  ERROR: Failed to build 'b' when getting requirements to build wheel", ["requirements.txt:4"]),
        ("error: the environment cannot be made: No candidates were found for r-base *.", ["environment.yml:9"]),
        (UNMET, ["environment.yml:8", "environment.yml:9"]),
        (ROOTS, ["environment.yml:7", "environment.yml:8"]),
        ("ResolvePackageNotFound:\n  - r-base\n  - numpy[version='<1']", ["environment.yml:9", "environment.yml:8"]),
        (NO_CHANNEL.format("the environment cannot be made"), ["environment.yml:3"]),
        ("E: Unable to locate package no-such-package", ["apt.txt:2"]),
        (TRUSTED, ["requirements.txt:4"]),
        (BY_LOCK.format("of-src==1", "source"), ["src/pyproject.toml:4"]),
        (DPKG, ["apt.txt:2"]),
        ("error: pip and numpy and b cannot be made to agree", []),
        ("/bin/bash: line 1: pip: command not found", []),
        ("ERROR: No matching distribution found for pip-of-somebody", []),
        (NO_INDEX, []),
    ],
    ids=[
        *("pip", "pip section", "of a dependency", "pip conflict", "requirement", "hashes", "wheel"),
        *("missing", "unmet", "unsolvable", "classic", "channel", "apt", "trusted host", "src", "dpkg"),
        *("words", "shell", "not asked for", "no index"),
    ],
)
def test_failed_build_names_the_line_that_is_at_fault(text: str, places: list[str]) -> None:
    """Of the files as they are here, not as the build calls them; a word in passing blames no line."""
    lines = "\n".join(f"#9 1.{index} {line}" for index, line in enumerate(text.splitlines()))

    finding = explained(f"{lines}\n#9 ERROR: {STEP}\n", seen())

    assert finding.fix == f"correct {' and '.join(places) or 'what the lines above name'}, then: invoke up"
    assert finding.cause.startswith(
        f"{places[0]}: " if places else cause_of_failed_build(f"{lines}\n#9 ERROR: {STEP}\n")
    )
    assert "/tmp/pip" not in finding.cause  # noqa: S108 # pip's own folder in the build


def test_line_of_a_lock_is_placed_in_no_file_of_a_person() -> None:
    """What the lock names is not on a line of the pip section, nor in a src/pyproject.toml that may not be there."""
    finding = explained(f"#9 1.0 {BY_LOCK.format('c-lib==1', 'locked')}#9 ERROR: {STEP}\n", seen())

    assert finding.cause == "No matching distribution found for c-lib==1 (from environment.lock)"
    assert finding.fix == "correct what the lines above name, then: invoke up"


LOOKUP = "dial tcp: lookup registry.example on 10.0.0.53:53: no such host"


@pytest.mark.parametrize(
    ("said", "cause", "fix"),
    [
        (
            'failed to solve: base: error getting credentials - err: exec: "docker-credential-desktop": executable file not found in $PATH, out: ``',
            "docker-credential-desktop, which keeps logins by your ~/.docker/config.json, is not on the PATH",
            "install docker-credential-desktop, or take the line that names it",
        ),
        (
            " Network x_default  Error\nfailed to create network x_default: Error response from daemon: could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
            "the engine has no addresses left for a further network",
            "docker network prune",
        ),
        (
            "failed to create network x_default: Error response from daemon: all predefined address pools have been fully subnetted",
            "the engine has no addresses left for a further network",
            "docker network prune",
        ),
        (
            'Error response from daemon: invalid mount config for type "bind": bind source path does not exist: /srv/my data',
            "the engine does not see /srv/my data: it runs",
            "move the clone to a folder that the engine sees",
        ),
        (
            "Error response from daemon: error while creating mount source path '/srv/data': mkdir /srv: read-only file system",
            "the engine does not see /srv/data: it runs",
            "move the clone to a folder that the engine sees",
        ),
        (
            f'ERROR: failed to solve: base: failed to do request: Head "https://registry.example/v2/": {LOOKUP}',
            "it needs the network, and registry.example cannot be reached",
            "invoke doctor",
        ),
        (
            'Error response from daemon: Get "https://registry.example/v2/": net/http: TLS handshake timeout',
            "it needs the network, and registry.example cannot be reached",
            "invoke doctor",
        ),
        (
            "Error response from daemon: dial tcp 10.0.0.1:443: connect: connection refused",
            "it needs the network, and 10.0.0.1:443 cannot be reached",
            "invoke doctor",
        ),
        ("#9 1.0 write: No space left on device\nx", "the disk is full", "docker system df"),
    ],
    ids=[
        "helper",
        "addresses",
        "addresses of 27",
        "source",
        "source of a Snap",
        "name",
        "handshake",
        "refused",
        "disk",
    ],
)
def test_known_cause_has_its_own_cure(said: str, cause: str, fix: str) -> None:
    """In the words of the engine, its client or Compose; of a start as of a build."""
    known = known_cause(said)

    assert known
    assert known.cause.startswith(cause)
    assert known.fix.startswith(fix)
    assert explained(said, seen()) == known


def test_unknown_cause_is_said_to_be_unknown() -> None:
    """Where no step of the build failed, nothing of the person's is blamed."""
    finding = explained("failed to solve: frontend grpc server closed unexpectedly\n", seen())

    assert known_cause("failed to solve: frontend grpc server closed unexpectedly\n") is None
    assert (finding.cause, finding.fix) == (
        "failed to solve: frontend grpc server closed unexpectedly",
        "we do not know why; more: invoke doctor",
    )


def test_network_that_a_build_needs_is_told_with_its_proxy() -> None:
    """The proxy of docker/.env is the first suspect."""
    finding = explained(f"ERROR: failed to solve: base: {LOOKUP}", seen(HTTP_PROXY="http://p:1"))

    assert finding.cause.endswith("cannot be reached (the build goes through HTTP_PROXY=http://p:1 of docker/.env)")
