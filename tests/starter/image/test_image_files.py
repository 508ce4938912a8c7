"""What the build makes, path by path, and the server that does not start without its configuration."""

import pytest
from conftest import Clone, docker, rootless, wait_until

pytestmark = pytest.mark.engines

CONFIGURATION = "/etc/jupyter/jupyter_server_config.py"
# What is not the build's to say: the environment, which has tests of its own, and what the kernel mounts.
PASSED_OVER = ("/proc", "/sys", "/dev", "/opt/env/*", "/opt/conda/pkgs/*")
# Written again by useradd(8) and groupadd(8), with copies ending in -.
ACCOUNTS = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid", "/etc/.pwd.lock")
# path, owner, mode, type (find(1), %y), and where a link leads; U is the person's uid and gid, H the home.
MADE = """
/etc/jupyter 0:0 755 d
/etc/jupyter/door.py 0:0 444 f
/etc/jupyter/jupyter_server_config.py 0:0 444 f
/etc/jupyter/labconfig 0:0 755 d
/etc/jupyter/labconfig/page_config.json 0:0 444 f
/etc/jupyter/mounted_checkpoints.py 0:0 444 f
/etc/jupyter/mounted_contents.py 0:0 444 f
/etc/jupyter/mounted_files.py 0:0 444 f
/etc/jupyter/mounted_settings.py 0:0 444 f
/etc/jupyter/mounted_uploads.py 0:0 444 f
/etc/jupyter/serve.py 0:0 444 f
/etc/jupyter/whole_files.py 0:0 444 f
/etc/profile.d/zz-activate.sh 0:0 777 l /opt/project/activate.sh
/opt/env 0:100 2775 d
/opt/home 0:0 755 d
/opt/own 0:0 755 d
/opt/own/bin 0:0 755 d
/opt/own/lib 0:0 755 d
/opt/project 0:0 755 d
/opt/project/activate.sh 0:0 444 f
/opt/project/project_startup.py 0:0 444 f
/opt/source 0:0 755 d
/usr/local/bin/entrypoint.sh 0:0 555 f
/workspace 0:0 777 l H/app
H U 755 d
H/.cache U 755 d
H/.config U 755 d
H/.ipython U 755 d
H/.jupyter 0:0 555 d
H/.jupyter/lab U 755 d
H/.jupyter/migrated 0:0 644 f
H/.local U 755 d
H/app 0:0 555 d
H/app/bin 0:0 555 d
H/app/data 0:0 555 d
H/app/doc 0:0 555 d
H/app/env 0:0 777 l /opt/env
H/app/notebooks 0:0 555 d
H/app/results 0:0 555 d
H/app/src 0:0 555 d
"""


def paths(image: str) -> set[str]:
    """Return every path of an image as a line of MADE; programs count without the bits that run them as another."""
    passed_over = [word for path in PASSED_OVER for word in ("-o", "-path", path)][1:]
    words = ["/", "-xdev", "(", *passed_over, ")", "-prune", "-o", "-printf", r"%p %U:%G %m %y %l\n"]
    listing = docker("run", "--rm", "--user", "0", "--entrypoint", "find", image, *words)
    found = set()
    for line in listing.splitlines():
        path, owner, mode, *rest = line.split(" ")
        mode = mode[-3:] if path.startswith(("/usr/bin/", "/usr/sbin/")) else mode
        if not path.startswith(ACCOUNTS):
            found.add(" ".join([path, owner, mode, *rest]).rstrip())
    return found


def test_each_path_of_the_build_has_its_owner_and_mode(built: Clone) -> None:
    """What the image has and its base has not, or has otherwise, is what is meant to be there, and as it is meant."""
    values = built.values()
    image = f"{built.project}-jupyterlab-server"
    home, owner = f"/home/{values['USER']}", f"{values['UID']}:{values['GID']}"

    made = paths(image) - paths(values["BASE_IMAGE"])

    meant = {line.replace("H", home, 1).replace("U", owner) for line in MADE.split("\n") if line.startswith("H")}
    meant |= {line.replace("H/", f"{home}/") for line in MADE.split("\n") if line.startswith("/")}
    assert sorted(made) == sorted(meant)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tmpfs", "/etc/jupyter"], f"error: {CONFIGURATION} cannot be read, and no server starts without it"),
        (["--volume", f"/dev/null:{CONFIGURATION}:ro"], f"error: {CONFIGURATION} cannot be read"),
        (["--volume", "{broken}:/etc/jupyter/mounted_contents.py:ro"], "ImportError: of another version"),
    ],
    ids=["missing", "not a file", "does not run"],
)
def test_server_ends_without_its_configuration(built: Clone, options: list[str], said: str) -> None:
    """A configuration that is missing, empty or broken ends the server with a line that says so, and never serves."""
    broken = built.root / "doc" / "broken.py"
    broken.write_text("raise ImportError('of another version')\n", encoding="utf-8")
    words = [word.format(broken=broken) for word in options]

    done = built.run("docker", "run", "--rm", *words, f"{built.project}-jupyterlab-server", timeout_s=60)

    assert done.returncode != 0
    assert said in done.stderr
    assert "is running at" not in done.stderr


def test_server_that_read_no_configuration_is_not_healthy(built: Clone) -> None:
    """Where Jupyter is told to read none, the server answers, and the health check says what it lacks.

    As uid 0, which the configuration alone lets through, the server ends.
    """
    quickly = ("--health-start-period=1ms", "--health-interval=500ms")
    image = f"{built.project}-jupyterlab-server"
    container = docker("run", "--detach", *quickly, "--env", "JUPYTER_NO_CONFIG=1", image)

    def health() -> str:
        return docker(
            "inspect", "--format", "{{.State.Health.Status}}{{range .State.Health.Log}}{{.Output}}{{end}}", container
        )

    try:
        if rootless():
            assert docker("wait", container) != "0"
            return
        wait_until(lambda: "runs without" in health(), timeout_s=60, what="the health check's words")
        wait_until(lambda: health().startswith("unhealthy"), timeout_s=60, what="an unhealthy server")
    finally:
        docker("rm", "--force", container)
