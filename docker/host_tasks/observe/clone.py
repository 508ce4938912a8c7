"""The name of this clone for Compose: no two clones on a machine share one, so none touches another's containers."""

import hashlib
import os
import re
import unicodedata
from pathlib import Path

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


def unreadable_part(root: Path = ROOT) -> Path | None:
    """Return the first part of the clone's path that Compose, which reads its own path as a URL, cannot read; or None.

    That is one with a control character, or whose bytes are not UTF-8.
    """
    real = root.resolve()
    return next((path for path in (*reversed(real.parents), real) if is_bad(str(path))), None)


def is_bad(text: str) -> bool:
    """Return whether a text has such a character; PEP 383 decodes bytes that are not UTF-8 to U+DC80..DCFF."""
    return any(unicodedata.category(char) in ("Cc", "Cs") for char in text)


def _slug(name: str) -> str:
    """Return a name in ASCII, lower case, `-` for every run of other characters; `project` where nothing is left."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:SLUG_LENGTH].rstrip("-")
    return "project" if slug in TAKEN else slug
