"""Plots of a verdict as `data:` addresses of SVG pictures, for pages that load nothing."""

from __future__ import annotations

import base64
import io
from typing import Any

LOOKS = {  # outcome -> colour and marker: told apart without colours too
    "passed": ("#2a8a3a", "o"),
    "failed": ("#b3261e", "X"),
    "no evidence": ("#b07a00", "s"),
    "outweighed": ("#00708a", "^"),
    "overridden": ("#6a3fa0", "D"),
}
INCH = 0.34  # a row


def comparisons(checks: list[dict[str, Any]]) -> str:
    """Every comparison with the champion: difference, interval, and the bound that it must lie above. Empty without any."""
    compared = [check for check in checks if check["p"] is not None][::-1]
    if not compared:
        return ""
    figure, axes = _figure(len(compared))
    for row, check in enumerate(compared):
        colour, marker = LOOKS[check["outcome"]]
        low, high = (100 * end for end in check["confidence_interval"])
        axes.plot([low, high], [row, row], color=colour, linewidth=2)
        axes.plot(100 * check["difference"], row, marker, color=colour, markersize=7)
        axes.plot([100 * check["bound"]] * 2, [row - 0.35, row + 0.35], color="black", linewidth=1.5)
    axes.axvline(0, color="#888", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(compared)), [_label(check) for check in compared])
    axes.set(xlabel="candidate minus champion, points; the bar | is what the interval must lie above", ylim=(-0.6, len(compared) - 0.4))
    _legend(axes, compared)
    return _address(figure)


def figures(checks: list[dict[str, Any]]) -> str:
    """Every figure with a floor, a baseline or a ceiling, as a share of it. Empty without any."""
    bounded = [check for check in checks if check["p"] is None and check["bound"] and check["candidate"] is not None][::-1]
    if not bounded:
        return ""
    figure, axes = _figure(len(bounded))
    for row, check in enumerate(bounded):
        colour, marker = LOOKS[check["outcome"]]
        axes.plot([1, check["candidate"] / check["bound"]], [row, row], color=colour, linewidth=2)
        axes.plot(check["candidate"] / check["bound"], row, marker, color=colour, markersize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(bounded)), [f"{check['metric']} {check['name']}" for check in bounded])
    wanted = "floor or baseline (more is better) or ceiling (less is better)"
    axes.set(xlabel=f"figure as a share of its {wanted}", ylim=(-0.6, len(bounded) - 0.4))
    _legend(axes, bounded)
    return _address(figure)


def _label(check: dict[str, Any]) -> str:
    return check["metric"] if check["slice"] == "all" else f"{check['metric']} in {check['slice']}"


def _figure(rows: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, INCH * rows + 1.4))
    return figure, figure.add_subplot()


def _legend(axes: Any, checks: list[dict[str, Any]]) -> None:
    for outcome in sorted({check["outcome"] for check in checks}):
        colour, marker = LOOKS[outcome]
        axes.plot([], [], marker, color=colour, label=outcome)
    axes.legend(fontsize=8, loc="best")


def _address(figure: Any) -> str:
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "goodsight", "svg.fonttype": "path", "text.parse_math": False}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
