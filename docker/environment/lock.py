"""Write the lock: what the environment is made of, with hashes, for both architectures.

lock.py PROJECT OUT [UPDATE]

What the lock there says already stays as it is where it still fits; UPDATE is a package that may change, `*` is all.
"""

import ast
import asyncio
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import lock_files
import make
import rattler
import read_files
import records
from channels import conda_settings, sources, without_login
from pip._vendor.packaging.requirements import InvalidRequirement, Requirement

Record = dict[str, Any]
PREFIX = Path("/tmp/env")  # noqa: S108 # of a stage that is not kept
LOCKED = "locked.txt"
PIP_SETTING = re.compile(r"[\w:-]+\.(index-url|extra-index-url|trusted-host)=(.+)")
UV_SETTINGS = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "trusted-host": "UV_INSECURE_HOST"}


def virtual_packages(machine: str) -> list[rattler.GenericVirtualPackage]:
    """Return what the system offers to packages: that of the base, on any processor of the architecture."""
    found = [each.into_generic() for each in rattler.VirtualPackage.detect()]
    processor = rattler.GenericVirtualPackage(
        rattler.PackageName("__archspec"), rattler.Version("1"), rattler.BuildString(machine)
    )
    return [*(each for each in found if each.name.normalized not in ("__archspec", "__cuda")), processor]


def metadata(package: Record) -> Iterator[str]:
    """Yield what a linked conda package says of itself to pip."""
    for file in package["files"]:
        if re.search(r"/site-packages/[^/]+\.dist-info/METADATA$", file):
            yield (PREFIX / file).read_text(encoding="utf-8", errors="replace")


def wheels(found: list[Record], made: Mapping[str, Record], out: Path) -> Iterator[str]:
    """Make a wheel of each conda package's metadata, for uv to take it as it is; yield their names and versions.

    Another architecture's package is known by this one's; where its version is another, so are the words of it.
    """
    for each in (each for each in found if each["name"] in made):
        ours = made[each["name"]]
        for text in metadata(ours):
            head = HeaderParser().parsestr(text)
            version = head["Version"] if ours["version"] == each["version"] else each["version"]
            stem = f"{re.sub(r'[-_.]+', '_', head['Name'])}-{version}"
            with zipfile.ZipFile(out / f"{stem}-py3-none-any.whl", "w") as archive:
                words = text.replace(f"\nVersion: {head['Version']}\n", f"\nVersion: {version}\n", 1)
                archive.writestr(f"{stem}.dist-info/METADATA", words)
                archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
                archive.writestr(f"{stem}.dist-info/RECORD", "")
            yield f"{head['Name']}=={version}"


def uv_settings() -> dict[str, str]:
    """Return where uv is to look, as this machine's pip does; uv reads no pip.conf."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True, check=True
    )
    found = (PIP_SETTING.fullmatch(line) for line in done.stdout.splitlines())
    said = {UV_SETTINGS[each[1]]: " ".join(ast.literal_eval(each[2]).split()) for each in found if each}
    return {**os.environ, **said, "UV_INDEX_STRATEGY": "unsafe-best-match"}  # the best version of any index: as pip


def without_hash(text: str) -> list[str]:
    """Return the requirements of a requirement file that have no hash, each one line and those below it."""
    found = re.split(r"\n(?! )", text.strip())
    return [each for each in found if each and not each.startswith("-") and "--hash=" not in each]


def compiled(folder: Path, name: str, kept: str, environ: dict[str, str], *options: str) -> str:
    """Return what a requirement file asks for, with hashes; what was locked before is kept where it fits.

    Raises:
        SystemExit: there is no solution, or a package has no hash.
    """
    (folder / LOCKED).write_text(kept, encoding="utf-8")
    words = ["uv", "pip", "compile", name, "--quiet", "--no-header", "--no-annotate", "--generate-hashes"]
    words += ["--constraints", "conda.txt", "--output-file", LOCKED, *options]
    done = subprocess.run(words, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = re.sub(r"(?:error|cause):", "", done.stderr).split()  # uv 0.13: `error: ...`, then `cause: ...`
        brought = (folder / "conda.txt").read_text(encoding="utf-8").lower().replace("_", "-").split()
        of_conda = [word.strip(",.") for word in said if word.strip(",.") in brought]
        more = f" {', '.join(dict.fromkeys(of_conda))} is what conda brings." if of_conda else ""
        sys.exit(f"error: pip's packages cannot be locked: {' '.join(said)}{more}")
    text = (folder / LOCKED).read_text(encoding="utf-8")
    for each in without_hash(text):
        sys.exit(f"error: `{each}` has no hash: name a release of it, or the address of an archive")
    return text


def has(locked: Mapping[str, str], line: str) -> bool:
    """Return whether a line of source.txt is met by what is locked, of which pip may have to build some."""
    try:
        asked = Requirement(line)
    except InvalidRequirement:  # it says where packages are
        return False
    return not asked.extras and asked.name in locked and asked.specifier.contains(locked[asked.name], prereleases=True)


def pip_packages(folder: Path, brought: list[str], kept: str, *options: str) -> str:
    """Return pip's packages with their hashes, beside those that conda brings; those of src/ apart, and never others.

    Raises:
        SystemExit: there is no solution, or a package has no hash.
    """
    (folder / "conda.txt").write_text("".join(f"{each}\n" for each in brought), encoding="utf-8")
    environ, before = uv_settings(), kept.partition(lock_files.OF_SOURCE)
    options += tuple(word for each in brought for word in ("--no-emit-package", each.partition("==")[0]))
    text = compiled(folder, "section.txt", before[0], environ, *options)
    found = "".join(read_files.where_lines(folder)) + text
    if not (folder / "source.txt").stat().st_size:
        return found
    (folder / "section-locked.txt").write_text(text, encoding="utf-8")
    names = dict(re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", text))
    lines = (folder / "source.txt").read_text(encoding="utf-8").splitlines()
    (folder / "source.txt").write_text("".join(f"{each}\n" for each in lines if not has(names, each)), encoding="utf-8")
    options += (
        "--constraints",
        "section-locked.txt",
        *(word for each in names for word in ("--no-emit-package", each)),
    )
    own = compiled(folder, "source.txt", before[2], environ, *options)
    return found + lock_files.OF_SOURCE + "".join(re.findall(r"(?m)^(?:[\w.-]+==|    ).*\n", own))


class Lock:
    """What is asked for, and where it is locked."""

    def __init__(self, project: Path, out: Path, update: str) -> None:
        self.project, self.update, self.parts = project, update, Path(tempfile.mkdtemp())
        read_files.write_parts(project, self.parts)
        self.inputs, self.settings = lock_files.inputs(project), conda_settings()
        self.asked = json.loads((self.parts / "conda.json").read_text(encoding="utf-8"))
        self.addresses = sources(self.asked["channels"], self.settings)
        self.folder = lock_files.folder(self.addresses)
        self.out = out / self.folder
        self.out.mkdir(parents=True)
        (self.out / lock_files.INPUTS).write_text(self.inputs, encoding="utf-8")
        self.made: dict[str, Record] = {}  # conda's packages of this architecture, linked

    def before(self, name: str) -> str:
        """Return a file of the lock that is there; nothing where it does not count.

        A stand-in's packages are others each time that it is made.
        """
        path = self.project / self.folder / name
        counts = self.folder == lock_files.FOLDER and self.update != "*" and path.is_file()
        return path.read_text(encoding="utf-8") if counts else ""

    def conda(self, machine: str) -> list[Record]:
        """Return conda's packages for an architecture, in the order in which they depend on each other."""
        known = tuple(without_login(each) for each in self.addresses)
        kept = [
            make.locked_record(each, self.addresses)
            for each in lock_files.packages(self.before(f"conda-{lock_files.SUBDIRS[machine]}.txt"))
            if each["name"] != self.update and each["url"].startswith(known)
        ]
        solved = make.solve(
            [make.matched(spec, self.settings) for spec in self.asked["dependencies"]],
            self.addresses,
            self.settings,
            platforms=[lock_files.SUBDIRS[machine], "noarch"],
            locked_packages=kept,
            virtual_packages=virtual_packages(machine),
        )
        found = rattler.PackageRecord.sort_topologically(asyncio.run(solved))
        read = [json.loads(each.to_json()) for each in found]
        return [{**each, "url": without_login(each["url"])} for each in read]

    def pip(self, machine: str, found: list[Record]) -> str:
        """Return pip's part for an architecture; the first call is for this one, whose packages it links."""
        folder = self.parts / "pip"
        python = next((each["version"] for each in found if each["name"] == "python"), "")
        asked = [folder / name for name in ("section.txt", "source.txt")]
        if not python or not any(each.stat().st_size for each in asked):
            return ""
        if not self.made:
            asyncio.run(make.link([make.locked_record(each, self.addresses) for each in found], PREFIX))
            self.made = records.read(PREFIX)
        glibc = min(max(int(platform.libc_ver()[1].split(".")[1]), 28), 40)  # those that uv 0.13 knows
        with tempfile.TemporaryDirectory() as of_conda:
            brought = list(wheels(found, self.made, Path(of_conda)))
            options = ["--find-links", of_conda, "--python-version", python]
            options += ["--python-platform", f"{machine}-manylinux_2_{glibc}"]
            options += (
                ["--upgrade"] if self.update == "*" else ["--upgrade-package", self.update] if self.update else []
            )
            return pip_packages(folder, brought, self.before(f"pip-{lock_files.SUBDIRS[machine]}.txt"), *options)

    def write(self, machine: str) -> None:
        """Lock an architecture."""
        subdir, found = lock_files.SUBDIRS[machine], self.conda(machine)
        own = lock_files.LOGIN.sub("", self.pip(machine, found))
        for part, text in (("conda", lock_files.explicit(found, subdir)), ("pip", own)):
            text = lock_files.first_comment(self.inputs) + text
            (self.out / f"{part}-{subdir}.txt").write_text(text, encoding="utf-8")


def main(project: Path, out: Path, update: str) -> None:
    """Write the lock, this architecture first: what pip calls conda's packages is read from their files."""
    lock = Lock(project, out, update)
    lock.write(platform.machine())
    if lock.folder != lock_files.FOLDER:
        return  # a stand-in has nothing for another architecture
    for machine in lock_files.SUBDIRS:
        if machine != platform.machine():
            try:
                lock.write(machine)
            except SystemExit as err:
                print(f"{lock_files.SUBDIRS[machine]} is not locked: {err}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    sys.stdout.flush()
    os._exit(0)  # as in make.py
