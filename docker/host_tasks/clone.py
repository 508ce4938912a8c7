"""The name of this clone for Compose: no two clones on a machine share one, so none touches another's containers."""

import hashlib
import os
import re
import shlex
import unicodedata
from pathlib import Path

from host_tasks.ground.errors import ExitCode, HostError
from host_tasks.ground.paths import ROOT

SLUG_LENGTH = 30  # characters
HASH_LENGTH = 8  # hexadecimal digits: that two of 1,000 clones share one has a chance of 1 in 8,600
TAKEN = ("", "docker")  # "docker" is what Compose itself names every project whose file is in docker/


def project_name(root: Path = ROOT) -> str:
    """Return slug-hash: the folder's name and its real path, the same through a link and in every run.

    It is letters, digits and single `-`: a Compose project name (Compose specification, "Name top-level element")
    and, with a suffix, an image name (distribution reference grammar, path-component).
    """
    real = root.resolve()
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:HASH_LENGTH]
    return f"{_slug(real.name)}-{digest}"


def check_path(root: Path = ROOT) -> None:
    """Refuse a clone whose path Compose cannot read.

    Raises:
        HostError: the real path has a control character, or is not UTF-8 (78).
    """
    real = root.resolve()
    culprit = next((path for path in (*reversed(real.parents), real) if _bad(str(path))), None)
    if culprit is None:
        return
    raise HostError(
        f"the path {str(real)!a} has a control character (TAB, line break) or is not UTF-8, "
        "and Compose reads its own path as a URL",
        fix=f"mv {_for_bash(str(culprit))} {shlex.quote(_readable(str(culprit)))}",
        code=ExitCode.CONFIG,
    )


def _bad(text: str) -> bool:
    """Return whether a path has what check_path refuses; PEP 383 decodes bytes that are not UTF-8 to U+DC80..DCFF."""
    return any(unicodedata.category(char) in ("Cc", "Cs") for char in text)


def _slug(name: str) -> str:
    """Return a name in ASCII, lower case, `-` for every run of other characters; `project` where nothing is left."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:SLUG_LENGTH].rstrip("-")
    return "project" if slug in TAKEN else slug


def _readable(path: str) -> str:
    """Return a path without what check_path refuses."""
    return "".join("-" if _bad(char) else char for char in path)


def _for_bash(path: str) -> str:
    """Return a path as one bash word on one line (bash 5.2, ANSI-C Quoting)."""
    return (
        "$'" + "".join(chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in os.fsencode(path)) + "'"
    )
