"""Where a secret could show: in the layers of an image, in command lines, and in the files of a clone."""

import gzip
import io
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from beside import commands

PIECE = 2**22
GZIP, ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # how they begin (RFC 1952, 2.3; RFC 8878, 3.1.1)


def names_in(text: bytes, hidden: Mapping[str, bytes]) -> set[str]:
    """Return the names of the hidden values that a text holds."""
    return {name for name, value in hidden.items() if value in text}


def names_in_stream(stream: IO[bytes], hidden: Mapping[str, bytes]) -> set[str]:
    """Return the names of the hidden values in a stream of any length."""
    longest = max(map(len, hidden.values()))
    found: set[str] = set()
    end = b""
    while piece := stream.read(PIECE):
        found |= names_in(end + piece, hidden)
        end = (end + piece)[-longest:]
    return found


def opened(packed: IO[bytes]) -> IO[bytes]:
    """Return the content of a file of a saved image: with containerd's store the layers stay packed as they came."""
    file = io.BufferedReader(cast("io.RawIOBase", packed))
    start = file.peek(4)
    assert not start.startswith(ZSTANDARD), "a layer is packed by Zstandard, which this Python cannot open"
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file) if start.startswith(GZIP) else file)


def in_layers(image: str, hidden: Mapping[str, bytes]) -> dict[str, set[str]]:
    """Return which files of a saved image, layers and settings, hold which values; all layers of its base are there."""
    found = {}
    with (
        subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving,
        tarfile.open(fileobj=saving.stdout, mode="r|", bufsize=PIECE) as saved,
    ):
        for member in saved:
            if (packed := saved.extractfile(member)) and (names := names_in_stream(opened(packed), hidden)):
                found[member.name] = names
    assert saving.returncode == 0
    return found


def in_files(root: Path, hidden: Mapping[str, bytes]) -> dict[str, set[str]]:
    """Return which files below a folder hold which values, by their path and mode."""
    found = {}
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and (names := names_in(path.read_bytes(), hidden)):
            found[f"{path.relative_to(root)} {path.stat().st_mode & 0o777:o}"] = names
    return found


@contextmanager
def overheard() -> Iterator[set[str]]:
    """Yield the command lines of all that runs on this machine meanwhile, in containers too; looked at all the time."""
    heard: set[str] = set()
    ended = threading.Event()

    def listen() -> None:
        while not ended.wait(0.03):
            heard.update(commands())

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield heard
    finally:
        ended.set()
        listener.join()
