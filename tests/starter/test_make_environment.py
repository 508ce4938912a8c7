"""Tests of docker/environment: how the image reads the project's files, finds channels and records packages."""

import importlib
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from host_tasks.kit.paths import DOCKER_DIR

sys.path.append(str(DOCKER_DIR / "environment"))

channels, compiled, equal_files, reach, read_files, records = map(
    importlib.import_module, ("channels", "compiled", "equal_files", "reach", "read_files", "records")
)


def channel(scheme: str, location: str, name: str = "", **more: str) -> dict[str, str | None]:
    """Return a channel as `conda config --show --json` prints it."""
    return {"scheme": scheme, "location": location, "name": name, "auth": None, "token": None, **more}


SETTINGS: dict[str, Any] = {
    "channels": ["conda-forge", "defaults"],
    "channel_alias": channel("https", "mirror.example/conda"),
    "custom_channels": {
        "conda-forge": channel("file", "/opt/channels", "conda-forge"),
        "labs/private": channel("https", "labs.example", "labs/private", auth="ada:pw"),
        "secret": channel("https", "token.example/get", "secret", token="t0"),  # noqa: S106
    },
    "custom_multichannels": {
        "defaults": [channel("https", "repo.example", "pkgs/main"), channel("https", "repo.example", "pkgs/r")],
        "local": [],
    },
}


@pytest.mark.parametrize(
    ("word", "addresses"),
    [
        ("conda-forge", ["file:///opt/channels/conda-forge"]),
        ("conda-forge/label/dev", ["file:///opt/channels/conda-forge/label/dev"]),
        ("bioconda", ["https://mirror.example/conda/bioconda"]),
        ("labs/private", ["https://ada:pw@labs.example/labs/private"]),
        ("secret", ["https://token.example/t/t0/get/secret"]),
        ("defaults", ["https://repo.example/pkgs/main", "https://repo.example/pkgs/r"]),
        ("https://u:p@h.example/x", ["https://u:p@h.example/x"]),
        ("/srv/channel", ["file:///srv/channel"]),
    ],
)
def test_channel_is_where_condarc_says(word: str, addresses: list[str]) -> None:
    """Aliases, custom channels, passwords, tokens and multichannels of the base's conda count."""
    assert channels.addresses(word, SETTINGS) == addresses


def test_condarcs_channels_come_last_unless_nodefaults_is_asked() -> None:
    """`nodefaults` is a word, not a channel."""
    with_defaults = list(channels.sources(["bioconda"], SETTINGS).values())

    assert with_defaults == ["bioconda", "conda-forge", "defaults", "defaults"]
    assert list(channels.sources(["bioconda", "nodefaults"], SETTINGS).values()) == ["bioconda"]


def test_channel_of_a_specification_is_spelled_out() -> None:
    """Rattler would look for conda-forge:: at its own address."""
    assert channels.spelled_out("conda-forge::numpy >=2", SETTINGS) == "file:///opt/channels/conda-forge::numpy >=2"
    assert channels.spelled_out("numpy >=2", SETTINGS) == "numpy >=2"


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://u:p@h.example/c/noarch/x.conda", "https://h.example/c/noarch/x.conda"),
        ("https://h.example/t/to-ken/c/noarch/", "https://h.example/c/noarch/"),
        ("https://h.example/t/to-ken", "https://h.example"),
        ("file:///opt/channels/conda-forge/", "file:///opt/channels/conda-forge/"),
    ],
)
def test_login_is_not_kept(address: str, kept: str) -> None:
    """What conda-meta names can be read by everybody who has the image."""
    assert channels.without_login(address) == kept


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with an environment.yml."""
    (tmp_path / "project").mkdir()
    text = "channels: [conda-forge]\ndependencies:\n- python=3.10\n- pip\n- pip:\n  - -r requirements.txt\n"
    (tmp_path / "project" / "environment.yml").write_text(text, encoding="utf-8")
    return tmp_path / "project"


def parted(project: Path) -> dict[str, str]:
    """Return what read_files.py makes of a project, by the path in its output."""
    out = project.parent / f"out-{len(list(project.parent.iterdir()))}"
    out.mkdir()
    read_files.main(project, out)
    return {str(path.relative_to(out)): path.read_text(encoding="utf-8") for path in out.rglob("*") if path.is_file()}


def test_files_are_parted_by_layer(project: Path) -> None:
    """A pip package, a comment or postBuild changes nothing of what the conda packages are made from."""
    (project / "requirements.txt").write_text("a\n", encoding="utf-8")
    before = parted(project)
    with (project / "environment.yml").open("a", encoding="utf-8") as file:
        file.write("  - more-of-pip\n# a comment\n")
    (project / "requirements.txt").write_text("b\n", encoding="utf-8")
    (project / "postBuild").write_bytes(b"#!/bin/sh\r\ntrue\r\n")

    after = parted(project)

    assert json.loads(after["conda.json"]) == {
        "channels": ["conda-forge"],
        "dependencies": ["python=3.10", "pip"],
        "variables": {},
    }
    assert after["conda.json"] == before["conda.json"]
    assert after["pip/section.txt"] == "-r requirements.txt\nmore-of-pip\n"
    assert after["pip/requirements.txt"] == "b\n"
    assert after["post-build/postBuild"] == "#!/bin/sh\ntrue\n"


def test_what_is_deleted_is_not_missed(project: Path) -> None:
    """A project may have neither requirements.txt nor postBuild nor apt.txt."""
    found = parted(project)

    assert (found["pip/requirements.txt"], found["apt.txt"]) == ("", "")
    assert not any(name.startswith("post-build/") for name in found)


def test_system_packages_are_read_without_comments(project: Path) -> None:
    """apt.txt is Binder's: a package a line, comments after #."""
    (project / "apt.txt").write_text("# for maps\nlibgdal-dev # GDAL\n\nbuild-essential\n", encoding="utf-8")

    assert parted(project)["apt.txt"] == "libgdal-dev\nbuild-essential\n"


def test_requirements_of_an_installable_src_are_apart(project: Path) -> None:
    """What src/pyproject.toml depends on is asked for as wheels only, from where the other packages are."""
    (project / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["Rich >=13"]\n', encoding="utf-8")
    (project / "requirements.txt").write_text("-r requirements-more.txt\n", encoding="utf-8")
    lines = "--extra-index-url https://x.example/\n--no-binary :all:\n"
    (project / "requirements-more.txt").write_text(lines, encoding="utf-8")

    found = parted(project)

    assert found["pip/section.txt"] == "-r requirements.txt\n"
    assert found["pip/source.txt"] == "--extra-index-url https://x.example/\n--only-binary :all:\nrich>=13\n"


STUDY = """
[project]
name = "My_Study.x"
version = "1.0-RC1"
dependencies = ["Rich >=13"]
[project.scripts]
mycli = "my_study.cli:app.main"
[project.entry-points."my.plugins"]
"a b" = "my_study.plugin"
[build-system]
requires = ["evil"]
"""


def test_project_of_src_is_written_as_one_that_is_installed(project: Path, tmp_path: Path) -> None:
    """Python finds its version, requirements and entry points, each file is in its record, and the command calls."""
    (project / "pyproject.toml").write_text(STUDY, encoding="utf-8")
    read_files.main(project, tmp_path / "out")
    own = tmp_path / "out" / "own"
    (tmp_path / "src" / "my_study").mkdir(parents=True)
    app = "from types import SimpleNamespace\napp = SimpleNamespace(main=lambda: print('called') or 3)\n"
    (tmp_path / "src" / "my_study" / "cli.py").write_text(app, encoding="utf-8")

    (found,) = metadata.distributions(path=[str(own / "lib")])
    script = [sys.executable, "-B", str(own / "bin" / "mycli")]
    done = subprocess.run(
        script, env={"PYTHONPATH": str(tmp_path / "src")}, stdout=subprocess.PIPE, text=True, check=False
    )

    assert (found.metadata["Name"], found.version, found.requires) == ("My_Study.x", "1.0rc1", ["rich>=13"])
    assert {(each.group, each.name, each.value) for each in found.entry_points} == {
        ("console_scripts", "mycli", "my_study.cli:app.main"),
        ("my.plugins", "a b", "my_study.plugin"),
    }
    there = {str(path.relative_to(own / "lib")) for path in (own / "lib").rglob("*") if path.is_file()}
    assert {str(file) for file in found.files or ()} == {*there, "../bin/mycli"}
    assert all(Path(file.locate()).exists() for file in found.files or ())
    assert os.access(own / "bin" / "mycli", os.X_OK)
    assert (done.stdout, done.returncode) == ("called\n", 3)


@pytest.mark.parametrize(
    ("lines", "folders"),
    [
        ('name = "x"\nversion = "1"', ["x-1.dist-info"]),
        ('name = "x"\ndynamic = ["version"]', ["x-0+unknown.dist-info"]),
        ('dependencies = ["rich"]\nscripts = {a = "b:c"}', []),
    ],
    ids=["version", "dynamic", "no name"],
)
def test_version_of_src_is_what_is_written(project: Path, tmp_path: Path, lines: str, folders: list[str]) -> None:
    """One that only a build backend knows is unknown; without a name there is no project, and no command."""
    (project / "pyproject.toml").write_text(f"[project]\n{lines}\n", encoding="utf-8")

    read_files.main(project, tmp_path / "out")

    own = tmp_path / "out" / "own"
    assert [path.name for path in (own / "lib").iterdir()] == folders
    assert list((own / "bin").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('name = "../../etc"', "'../../etc' is no name of a project"),
        ('name = "x\\nVersion: 9"', r"'x\nVersion: 9' is no name of a project"),
        ("name = 1", "1 is no name of a project"),
        ('name = "x"\nversion = "1/../../y"', "'1/../../y' is no version"),
        ('name = "x"\nscripts = {"../ls" = "a:b"}', "'../ls' is no name of a command or an entry point"),
        ('name = "x"\nscripts = {ls = "a"}', "'a' is no `module:function`"),
        ('name = "x"\nscripts = {ls = "a:b;evil"}', "'a:b;evil' is no `module:function`"),
        ('name = "x"\nscripts = {ls = 1}', "1 is no `module:function`"),
        ('name = "x"\nentry-points = {"a]\\n[b" = {c = "d"}}', r"'a]\n[b' is no group of entry points"),
        ('name = "x"\nentry-points = {a = {"c=d" = "e"}}', "'c=d' is no name of a command or an entry point"),
        ('name = "x"\nentry-points = {a = {c = "d\\n[console_scripts]"}}', r"'d\n[console_scripts]' is no `module`"),
    ],
)
def test_project_of_src_that_is_more_than_data_is_refused(project: Path, tmp_path: Path, line: str, said: str) -> None:
    """No path, line or code enters a name, a command or an entry point: file, line and value are told in one line."""
    (project / "pyproject.toml").write_text(f"[project]\n{line}\n", encoding="utf-8")

    with pytest.raises(SystemExit, match=r"^error: src/pyproject\.toml:[1-3]: [ -~]*$") as told:
        read_files.main(project, tmp_path / "out")

    assert said.replace(r"\\", "\\") in str(told.value)


@pytest.mark.parametrize(
    ("dependency", "requirement"),
    [
        ("humanize", "humanize"),
        (
            "Fancy_Name.x[B,a_c] >=1,!=1.5 ; python_version < '3.15'",
            'fancy-name-x[a-c,b]!=1.5,>=1 ; python_version < "3.15"',
        ),
        ("evil.whl", "evil-whl"),
    ],
)
def test_plain_requirement_of_src_is_taken(dependency: str, requirement: str) -> None:
    """A name with extras, versions and a marker; a name that pip would take for a file is none any more."""
    assert read_files.plain(dependency) == requirement


@pytest.mark.parametrize(
    "dependency",
    [
        "evil @ file:///home/x/app/src/evil",
        "evil @ https://evil.example/evil-1.tar.gz",
        "evil @ git+https://evil.example/evil",
        "https://evil.example/evil-1-py3-none-any.whl",
        "./evil",
        "/srv/evil",
        "evil/",
        "-e .",
        "--index-url=https://evil.example",
        "-r /run/secrets/pip_config",
        "evil --config-settings=a=b",
        "evil --global-option=x",
        "evil\n--index-url=https://evil.example",
        "evil; os_name == 'a\n-e .'",
        "evil; os_name == 'a --config-settings=b'",
        "evil; os_name == '${HOME}'",
        "evil; os_name == 'a\\'",
        "evil===1#egg=x",
        "evil \\",
        "",
        "\u202eevil",
    ],
)
def test_requirement_of_src_that_pip_could_follow_is_refused(project: Path, dependency: str) -> None:
    """A path, an address, an option, a variable: the file and the line are named, and nothing is built."""
    text = f'[project]\nname = "x"\ndependencies = [\n    "numpy",\n    {json.dumps(dependency)},\n]\n'
    (project / "pyproject.toml").write_text(text, encoding="utf-8")

    with pytest.raises(SystemExit, match=r"error: src/pyproject\.toml:\d+: .*: a name with extras") as told:
        parted(project)

    assert str(told.value).isascii()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"#" * (2**20 + 1), b"project = 1\n[build-system]\nrequires = ['evil']\n"],
    ids=["no text", "endless", "no table"],
)
def test_other_pyproject_of_src_is_data(project: Path, content: bytes) -> None:
    """What it says beside its dependencies counts for nothing; what cannot be read is one line."""
    (project / "pyproject.toml").write_bytes(content)

    if content.startswith(b"project"):
        assert parted(project)["pip/source.txt"] == ""
    else:
        with pytest.raises(SystemExit, match=r"error: src/pyproject\.toml:(?:1:)? "):
            parted(project)


@pytest.mark.parametrize("text", ["[project", f"a = {'[' * 100_000}"], ids=["none", "deep"])
def test_malformed_pyproject_is_one_line(project: Path, text: str) -> None:
    """What is no TOML is named."""
    (project / "pyproject.toml").write_text(text, encoding="utf-8")

    with pytest.raises(SystemExit, match=r"error: src/pyproject\.toml: "):
        parted(project)


@pytest.mark.parametrize("name", ["requirements-dev.txt", "requirements.dev.txt", "constraints.txt"])
def test_files_beside_requirements_are_taken(project: Path, name: str) -> None:
    """Those of the two patterns enter the build, and may be named."""
    (project / "requirements.txt").write_text(f"-r {name}\n", encoding="utf-8")
    (project / name).write_text("x\n", encoding="utf-8")

    assert parted(project)[f"pip/{name}"] == "x\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-r dev/more.txt", "requirements.txt:2: dev/more.txt is not in the build"),
        ("--constraint=limits.txt", "requirements.txt:2: limits.txt is not in the build"),
        ("-e .", "requirements.txt:2: `-e .` is not in the build"),
        ("-e ./src", "requirements.txt:2: `-e ./src` is not in the build"),
        ("./wheels/x.whl", "requirements.txt:2: `./wheels/x.whl` is not in the build"),
    ],
)
def test_file_that_is_not_taken_is_named(project: Path, line: str, says: str) -> None:
    """One line says where it is named, instead of pip's traceback after the conda packages."""
    (project / "requirements.txt").write_text(f"a\n{line}\n", encoding="utf-8")

    with pytest.raises(SystemExit, match=f"error: {says}"):
        parted(project)


def test_wheels_of_ones_own_enter_the_build(project: Path) -> None:
    """Those in the folder wheels/ may be named by their path, or looked for there."""
    (project / "wheels").mkdir()
    (project / "wheels" / "mine-1-py3-none-any.whl").write_text("w", encoding="utf-8")
    (project / "requirements.txt").write_text("-f wheels\n./wheels/mine-1-py3-none-any.whl\n", encoding="utf-8")

    assert parted(project)["pip/wheels/mine-1-py3-none-any.whl"] == "w"


def test_all_lines_that_are_wrong_are_told_at_once(project: Path) -> None:
    """With the lines of environment.yml itself, not of a file that is made of its pip section."""
    (project / "environment.yml").write_text("dependencies:\n- a\n- pip:\n  - b\n  - ../c\n", encoding="utf-8")
    (project / "requirements.txt").write_text("-e .\n", encoding="utf-8")

    with pytest.raises(SystemExit, match=r"^error: environment\.yml:5: .*\nerror: requirements\.txt:1: [^\n]*$"):
        parted(project)


def test_folder_of_a_lock_without_its_files_is_no_lock(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build makes it also where there is none, with environment.yml in it, for Podman (Dockerfile, `files`)."""
    (project / "environment.lock").mkdir()
    (project / "environment.lock" / "environment.yml").touch()
    monkeypatch.setattr(read_files, "conda_settings", lambda: SETTINGS)

    assert "pip/locked.txt" not in parted(project)
    assert read_files.lock_files.read(project, ["https://conda.example"]) is None


def test_lock_takes_the_login_from_the_persons_own_lines(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has none itself: where packages are stands in the files, and what they are in the lock."""
    own, of_lock = "--extra-index-url https://ada:pw@x.example/\n", "--extra-index-url https://x.example/\n"
    (project / "requirements.txt").write_text(f"{own}a\n", encoding="utf-8")
    (project / "environment.lock").mkdir()
    (project / "environment.lock" / "inputs.txt").touch()
    monkeypatch.setattr(read_files, "conda_settings", lambda: SETTINGS)
    monkeypatch.setattr(read_files.lock_files, "read", lambda *_: ([], f"{of_lock}a==1 --hash=sha256:0\n"))

    found = parted(project)

    assert found["pip/locked.txt"] == f"{own}a==1 --hash=sha256:0\n"
    assert found["pip/section.txt"] == "-r requirements.txt\n"


@pytest.mark.parametrize(
    "line", ["-r https://h.example/r.txt", "git+https://h.example/x.git", "a @ https://h.example/a"]
)
def test_address_is_pips_own_business(project: Path, line: str) -> None:
    """What pip fetches itself is no file of the project."""
    (project / "requirements.txt").write_text(f"{line}\n", encoding="utf-8")

    assert parted(project)["pip/requirements.txt"] == f"{line}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "environment.yml:1: "),
        ("dependencies:\n", "environment.yml:1: `dependencies:` has"),
        ("- a", "environment"),
    ],
)
def test_malformed_file_is_one_line_without_the_tasks_too(project: Path, text: str, says: str) -> None:
    """A plain docker build says it as well."""
    (project / "environment.yml").write_text(text, encoding="utf-8")

    with pytest.raises(SystemExit, match=f"error: {says}"):
        parted(project)


def package(name: str, *files: str, depends: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a record of conda-meta."""
    return {
        "name": name,
        "version": "1",
        "build": "0",
        "subdir": "noarch",
        "depends": list(depends),
        "channel": "https://u:p@h.example/c/",
        "url": f"https://u:p@h.example/c/noarch/{name}-1-0.conda",
        "files": list(files),
        "paths_data": {"paths": [{"_path": file, "path_type": "hardlink"} for file in files]},
    }


def test_import_names_are_those_of_the_requested_packages() -> None:
    """Packages and modules, of a metapackage those of what it stands for; no private ones, no extension modules."""
    site = "lib/python3.11/site-packages"
    scikit = package("scikit-learn", f"{site}/sklearn/__init__.py", f"{site}/sklearn/x.py", f"{site}/_s.py")
    alias = package("matplotlib-base", depends=("matplotlib >=3", "python"))
    real = package("matplotlib", f"{site}/matplotlib/__init__.py", f"{site}/pylab.py", "bin/x.py")
    made = {each["name"]: each for each in (scikit, alias, real, package("other", f"{site}/other.py"))}

    assert records.import_names(made, {"scikit-learn", "matplotlib-base", "absent"}) == [
        "matplotlib",
        "pylab",
        "sklearn",
    ]


def test_record_names_compiled_files_and_no_login(tmp_path: Path) -> None:
    """Conda removes what it knows of; a password in conda-meta would be in the image."""
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "x" / "__pycache__").mkdir(parents=True)
    for name in ("a", "brought"):
        (tmp_path / "x" / "__pycache__" / f"{name}.cpython-311.pyc").touch()
    brought = ["x/brought.py", "x/__pycache__/brought.cpython-311.pyc"]

    records.complete([package("p", "x/a.py", "x/b.py", "x/c.txt", *brought)], tmp_path)

    made = records.read(tmp_path)["p"]
    assert made["files"] == ["x/a.py", "x/b.py", "x/c.txt", *brought, "x/__pycache__/a.cpython-311.pyc"]
    assert made["paths_data"]["paths"][5:] == [{"_path": "x/__pycache__/a.cpython-311.pyc", "path_type": "pyc_file"}]
    assert "u:p" not in json.dumps(made)


def made_of(*depends: tuple[str, str]) -> dict[str, dict[str, Any]]:
    """Return the records of an environment: of each package its name, and the one that it depends on."""
    return {
        name: {
            "name": name,
            "version": "1",
            "build": "0",
            "sha256": f"digest of {name}",
            "files": [f"lib/site-packages/{name}/__init__.py"],
            "depends": [f"{needed} >=1"],
        }
        for name, needed in depends
    }


def test_all_that_the_channels_do_not_have_is_told_at_once() -> None:
    """As an export of another system asks for it: a name that is not there, a version and a build that are not."""

    def named(name: str, version: float = 0.0) -> SimpleNamespace:
        return SimpleNamespace(name=SimpleNamespace(normalized=name), version=version)

    class Spec(SimpleNamespace):
        def __str__(self) -> str:
            return f"{self.name.normalized} {self.version}"

        def matches(self, package: SimpleNamespace) -> bool:
            return (self.name.normalized, self.version) == (package.name.normalized, package.version)

    specs = [Spec(**vars(each)) for each in (named("a", 9.5), named("a", 10.5), named("b", 1), named("libcxx", 16))]
    known = [named("a", version) for version in (9.5, 8.5, 10.0, 9.0)] + [named("b", 2)]

    assert list(records.unmet(specs, known)) == [
        "- a 10.5: no such version or build, but 9.0, 9.5, 10.0",
        "- b 1: no such version or build, but 2",
        "- libcxx 16: no package of this name",
    ]


ADA: list[tuple[str, str]] = [("python", "absent"), ("ada", "babbage"), ("babbage", "python")]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"name": "other", "sha256": "x"}, False),
        ({"name": "ada", "sha256": "x"}, True),
        ({"name": "babbage", "version": "2"}, True),
        ({"name": "python", "version": "2"}, True),
    ],
    ids=["another package", "its own", "what it depends on", "python"],
)
def test_module_is_compiled_again_where_its_packages_changed(change: dict[str, str], again: bool) -> None:  # noqa: FBT001
    """Its own package, Python and all that the package depends on count; others do not."""
    before, after = made_of(*ADA, ("other", "ada")), made_of(*ADA, ("other", "ada"))
    after[change["name"]] |= change

    assert (compiled.words(before, {"ada"}) != compiled.words(after, {"ada"})) is again


@pytest.mark.parametrize(
    ("package", "word"),
    [("jupyterlab", "@server"), ("ipykernel", "@kernel"), ("matplotlib-base", "@kernel"), ("pip", "@pip")],
)
def test_server_kernel_and_pip_are_compiled_where_they_are(package: str, word: str) -> None:
    """Who left JupyterLab out needs no server."""
    assert list(compiled.words(made_of(*ADA, (package, "python")), {"ada"})) == [word, "ada"]


TREE = {
    "ada/__init__.py": "from . import babbage\nimport broken\n__all__ = ['lovelace']\ndef later():\n    import spare\n",
    "ada/babbage.py": "try:\n    from engine.mill import wheel\nexcept ImportError:\n    pass\n",
    "ada/lovelace.py": "class Notes:\n    import other\n",
    "ada/tests.py": "",
    "broken.py": "print 'of another Python'\n",
    "engine/__init__.py": "__all__ = ['spare']\n",
    "engine/mill/__init__.py": "from ..store import *\n",
    "engine/mill/wheel.py": "",
    "engine/spare.py": "",
    "engine/store.py": "",
    "note/app.py": "HANDLERS = {'a': ['note.handlers']}\nPARTS = {'note.parts'}\nx = HANDLERS['a'] in PARTS\n",
    "note/__init__.py": "",
    "note/handlers.py": "",
    "other.py": "",
    "spare.py": "",
    "vendor/tools/saw.py": "import blade\n",
    "vendor/tools/blade.py": "",
    "blade/unlike.py": "",
}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("ada", "ada ada/babbage ada/lovelace engine engine/mill engine/mill/wheel engine/store other"),
        ("note.app", "note note/app note/handlers"),
        ("vendor/tools/saw", "vendor/tools/saw vendor/tools/blade"),
        ("absent", ""),
    ],
)
def test_what_import_statements_reach_is_compiled(
    asked: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what a function imports later, and strings only in what was asked for: lazy parts, and handlers."""
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(reach, "PACKAGES", str(tmp_path))
    reach.entries.cache_clear()

    reach.main([asked])

    made = {name.lstrip("/").removesuffix(".py").removesuffix("/__init__") for name in records.compiled_files(tmp_path)}
    assert made == set(found.split())


def environment(prefix: Path, code: int = 0) -> Path:
    """Make an environment whose Python notes what it is to compile, leaves that compiled, and ends with a code."""
    python = prefix / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"""#!/bin/sh
shift
echo "$*" >>"${{0%/*}}/asked"
for word in "$@"; do
    mkdir -p "${{0%/*}}/../lib/site-packages/${{word}}/__pycache__"
    echo compiled >"${{0%/*}}/../lib/site-packages/${{word}}/__pycache__/__init__.tag.pyc"
done
exit {code}
"""
    )
    python.chmod(0o755)
    return prefix


def test_second_environment_takes_what_the_first_compiled(tmp_path: Path) -> None:
    """What is known is copied and not compiled; one more package is compiled, alone."""
    first, second = environment(tmp_path / "first"), environment(tmp_path / "second")

    compiled.leave(made_of(*ADA), {"ada"}, first, tmp_path / "cache")
    compiled.leave(made_of(*ADA, ("other", "ada")), {"ada", "other"}, second, tmp_path / "cache")

    assert [(prefix / "bin" / "asked").read_text() for prefix in (first, second)] == ["ada\n", "other\n"]
    assert [len([*each.iterdir()]) for each in (tmp_path / "cache" / "files").glob("*/*")] == [1, 1]
    assert (second / "lib/site-packages/ada/__pycache__/__init__.tag.pyc").read_text() == "compiled\n"


def test_what_did_not_come_to_its_end_is_compiled_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The build goes on, says so, and the next one does not take it for done."""
    first, second = environment(tmp_path / "first", code=1), environment(tmp_path / "second")

    compiled.leave(made_of(*ADA), {"ada"}, first, tmp_path / "cache")
    compiled.leave(made_of(*ADA), {"ada"}, second, tmp_path / "cache")

    assert (second / "bin" / "asked").read_text() == "ada\n"
    assert capsys.readouterr().out.count("not all of it is compiled") == 1


PAGE, LIBRARY = "page " * equal_files.LARGE, "library " * equal_files.LARGE


@pytest.mark.parametrize(
    ("file", "text", "says", "linked"),
    [
        ("share/page", PAGE, PAGE, True),
        ("share/small", "page", "page", False),
        ("share/changed by a script", LIBRARY, PAGE, False),
        ("share/removed by a script", None, PAGE, False),
    ],
)
def test_equal_files_are_one(file: str, text: str | None, says: str, linked: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Large ones, of what the records say only where it is still so; all hold what they held."""
    paths = []
    for name, held, recorded in (("lib/first", says, says), (file, text, says)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if held is not None:
            (tmp_path / name).write_text(held, encoding="utf-8")
        known = {"sha256": f"digest of {recorded}", "size_in_bytes": len(recorded)}
        paths.append({"_path": name, "path_type": "hardlink", **known})

    equal_files.keep_once([{"paths_data": {"paths": [each]}} for each in paths], tmp_path)

    assert (tmp_path / "lib/first").read_text(encoding="utf-8") == says
    assert ((tmp_path / file).read_text(encoding="utf-8") if (tmp_path / file).exists() else None) == text
    assert (tmp_path / "lib/first").stat().st_nlink == 1 + linked


def test_history_is_as_conda_reads_it() -> None:
    """`conda env export --from-history` finds what environment.yml asked for, `conda list --revisions` the packages."""
    text = records.history(["p >=1"], [package("p")], {"https://u:p@h.example/c": "labs"}, "26.7.2")

    lines = text.splitlines()
    assert lines[2:] == ["# conda version: 26.7.2", "+labs/noarch::p-1-0", '# update specs: ["p >=1"]']


def test_history_keeps_no_login() -> None:
    """An address with a password may be what environment.yml writes for a channel."""
    address = "https://u:p@h.example/c"

    text = records.history([f"{address}::p"], [package("p")], {address: address}, "26.7.2")

    assert text.splitlines()[3:] == [
        "+https://h.example/c/noarch::p-1-0",
        '# update specs: ["https://h.example/c::p"]',
    ]
