"""Take JupyterLab out of an environment, and what only JupyterLab needs: for batch jobs.

without_lab.py CONDA_JSON PREFIX, by the environment's own Python

What stays is what environment.yml asks for beside it, what pip has installed, a kernel and what executes notebooks, and
all that these depend on, by conda's records and by what packages say of themselves (PyPA, core metadata 2.4).
What else needs JupyterLab, such as an extension of it, keeps it.
"""

import contextlib
import json
import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import records

LAB = {"jupyter", "jupyterlab", "nbclassic", "notebook"}
SOURCE = Path("/opt/source")  # where pip.sh puts what src/ requires
OWN = Path("/opt/own/lib")  # what own_project.py says of src/ itself
STAY = {"ipykernel", "nbclient", "nbconvert", "python"}


def name_of(text: str) -> str:
    """Return the name in a specification of conda or a requirement of pip, in its normal form (PyPA, names)."""
    found = re.match(r"[\w.-]+", text.rpartition("::")[2].strip())
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def needed_by_pip(made: dict[str, dict[str, Any]], prefix: Path) -> set[str]:
    """Return the names of what the packages need that conda has no record of: pip has installed them."""
    recorded = {Path(file).parent.name for each in made.values() for file in each["files"]}
    folders = [path for each in (prefix, SOURCE) for path in (each / "lib").glob("python*/site-packages/*.dist-info")]
    folders += OWN.glob("*.dist-info")
    lines = (line for each in folders if each.name not in recorded for line in Distribution.at(each).requires or ())
    return {name_of(line) for line in lines if "extra ==" not in line}


def remove(files: Iterable[str | Path], prefix: Path) -> None:
    """Remove files, what Python has compiled of them, and the folders that this leaves empty."""
    folders: set[Path] = set()
    for path in (prefix / file for file in files):
        compiled = path.parent / "__pycache__"
        for each in (path, *(compiled.glob(f"{path.stem}.*.pyc") if path.suffix == ".py" else ())):
            each.unlink(missing_ok=True)
            folders |= {folder for folder in each.parents if prefix in folder.parents}
    for folder in sorted(folders, key=lambda each: len(each.parts), reverse=True):
        with contextlib.suppress(OSError):  # it is not empty, or gone
            folder.rmdir()


def main(dependencies: list[str], prefix: Path) -> None:
    """Remove what does not stay, files and records."""
    made = records.read(prefix)
    wanted = ({name_of(each) for each in dependencies} - LAB) | STAY | needed_by_pip(made, prefix)
    stay = records.needed(made, (name for name in made if name_of(name) in wanted))
    kept = {file for name in stay for file in made[name]["files"]}
    for name in sorted(set(made) - stay):
        remove([records.path(made[name], prefix), *(file for file in made[name]["files"] if file not in kept)], prefix)
    for each in (made[name] for name in stay):
        # The list of files is for a conda that would remove them; the rest tells people and scanners what is here.
        text = json.dumps({key: value for key, value in each.items() if key not in {"files", "paths_data"}})
        records.path(each, prefix).write_text(text, encoding="utf-8")
    print(f"without JupyterLab: {len(stay)} of {len(made)} conda packages stay")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["dependencies"], Path(sys.argv[2]))
