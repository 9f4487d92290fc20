"""The plot of a simulated year: right answers by day and strategy, the events, and the loop's runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

COLOURS = {"loop": "#0b6e4f", "daily": "#1f4e9c", "daily, nothing checked": "#8a8a8a", "never": "#b3261e"}
WIDTH = 7  # days of the moving mean


def smooth(values: list[float]) -> np.ndarray:
    """(D,) the mean of each day and those before it, `WIDTH` at most."""
    sums = np.cumsum([0.0, *values])
    begin = np.maximum(0, np.arange(1, len(values) + 1) - WIDTH)
    return (sums[1:] - sums[begin]) / (np.arange(1, len(values) + 1) - begin)


def plot(report: dict[str, Any], path: Path) -> None:
    """Writes the plot of a report to `path`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(11, 6.5), sharex=True, height_ratios=(3, 2), layout="constrained")
    for axes, series in ((above, report["by_day"]), (below, report["categories_by_day"])):
        for name, values in series.items():
            axes.plot(smooth(values), color=COLOURS[name], label=name, linewidth=2 if name == "loop" else 1.3)
        axes.grid(alpha=0.2)
    for axes in (above, below):
        for event in report["happened"].values():
            axes.axvline(event["day"], color="black", linewidth=0.8, linestyle=":")
    top = above.get_ylim()[1]
    for name, event in report["happened"].items():
        above.text(event["day"] + 1, top, name.replace("_", " "), fontsize=8, va="top")
    low = above.get_ylim()[0]
    for run in report["loop_runs"]:
        mark, colour = ("^", COLOURS["loop"]) if run["promoted"] else ("x", "#b3261e")
        above.plot(run["day"], low, mark, color=colour, markersize=6, clip_on=False)
    above.set_ylabel(f"right answers, mean of {WIDTH} days")
    below.set_ylabel("right categories")
    below.set_xlabel("day; on the axis above the loop's runs: a triangle was promoted, a cross was not")
    above.legend(loc="lower left", fontsize=8)
    above.set_title(f"A simulated year of {report['catalogue']['name']} ({report['catalogue']['products']:,} products)")
    figure.savefig(path, dpi=110)
    plt.close(figure)
