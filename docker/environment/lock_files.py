"""The lock: which files it is, what it was made from, and whether it fits what is here.

environment.lock/inputs.txt            the lines that it was made from; their digest is the others' first comment
environment.lock/conda-<subdir>.txt    an explicit list, as `conda create --file` takes it; a comment above each address
                                       is the package's record, as its channel gives it
environment.lock/pip-<subdir>.txt      a requirement file with hashes, as `pip install --no-deps` takes it; below the
                                       line OF_SOURCE is what only src/pyproject.toml requires
environment.lock/stand-in/             the same, of packages that are files of one machine; git ignores it
"""

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FOLDER = "environment.lock"
OF_THIS_MACHINE = "stand-in"
INPUTS = "inputs.txt"
OF_SOURCE = "# required by src/pyproject.toml\n"
SUBDIRS = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}  # conda's name of each architecture
SOURCE = "src/pyproject.toml"
LOGIN = re.compile(r"(?<=://)[^/\s]+@")
TOKEN = re.compile(r"/t/[^/\s]+")  # in the address of a channel
OF_THE_BUILD = "pyproject.toml"  # what the build calls SOURCE
PATTERNS = ("environment.yml", "requirements*.txt", "constraints*.txt", OF_THE_BUILD)


def native() -> str:
    """Return conda's name of this machine's architecture."""
    return SUBDIRS[platform.machine()]


def folder(addresses: Iterable[str]) -> str:
    """Return where the lock of packages from these channels is; files of one machine are no lock for another."""
    local = any(each.startswith("file:") for each in addresses)
    return f"{FOLDER}/{OF_THIS_MACHINE}" if local else FOLDER


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that a lock is made from, by their numbers from 1: no comment, and no password."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, TOKEN.sub("", LOGIN.sub("", line.rstrip()))


def inputs(project: Path) -> str:
    """Return the lines that a lock is made from, each after its file's name."""
    paths = (path for pattern in PATTERNS for path in sorted(project.glob(pattern)))
    texts = ((path.name, path.read_text(encoding="utf-8-sig")) for path in paths)
    return "".join(f"{name}: {line}\n" for name, text in texts for _, line in lines(text))


def first_comment(inputs: str) -> str:
    """Return the first line of each file of a lock."""
    return f"# inputs: sha256:{hashlib.sha256(inputs.encode()).hexdigest()}\n"


def read(project: Path, addresses: Iterable[str]) -> tuple[list[dict[str, Any]], str] | None:
    """Return the conda packages and pip's lines of the lock that fits these channels; None where there is none.

    Raises:
        SystemExit: it was made from other files than those that are here, or not for this architecture.
    """
    name = folder(addresses)
    if not any((project / name).glob("*.txt")):
        if (project / FOLDER / INPUTS).is_file():
            print(f"{FOLDER} is not used: here the packages are files of this machine, and none of those that it names")
        return None
    wanted = first_comment(inputs(project))
    texts = []
    for part in ("conda", "pip"):
        path = project / name / f"{part}-{native()}.txt"
        if not path.is_file():
            raise SystemExit(f"error: {name} is not for {native()}")
        first, _, text = path.read_text(encoding="utf-8").partition("\n")
        if f"{first}\n" != wanted:
            raise SystemExit(f"error: {name} was made from other files: see `python3 tasks.py lock --check`")
        texts.append(text)
    return packages(texts[0]), texts[1]


def packages(text: str) -> list[dict[str, Any]]:
    """Return the records of an explicit list, each with its address."""
    lines = text.splitlines()
    return [
        {**json.loads(record.removeprefix("# ")), "url": address.partition("#")[0]}
        for record, address in zip(lines, lines[1:], strict=False)  # noqa: RUF007 # the base's Python may be 3.9
        if record.startswith("# {")
    ]


def explicit(records: Iterable[dict[str, Any]], subdir: str) -> str:
    """Return records as an explicit list: conda and others read the addresses, and the MD5 behind each."""
    lines = [f"# platform: {subdir}\n@EXPLICIT\n"]
    for each in records:
        kept = {key: value for key, value in each.items() if key not in ("fn", "url", "channel", "arch", "platform")}
        lines.append(f"# {json.dumps(kept, sort_keys=True)}\n{each['url']}#{each['md5']}\n")
    return "".join(lines)
