"""Tests of src/trends.py; they run inside the environment, as everything in tests/ but starter/ does."""

import numpy as np
import pandas as pd
import pytest

from trends import draw, trends

# Two rising groups, the second one further right and lower: together they fall.
TABLE = pd.DataFrame(
    {
        "x": [0.0, 1.0, 2.0, 10.0, 11.0, 12.0, np.nan],
        "y": [10.0, 11.0, 12.0, 0.0, 1.0, 2.0, 5.0],
        "kind": ["left"] * 3 + ["right"] * 4,
    }
)


def test_trends_of_groups_may_differ_from_that_of_all() -> None:
    """Each group rises by 1, all together fall, and a row without x is left out."""
    lines = trends(TABLE, "x", "y", "kind")

    assert list(lines.index) == ["all", "left", "right"]
    assert list(lines["count"]) == [6, 3, 3]
    assert lines.slope[["left", "right"]].to_list() == pytest.approx([1, 1])
    assert lines.intercept[["left", "right"]].to_list() == pytest.approx([10, -10])
    assert lines.slope["all"] < 0


def test_draw_names_every_slope() -> None:
    """The legend has a line for each group and one for all."""
    figure = draw(TABLE, "x", "y", "kind")

    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts[:2] == ["left: slope +1.00", "right: slope +1.00"]
    assert texts[2].startswith("all: slope -")
