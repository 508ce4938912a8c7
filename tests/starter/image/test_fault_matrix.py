"""The fault matrix: what goes wrong ends in two lines that say what to do; nothing is lost, nothing is left.

A row is a fault, the task that meets it, and what must come of it. Where another test proves a fault in more depth, the
row names it. FAULT_ROUNDS runs the table more than once.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import faults
import pytest
from conftest import Clone
from faults import (
    Fault,
    Stage,
    World,
    all_of,
    appended,
    edited,
    env_says,
    error_of,
    exported,
    free_port,
    override,
    replaced,
)
from private import private_engine

from host_tasks.subjects.base import published

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
TESTS = Path(__file__).resolve().parents[3]
UP = "up --yes"

# What becomes of a printed fix.
CURES = "cures"  # run in a shell it repairs: then the same task succeeds
ANSWERS = "answers"  # run in a shell it does what was wanted, in another way
PERSON = "person"  # a person has to do something; the line is no command
NONE = "none"  # nothing is wrong


@dataclass(frozen=True)
class Row:
    """A fault, the task that meets it, and what must come of it."""

    id: str
    fault: Fault
    code: int = 0
    error: str = ""  # a pattern of the whole line, without `error: `; %(name)s is a fact that only the fault knows
    fix: str = ""  # the same without `fix: `
    how: str = NONE
    task: str = UP
    doctor: str | None = None  # the code that `doctor` names, and what follows; None = it is not to be seen, or is none
    runs: bool = False  # whether the server runs when the fault comes
    says: str = ""  # a pattern of what the task prints beside its error
    private: bool = False  # whether it takes an engine of its own

    @property
    def codes(self) -> set[str]:
        """What `doctor` names."""
        return set((self.doctor or "").split())


@dataclass(frozen=True)
class Proved:
    """A fault that another test proves."""

    id: str
    by: str


# The engine, and docker's command.
ENGINE = (
    Row(
        "docker-not-on-the-path",
        faults.no_docker_on_the_path,
        69,
        "docker is not on the PATH, but in /.+",
        'export PATH="\\$PATH:/.+"',
        CURES,
        doctor="engine",
    ),
    Row(
        "docker-not-on-the-path-of-a-running-server",
        faults.no_docker_on_the_path,
        69,
        "docker is not on the PATH, but in /.+",
        'export PATH="\\$PATH:/.+"',
        CURES,
        doctor="engine",
        runs=True,
    ),
    Row(
        "compose-missing",
        faults.other_docker("""compose*) echo "unknown shorthand flag: 'd' in -d" >&2; exit 125 ;;"""),
        69,
        "Docker Compose v2 not found: unknown shorthand flag: 'd' in -d",
        "invoke up --yes",
        CURES,
        doctor="engine",
        task="up",
    ),
    Row(
        "compose-too-old",
        faults.other_docker('"compose version"*) echo 2.5.0; exit 0 ;;'),
        69,
        "Docker Compose is too old: needed 2.26, found 2.5.0",
        "upgrade it, see docs.docker.com/compose/install",
        PERSON,
        doctor="engine",
    ),
    Row(
        "engine-down",
        faults.engine_that_is_down,
        69,
        "the engine is not reachable at unix:///var/run/docker.sock",
        "invoke up --yes",
        CURES,
        doctor="engine",
        task="up",
        runs=True,
    ),
    Row(
        "engine-that-is-named-is-down",
        exported(DOCKER_HOST="unix:///nope"),
        69,
        "the engine is not reachable at unix:///nope \\(DOCKER_HOST=unix:///nope\\)",
        "unset DOCKER_HOST",
        CURES,
        doctor="engine",
        runs=True,
    ),
    Row(
        "engine-that-is-named-hangs",
        faults.engine_that_never_answers,
        75,
        "the engine at unix://%(socket)s gave no answer within 7.5 s \\(DOCKER_HOST=unix://%(socket)s\\)",
        "unset DOCKER_HOST",
        CURES,
        doctor="engine",
        runs=True,
    ),
    Row(
        "engine-at-a-port-that-nobody-listens-on",
        exported(DOCKER_HOST="tcp://127.0.0.1:1"),
        69,
        "the engine is not reachable at tcp://127.0.0.1:1 \\(DOCKER_HOST=tcp://127.0.0.1:1\\)",
        "unset DOCKER_HOST",
        CURES,
        doctor="engine",
        runs=True,
    ),
    Row(
        "engine-at-an-address-that-is-no-engine",
        exported(DOCKER_HOST="tcp://192.0.2.1:2375"),  # RFC 5737: nobody's; a proxy may answer for it
        69,
        "the engine is not reachable at tcp://192.0.2.1:2375 \\(DOCKER_HOST=tcp://192.0.2.1:2375\\)(: .+)?",
        "unset DOCKER_HOST",
        CURES,
        doctor="engine",
        runs=True,
    ),
    Row(
        "context-unknown",
        exported(DOCKER_CONTEXT="nope"),
        69,
        "docker knows no such context \\(DOCKER_CONTEXT=nope\\)",
        "unset DOCKER_CONTEXT",
        CURES,
        doctor="engine",
        runs=True,
    ),
    Row(
        "engine-with-userns-remap",
        faults.other_docker(
            "info*) echo '"
            '{"ServerVersion": "28.0.0", "OSType": "linux", "SecurityOptions": ["name=userns"],'
            ' "ClientInfo": {"Plugins": [{"Name": "buildx", "Version": "1"}]}}'
            "'; exit 0 ;;"
        ),
        78,
        "engine with userns-remap: .+; this is not supported yet",
        "take userns-remap out of /etc/docker/daemon.json and restart the engine",
        PERSON,
        doctor="engine",
    ),
    Row("builder-missing", exported(BUILDX_BUILDER="nope"), task="build"),
    Proved("docker-not-installed", "test_engine.py::test_diagnose_without_docker"),
    Proved("engine-not-permitted", "test_engine.py::test_diagnose_socket_denied"),
    Proved("member-of-group-docker-since-this-login", "test_group.py::test_same_command_runs_again_with_the_group"),
    Proved("buildx-missing", "test_engine.py::test_diagnose_without_buildx"),
    Proved("podman-instead-of-docker", "test_engine.py::test_podmans_command_is_told_from_dockers"),
    Proved("engine-of-another-machine", "test_engine.py::test_diagnose_other_machine"),
    Proved("engine-too-old", "test_engine.py::test_old_engine_is_named_with_both_versions"),
)

# Who calls, and what their shell exports.
EMPTY_SHELL = ("env", "-i", "HOST_TASKS_CALLED_AS=invoke", f"PATH={faults.SYSTEM_PATH}")
CALLER = (
    Row(
        "shell-retargets-compose",
        exported(
            COMPOSE_FILE="/nope",
            COMPOSE_PROJECT_NAME="other",
            COMPOSE_ENV_FILES="/nope",
            COMPOSE_DISABLE_ENV_FILE="1",
            COMPOSE_PROFILES="*",
            DOCKER_BUILDKIT="0",
        ),
        runs=True,
        doctor="shell",
    ),
    Row("shell-is-somebody-else", exported(USER="bob", LOGNAME="bob", UID="7", GID="7"), runs=True, doctor="shell"),
    Row(
        "shell-is-empty",
        faults.called_by(*EMPTY_SHELL),
        runs=True,
    ),
    Row("home-missing", faults.called_by("env", "--unset=HOME"), runs=True),
    Row("settings-of-invoke-are-broken", faults.broken_settings_of_invoke, runs=True),
    Row(
        "dry-of-invoke",
        faults.healthy,
        64,
        "--dry would hold nothing back here: this task would act; a --dry-run of its own would",
        "invoke --help clean",
        ANSWERS,
        task="--dry clean",
        runs=True,
    ),
    Row("task-unknown", faults.healthy, 64, "No idea what 'nope' is", "invoke --list", ANSWERS, task="nope", runs=True),
    Proved("root-under-sudo", "test_envfile.py::test_write_under_sudo_gives_new_file_to_the_person"),
    Proved("root-without-sudo", "image/test_identities.py::test_plain_root_works_as_the_posts_user"),
    Proved(
        "ids-that-the-image-has-or-lacks",
        "image/test_identities.py::test_identity_is_the_same_inside_in_env_and_outside",
    ),
    Proved(
        "ids-that-no-engine-runs", "image/test_identities.py::test_ids_that_no_engine_runs_are_refused_before_a_build"
    ),
    Proved("names-that-no-image-takes", "image/test_identities.py::test_every_name_becomes_one_that_the_image_takes"),
    Proved("ids-by-the-posts-own-commands", "image/test_post.py::test_any_pair_of_ids_is_honoured_exactly"),
    Proved("shell-of-any-kind", "image/test_precedence.py::test_up_in_another_environment_recreates_nothing"),
    Proved("global-invoke", "test_tasks.py::test_global_invoke_is_sent_to_the_command_that_works"),
    Proved("root-once-then-the-person", "test_lock.py::test_lock_made_by_root_is_the_folders_owners"),
    Proved("tasks-in-a-mounted-folder", "test_bootstrap.py::test_invoke_of_venv_runs_this_clones_tasks_only"),
    Proved("reader-of-a-pipe-gone", "test_task.py::test_pipe_that_nobody_reads_ends_the_task_quietly"),
)

# docker/.env.
MALFORMED = "is no KEY=value, or its quotes do not close"
CORRECT = "correct or remove line %(line)s, then run: invoke env"


def malformed(id_: str, line: str | bytes, problem: str, **known: str | bool) -> Row:
    """Return the row of a line in docker/.env that cannot be taken."""
    error, fault = f"docker/.env:%(line)s: {problem}", appended("docker/.env", line)
    return Row(f"env-{id_}", fault, 78, error, CORRECT, PERSON, doctor="env-file", runs=True, **known)  # type: ignore[arg-type]


ENV = (
    Row("env-missing", faults.missing("docker/.env"), task="env", says="docker/.env: add UID="),
    Row(
        "env-is-a-folder",
        replaced("docker/.env", faults.a_folder),
        73,
        "docker/.env is not a file",
        "mv docker/.env docker/.env.old",
        CURES,
        task="env",
        doctor="env-file",
    ),
    malformed("with-a-space-in-a-key", "TWO WORDS=x", f"this line {MALFORMED}"),
    malformed("with-an-open-quote", "NAME='x", f"the line of NAME {MALFORMED}"),
    malformed("with-a-merge-mark", "<<<<<<< HEAD", f"this line {MALFORMED}"),
    malformed("with-bytes-of-latin-1", b"NAME=\xe9", "a byte stands here that is not UTF-8, .+"),
    malformed("with-a-key-of-ours-alone", "UID", "UID has no value"),
    malformed("with-a-dollar-in-a-key-of-ours", "BASE_IMAGE=a$b", "BASE_IMAGE holds a \\$ outside .+ differently"),
    malformed("with-a-secret", "DB_PASSWORD: hunter2 'x", f"the line of DB_PASSWORD {MALFORMED}"),
    Row(
        "env-with-a-port-that-is-none",
        env_says("JUPYTER_PORT", "abc"),
        78,
        "docker/.env:%(line)s: JUPYTER_PORT=abc is not between 1024 and 65535",
        "correct or remove line %(line)s, then: invoke env",
        PERSON,
        doctor="env-file",
        runs=True,
    ),
    Row("env-of-another-user", env_says("UID", "7"), task="env", says="docker/.env: UID 7 -> ", doctor="env-file"),
    Row(
        "proxy-of-an-earlier-shell",
        faults.proxy_of_an_earlier_shell,
        error="docker/.env keeps HTTP_PROXY=http://\\*\\*\\*\\*@proxy.invalid:3128 from an earlier shell, .+",
        fix="invoke env --unset HTTP_PROXY",
        how=CURES,
        task="doctor",
        doctor="proxy reachable",
    ),
    Row(
        "settings-of-pip-malformed",
        faults.broken_settings_of_pip,
        78,
        "pip's configuration cannot be read: .*%(path)s.*",
        "see which files: pip config debug",
        PERSON,
        doctor="env-file",
        runs=True,
    ),
    Row("status-with-malformed-settings-of-pip", faults.broken_settings_of_pip, task="status", runs=True),
    Row("down-with-malformed-settings-of-pip", faults.broken_settings_of_pip, task="down", runs=True),
    # Looking and stopping need nothing of it.
    Row("status-with-a-malformed-env", appended("docker/.env", "<<<"), task="status --json", runs=True),
    Row("logs-with-a-malformed-env", appended("docker/.env", "<<<"), task="logs --tail 1", runs=True),
    Row("url-with-a-malformed-env", appended("docker/.env", "<<<"), task="url", runs=True),
    Row("down-with-a-malformed-env", appended("docker/.env", "<<<"), task="down", runs=True),
    Proved("env-unreadable", "test_envfile.py::test_read_unreadable_file_ends_with_77"),
    Proved("env-in-a-folder-that-is-not-writable", "test_envfile.py::test_write_in_unwritable_folder_ends_with_73"),
    Proved("env-malformed-in-other-ways", "test_envfile.py::test_malformed_file_is_refused_by_line_and_kept"),
    Proved("env-values-of-a-table", "test_envfile.py::test_render_table_is_read_alike_or_refused"),
    Proved("env-values-at-random", "test_envfile.py::test_render_random_values_are_read_alike_or_refused"),
    Proved("env-with-other-keys-or-line-ends", "test_envfile.py::test_update_changes_own_values_only"),
    Proved("env-that-is-a-link", "test_envfile.py::test_write_keeps_symbolic_link"),
    Proved("env-written-by-two-at-once", "test_envfile.py::test_update_by_two_at_once_loses_nothing"),
    Proved("env-writer-killed", "test_envfile.py::test_update_killed_200_times_leaves_whole_file"),
    Proved("env-on-a-full-disk", "test_envfile.py::test_write_on_full_disk_ends_with_74"),
)

# The mounts.
MOUNTS = (
    Row(
        "folder-missing",
        faults.missing("results"),
        78,
        "results is missing",
        "invoke mounts --fix",
        CURES,
        task="mounts",
        doctor="mounts",
    ),
    Row("folder-missing-at-up", faults.missing("results"), says="results: made, since it was missing"),
    Row(
        "folder-is-a-file",
        replaced("doc", faults.a_file),
        78,
        "doc is a file, not a folder",
        "mv doc doc.file && mkdir doc",
        CURES,
        doctor="mounts",
    ),
    Row(
        "folder-is-a-link-to-nothing",
        replaced("doc", faults.a_link("gone")),
        78,
        "doc is a link to gone, which does not exist",
        "rm doc && mkdir doc",
        CURES,
        doctor="mounts",
    ),
    Row(
        "folder-is-a-link-out-of-the-project",
        replaced("doc", faults.a_link("..")),
        78,
        "doc is a link out of the project, to %(parent)s",
        r"add to volumes as in docker/examples/data-disk\.yml, in docker/docker-compose\.override\.yml: \{.*\}, then: "
        "invoke up",
        PERSON,
        doctor="mounts",
    ),
    Row(
        "folder-is-a-link-to-code-of-the-host",
        replaced("doc", faults.a_link("docker/host_tasks")),
        78,
        "doc leads to docker/host_tasks, whose code runs on this machine: the container must not write it",
        "rm doc && mkdir doc",
        CURES,
        doctor="mounts",
    ),
    Row(
        "mount-missing-outside-the-clone",
        override(
            "volumes:\n- {type: bind, source: FOLDER/shared, target: /mnt, read_only: true, "
            "bind: {create_host_path: false}}"
        ),
        78,
        "%(folder)s/shared is missing",
        "mkdir %(folder)s/shared",
        CURES,
        doctor="mounts",
    ),
    Row(
        "folder-replaced-while-the-server-runs",
        faults.folder_replaced,
        78,
        "results was replaced while the server runs: what is saved there goes nowhere",
        "invoke up",
        CURES,
        task="mounts",
        doctor="mounts",
        runs=True,
    ),
    Row(
        "url-of-a-server-with-an-old-folder",
        faults.folder_replaced,
        78,
        "results was replaced while the server runs: what is saved there goes nowhere",
        "invoke up",
        CURES,
        task="url",
        doctor="mounts",
        runs=True,
    ),
    Row(
        "status-of-a-server-with-an-old-folder",
        faults.folder_replaced,
        task="status",
        says="healthy, but results was replaced while the server runs: what is saved there goes nowhere",
        runs=True,
    ),
    Row("mount-of-a-file", override("volumes: ['/etc/localtime:/etc/localtime:ro']")),
    Row(
        "something-mounted-below-a-mount",
        faults.mounted_below,
        78,
        "data/disk was mounted while the server runs, which does not see it",
        "invoke restart",
        CURES,
        task="mounts",
        doctor="mounts",
        runs=True,
    ),
    Proved(
        "folder-of-root-for-an-ordinary-user",
        "image/test_faults.py::test_ordinary_user_is_told_of_an_unwritable_source_and_owns_all_that_is_made",
    ),
    Proved("folder-of-a-team", "test_mounts.py::test_shared_folder_is_never_taken_from_the_others"),
    Proved("folder-that-is-not-writable", "test_mounts.py::test_folder_of_the_clone_is_judged"),
    Proved("folder-of-an-added-group", "test_mounts.py::test_group_that_is_added_counts"),
    Proved("owner-that-cannot-be-changed", "test_mounts.py::test_entry_that_cannot_be_given_away_is_left_to_the_probe"),
    Proved("clone-called-through-a-link", "test_mounts.py::test_way_through_a_link_is_the_same_source"),
)

# The port.
PORTS = (
    Row(
        "port-of-a-program",
        faults.port_of_a_program,
        75,
        "port %(port)s is held by py\\w+ \\(process \\d+\\)",
        "invoke up",
        ANSWERS,
        task="up --yes --port $PORT",
    ),
    Row(
        "port-of-a-container",
        faults.port_of_a_container,
        75,
        "port %(port)s is held by container %(name)s",
        "invoke up",
        ANSWERS,
        task="up --yes --port $PORT",
    ),
    *(
        Row(
            f"port-{port}",
            faults.healthy,
            64,
            f"--port {port} is not between 1024 and 65535",
            "invoke up",
            ANSWERS,
            task=f"up --yes --port {port}",
            runs=True,
        )
        for port in ("80", "0", "70000", "abc")
    ),
    Row("port-beside-ours", override('ports: ["FREE_PORT:9999"]')),
    Row("port-on-every-address", override('ports: !override ["${JUPYTER_PORT:-8888}:8888"]')),
    Row(
        "own-port-of-a-program",
        faults.own_port_taken,
        says="Publish on port \\d+: port %(port)s is held by py\\w+ \\(process \\d+\\)",
        doctor="port",
    ),
)

# What Compose reads.
YOUR_FILE = "docker/docker-compose.override.yml"


def broken(id_: str, old: str, new: str, place: str, said: str) -> Row:
    """Return the row of something in docker-compose.yml that Compose cannot read."""
    fault, file = edited("docker/docker-compose.yml", old, new), f"docker/docker-compose.yml{place}"
    error, fix = f"Compose cannot read {file}: .*{said}.*", f"correct {file}, then: invoke up"
    return Row(f"compose-file-with-{id_}", fault, 78, error, fix, PERSON, doctor="compose-files", runs=True)


COMPOSE = (
    broken("a-tab", "    init: true\n", "\tinit: true\n", ":\\d+", "(tab|character|token)"),
    broken("a-key-twice", "    init: true\n", "    init: true\n    init: true\n", ":\\d+", "already defined"),
    broken("a-merge-mark", "    init: true\n", "<<<<<<< HEAD\n    init: true\n", ":\\d+", ""),
    broken("an-unknown-key", "    init: true\n", "    innit: true\n", "", "innit"),
    broken("a-value-of-another-kind", "    init: true\n", "    init: [1]\n", "", "init"),
    broken("an-unset-variable", "    init: true\n", "    init: ${NOPE?not set}\n", "", "NOPE"),
    broken("an-open-brace", "    init: true\n", "    init: ${NOPE\n", "", "NOPE"),
    Row(
        "compose-override-with-an-unknown-key",
        override("innit: true"),
        78,
        f"Compose cannot read {YOUR_FILE}: .*innit.*",
        f"correct {YOUR_FILE}, then: invoke up",
        PERSON,
        doctor="compose-files",
    ),
    Row(
        "compose-without-our-service",
        edited("docker/docker-compose.yml", "  jupyterlab-server:\n", "  lab:\n"),
        78,
        "the Compose files declare no service jupyterlab-server, but lab",
        "name a service jupyterlab-server in docker/docker-compose.yml, then: invoke up",
        PERSON,
        doctor="compose-files",
    ),
    *(
        Row(
            f"{task}-with-a-broken-compose-file",
            edited("docker/docker-compose.yml", "    init: true\n", "\tinit: true\n"),
            78,
            "Compose cannot read docker/docker-compose.yml:\\d+: .*",
            "correct docker/docker-compose.yml:\\d+, then: invoke up",
            PERSON,
            task=task,
            runs=True,
        )
        for task in ("config", "mounts")
    ),
    Row(
        "down-with-a-broken-compose-file",
        edited("docker/docker-compose.yml", "    init", "\tinit"),
        task="down",
        runs=True,
    ),
    Row(
        "status-with-a-broken-compose-file",
        edited("docker/docker-compose.yml", "    init", "\tinit"),
        task="status",
        runs=True,
    ),
)

# The image.
IMAGE = (
    Row(
        "build-step-fails",
        appended("requirements.txt", "no-such-package-9b1c ==999"),
        70,
        r"requirements\.txt:\d: No matching distribution found for no-such-package-9b1c==999",
        r"correct requirements\.txt:\d, then: invoke up",
        PERSON,
        doctor="image",
        runs=True,
    ),
    Row(
        "base-image-that-cannot-be-pulled",
        env_says("BASE_IMAGE", "registry.invalid/base:1"),
        69,
        "the base image registry.invalid/base:1 is neither on this engine nor can it be pulled: .*registry.invalid.*",
        "invoke env --unset BASE_IMAGE",
        ANSWERS,
        doctor="base-image image",
        runs=True,
    ),
    Row("scripts-without-run-bits", faults.no_run_bits, doctor="scripts", task="build"),
    Proved("scripts-with-line-ends-of-windows", "image/test_landing.py::test_checkout_with_windows_line_ends_works"),
    Proved("large-and-odd-files-in-data", "image/test_landing.py::test_build_sends_nothing_of_the_data"),
    Proved("proxy-of-a-failed-build", "test_build_failure.py::test_build_that_reached_no_address_names_its_proxy"),
    Proved("cause-of-a-failed-build", "test_build_failure.py::test_cause_of_a_failed_build_is_what_its_step_said"),
)

# The server.
SERVER = (
    Row(
        "server-ends-at-once",
        override("command: [sh, -c, 'echo last words; exit 3']"),
        70,
        "jupyterlab-server ended with exit code 3; its last lines are above",
        "correct jupyterlab-server in your Compose files, then: invoke up",
        PERSON,
        says="last words\nerror: ",
    ),
    Row(
        "server-is-never-healthy",
        override(
            "command: [sh, -c, 'echo still here; sleep 600']\n"
            "healthcheck: {test: [CMD, sh, -c, 'echo no; exit 1'], interval: 500ms, retries: 2, start_period: 1s}"
        ),
        70,
        "jupyterlab-server is not healthy \\(no\\); its last lines are above",
        "correct jupyterlab-server in your Compose files, then: invoke up",
        PERSON,
        says="still here\nerror: ",
    ),
    Row(
        "server-runs-out-of-memory",
        override("mem_limit: 64m\nmemswap_limit: 64m\ncommand: [python, -c, \"b'x' * 2**28\"]"),
        70,
        "jupyterlab-server (ran out of memory|was killed with exit code 137, .+); its last lines are above",
        "correct jupyterlab-server in your Compose files, then: invoke up",
        PERSON,
    ),
    Row(
        "server-ends-again-and-again",
        override("restart: always\ncommand: [sh, -c, 'echo last words; exit 3']"),
        70,
        "jupyterlab-server keeps restarting, \\d+ times until now; its last lines are above",
        "correct jupyterlab-server in your Compose files, then: invoke up",
        PERSON,
    ),
    Row(
        "server-without-a-log",
        override("logging: {driver: none}\ncommand: [sh, -c, 'exit 3']"),
        70,
        "jupyterlab-server ended with exit code 3",
        "correct jupyterlab-server in your Compose files, then: invoke up",
        PERSON,
    ),
    Row(
        "server-that-compose-cannot-start-anew",
        override('cpuset: "99"'),
        70,
        ".*Requested CPUs are not available.*; the old jupyterlab-server goes on",
        "correct docker/docker-compose.override.yml, then: invoke up",
        PERSON,
        doctor="server",
        runs=True,
    ),
    Row(
        "restart-that-compose-cannot-do",
        override('cpuset: "99"'),
        70,
        ".*Requested CPUs are not available.*; the old jupyterlab-server goes on",
        "correct docker/docker-compose.override.yml, then: invoke up",
        PERSON,
        task="restart",
        runs=True,
    ),
    Row("restart-of-nothing", faults.healthy, task="restart", says="http://127.0.0.1:"),
    Row(
        "processes-used-up",
        faults.processes_used_up,
        69,
        "no further process can be started in jupyterlab-server: pids limit 60 \\(PIDS_LIMIT in docker/.env\\)",
        "invoke restart",
        CURES,
        task="mounts",
        doctor="server",
        runs=True,
    ),
    Row("server-paused", faults.with_container("pause"), doctor="server", runs=True, says="is paused: it goes on"),
    Row("mounts-of-a-paused-server", faults.with_container("pause"), task="mounts", runs=True),
    Row(
        "status-of-a-paused-server",
        faults.with_container("pause"),
        task="status --json",
        runs=True,
        says='"server": "is paused"',
    ),
    Row("server-stopped", faults.with_container("stop", "--time", "5"), doctor="server", runs=True),
    Row("status-of-a-stopped-server", faults.with_container("stop", "--time", "5"), task="status --json", runs=True),
    Row("server-killed", faults.with_container("kill"), doctor="server", runs=True),
    Row("server-removed", faults.with_container("rm", "--force"), doctor="server", runs=True),
    Row("url-of-no-server", faults.healthy, 69, "the server is not running", "invoke up", CURES, task="url"),
    Proved(
        "server-with-a-looping-kernel", "image/test_landing.py::test_down_stops_a_looping_kernel_and_keeps_the_notebook"
    ),
    Proved("notebook-in-the-landing-folder", "image/test_main_job.py::test_new_notebook_lands_where_it_survives"),
    Proved("tasks-in-any-order", "image/test_landing.py::test_tasks_may_come_in_any_order_and_twice"),
    Proved("token-that-leaks", "image/test_main_job.py::test_token_shows_nowhere_but_in_the_link"),
)


def beside(text: str) -> Fault:
    """Return the fault of a service beside the server; it stands on the server's image."""
    return override("services:\n  other:\n    image: IMAGE\n    pull_policy: never\n" + text, of_service=False)


# A service of the person's own beside the server, which runs.
OTHERS = (
    Row(
        "other-service-on-a-taken-port",
        all_of(
            faults.port_of_a_program, beside("    entrypoint: [sleep, '600']\n    ports: ['127.0.0.1:${PORT}:1']\n")
        ),
        70,
        "other could not be started: .*%(port)s.*, held by py\\w+ \\(process \\d+\\)",
        "correct other in your Compose files, then: invoke up",
        PERSON,
        runs=True,
    ),
    Row(
        "other-service-whose-image-cannot-be-pulled",
        override("services: {other: {image: 'registry.invalid/other:1'}}\n", of_service=False),
        69,
        "other needs the image registry.invalid/other:1, which is neither on this engine nor can it be pulled",
        "correct the image of other in your Compose files, then: invoke up",
        PERSON,
        runs=True,
    ),
    Row(
        "other-service-that-ends",
        beside("    entrypoint: [sh, -c, 'echo last words; exit 4']\n"),
        70,
        "other ended with exit code 4; its last lines are above",
        "correct other in your Compose files, then: invoke up",
        PERSON,
        says="last words\nerror: ",
        runs=True,
    ),
    Row(
        "server-waits-for-an-unhealthy-service",
        beside(
            "    entrypoint: [sh, -c, 'echo ill; sleep 600']\n"
            "    healthcheck: {test: [CMD, sh, -c, 'echo no; exit 1'], interval: 500ms, retries: 2, start_period: 1s}\n"
            "  jupyterlab-server:\n    depends_on: {other: {condition: service_healthy}}\n"
        ),
        70,
        "other is not healthy \\(no\\); its last lines are above",
        "correct other in your Compose files, then: invoke up",
        PERSON,
    ),
    Row(
        "network-missing",
        override(
            "services: {jupyterlab-server: {networks: [gone]}}\nnetworks: {gone: {external: true}}\n", of_service=False
        ),
        70,
        ".*network gone .*not.* found",
        "correct docker/docker-compose.override.yml, then: invoke up",
        PERSON,
    ),
    Row(
        "down-with-a-service-of-a-profile",
        faults.service_of_a_profile,
        task="down",
        runs=True,
    ),
)

# An engine that can be frozen, killed and filled.
PRIVATE = (
    Row(
        "engine-hangs",
        faults.engine_that_is_frozen,
        75,
        "the engine at unix:///var/run/docker.sock gave no answer within 7.5 s",
        "sudo service docker restart",
        CURES,
        doctor="engine",
        runs=True,
        private=True,
    ),
    Row("engine-killed-while-up", faults.engine_that_was_killed, runs=True, private=True),
    Row("status-after-the-engine-was-killed", faults.engine_that_was_killed, task="status", runs=True, private=True),
    Row(
        "engine-killed-in-a-build",
        faults.engine_killed_in_a_build,
        69,
        "the engine is not reachable at unix:///var/run/docker.sock",
        "invoke up --yes",
        CURES,
        task="up",
        private=True,
    ),
    Row(
        "disk-full-in-a-build",
        faults.disk_that_is_full,
        74,
        "the disk is full",
        "docker system df",
        ANSWERS,
        private=True,
    ),
    Row("clean-with-settings-of-another-identity", faults.left_behind("volume"), task="clean", runs=True, private=True),
    Row(
        "clean-with-a-network-that-nothing-declares",
        faults.left_behind("network"),
        69,
        "still there: networks %(name)s",
        "docker network rm %(name)s",
        CURES,
        task="clean",
        runs=True,
        private=True,
    ),
    Row(
        "registry-out-of-reach",
        faults.base_image_not_chosen,
        69,
        "the base image .+ is neither on this engine nor can it be pulled: .*",
        "invoke up --yes",
        CURES,
        task="up",
        private=True,
    ),
)

# Two at once, and what is cut off.
CUT_OFF = (
    Proved("two-ups-at-once", "image/test_concurrency.py::test_two_ups_at_once_both_end_well"),
    Proved("up-and-down-at-once", "image/test_concurrency.py::test_up_and_down_at_once_leave_all_or_nothing"),
    Proved("signal-in-a-build", "image/test_concurrency.py::test_signal_in_a_build_ends_task_and_build"),
    Proved("builder-killed", "image/test_concurrency.py::test_up_works_after_its_builder_was_killed"),
    Proved("start-killed", "image/test_concurrency.py::test_up_works_after_a_start_was_killed"),
    Proved("answer-without-end", "test_link.py::test_server_that_answers_without_end_is_not_waited_for"),
    Proved("down-killed", "image/test_concurrency.py::test_up_works_after_a_down_was_killed"),
    Proved("holder-of-the-lock-killed", "test_lock.py::test_lock_of_killed_holder_is_free"),
    Proved("run-in-a-pipe-cut-off", "image/test_signals.py::test_run_ends_what_it_started_inside"),
    Proved("terminal-closed", "test_task.py::test_signal_ends_the_task_and_what_it_started"),
    Proved("task-killed", "test_runner.py::test_killed_task_takes_its_command_along"),
    Proved("disk-full-while-venv-is-made", "test_bootstrap.py::test_main_on_a_full_disk_says_so"),
)

# The clone.
CLONE = (
    Proved("folder-of-any-name", "image/test_clones.py::test_folder_name_works_end_to_end"),
    Proved(
        "folder-that-compose-cannot-read", "image/test_clones.py::test_folder_name_that_compose_cannot_read_is_refused"
    ),
    Proved("ten-clones-at-once", "image/test_clones.py::test_down_leaves_the_containers_of_other_clones"),
    Proved("clone-moved", "image/test_clones.py::test_moved_clone_names_its_old_containers"),
    Proved("clone-renamed", "image/test_clones.py::test_renamed_clone_takes_its_settings_along"),
    Proved(
        "clone-renamed-and-cleaned", "image/test_clones.py::test_clean_of_a_renamed_clone_leaves_nothing_of_either_name"
    ),
    Proved("clone-copied", "image/test_clones.py::test_copied_clone_leaves_the_original_alone"),
    Proved("index-of-pips-install-section", "test_network.py::test_pip_configuration_of_its_install_command_wins"),
    Proved("network-cut", "image/test_offline.py::test_down_and_up_fetch_nothing"),
)

TABLE = (*ENGINE, *CALLER, *ENV, *MOUNTS, *PORTS, *COMPOSE, *IMAGE, *SERVER, *OTHERS, *PRIVATE, *CUT_OFF, *CLONE)
# Those for which the server runs come first: each start and stop costs seconds.
ROWS = sorted((each for each in TABLE if isinstance(each, Row)), key=lambda row: (row.private, not row.runs))


@pytest.fixture(scope="module")
def stage(stub: Clone, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The clone on which the faults are made; its server runs."""
    (stub.root / "data" / "mine.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    stub.succeed("up", "--yes", "--port", str(free_port()))  # which no other clone of this machine would take
    return Stage(stub, tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def private_stage(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A clone in an engine of its own, which has the base image and no network."""
    base = stage.clone.values().get("BASE_IMAGE", "")
    with private_engine("2g") as engine:
        engine.load(base or published())
        folder = tmp_path_factory.mktemp("private")
        yield Stage(faults.small_clone(folder / "my-project", base), folder, engine)


@pytest.fixture
def settled(row: Row, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The stage of a row with every file as it was, before and after."""
    stage: Stage = request.getfixturevalue("private_stage" if row.private else "stage")
    stage.bring(runs=row.runs)
    env_file = stage.clone.root / "docker" / ".env"
    before, env = faults.content(stage.clone.root), env_file.read_bytes()
    yield stage
    if env_file.read_bytes() != env:
        env_file.write_bytes(env)
        stage.bring(runs=False)
    assert faults.content(stage.clone.root) == before


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("row", ROWS, ids=[each.id for each in ROWS])
def test_fault_is_told_and_repaired(row: Row, round_: int, settled: Stage) -> None:
    """Its code, its two lines, nothing changed or left, what `doctor` names, and a fix that cures."""
    left = settled.leftovers()
    with row.fault(settled) as world:
        files, env = faults.content(world.clone.root), env_file(world)
        named = {each["code"] for each in world.findings()} - settled.baseline[row.runs] if row.doctor else set()

        done = world.meet(row.task)

        said = told(row, done, world)
        if row.code:
            assert faults.content(world.clone.root) == files
            assert env_file(world) == env
            assert world.blind or settled.leftovers() == left
        assert re.search(row.says % world.facts, done.stdout + done.stderr), done.stderr[-3000:]
        assert named == row.codes
        repaired(row, said, world)


def env_file(world: World) -> bytes:
    """Return what docker/.env holds; nothing where it is no file."""
    path = world.clone.root / "docker" / ".env"
    return path.read_bytes() if path.is_file() else b""


def told(row: Row, done: "subprocess.CompletedProcess[str]", world: World) -> str:
    """Return the fix that a task printed, after its error was compared."""
    if row.code == 0 and row.task != "doctor":
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        return ""
    if row.code == 0:
        found = next(each for each in world.findings() if each["code"] in row.codes)
        error, fix = found["cause"], found["fix"]
    else:
        error, fix = (line.partition(": ")[2] for line in error_of(done, row.code).splitlines())
    assert re.fullmatch(row.error % world.facts, error), error
    assert re.fullmatch(row.fix % world.facts, fix), fix
    return fix


def repaired(row: Row, fix: str, world: World) -> None:
    """Run a fix as it was printed, and see the fault gone; one for a person must not look like a command."""
    if row.how == PERSON:
        assert world.shell(f"command -v {fix.split()[0]}").returncode != 0, f"looks like a command: {fix}"
    elif row.how == ANSWERS:
        done = world.shell(fix)
        assert done.returncode == 0, f"{fix}\n{done.stderr[-3000:]}"
    elif row.how == CURES:
        done = world.shell(f"{fix} && invoke {row.task}")
        assert done.returncode == 0, f"{fix}\n{done.stderr[-3000:]}"
        if row.doctor and not (world.become or world.environ):
            assert not row.codes & {each["code"] for each in world.findings()}


@pytest.mark.parametrize("proved", [each for each in TABLE if isinstance(each, Proved)], ids=lambda each: each.id)
def test_fault_is_proved_by_a_test_that_exists(proved: Proved) -> None:
    """A row that names a test elsewhere names one that is there."""
    path, _, name = proved.by.partition("::")

    assert f"def {name}(" in (TESTS / "tests" / "starter" / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("user", ["root", "jane.doe", "CORP\\jdoe", ""])
def test_plain_compose_says_the_same_in_every_shell(user: str, stage: Stage) -> None:
    """What login shells export as USER changes nothing of what plain Compose starts from docker/.env."""
    argv, folder = ("docker", "compose", "config"), stage.clone.root / "docker"

    said = [stage.clone.run(*argv, cwd=folder, USER=each) for each in ("al-khawarizmi", user)]

    assert [each.returncode for each in said] == [0, 0], said[1].stderr
    assert said[0].stdout == said[1].stdout
