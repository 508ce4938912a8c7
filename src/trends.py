"""Straight lines through groups of points: does what holds for all of them hold within each group?"""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import linregress

ALL = "all"


def trends(table: pd.DataFrame, x: str, y: str, group: str) -> pd.DataFrame:
    """Return the least-squares line of y over x for all rows and for each group.

    Rows without x or y are left out. The index is "all", then the groups in alphabetical order; the columns are
    count, slope (units of y for one unit of x), intercept and correlation (Pearson's r).
    """
    known = table.dropna(subset=[x, y])
    parts = {ALL: known, **dict(iter(known.groupby(group)))}
    lines = {name: linregress(part[x], part[y]) for name, part in parts.items()}
    return pd.DataFrame(
        {
            "count": {name: len(part) for name, part in parts.items()},
            "slope": {name: line.slope for name, line in lines.items()},
            "intercept": {name: line.intercept for name, line in lines.items()},
            "correlation": {name: line.rvalue for name, line in lines.items()},
        }
    ).rename_axis(group)


def draw(table: pd.DataFrame, x: str, y: str, group: str) -> Figure:
    """Return a figure of the points with a line for each group, and a dashed one for all of them."""
    lines = trends(table, x, y, group)
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, part in [*table.groupby(group), (ALL, table)]:
        ends = pd.Series([part[x].min(), part[x].max()])
        style = {"color": "black", "linestyle": "--"} if name == ALL else {"linewidth": 2}
        label = f"{name}: slope {lines.slope[name]:+.2f}"
        (line,) = axes.plot(ends, lines.intercept[name] + lines.slope[name] * ends, label=label, **style)
        if name != ALL:
            axes.scatter(part[x], part[y], s=14, alpha=0.5, color=line.get_color())
    axes.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "))
    axes.legend(title=group, loc="lower left")
    return figure
