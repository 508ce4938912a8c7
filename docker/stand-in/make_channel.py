"""Make a conda channel that holds what environment.yml asks for, from PyPI wheels and the system's own Python.

Runs inside the stand-in base image: make_channel.py ENVIRONMENT_YML CHANNEL_DIRECTORY
Formats: conda packages and repodata after the conda-build manual 24.7, "Package specification"; wheels after PEP 427.
"""

import configparser
import email
import hashlib
import io
import json
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import ruamel.yaml
from conda.models.match_spec import MatchSpec
from conda.models.version import VersionSpec
from conda_package_streaming.create import conda_builder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHON = platform.python_version()
SUBDIR = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}[platform.machine()]
# What conda-forge and PyPI call by different names.
ON_PYPI = {
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "opencv": "opencv-python-headless",
    "py-opencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "pytables": "tables",
    "pytorch": "torch",
    "seaborn-base": "seaborn",
}
BUILD = "wheel_0"
ALWAYS = ("pip", "setuptools", "wheel")  # conda-forge's python brings them too


@dataclass(frozen=True)
class Package:
    """One package of the channel: its record for repodata.json, and its files by path in the prefix."""

    name: str
    version: str
    depends: tuple[str, ...]
    noarch: str | None = "python"  # None: for this machine only
    entry_points: tuple[str, ...] = ()
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)  # path -> content and permission bits
    links: dict[str, str] = field(default_factory=dict)  # path -> target of a symbolic link

    @property
    def stem(self) -> str:
        """The file name without its suffix: name-version-build."""
        return f"{self.name}-{self.version}-{BUILD}"

    @property
    def subdir(self) -> str:
        """The channel's folder that holds it."""
        return "noarch" if self.noarch else SUBDIR

    def record(self) -> dict[str, object]:
        """Its index.json."""
        record: dict[str, object] = {
            "name": self.name,
            "version": self.version,
            "build": BUILD,
            "build_number": 0,
            "depends": sorted(self.depends),
            "subdir": self.subdir,
        }
        return {**record, "noarch": self.noarch, "arch": None, "platform": None} if self.noarch else record


@dataclass(frozen=True)
class Entry:
    """What repodata.json of one of the channel's folders says of one package."""

    subdir: str
    file_name: str
    record: dict[str, object]


def asked_for(environment_yml: Path) -> list[MatchSpec]:
    """Return the conda packages that environment.yml names; its pip section is none of the channel's business."""
    document = ruamel.yaml.YAML(typ="safe").load(environment_yml)
    return [MatchSpec(each) for each in document["dependencies"] if isinstance(each, str)]


def requirement(spec: MatchSpec) -> str:
    """Return a conda specification as pip would write it."""
    name: str = ON_PYPI.get(spec.name, spec.name)
    version = spec.get_raw_value("version")
    if version is None:
        return name
    clauses = []
    for clause in str(version).split(","):
        if re.match(r"[<>!~]|==", clause):
            # conda ignores the star of ">=1.26.*"; pip takes none there (PEP 440).
            clauses.append(clause.removesuffix(".*") if clause[0] in "<>" else clause)
        elif clause.startswith("=") or clause.endswith("*"):
            clauses.append(f"=={clause.strip('=.*')}.*" if clause.strip("=.*") else "")
        else:
            clauses.append(f"=={clause}")
    return name + ",".join(filter(None, clauses))


def download(requirements: list[str], wheels: Path) -> None:
    """Fill a folder with the wheels of the requirements and of all that they require.

    Raises:
        SystemExit: PyPI does not have one of them; all such are named in one line.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run([*pip, "wheel", "--wheel-dir", str(wheels), *requirements], stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return
    absent = [
        each
        for each in requirements
        if subprocess.run([*pip, "download", "--no-deps", "--dest", str(wheels), each], capture_output=True).returncode
    ]
    reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed"
    if absent:
        sys.exit(f"error: the stand-in has no {', '.join(absent)}: not to be had from PyPI")
    sys.exit(f"error: the stand-in's channel cannot be made: {reason}")


def dependencies(metadata: email.message.Message, extras: Iterable[str]) -> Iterator[Requirement]:
    """Yield what a wheel requires here, for itself and for the extras it is wanted with."""
    for text in metadata.get_all("Requires-Dist", []):
        required = Requirement(text)
        marker = required.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield required


def prefix_path(member: str, data_folder: str) -> str:
    """Return where a wheel's member belongs in a prefix (PEP 427, "Spreading")."""
    if not member.startswith(data_folder):
        return f"site-packages/{member}"
    kind, _, rest = member.removeprefix(data_folder).partition("/")
    return {
        "purelib": f"site-packages/{rest}",
        "platlib": f"site-packages/{rest}",
        "scripts": f"python-scripts/{rest}",
        "headers": f"include/{rest}",
        "data": rest,
    }[kind]


def read_metadata(wheel: Path) -> email.message.Message:
    """Return a wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(
            each for each in archive.namelist() if each.endswith(".dist-info/METADATA") and each.count("/") == 1
        )
        return email.message_from_bytes(archive.read(name))


def from_wheel(wheel: Path, depends: tuple[str, ...]) -> Package:
    """Return the conda package that holds a wheel's files."""
    metadata = read_metadata(wheel)
    files = {}
    entry_points: list[str] = []
    with zipfile.ZipFile(wheel) as archive:
        data_folder = "-".join(wheel.name.split("-")[:2]) + ".data/"
        for member in archive.infolist():
            if member.is_dir():
                continue
            content = archive.read(member)
            path = prefix_path(member.filename, data_folder)
            if path.startswith("python-scripts/"):
                content = re.sub(rb"\A#!pythonw?\b", b"#!/usr/bin/env python", content)
            elif path.endswith(".dist-info/entry_points.txt"):
                entry_points = console_scripts(content.decode())
            files[path] = (content, 0o755 if (member.external_attr >> 16) & 0o111 or "-scripts/" in path else 0o644)
    return Package(
        canonicalize_name(metadata["Name"]), metadata["Version"], depends, entry_points=tuple(entry_points), files=files
    )


def console_scripts(text: str) -> list[str]:
    """Return the scripts of an entry_points.txt as conda's link.json writes them, without their extras."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    sections = [section for section in ("console_scripts", "gui_scripts") if parser.has_section(section)]
    return [f"{name} = {where.split('[')[0].strip()}" for section in sections for name, where in parser.items(section)]


def system_python() -> Package:
    """Return a package that makes a prefix a virtual environment of the system's own interpreter."""
    short = ".".join(PYTHON.split(".")[:2])
    interpreter = Path(f"/usr/bin/python{short}")
    settings = f"home = {interpreter.parent}\ninclude-system-site-packages = false\nversion = {PYTHON}\n"
    return Package(
        "python",
        PYTHON,
        (),
        noarch=None,
        files={"pyvenv.cfg": (settings.encode(), 0o644)},
        links={f"bin/{name}": str(interpreter) for name in ("python", "python3", f"python{short}")},
    )


def write(package: Package, channel: Path) -> Entry:
    """Write a package into the channel and return its entry for repodata.json."""
    folder = channel / package.subdir
    with conda_builder(package.stem, folder, compression_level=1) as archive:
        for name, document in info(package).items():
            add(archive, f"info/{name}", json.dumps(document).encode(), 0o644)
        for path, (content, mode) in package.files.items():
            add(archive, path, content, mode)
        for path, target in package.links.items():
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    content = (folder / f"{package.stem}.conda").read_bytes()
    digests = {"md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}  # noqa: S324
    record = {**package.record(), **digests, "size": len(content)}
    return Entry(package.subdir, f"{package.stem}.conda", record)


def info(package: Package) -> dict[str, object]:
    """Return the documents of a package's info folder, by name."""
    paths = [
        {
            "_path": path,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_in_bytes": len(content),
        }
        for path, (content, _) in package.files.items()
    ]
    paths += [
        {"_path": path, "path_type": "softlink", "sha256": hashlib.sha256(b"").hexdigest(), "size_in_bytes": 0}
        for path in package.links
    ]
    documents: dict[str, object] = {"index.json": package.record(), "paths.json": {"paths": paths, "paths_version": 1}}
    if package.noarch == "python":
        link = {"type": "python", "entry_points": list(package.entry_points)}
        documents["link.json"] = {"noarch": link, "package_metadata_version": 1}
    return documents


def add(archive: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    """Add one regular file to an archive."""
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))


def python_mismatch(specs: list[MatchSpec]) -> str | None:
    """Return why the system's Python is not the one that environment.yml asks for; None where it is."""
    for spec in specs:
        if spec.name == "python" and not VersionSpec(str(spec.get_raw_value("version") or "*")).match(PYTHON):
            return f"environment.yml asks for {spec}, but the stand-in's Python is the system's {PYTHON}"
    return None


def wheel_dependencies(wheels: dict[str, Path]) -> dict[str, tuple[str, ...]]:
    """Return the packages that each wheel depends on, by its name.

    What an extra of it requires counts where anybody wants that extra. Only names: pip has chosen versions that fit.
    """
    metadata = {name: read_metadata(wheel) for name, wheel in wheels.items()}
    extras: dict[str, set[str]] = {}
    for document in metadata.values():
        for required in dependencies(document, ()):
            extras.setdefault(canonicalize_name(required.name), set()).update(required.extras)
    return {
        name: (
            "python",
            *sorted({canonicalize_name(each.name) for each in dependencies(document, extras.get(name, ()))}),
        )
        for name, document in metadata.items()
    }


def aliases(specs: list[MatchSpec], wheels: dict[str, Path]) -> list[Package]:
    """Return an empty package for each name that PyPI spells otherwise; it depends on the real one."""
    return [
        Package(spec.name, read_metadata(wheels[real])["Version"], (real,), noarch="generic")
        for spec in specs
        if (real := canonicalize_name(ON_PYPI.get(spec.name, spec.name))) != spec.name
    ]


def convert(job: tuple[Path, tuple[str, ...], Path]) -> Entry:
    """Turn one wheel into one package of the channel; a function of the module, so that a process pool can call it."""
    wheel, depends, channel = job
    return write(from_wheel(wheel, depends), channel)


def main(environment_yml: Path, channel: Path) -> None:
    """Make the channel."""
    specs = asked_for(environment_yml)
    if mismatch := python_mismatch(specs):
        sys.exit(f"error: {mismatch}")
    specs = [spec for spec in specs if spec.name != "python"]
    for subdir in ("noarch", SUBDIR):
        (channel / subdir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        download([*ALWAYS, *map(requirement, specs)], Path(folder))
        wheels: dict[str, Path] = {}
        for wheel in Path(folder).glob("*.whl"):
            wheels[canonicalize_name(read_metadata(wheel)["Name"])] = wheel
        depends = wheel_dependencies(wheels)
        entries = [write(each, channel) for each in (system_python(), *aliases(specs, wheels))]
        with ProcessPoolExecutor() as pool:
            entries += pool.map(convert, [(wheel, depends[name], channel) for name, wheel in wheels.items()])
    for subdir in ("noarch", SUBDIR):
        packages = {entry.file_name: entry.record for entry in entries if entry.subdir == subdir}
        document = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": packages, "repodata_version": 1}
        (channel / subdir / "repodata.json").write_text(json.dumps(document))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
