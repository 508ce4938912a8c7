"""The example: its script and its notebook run in the environment, and what they write belongs to the caller."""

import json

import pytest
from conftest import ROOT, Clone

SCRIPT = ["python", "bin/penguins.py"]
NOTEBOOK = ["jupyter", "nbconvert", "--to", "notebook", "--execute", "--stdout", "notebooks/penguins.ipynb"]


@pytest.mark.parametrize("argv", [SCRIPT, NOTEBOOK], ids=["script", "notebook"])
def test_example_writes_figure_and_table(argv: list[str], running: Clone) -> None:
    """A run ends with a figure and the table of slopes in results/, both the caller's."""
    figure, table = (running.root / "results" / name for name in ("penguins.png", "penguins.csv"))
    figure.unlink(missing_ok=True)
    table.unlink(missing_ok=True)

    running.succeed("run", "--", *argv)

    assert figure.read_bytes().startswith(b"\x89PNG")
    slopes = {line.split(",")[0]: float(line.split(",")[2]) for line in table.read_text("utf-8").splitlines()[1:]}
    assert {name: slope > 0 for name, slope in slopes.items()} == {
        "all": False,
        "Adelie": True,
        "Chinstrap": True,
        "Gentoo": True,
    }
    owner = (running.values()["UID"], running.values()["GID"])
    assert {(str(each.stat().st_uid), str(each.stat().st_gid)) for each in (figure, table)} == {owner}


def test_example_notebook_is_committed_as_it_was_run() -> None:
    """`reproduce` has something to compare: each cell was run, from the first to the last."""
    notebook = json.loads((ROOT / "notebooks" / "penguins.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]

    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell["outputs"] for cell in cells)
