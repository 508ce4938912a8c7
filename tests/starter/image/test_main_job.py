"""From a fresh clone to JupyterLab and back: what a person does, on a real engine."""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beside import start
from conftest import YOURS, Clone, docker, wait_until
from lab import api, executed, status_of

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def link(running: Clone) -> str:
    """The link of the running clone."""
    return running.succeed("url").splitlines()[-1]


def test_up_ends_with_a_link_that_opens_with_its_token_only(running: Clone) -> None:
    """The last line of stdout is a link: 200 with its token, 403 without, 403 for a foreign Host."""
    lines = running.succeed("up", "--yes").splitlines()

    url = lines[-1]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[0-9a-f]{48}", url)
    assert status_of(url) == 200
    assert status_of(url.partition("?")[0]) == 403
    assert status_of(url, Host="evil.example") == 403
    assert status_of(url.split("/?")[0] + "/api/contents") == 403


def test_up_again_keeps_the_container_and_the_link(running: Clone, link: str) -> None:
    """A second `up` changes nothing: same container, same link, whatever the shell exports."""
    before = running.container_id()

    again = running.succeed("up", "--yes", USER="bob", UID="7", GID="7", COMPOSE_PROJECT_NAME="other", LOGNAME="bob")

    assert running.container_id() == before
    assert again.splitlines()[-1] == link


def test_server_is_published_on_loopback_only(running: Clone) -> None:
    """Nothing but 127.0.0.1 reaches the server."""
    assert re.fullmatch(r"8888/tcp -> 127\.0\.0\.1:\d+", docker("port", running.container_id()))


def test_kernel_computes_and_its_file_is_the_callers(running: Clone, link: str) -> None:
    """A kernel run over REST and websocket computes, and what it saves in results/ belongs to the identity outside."""
    code = "import pandas, tabulate; open('../results/answer.txt', 'w').write(str(pandas.Series([6, 36]).sum()))"
    code = f"import os; os.chdir(os.environ['PROJECT_DIR'] + '/notebooks'); {code}"

    messages = executed(link, code)

    reply = next(m for m in messages if m["msg_type"] == "execute_reply")
    assert reply["content"]["status"] == "ok", reply  # type: ignore[index]
    saved = running.root / "results" / "answer.txt"
    assert saved.read_text(encoding="utf-8") == "42"
    assert (str(saved.stat().st_uid), str(saved.stat().st_gid)) == running.owner


def test_new_notebook_lands_where_it_survives(running: Clone, link: str) -> None:
    """A notebook made where JupyterLab opens is on the host; beside the six folders nothing can be made."""
    made = api(link, "contents/notebooks", method="POST", body={"type": "notebook"})

    assert (running.root / "notebooks" / str(made["name"])).is_file()
    base, token = link.split("/?")[0], link.rpartition("token=")[2]
    header = {"Authorization": f"token {token}"}
    assert status_of(f"{base}/api/contents", method="POST", body={"type": "notebook"}, **header) in (403, 500)
    assert running.inside("touch", f"/home/{running.values()['USER']}/app/lost").returncode != 0


def test_token_shows_nowhere_but_in_the_link(running: Clone, link: str) -> None:
    """Neither the log, nor inspect, nor config, nor docker/.env holds the token."""
    token = link.rpartition("token=")[2]

    places = [
        running.succeed("logs"),
        docker("inspect", running.container_id()),
        running.succeed("config"),
        (running.root / "docker" / ".env").read_text(encoding="utf-8"),
        docker("image", "inspect", f"{running.project}-jupyterlab-server"),
    ]

    assert [token in place for place in places] == [False] * 5
    assert "running at" in places[0]


def test_hosts_certificates_are_handed_in_and_kept_in_no_layer(running: Clone) -> None:
    """The container reads the host's CA bundle and cannot change it; no file of the image is that bundle."""
    bundle = Path(running.values()["CA_BUNDLE"])
    image = docker("inspect", "--format", "{{.Image}}", running.container_id())

    inside = running.inside("bash", "-c", 'sha256sum < "$SSL_CERT_FILE"; : >> "$SSL_CERT_FILE"')
    of_the_system = ["!", "-path", "/etc/ssl/certs/*"]  # the base image's own
    same_size = ["find", "/", "-xdev", "-type", "f", "-size", f"{bundle.stat().st_size}c", *of_the_system]

    assert inside.stdout.split()[0] == hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert inside.returncode != 0
    assert docker("run", "--rm", "--user=0", "--entrypoint", same_size[0], image, *same_size[1:]) == ""


def test_proxy_never_enters_the_image(make_clone: Callable[[str], Clone]) -> None:
    """A proxy of the shell reaches the build and docker/.env, and neither the image nor its history."""
    clone = make_clone("proxied")

    clone.succeed("build", "--yes", https_proxy="http://ada:lovelace@127.0.0.1:9")

    image = f"{clone.project}-jupyterlab-server"
    assert clone.values()["HTTPS_PROXY"] == "http://ada:lovelace@127.0.0.1:9"
    assert "lovelace" not in docker("image", "inspect", image)
    assert "lovelace" not in docker("history", "--no-trunc", image)


def test_container_has_no_privileges(running: Clone) -> None:
    """The process is not the machine's root, has no capabilities and can gain none."""
    status = running.inside("cat", "/proc/1/status").stdout

    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    uid = running.values()["UID"]
    assert re.search(rf"^Uid:\s+{uid}\s+{uid}\s+{uid}\s+{uid}$", status, re.MULTILINE)
    assert running.owner[0] != "0"


def test_ids_inside_are_those_of_env_and_of_files_outside(running: Clone) -> None:
    """`id` inside and docker/.env agree, and a file's owner on the host is the person, on every mount."""
    values = running.values()
    expected = f"{values['UID']}:{values['GID']}"

    script = (
        'cd "$PROJECT_DIR"; for d in bin data doc notebooks results src; do touch $d/p; done; echo $(id -u):$(id -g)'
    )
    inside = running.inside("bash", "-c", script).stdout.strip()

    owners = {name: (running.root / name / "p").stat() for name in YOURS}
    assert inside == expected
    assert {(str(s.st_uid), str(s.st_gid)) for s in owners.values()} == {running.owner}


@pytest.mark.parametrize(
    "argv",
    [
        ["python", "-c", "import pandas, tabulate, sys; print(sys.prefix)"],
        ["bash", "-c", "python -c 'import sys; print(sys.prefix)'"],
        ["bash", "--login", "-c", "python -c 'import sys; print(sys.prefix)'"],
        ["bash", "-i", "-c", "python -c 'import sys; print(sys.prefix)'"],
        ["bash", "-c", "conda activate base && conda activate /opt/env && python -c 'import sys; print(sys.prefix)'"],
        [
            "bash",
            "-lic",
            "conda deactivate; conda activate ~/app/env >/dev/null && echo $CONDA_PREFIX | sed s,.*/env,/opt/env,",
        ],
        ["sh", "-lc", "python -c 'import sys; print(sys.prefix)'"],
    ],
    ids=["exec", "script", "login", "interactive", "conda-activate", "post-path", "sh-login"],
)
def test_environment_is_active_in(running: Clone, argv: list[str]) -> None:
    """Whatever starts in the container finds the environment, and `conda activate` works."""
    done = running.inside(*argv)

    assert done.stdout.strip() == "/opt/env", done.stderr


def test_conda_and_pip_packages_are_both_listed(running: Clone) -> None:
    """Conda knows its own packages and those of requirements.txt."""
    listed = json.loads(running.inside("conda", "list", "--prefix", "/opt/env", "--json").stdout)
    channels = {each["name"]: each["channel"] for each in listed}

    assert channels["jupyterlab"] == "conda-forge"
    assert channels["tabulate"] == "pypi"


def test_group_users_may_install_at_run_time(running: Clone) -> None:
    """The environment is the group's: the person may try a package before it goes into environment.yml."""
    done = running.inside(
        "sh", "-c", 'p="$(python -c "import site; print(site.getsitepackages()[0])")/p" && touch "$p" && rm "$p"'
    )

    assert done.returncode == 0, done.stderr


def test_run_passes_words_output_and_exit_code(running: Clone) -> None:
    """`run -- command` keeps the words apart, prints the command's stdout, and ends with its exit code."""
    script = "import sys; print(sys.argv[1:], sys.prefix); sys.exit(7)"

    done = running.task("run", "--", "python", "-c", script, "a b", "$HOME", "'")

    assert done.returncode == 7, done.stderr
    assert done.stdout == "['a b', '$HOME', \"'\"] /opt/env\n"


def test_shell_opens_in_the_environment(running: Clone) -> None:
    """`shell` gives a prompt on the caller's terminal, in the running server; its exit code is the shell's."""
    task = start(running, "shell", terminal=True)
    wait_until(lambda: "(/opt/env)" in task.said(), timeout_s=60, what="the prompt")

    assert task.terminal is not None
    os.write(task.terminal, b"test $CONDA_PREFIX = /opt/env && exit 7\r")

    assert task.ended() == 7, task.said()


def test_doctor_finds_nothing_that_fails(running: Clone) -> None:
    """With a server that runs, every finding of `doctor` is good, or a warning."""
    judged = json.loads(running.succeed("doctor", "--json"))

    assert [each for each in judged if each["state"] == "fail"] == []


def test_config_is_composes_own(running: Clone) -> None:
    """`invoke config` prints what `docker compose config` prints, byte for byte, whatever the shell exports."""
    values: dict[str, Any] = dict(running.values())
    raw = running.run("docker", "compose", "config", cwd=running.root / "docker", **values)

    ours = running.task("config", USER="bob", UID="7", COMPOSE_FILE="/nonexistent")

    assert ours.stdout == raw.stdout
    assert ours.returncode == 0


def test_mounts_reports_each_folder_on_both_sides(running: Clone) -> None:
    """`mounts --json` names six mounts, all good, and leaves no probe behind."""
    checks = json.loads(running.succeed("mounts", "--json"))

    assert [Path(each["source"]).name for each in checks] == list(YOURS)
    assert {(each["outside"], each["inside"]) for each in checks} == {("ok", "ok")}
    assert [path for name in YOURS for path in (running.root / name).glob(".probe*")] == []


def test_status_names_identity_and_link(running: Clone, link: str) -> None:
    """`status --json` says what runs, as whom, and where."""
    facts = json.loads(running.succeed("status", "--json"))

    assert facts["server"] == "healthy"
    assert facts["link"] == link
    assert ":".join(running.owner) in facts["identity"]


def test_host_code_is_not_reachable_from_inside(running: Clone) -> None:
    """No file that the host runs can be written, or even seen, from the container."""
    mounted = [each["Source"] for each in json.loads(docker("inspect", running.container_id()))[0]["Mounts"]]
    host_code = [running.root / "tasks.py", running.root / "docker", running.root / "tests", running.root / ".venv"]

    assert [path for path in host_code for source in mounted if path.is_relative_to(source)] == []
    done = running.inside("find", "/", "-xdev", "-name", "tasks.py", "-path", "*my-project*")
    assert done.stdout == ""


def test_down_leaves_no_container_or_network_and_every_file(running: Clone) -> None:
    """After `down` nothing of ours runs, every file is there, and a second `down` is no error."""
    (running.root / "notebooks" / "kept.ipynb").write_text("{}", encoding="utf-8")
    before = sorted(path.name for name in YOURS for path in (running.root / name).iterdir())

    running.succeed("down")
    running.succeed("down")

    label = f"label=com.docker.compose.project={running.project}"
    assert docker("ps", "--all", "--quiet", "--filter", label) == ""
    assert docker("network", "ls", "--quiet", "--filter", label) == ""
    assert sorted(path.name for name in YOURS for path in (running.root / name).iterdir()) == before


def test_run_works_without_a_running_server(running: Clone) -> None:
    """`run` starts a container of its own where none runs, and removes it."""
    running.succeed("down")

    assert running.succeed("run", "--", "python", "-c", "print(6 * 7)") == "42\n"
    label = f"label=com.docker.compose.project={running.project}"
    assert docker("ps", "--all", "--quiet", "--filter", label) == ""


def test_caller_is_the_owner_as_an_ordinary_user_would_see(running: Clone) -> None:
    """Plain root gets the post's default identity; anybody else their own."""
    expected = (
        ("1000", "100")
        if os.getuid() == 0 and running.root.stat().st_uid == 0
        else (str(os.getuid()), str(os.getgid()))
    )

    assert running.owner == expected


def test_entrypoint_hands_signals_on(running: Clone) -> None:
    """The server stops at once and cleanly on `docker stop`, not by the kill after ten seconds."""
    running.succeed("up", "--yes")
    container = running.container_id()

    subprocess.run(["docker", "stop", "--time", "30", container], check=True, capture_output=True)

    state = json.loads(docker("inspect", "--format", "{{json .State}}", container))
    assert state["ExitCode"] == 0
    running.succeed("down")
