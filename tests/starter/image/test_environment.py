"""The environment of a built image: what conda, pip and Python say in it, and which layer a change costs."""

import itertools
import json
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Clone, cloned, docker

from host_tasks.kit.paths import DOCKER_DIR

ODD_POST_BUILD = """\
#!/usr/bin/env bash
set -euo pipefail
mkdir -p ~/.config/tool "${CONDA_PREFIX}/etc/conda/activate.d"
echo kept >~/.config/tool/settings
echo 'export FROM_ACTIVATE_D=yes' >"${CONDA_PREFIX}/etc/conda/activate.d/x.sh"
"""


def build(clone: Clone, base: str, tag: str, *options: str) -> None:
    """Build a clone's image by docker's own command, with what the host trusts."""
    words = ["docker", "build", "--file", "docker/Dockerfile", "--tag", tag, *([f"--build-arg={base}"] if base else [])]
    for name, path in secrets(clone).items():
        words += ["--secret", f"id={name},src={path}"]
    done = clone.run(*words, *options, ".")
    assert done.returncode == 0, done.stderr[-4000:]


def secrets(clone: Clone) -> dict[str, str]:
    """Return the files of the build's secrets: those of docker/.env, where it has been written."""
    values = clone.values() if (clone.root / "docker" / ".env").exists() else {}
    return {
        "ca_bundle": values.get("CA_BUNDLE", "docker/ca-bundle.pem"),
        "pip_config": values.get("PIP_CONFIG", "docker/pip.conf"),
    }


def layers(tag: str) -> list[str]:
    """Return the digests of an image's layers."""
    found: list[str] = json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", tag))
    return found


def run(tag: str, script: str, *options: str) -> str:
    """Return what a script prints in a new container of an image, as its user, by way of its entrypoint."""
    return docker("run", "--rm", *options, tag, "bash", "-c", script)


@pytest.fixture(scope="module")
def base(running: Clone) -> str:
    """The base image that this machine can reach, as a build argument; none where it is the published one."""
    chosen = running.values().get("BASE_IMAGE")
    return f"BASE_IMAGE={chosen}" if chosen else ""


@pytest.fixture(scope="module")
def image(running: Clone) -> str:
    """The image of the running clone."""
    return docker("inspect", "--format", "{{.Image}}", running.container_id())


@pytest.fixture(scope="module")
def odd(running: Clone, base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of what people bring: variables, CR LF without a run bit, system packages, files beside requirements."""
    clone = cloned(tmp_path_factory.mktemp("odd") / "odd")
    for name in (".env", ".pip.conf"):
        if (running.root / "docker" / name).exists():
            (clone.root / "docker" / name).write_bytes((running.root / "docker" / name).read_bytes())
    with (clone.root / "environment.yml").open("a", encoding="utf-8") as file:
        file.write("variables:\n  A_VARIABLE: 1.10\n")
    (clone.root / "requirements.txt").write_text("-r requirements-more.txt\n-c constraints.txt\n", encoding="utf-8")
    (clone.root / "requirements-more.txt").write_text("tabulate\n", encoding="utf-8")
    (clone.root / "constraints.txt").write_text("tabulate ==0.9.0\n", encoding="utf-8")
    (clone.root / "apt.txt").write_text("file # says what a file is\n", encoding="utf-8")
    (clone.root / "postBuild").write_bytes(ODD_POST_BUILD.replace("\n", "\r\n").encode())
    (clone.root / "postBuild").chmod(0o644)
    for name in ("entrypoint.sh", "activate.sh", "create-user.sh"):
        script = clone.root / "docker" / name
        script.write_bytes(script.read_bytes().replace(b"\n", b"\r\n"))
    build(clone, base, "odd:test")
    yield "odd:test"
    docker("image", "rm", "--force", "odd:test")


def test_conda_says_the_truth_and_changes_the_environment(image: str) -> None:
    """As the user, conda lists, exports, removes, installs and updates what rattler made, also from a file."""
    script = """set -e
    conda list --json | python -c 'import json, sys; print({p["name"]: p["channel"] for p in json.load(sys.stdin)})'
    conda env export --from-history
    conda remove --yes --quiet --prefix /opt/env scikit-learn >&2
    ! ls -d /opt/env/lib/python3*/site-packages/sklearn
    printf 'dependencies:\n  - scipy\n  - pip\n  - pip:\n      - tabulate\n' >/tmp/more.yml
    conda remove --yes --quiet --prefix /opt/env scipy >&2
    conda env update --quiet --prefix /opt/env --file /tmp/more.yml 2>&1 | tee /tmp/said >&2
    ! grep -i notices /tmp/said
    python -c 'import scipy'
    conda install --yes --quiet --prefix /opt/env scikit-learn >&2
    python -c 'import sklearn; print("back")'
    conda update --yes --quiet --prefix /opt/env numpy >&2
    pip --version >&2
    """

    said = run(image, script)

    assert "'jupyterlab': 'conda-forge'" in said
    assert "'tabulate': 'pypi'" in said
    assert "- jupyterlab[version='>=4.4']" in said
    assert said.endswith("back")


def test_tools_of_the_build_are_not_in_the_image(image: str) -> None:
    """Neither rattler nor a package cache stays."""
    find = (
        "find / -xdev ( -name 'py_rattler*' -o -name '*.conda' -not -path '/opt/conda/channels/*' ) -print 2>/dev/null"
    )

    assert run(image, find.replace("(", "\\(").replace(")", "\\)") + " || true", "--user=0") == ""


@pytest.mark.engines
def test_no_layer_holds_a_file_a_second_time(image: str) -> None:
    """What comes after the conda packages adds what it installs and no more: tabulate, a setting, a user."""
    sizes = [int(size) for size in docker("history", "--format", "{{.Size}}", "--human=false", image).split()]
    of_the_environment = int(run(image, "du --summarize --bytes /opt/env | cut --fields=1"))

    assert max(sizes) < 1.1 * of_the_environment
    assert sum(sizes[: sizes.index(max(sizes))]) < 10_000_000


def test_large_files_are_there_once(image: str) -> None:
    """JupyterLab brings its pages as its own files and as data: the image has them once."""
    script = """cd /opt/env
        find . -type f -size +64k -printf "%i %p\\n" | sort --unique --key=1,1 | cut --delimiter=" " --fields=2- |
        xargs sha256sum | sort | uniq --repeated --check-chars=64
        find . -path "*lab/static/*" -links 2 | wc --lines"""

    *twice, linked = run(image, script).split()

    assert twice == []
    assert int(linked) > 20


@pytest.mark.parametrize("name", ["image", "odd"])
def test_users_may_change_the_whole_environment(name: str, request: pytest.FixtureRequest) -> None:
    """What conda, pip and postBuild have left belongs to the group, and so does what comes to be in its folders."""
    lacks = "find /opt/env ! -type l \\( ! -group users -o ! -perm -a=r,g=w -o -type d ! -perm -g=s,a=x \\) -print"

    assert run(request.getfixturevalue(name), lacks) == ""


def test_what_a_step_leaves_runs_with_nobodys_rights(image: str) -> None:
    """A package's build, or postBuild, may set them; create-user.sh does not search the environment again."""
    script = "install --mode=6755 /bin/true /opt/env/made && bash /share.sh /opt/env && stat --format=%a /opt/env/made"
    share = f"--volume={DOCKER_DIR}/environment/share.sh:/share.sh:ro"

    assert run(image, script, "--user=0", share) == "775"


def test_python_writes_nothing_into_the_containers_layer(image: str) -> None:
    """What it compiles at run time would be lost with the container, and slow its start."""
    script = (
        "python -c 'import pandas, email.mime.text, sklearn.ensemble' && find /opt -newer /proc/1/stat -name '*.pyc'"
    )

    assert run(image, script) == ""


@pytest.mark.parametrize(
    "code",
    [
        "from jupyterlab.labapp import LabApp; LabApp.initialize_server(argv=['--no-browser', '--port=0'])",
        "from ipykernel.kernelapp import IPKernelApp; IPKernelApp.instance().initialize(['--quiet'])",
        "from pip._internal.cli.main import main; main(['install', '--dry-run', '--no-index', 'tabulate'])",
        "import pandas, matplotlib.pyplot, sklearn.ensemble, scipy.stats, pytest",
    ],
    ids=["server", "kernel", "pip", "stack"],
)
def test_what_a_start_needs_is_compiled(image: str, code: str) -> None:
    """JupyterLab, a kernel, pip and the requested packages are loaded from their compiled form."""
    script = f"""import os, sys
out = os.dup(1)  # a kernel takes the other
{code}
made = [each for each in list(sys.modules.values()) if (getattr(each, "__file__", 0) or "").endswith(".py")]
rest = [each.__file__ for each in made if "site-packages" in each.__file__ and not os.path.exists(each.__cached__)]
os.write(out, f"\\n{{len(made)}} {{rest}}".encode())
os._exit(0)
""".replace("'", '"')

    modules, _, not_compiled = run(image, f"python -c '{script}' | tail -1").partition(" ")

    # What a function imports by a name that it makes up is not foreseen.
    assert len(not_compiled.split(",")) <= int(modules) / 50, not_compiled


def test_source_folder_is_imported_live(running: Clone) -> None:
    """A module in src/ can be imported by scripts, `run` and `docker exec`, as it is now, and hides no package."""
    (running.root / "src" / "mymod.py").write_text("answer = 42\n", encoding="utf-8")
    (running.root / "src" / "numpy.py").write_text("raise SystemExit('hidden')\n", encoding="utf-8")
    ask = "import mymod, numpy; print(mymod.answer)"

    plain = running.inside("python", "-c", ask)
    by_shell = running.inside("bash", "-c", f"cd /tmp && python -c '{ask}'")
    by_run = running.task("run", "--", "python", "-c", ask)

    (running.root / "src" / "numpy.py").unlink()
    assert [each.stdout.strip() for each in (plain, by_shell, by_run)] == ["42"] * 3, plain.stderr + by_run.stderr


def test_environment_is_active_without_a_shell(running: Clone) -> None:
    """`docker exec C python` knows its prefix and what the host trusts, as after activation."""
    ask = "import os; print(os.environ.get('CONDA_PREFIX'), os.environ.get('SSL_CERT_FILE'))"

    plain = running.inside("python", "-c", ask)
    by_shell = running.inside("bash", "-c", f'python -c "{ask}"')

    assert plain.stdout == by_shell.stdout
    assert plain.stdout.startswith("/opt/env ")


@pytest.mark.engines
def test_what_was_installed_by_hand_is_recorded(running: Clone) -> None:
    """What conda and pip were asked for is shown and added to the files, without what that depends on."""
    names = ("environment.yml", "requirements.txt")
    before = {name: (running.root / name).read_text(encoding="utf-8") for name in names}
    assert "Nothing was installed by hand" in running.succeed("diff")
    by_conda = running.inside("conda", "install", "--yes", "--quiet", "--prefix=/opt/env", "setuptools")
    by_pip = running.inside("pip", "install", "--quiet", "jsonlines")  # which depends on attrs

    found = {each["name"]: each for each in json.loads(running.succeed("diff", "--json"))}
    running.succeed("record")

    assert set(found) == {"setuptools", "jsonlines"}, by_conda.stderr + by_pip.stderr
    assert (found["setuptools"]["by"], found["jsonlines"]["by"]) == ("conda", "pip")
    after = {name: (running.root / name).read_text(encoding="utf-8") for name in names}
    added = f"  - scipy\n  - setuptools >={found['setuptools']['version']}\n"
    assert after["environment.yml"] == before["environment.yml"].replace("  - scipy\n", added)
    assert after["requirements.txt"] == before["requirements.txt"] + f"jsonlines >={found['jsonlines']['version']}\n"
    assert "Nothing was installed by hand" in running.succeed("diff")
    for name, text in before.items():
        (running.root / name).write_text(text, encoding="utf-8")


def test_lock_of_a_stand_in_is_for_this_machine(running: Clone, base: str) -> None:
    """It is written where git ignores it, fits until a line changes, and is then the first step of `up`."""
    if not base:
        pytest.skip("the published base image is in use here")
    requirements = running.root / "requirements.txt"
    before = requirements.read_text(encoding="utf-8")
    running.run("git", "init", "--quiet", ".")

    running.succeed("lock")

    fits = running.task("lock", "--check").returncode
    requirements.write_text(f"{before}humanize\n", encoding="utf-8")
    stale, plan = running.task("lock", "--check"), running.succeed("up", "--dry-run")
    requirements.write_text(before, encoding="utf-8")
    untracked = running.run("git", "status", "--porcelain", "--untracked-files=all", "environment.lock").stdout
    text = (running.root / "environment.lock" / "stand-in" / "pip-linux-64.txt").read_text(encoding="utf-8")
    shutil.rmtree(running.root / "environment.lock")
    assert (fits, stale.returncode) == (0, 1)
    assert "`humanize` is new" in stale.stdout
    assert plan.index("write environment.lock") < plan.index("build the image")
    assert untracked == ""
    assert "--hash=sha256:" in text


def test_interactive_shell_names_the_environment(running: Clone) -> None:
    """The prompt shows it, whether the shell activated it or found it active."""
    for words in (["bash"], ["entrypoint.sh", "bash"]):
        prompt = running.inside(*words, "-ic", 'echo "$PS1"').stdout

        assert prompt.startswith("(/opt/env) ")
        assert prompt.count("/opt/env") == 1
        assert "\\w" in prompt


def test_variables_and_scripts_of_the_environment_count(odd: str) -> None:
    """`variables:` of environment.yml and activate.d work in shells; the variables without one too, as written."""
    plain = docker("run", "--rm", "--entrypoint=python", odd, "-c", "import os; print(os.environ['A_VARIABLE'])")
    by_shell = run(odd, "echo $A_VARIABLE $FROM_ACTIVATE_D")

    assert (plain, by_shell) == ("1.10", "1.10 yes")


def test_home_of_post_build_is_the_users(odd: str) -> None:
    """What postBuild wrote to ~ is in the user's home and theirs, though the layer that ran it knows no user."""
    said = run(
        odd, 'cat ~/.config/tool/settings; stat --format "%U %a" ~/.config/tool/settings; cd && touch ~/.config/x'
    )

    assert said.split() == ["kept", "al-khawarizmi", "644"]


def test_files_beside_requirements_and_system_packages_are_installed(odd: str) -> None:
    """`-r` and `-c` reach the build, and so does apt.txt."""
    assert run(odd, "python -c 'import tabulate; print(tabulate.__version__)'; command -v file git").split() == [
        *("0.9.0", "/usr/bin/file", "/usr/bin/git")
    ]


def test_system_packages_may_link_manuals_of_their_own(odd: str) -> None:
    """A base without manuals has no folder for them, and Java's packages end there: this is what they do."""
    script = """touch /tmp/java.1.gz && update-alternatives --quiet --install /usr/bin/java java /bin/true 1 \\
        --slave /usr/share/man/man1/java.1.gz java.1.gz /tmp/java.1.gz && readlink /usr/bin/java"""

    assert run(odd, script, "--user=0") == "/etc/alternatives/java"


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [("requirements.txt", "tabulate\nhumanize\n", 1), ("postBuild", "#!/bin/sh\necho another\n", 2)],
    ids=["pip-package", "postBuild"],
)
def test_change_costs_its_own_layer(running: Clone, base: str, name: str, text: str, kept: int) -> None:
    """Another pip package keeps the conda packages' layer, another postBuild that of the pip packages too."""
    before = (running.root / name).read_text(encoding="utf-8")
    # New to the builder, both: it may have several results of one step, of builds side by side, and takes any of them.
    (running.root / name).write_text(f"{before}# {uuid.uuid4()}\n", encoding="utf-8")
    build(running, base, "unchanged:test")
    (running.root / name).write_text(f"{text}# {uuid.uuid4()}\n", encoding="utf-8")

    build(running, base, "changed:test")

    (running.root / name).write_text(before, encoding="utf-8")
    pairs = zip(layers("unchanged:test"), layers("changed:test"), strict=False)
    same = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
    history = docker("history", "--format", "{{.Size}}", "--human=false", "unchanged:test").split()
    docker("image", "rm", "--force", "changed:test", "unchanged:test")
    nonempty = [int(size) for size in history if int(size)][::-1]
    assert max(nonempty) in nonempty[:same]
    assert same >= nonempty.index(max(nonempty)) + kept


def test_project_without_optional_files_is_built(base: str, running: Clone, tmp_path: Path) -> None:
    """requirements.txt and postBuild may be deleted."""
    clone = cloned(tmp_path / "bare")
    for name in (".env", ".pip.conf"):
        if (running.root / "docker" / name).exists():
            (clone.root / "docker" / name).write_bytes((running.root / "docker" / name).read_bytes())
    (clone.root / "requirements.txt").unlink()
    (clone.root / "postBuild").unlink()

    build(clone, base, "bare:test")

    assert run("bare:test", "python -c 'import pandas; print(1)'") == "1"
    docker("image", "rm", "--force", "bare:test")


@pytest.fixture(scope="module")
def edited(running: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone on the same base by a name that is no stand-in's, which is not made again for another environment.yml."""
    clone = cloned(tmp_path_factory.mktemp("edited") / "edited")
    base = running.values().get("BASE_IMAGE")
    if base:
        docker("tag", base, "edited-base:test")
        (clone.root / "docker" / ".env").write_text("BASE_IMAGE=edited-base:test\n", encoding="utf-8")
    yield clone
    if base:
        docker("image", "rm", "edited-base:test")


# In environment.yml, `numpy` stands between packages that the channel has; what is put in its place is at fault.
@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("environment.yml", "numpy\n", "no-such-package-9b1c\n", "no-such-package-9b1c: no package of this name"),
        ("environment.yml", "numpy\n", "numpy <1\n", r"the environment cannot be made: .*numpy <1"),
        ("environment.yml", "  - conda-forge\n", "  - http://127.0.0.1:9/team\n", r"http://127\.0\.0\.1:9/team/"),
        ("requirements.txt", "tabulate >=0.9\n", "tabulate >=0.9\n-c constraints.txt\n", r"Cannot install .*tabulate"),
    ],
    ids=["missing", "unsolvable", "unreachable channel", "pip conflict"],
)
def test_failed_build_names_file_and_line(edited: Clone, file: str, old: str, new: str, said: str) -> None:
    """By what rattler and pip say themselves, in two lines; the words that pip and conda say in passing blame none."""
    (edited.root / "constraints.txt").write_text("tabulate <0.9 # pip\n", encoding="utf-8")
    path = edited.root / file
    before = path.read_text(encoding="utf-8")
    line = before[: before.index(old)].count("\n") + 1
    path.write_text(before.replace(old, new), encoding="utf-8")

    built = edited.task("build")

    path.write_text(before, encoding="utf-8")
    error, fix = built.stderr.splitlines()[-2:]
    assert built.returncode == 70
    assert re.search(rf"^error: {re.escape(file)}:{line}: .*{said}", error), error
    assert re.search(rf"^fix: correct {re.escape(file)}:{line}\b.*, then: ", fix), fix


def test_runtime_has_the_environment_without_conda_and_jupyterlab(running: Clone, base: str, image: str) -> None:
    """For batch jobs: smaller, by the same entrypoint, active in a login shell too; a notebook is executed in it."""
    build(running, base, "runtime:test", "--build-arg=FLAVOR=runtime")
    script = """
    bash -lc 'python -c "import pandas, sys; print(sys.prefix)"'
    command -v conda || echo none
    python -c 'import importlib.util as u; print([u.find_spec(each) for each in ("jupyterlab", "jupyter_server")])'
    pip check
    echo '{"cells": [{"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": null,
        "source": "print(6 * 7)"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}' >/tmp/a.ipynb
    jupyter nbconvert --to markdown --execute --stdout /tmp/a.ipynb 2>/dev/null | grep 42
    """

    said = run("runtime:test", script)
    sizes = [int(docker("image", "inspect", "--format", "{{.Size}}", each)) for each in ("runtime:test", image)]
    docker("image", "rm", "--force", "runtime:test")

    assert said.split("\n") == ["/opt/env", "none", "[None, None]", "No broken requirements found.", "    42"]
    assert sizes[0] < sizes[1]
