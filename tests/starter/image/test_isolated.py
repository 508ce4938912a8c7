"""What the server imports: nothing that a notebook can leave behind in the folders; kernels and the rest find src/."""

import json

import pytest
from conftest import Clone, docker
from lab import api, executed

# Each is tried by what Jupyter, tornado or their packages import where it is there, or by Python itself as it starts.
OPTIONAL = ("orjson", "simplejson", "zstandard", "brotli", "chardet", "regex", "sitecustomize", "usercustomize")
PLANTED = """\
import os, sys
with open(os.path.join(os.path.dirname(__file__), "..", "results", "imported"), "a") as file:
    print(__name__, *sys.orig_argv, sep="\\t", file=file)
raise (ModuleNotFoundError if "ipykernel_launcher" in sys.orig_argv else ImportError)("planted")
"""
FORMS = (["jupyter", "lab"], ["jupyter-lab"], ["/opt/env/bin/jupyter-lab"], ["jupyter", "server"], ["jupyter-server"])


@pytest.fixture(scope="module")
def planted(clone: Clone) -> str:
    """The link of a server that started after a notebook left modules in src/, each of which ends a server."""
    for name in OPTIONAL:
        (clone.root / "src" / f"{name}.py").write_text(PLANTED, encoding="utf-8")
    (clone.root / "src" / "own.py").write_text("answer = 42\n", encoding="utf-8")
    return clone.succeed("up", "--yes").splitlines()[-1]


def importers(clone: Clone) -> list[list[str]]:
    """Return who has imported a planted module: its name, and the words of the process."""
    path = clone.root / "results" / "imported"
    return [line.split("\t") for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def test_server_imports_nothing_of_src(clone: Clone, planted: str) -> None:
    """A server that has listed files, started a kernel and a terminal has imported none of them; the kernel may."""
    api(planted, "contents/notebooks")
    api(planted, "terminals", method="POST")
    messages = executed(planted, "import own\ntry:\n import orjson\nexcept ImportError as err: print(own.answer, err)")

    said = [each["content"] for each in messages if each["msg_type"] == "stream"]
    assert said == [{"name": "stdout", "text": "42 planted\n"}]
    assert [words for words in importers(clone) if "ipykernel_launcher" not in words] == []
    assert importers(clone) != []


@pytest.mark.parametrize("words", FORMS, ids=" ".join)
def test_each_form_of_the_server_is_isolated(clone: Clone, planted: str, words: list[str]) -> None:
    """By whatever name it is called, not even what Python looks for as it starts is imported."""
    home = f"/home/{clone.values()['USER']}"
    options = [f"--volume={clone.root}/{name}:{home}/app/{name}" for name in ("src", "results")]
    before = importers(clone)

    done = clone.run("docker", "run", "--rm", *options, f"{clone.project}-jupyterlab-server", *words, "--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert importers(clone) == before


def test_activation_imports_nothing_of_src(clone: Clone, planted: str) -> None:
    """With src/ on Python's path, and a package whose activation calls Python, a start has not run a module of it."""
    home = f"/home/{clone.values()['USER']}"
    script = clone.root.parent / "activate.sh"
    script.write_text("python -c ''; export OF_A_PACKAGE=yes\n", encoding="utf-8")
    options = [f"--volume={clone.root}/{name}:{home}/app/{name}" for name in ("src", "results")]
    options += [f"--volume={script}:/opt/env/etc/conda/activate.d/x.sh:ro", f"--env=PYTHONPATH={home}/app/src"]
    told = "echo $OF_A_PACKAGE $PYTHONPATH $PROJECT_DIR ${PYTHONNOUSERSITE-none} $CONDA_PREFIX"
    before = importers(clone)

    done = clone.run("docker", "run", "--rm", *options, f"{clone.project}-jupyterlab-server", "bash", "-c", told)

    assert done.stdout == f"yes {home}/app/src {home}/app none /opt/env\n", done.stderr
    assert importers(clone) == before


def test_servers_path_has_no_folder_that_is_kept(clone: Clone, planted: str) -> None:
    """It runs isolated; what its user could write on that path ends with the container: the environment."""
    processes = docker("top", clone.container_id(), "-o", "pid,args")
    code = "import json, os, sys; print(json.dumps([p for p in sys.path if os.access(p, os.W_OK)]))"

    writable = json.loads(clone.inside("python", "-I", "-c", code).stdout)

    assert "/opt/env/bin/python -I -B /etc/jupyter/serve.py jupyter-lab" in processes
    assert [path for path in writable if not path.startswith("/opt/env/")] == []


def test_src_is_importable_everywhere_else(clone: Clone, planted: str) -> None:
    """By `docker exec`, by `run`, in a login shell and in the tests of one's own."""
    code = "import own; print(own.answer)"
    (clone.root / "tests" / "test_own.py").write_text("import own\n\n\ndef test_own():\n    assert own.answer == 42\n")

    by_exec = clone.inside("python", "-c", code).stdout
    by_shell = clone.inside("bash", "-lc", f"python -c '{code}'").stdout
    by_run = clone.succeed("run", "--", "python", "-c", code)
    tested = clone.task("test", "--", "-k", "own")

    assert (by_exec, by_shell, by_run) == ("42\n", "42\n", "42\n")
    assert tested.returncode == 0, tested.stdout + tested.stderr
