"""The tables of the simulated year in docs/platform/retraining.md, from the result files."""

from __future__ import annotations

from typing import Any

STRATEGIES = {
    "loop": "the loop, default policy",
    "daily": "a run a day, gate and validation",
    "daily, nothing checked": "a run a day, nothing checked",
    "never": "never",
}
EVENTS = {
    "bad_file": "a supplier's file without titles",
    "new_categories": "a new range of products",
    "camera": "the camera darkens photos",
    "season": "a season changes queries",
    "labels": "categories get other names",
    "poison": "copies with wrong categories",
}


def tables(reports: dict[str, dict[str, Any]]) -> str:
    """Markdown: how each strategy fared on each catalogue, then when the loop noticed what."""
    return f"{_strategies(reports)}\n\n{_events(reports)}"


def _strategies(reports: dict[str, dict[str, Any]]) -> str:
    head = ("catalogue", "models are trained", "right answers, %", "categories, %", "runs", "promoted", "CPU seconds of runs")
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, report in reports.items():
        for key, words in STRATEGIES.items():
            found = report["strategies"][key]
            cells = (
                f"{name}, {report['catalogue']['products']:,} products",
                words,
                f"{100 * found['right']:.1f}",
                f"{100 * found['categories']:.1f}",
                f"{found['runs']}",
                f"{found['promoted']}",
                f"{found['cpu_seconds_of_runs']:.0f}",
            )
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _events(reports: dict[str, dict[str, Any]]) -> str:
    rows = ["| what happens | asked | " + " | ".join(reports) + " |", "|---|---|" + "---|" * len(reports)]
    for key, words in EVENTS.items():
        found = [report["happened"][key] for report in reports.values()]
        asked = f"notice in {_days(found[0]['stated_delay_days'])}; {found[0]['should']}"
        rows.append(f"| {words} | {asked} | {' | '.join(map(_told, found))} |")
    return "\n".join(rows)


def _told(found: dict[str, Any]) -> str:
    noticed, new = found["noticed_after_days"], found["new_model_after_days"]
    said = ["not noticed" if noticed is None else f"after {_days(noticed)}"]
    if found["should"] == "retrain":
        said.append("no new model" if new is None else f"a new model after {_days(new)}")
    runs, promoted, rejected = (found[f"{name}_in_30_days"] for name in ("runs", "promoted", "rejected"))
    said.append(f"runs in 30 days: {runs}, {promoted} promoted, {rejected} rejected")
    return "; ".join(said)


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"
