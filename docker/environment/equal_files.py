"""Have large files that packages bring more than once be one file, by hard links, as conda links to its own cache.

JupyterLab brings its pages twice, and wheels bring the same libraries.
"""

import filecmp
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LARGE = 32 * 1024  # bytes; equal smaller ones are 1,100 in the starter's environment, and 5 MB together


def keep_once(made: Iterable[dict[str, Any]], prefix: Path) -> None:
    """Link what conda's records of the packages say is equal, and is.

    A script of a package may have changed a file since, and of two packages that bring the same path one has won.
    """
    first: dict[tuple[str, int], Path] = {}
    for each in (file for record in made for file in record["paths_data"]["paths"]):
        path = prefix / each["_path"]
        if each["path_type"] == "hardlink" and each.get("size_in_bytes", 0) >= LARGE and path.is_file():
            digest = each.get("sha256_in_prefix") or each["sha256"]
            one = first.setdefault((digest, path.stat().st_mode), path)
            if one != path and filecmp.cmp(one, path, shallow=False):
                path.unlink()
                path.hardlink_to(one)
