"""A drift report for people: lines in words, a page of our own, and Evidently's pages of the same traffic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from goodsight.files import whole_file
from monitoring.columns import CATEGORICAL, NUMERIC, columns
from monitoring.drift import DriftReport, Finding
from monitoring.drift_policy import DriftPolicy

PAGES = Path(__file__).with_name("pages")
HARMLESS = str.maketrans("<>&", "‹›+")  # Evidently puts values into its scripts as they are: a category could be one
LISTED = 12  # findings that the command lists; the page has all
TESTS = {
    "kolmogorov-smirnov": "the largest difference of the shares below a value, 0 to 1",
    "chi-squared": "Cohen's w, less what chance alone gives: 0.1 is small, 0.3 medium, 0.5 large",
    "fisher-exact": "Cohen's h: 0.2 is small, 0.5 medium, 0.8 large",
    "mean-embedding": "Mahalanobis distance of the mean embeddings, less what chance alone gives",
}


def lines(report: DriftReport) -> Iterator[str]:
    """The report in words, what drifted first."""
    yield f"Drift of version {report.version}: {report.explanation}" if report.version else report.explanation
    if report.since:
        yield f"{report.current_n:,} answers from {report.since} to {report.until}, beside {report.reference_n:,} of the reference."
    for finding in report.findings[:LISTED]:
        yield f"  {'DRIFTED' if finding.drifted else 'ok':8}{sentence(finding)}"
    if len(report.findings) > LISTED:
        yield f"  and {len(report.findings) - LISTED} more"


def sentence(finding: Finding) -> str:
    """One finding: what, where, how much, how sure, and before and now."""
    gap = "" if finding.gap is None or finding.against == "reference" else f", {finding.gap:.3f} from the reference"
    told = f"{finding.name} of {finding.slice}: effect {finding.effect:.3f} (bound {finding.bound:g}) from the {finding.against}{gap}"
    moved = f"; {figures(finding.before)} -> {figures(finding.now)}" if finding.before and finding.now else ""
    return f"{told}, adjusted p {finding.adjusted_p:.2g}{moved}"


def figures(told: dict[str, float] | None) -> str:
    """Quartiles as one range, shares by name."""
    if told is None:
        return ""
    if "p50" in told:
        return f"{told['p50']:.4g} ({told['p25']:.4g} to {told['p75']:.4g})"
    return ", ".join(f"{name} {value:.1%}" for name, value in told.items())


def page(report: DriftReport, policy: DriftPolicy, confirmed: tuple[Finding, ...] = ()) -> str:
    """The page of a report."""
    from goodsight.page import render

    rows = [
        {"finding": each, "width": _width(each), "before": figures(each.before), "now": figures(each.now)} for each in report.findings
    ]
    groups = sorted({each.group for each in report.findings})
    return render(PAGES, "drift", report=report, policy=policy, rows=rows, groups=groups, tests=TESTS, confirmed=confirmed)


def _width(finding: Finding) -> int:
    """Of the bar of an effect, in percent: the bound is its middle."""
    return round(100 * min(1.0, finding.effect / (2 * finding.bound)))


def evidently_pages(reference: pa.Table, current: pa.Table, policy: DriftPolicy, folder: Path) -> list[Path]:
    """Writes Evidently's report on each task that both sides have enough of to `folder`, and returns the files.

    They load nothing from anywhere. The tests and bounds are Evidently's own, of single columns: what counts is our report.
    """
    known, now = columns(reference), columns(current)
    found = []
    for task in sorted({each for each in now.task if each}):
        one, two = known.where(known.task == task), now.where(now.task == task)
        if min(len(one), len(two)) >= policy.window.fewest:
            found.append(_evidently_page(_frame(one), _frame(two), folder / f"evidently-{task}.html"))
    return found


def _frame(side: Any) -> dict[str, np.ndarray]:
    return {**{name: side.numbers[name] for name in NUMERIC}, **{name: side.values[name] for name in CATEGORICAL}}


def _evidently_page(reference: dict[str, np.ndarray], current: dict[str, np.ndarray], path: Path) -> Path:
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    frames = [pd.DataFrame(side) for side in (current, reference)]
    known = [name for name in frames[0] if all(frame[name].notna().any() for frame in frames)]
    numbers = [name for name in known if name in NUMERIC and len(pd.unique(pd.concat([frame[name] for frame in frames]).dropna())) > 1]
    texts = [name for name in known if name in CATEGORICAL]
    for frame in frames:
        frame[texts] = frame[texts].astype("string").fillna("none").map(lambda text: text.translate(HARMLESS)).astype(object)
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    sides = [Dataset.from_pandas(frame[numbers + texts], definition) for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as aside:
        Report([DataDriftPreset()]).run(*sides).save_html(str(aside))
    return path
