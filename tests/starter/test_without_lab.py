"""What the runtime keeps of an environment: what is asked for beside JupyterLab, and all that it depends on."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from host_tasks.kit.paths import DOCKER_DIR

sys.path.append(str(DOCKER_DIR / "environment"))

without_lab = importlib.import_module("without_lab")

SITE = "lib/python3.12/site-packages"


def install(prefix: Path, name: str, *depends: str, files: tuple[str, ...] = ()) -> None:
    """Put a conda package into a prefix: a module, what Python has compiled of it, and its record."""
    module = name.replace("-", "_")
    files = (f"{SITE}/{module}/__init__.py", f"{SITE}/{module}-1.dist-info/METADATA", *files)
    for file in (*files, f"{SITE}/{module}/__pycache__/__init__.cpython-312.pyc"):
        path = prefix / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Metadata-Version: 2.1\nName: {name}\n", encoding="utf-8")
    record = {"name": name, "version": "1", "build": "0", "depends": depends, "files": files}
    (prefix / "conda-meta").mkdir(exist_ok=True)
    (prefix / "conda-meta" / f"{name}-1-0.json").write_text(json.dumps(record), encoding="utf-8")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An environment with JupyterLab, what it needs, and packages of a person's own."""
    install(tmp_path, "python")
    install(tmp_path, "jupyterlab", "jupyter-server >=2", "babel", "python", files=("share/lab/a.js", "share/common"))
    install(tmp_path, "jupyter-server", "yaml_of 6.*", "python")
    for name in ("babel", "yaml_of", "numpy"):
        install(tmp_path, name, "python")
    install(tmp_path, "pandas", "numpy >=1", "python", files=("share/common",))
    return tmp_path


def left(prefix: Path) -> set[str]:
    """Return the names of the packages that are left, by the folders of their modules and by their records."""
    modules = {each.name for each in (prefix / SITE).iterdir() if not each.name.endswith(".dist-info")}
    assert {each.name.removesuffix("-1-0.json") for each in (prefix / "conda-meta").iterdir()} == {
        each.replace("_", "-") if each == "jupyter_server" else each for each in modules
    }
    return modules


def test_only_what_lab_alone_needs_goes(prefix: Path) -> None:
    """Files, compiled files, folders and records of it; a file that another package has too stays."""
    without_lab.main(["conda-forge::pandas >=2", "jupyterlab >=4"], prefix)

    assert left(prefix) == {"python", "pandas", "numpy"}
    assert [each.name for each in (prefix / "share").iterdir()] == ["common"]
    record = json.loads((prefix / "conda-meta" / "pandas-1-0.json").read_text(encoding="utf-8"))
    assert record == {"name": "pandas", "version": "1", "build": "0", "depends": ["numpy >=1", "python"]}


def test_what_pip_has_installed_keeps_what_it_needs(prefix: Path) -> None:
    """By any spelling of a name; what only an extra of it needs goes."""
    folder = prefix / SITE / "by_pip-2.dist-info"
    folder.mkdir()
    needs = ["Requires-Dist: Yaml.Of>=6; python_version > '3'", 'Requires-Dist: babel; extra == "docs"']
    (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", "Name: by-pip", *needs, ""]), encoding="utf-8")

    without_lab.main(["jupyterlab"], prefix)

    assert left(prefix) == {"python", "yaml_of"}


def test_project_of_src_keeps_what_it_requires(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What conda has of it was not installed a second time, and is needed though only JupyterLab asks for it too."""
    monkeypatch.setattr(without_lab, "OWN", prefix / "own")
    (prefix / "own" / "study-1.dist-info").mkdir(parents=True)
    text = "Metadata-Version: 2.1\nName: study\nRequires-Dist: babel>=2\n"
    (prefix / "own" / "study-1.dist-info" / "METADATA").write_text(text, encoding="utf-8")

    without_lab.main(["jupyterlab"], prefix)

    assert left(prefix) == {"python", "babel"}


def test_extension_keeps_lab(prefix: Path) -> None:
    """What is asked for has what it depends on, JupyterLab too."""
    install(prefix, "extension", "jupyterlab")

    without_lab.main(["jupyterlab", "extension"], prefix)

    assert left(prefix) == {"python", "extension", "jupyterlab", "jupyter_server", "babel", "yaml_of"}
