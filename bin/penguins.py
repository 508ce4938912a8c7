#!/usr/bin/env python3
"""What notebooks/penguins.ipynb does, as a script: figure and table go to results/."""

from pathlib import Path

import pandas as pd

from trends import draw, trends

PROJECT = Path(__file__).resolve().parents[1]
QUESTION = {"x": "bill_length_mm", "y": "bill_depth_mm", "group": "species"}


def main() -> None:
    """Write results/penguins.png and results/penguins.csv, and print the table."""
    penguins = pd.read_csv(PROJECT / "data" / "penguins.csv")
    lines = trends(penguins, **QUESTION)
    draw(penguins, **QUESTION).savefig(PROJECT / "results" / "penguins.png", dpi=150)
    lines.to_csv(PROJECT / "results" / "penguins.csv")
    print(lines.to_markdown(floatfmt=".3g"))


if __name__ == "__main__":
    main()
