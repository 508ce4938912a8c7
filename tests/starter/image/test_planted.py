"""What a notebook leaves behind for the next container to run: nothing of it is run."""

import base64
import json
import shlex
from pathlib import PurePosixPath

import pytest
from conftest import Clone, docker
from lab import api, cookies_of, executed, status_of

THEME = "settings/@jupyterlab/apputils-extension:themes"
# Each writes a file if it is ever read as code; where they are looked for: `jupyter --paths`, IPython's documentation.
PLANTED = {
    "jupyter_server_config.py": "open('/tmp/planted', 'w')\nc.ServerApp.allow_origin = '*'\n",
    "jupyter_config.py": "open('/tmp/planted', 'w')\n",
    "jupyter_server_config.json": '{"ServerApp": {"allow_origin": "*"}}',
    "jupyter_server_config.d/x.json": '{"ServerApp": {"jpserver_extensions": {"planted": true}}}',
    "custom/custom.js": "alert(1)",
    "kernels/python3/kernel.json": '{"argv": ["touch", "/tmp/planted"], "display_name": "x"}',
    "planted.py": "open('/tmp/planted', 'w')\n",
    "sitecustomize.py": "open('/tmp/planted', 'w')\n",
}


def kept_places(clone: Clone) -> list[PurePosixPath]:
    """Return the folders of a container whose content outlives it, beside the person's own."""
    template = '{{range .Mounts}}{{if eq .Type "volume"}}{{println .Destination}}{{end}}{{end}}'
    return [PurePosixPath(each) for each in docker("inspect", "--format", template, clone.container_id()).split()]


@pytest.fixture(scope="module")
def planted(running: Clone) -> str:
    """The link of a new container, after a notebook in the one before has planted all it could."""
    first = running.succeed("url").splitlines()[-1]
    home = PurePosixPath("/home", running.values()["USER"])
    api(first, THEME, root="lab/api", method="PUT", body={"raw": '{"theme": "JupyterLab Dark"}'})
    for place in (*kept_places(running), home / ".jupyter", home / ".ipython/profile_default/startup", home / ".local"):
        for name, text in PLANTED.items():
            target = shlex.quote(str(place / name))
            code = base64.b64encode(text.encode()).decode()
            command = f"mkdir -p $(dirname {target}) && echo {code} | base64 --decode >{target}"
            running.inside("sh", "-c", command)
    running.succeed("down")
    return running.succeed("up", "--yes").splitlines()[-1]


def test_planted_configuration_does_not_change_the_next_server(running: Clone, planted: str) -> None:
    """No code of it has run in the server, its kernels and its shells, and no setting of it holds."""
    foreign = status_of(f"{cookies_of(planted)[0]}/api", Origin="http://evil.example")

    messages = executed(planted, "import os; print(os.path.exists('/tmp/planted'))")
    shell = running.inside("bash", "-lic", "python -c '' && jupyter --version && test -e /tmp/planted")

    assert foreign == 404  # Jupyter's answer to an origin that is not allowed
    assert [each["content"] for each in messages if each["msg_type"] == "stream"] == [
        {"name": "stdout", "text": "False\n"}
    ]
    assert shell.returncode == 1, shell.stderr


def test_configuration_cannot_be_planted_for_a_restart(running: Clone, planted: str) -> None:
    """Jupyter's folder of configuration belongs to root; `docker restart` reads nothing of a notebook's from there."""
    done = running.inside("sh", "-c", "touch ~/.jupyter/jupyter_server_config.py")

    assert done.returncode != 0
    assert "denied" in done.stderr


def test_volume_holds_settings_only(running: Clone, planted: str) -> None:
    """One volume, below the folder that Jupyter reads configuration from; Lab's settings are still in it."""
    home = PurePosixPath("/home", running.values()["USER"])

    assert kept_places(running) == [home / ".jupyter/lab"]
    assert "JupyterLab Dark" in str(api(planted, THEME, root="lab/api")["raw"])


def test_planted_repository_is_warned_of(running: Clone, planted: str) -> None:
    """What `git status` alone would run in a mounted folder is named by `mounts` and `doctor`, and run by neither."""
    plant = """cd "$PROJECT_DIR/results" && mkdir -p .git/objects .git/refs && echo ref: refs/heads/main >.git/HEAD &&
        printf '[core]\n\trepositoryformatversion = 0\n\tfsmonitor = "touch ran; false"\n' >.git/config"""
    assert running.inside("sh", "-c", plant).returncode == 0
    marker = running.root / "results" / "ran"

    told = running.task("mounts")
    judged = [each for each in json.loads(running.task("doctor", "--json").stdout) if each["code"] == "planted"]
    untouched = not marker.exists()
    running.run("git", "-c", "safe.directory=*", "status", cwd=running.root / "results")

    assert (told.returncode, untouched, marker.exists()) == (0, True, True)
    assert "results/.git/config has git run or read what core.fsmonitor say" in told.stderr
    assert [(each["state"], "core.fsmonitor" in each["cause"]) for each in judged] == [("warn", True)]
