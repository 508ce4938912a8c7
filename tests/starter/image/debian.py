"""Programs that some tests need beside the engine, from Debian's archive."""

import os
import shutil
import subprocess
from collections.abc import Sequence


def missing(programs: Sequence[str], packages: Sequence[str]) -> str:
    """Return why programs are not here, or an empty text; root gets their packages, where the archive answers."""
    if not all(map(shutil.which, programs)) and os.geteuid() == 0 and shutil.which("apt-get"):
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "--quiet", *words], env=environ, capture_output=True, timeout=600, check=False)
    absent = [name for name in programs if not shutil.which(name)]
    return f"no {' and no '.join(absent)} on the PATH; apt-get install {' '.join(packages)}" if absent else ""
