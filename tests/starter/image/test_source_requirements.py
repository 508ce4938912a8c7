"""What src/pyproject.toml, which a notebook can write, brings into an image, and what a folder of wheels does."""

import shutil
import zipfile
from typing import Any

import pytest
from conftest import Clone
from lab import executed

PROJECT = '[project]\nname = "study"\nversion = "1"\ndependencies = [\n    "{}",\n]\n'
COMMANDS = '[project.scripts]\nstudy-cli = "study:main"\npython = "study:main"\n'
PATH_OF_SERVER = """
from pathlib import Path
(server,) = (path for path in Path("/proc").glob("[0-9]*") if b"-I\\0-B\\0" in (path / "cmdline").read_bytes())
print(*(line for line in (server / "environ").read_text().split("\\0") if line.startswith("PATH=")))
"""
PACKAGE = """
from importlib import metadata
def main() -> None:
    print(metadata.version("study"), {!r})
"""
# On PyPI it is a source package and nothing else: who installs it runs its setup.py.
SOURCE_ONLY = "docopt"


@pytest.fixture(scope="module")
def built(clone: Clone) -> Clone:
    """A running clone whose src/ requires a package; a postBuild in which that can be imported would end the build."""
    (clone.root / "src" / "pyproject.toml").write_text(PROJECT.format("humanize") + COMMANDS, encoding="utf-8")
    (clone.root / "src" / "src" / "study").mkdir(parents=True)
    (clone.root / "src" / "src" / "study" / "__init__.py").write_text(PACKAGE.format("first"), encoding="utf-8")
    (clone.root / "postBuild").write_text("#!/bin/sh\n! python -c 'import humanize'\n", encoding="utf-8")
    clone.succeed("up", "--yes")
    return clone


def test_project_of_src_has_its_metadata_and_commands(built: Clone) -> None:
    """In `run`, `docker exec`, a login shell, a notebook and tests; the code is the mounted, and nothing is left there.

    A command of its own is behind all others, and the server finds none of them.
    """
    before = sorted(str(path) for path in (built.root / "src").rglob("*"))
    (built.root / "src" / "src" / "study" / "__init__.py").write_text(PACKAGE.format("edited"), encoding="utf-8")
    tested = "import subprocess\n\n\ndef test_own() -> None:\n    subprocess.run(['study-cli'], check=True)\n"
    (built.root / "tests" / "test_own.py").write_text(tested, encoding="utf-8")

    by_run = built.succeed("run", "--", "study-cli")
    by_exec = built.inside("study-cli").stdout
    by_shell = built.inside("bash", "-lc", "study-cli; command -v python; pip list --format=freeze | grep study").stdout
    link = built.succeed("url").splitlines()[-1]
    messages = executed(link, "!study-cli\nfrom study import main\nmain()")
    by_test = built.task("test", "--", "-k", "own")
    server = built.inside("python", "-c", PATH_OF_SERVER).stdout
    isolated = built.inside("python", "-I", "-c", "from importlib.metadata import version; version('study')")

    streams: list[Any] = [each["content"] for each in messages if each["msg_type"] == "stream"]
    shown = "".join(each["text"] for each in streams).replace("\r", "")
    assert (by_run, by_exec, shown) == ("1 edited\n", "1 edited\n", "1 edited\n1 edited\n")
    assert by_shell == "1 edited\n/opt/env/bin/python\nstudy==1\n"
    assert by_test.returncode == 0, by_test.stdout + by_test.stderr
    assert server.startswith("PATH=/opt/env/bin:")
    assert "/opt/own" not in server
    assert "PackageNotFoundError" in isolated.stderr
    assert sorted(str(path) for path in (built.root / "src").rglob("*")) == before
    assert "Nothing was installed by hand" in built.succeed("diff")


def test_required_package_is_for_notebooks_and_not_for_the_server(built: Clone) -> None:
    """Where src/ can be imported it can be, and pip lists it; an isolated Python, which the server is, has it not."""
    code = "import humanize, sys; print(humanize.__file__.split('/lib/')[0], '/opt/env' in sys.prefix)"

    found = built.inside("python", "-c", code).stdout
    listed = built.inside("python", "-m", "pip", "list").stdout
    isolated = built.inside("python", "-I", "-c", "import sys; print(*sys.path)").stdout.split()

    assert found == "/opt/source True\n"
    assert "\nhumanize " in listed
    assert [path for path in isolated if path.startswith(("/opt/source", "/home"))] == []


def test_package_that_would_have_to_be_built_is_refused_from_src(built: Clone) -> None:
    """No setup.py of what a notebook may have named runs in a build: there is no wheel of it, and the build ends."""
    (built.root / "src" / "pyproject.toml").write_text(PROJECT.format(SOURCE_ONLY), encoding="utf-8")

    refused = built.task("build", "--yes")

    (built.root / "src" / "pyproject.toml").unlink()
    (built.root / "requirements.txt").write_text(f"{SOURCE_ONLY}\n", encoding="utf-8")
    taken = built.task("build", "--yes")
    (built.root / "requirements.txt").write_text("tabulate\n", encoding="utf-8")
    assert refused.returncode == 70, refused.stderr[-2000:]
    assert f"No matching distribution found for {SOURCE_ONLY}" in refused.stderr
    assert taken.returncode == 0, taken.stderr[-2000:]


def test_lock_has_them_apart_and_takes_wheels_only(built: Clone) -> None:
    """They are below a line of their own, with hashes; requirements.txt alone may name what has to be built."""
    (built.root / "src" / "pyproject.toml").write_text(PROJECT.format("humanize"), encoding="utf-8")
    built.succeed("lock", "--yes")
    (lock,) = (built.root / "environment.lock").rglob("pip-linux-64.txt")
    above, _, below = lock.read_text("utf-8").partition("# required by src/pyproject.toml\n")
    (built.root / "src" / "pyproject.toml").write_text(PROJECT.format(SOURCE_ONLY), encoding="utf-8")

    refused = built.task("lock", "--yes")
    (built.root / "requirements.txt").write_text(f"{SOURCE_ONLY}\n", encoding="utf-8")
    taken = built.task("lock", "--yes")

    (built.root / "requirements.txt").write_text("tabulate\n", encoding="utf-8")
    shutil.rmtree(built.root / "environment.lock")
    (built.root / "src" / "pyproject.toml").unlink()
    assert ("humanize==" in above, below.startswith("humanize=="), "--hash=sha256:" in below) == (False, True, True)
    assert refused.returncode != 0
    assert f"Wheels are required for `{SOURCE_ONLY}`" in refused.stderr
    assert taken.returncode == 0, taken.stderr[-2000:]


def test_address_in_src_is_refused_with_its_line(built: Clone) -> None:
    """The build ends before anything is downloaded, and names file and line."""
    text = PROJECT.format("evil @ https://evil.invalid/evil-1.tar.gz")
    (built.root / "src" / "pyproject.toml").write_text(text, encoding="utf-8")

    refused = built.task("build", "--yes")

    (built.root / "src" / "pyproject.toml").unlink()
    assert refused.returncode == 70, refused.stderr[-2000:]
    assert "src/pyproject.toml:5: 'evil @ https://evil.invalid/evil-1.tar.gz': a name with extras" in refused.stderr


def test_wheel_of_ones_own_is_installed_from_its_folder_by_a_lock_too(built: Clone) -> None:
    """Nobody else has it: `--find-links wheels` finds it in the build, and the lock names it with its hash."""
    (built.root / "wheels").mkdir()
    with zipfile.ZipFile(built.root / "wheels" / "study_mine-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("study_mine.py", "WHERE = __file__\n")
        wheel.writestr("study_mine-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: study-mine\nVersion: 1\n")
        wheel.writestr("study_mine-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("study_mine-1.dist-info/RECORD", "")
    (built.root / "requirements.txt").write_text("--find-links wheels\nstudy-mine ==1\n", encoding="utf-8")

    built.succeed("up", "--yes")
    without = built.inside("python", "-c", "import study_mine; print(study_mine.WHERE)").stdout
    built.succeed("lock", "--yes")
    (lock,) = (built.root / "environment.lock").rglob("pip-linux-64.txt")
    locked = lock.read_text("utf-8")
    built.succeed("up", "--yes")
    by_lock = built.inside("python", "-c", "import study_mine; print(study_mine.WHERE)").stdout

    shutil.rmtree(built.root / "environment.lock")
    shutil.rmtree(built.root / "wheels")
    gone = built.task("up", "--dry-run")
    (built.root / "requirements.txt").write_text("tabulate\n", encoding="utf-8")
    assert (without[:13], by_lock[:13]) == ("/opt/env/lib/", "/opt/env/lib/")
    assert "study-mine==1" in locked
    assert "--hash=sha256:" in locked
    assert "requirements.txt:1: wheels is not in the build, and pip would take its packages from PyPI" in gone.stdout
