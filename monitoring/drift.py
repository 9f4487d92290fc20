"""Drift: in what the traffic now differs from what the champion was made for.

Pure. `compare` makes one finding for each column of traffic (`lineage.traffic`) within each task, and again within slices of it. A
task of which either side has too few rows is not compared. A finding drifts only when its p-value, adjusted for how many findings
there are, is below alpha and its effect is above its bound: with much traffic every small difference is certain, and does not matter.

Live traffic always differs somewhat from training data, and a champion was accepted with that difference. Where a `baseline` is given,
the traffic of the champion's first days, a finding tells of the difference from it, and drifts only when the current traffic also
is that far from the reference (`gap`). Traffic that comes nearer to the reference is no drift. Of what the reference cannot tell, clicks
and refused requests, or has too few rows, the baseline alone decides.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineage.statistics import holm
from monitoring import two_samples
from monitoring.columns import CATEGORICAL, EMBEDDING, NUMERIC, RATES, Columns, columns
from monitoring.drift_policy import DriftPolicy

ALL = "all"
DIGITS = 6
BY_BASELINE = ("refused", "no_click")  # what a reference cannot know: only a baseline can
TOLD = 5  # values of a categorical column that a finding tells of


@dataclass(frozen=True)
class Finding:
    """One comparison. `slice` is `all`, `task=search` or `task=search,modalities=text`.

    `effect` is the difference from the baseline where there is one (`against`), else from the reference; `gap` that from the reference,
    where `effect` is above its bound.
    """

    name: str
    group: str  # input, embedding, prediction, feedback or data
    slice: str
    test: str
    effect: float
    bound: float
    p: float
    adjusted_p: float
    drifted: bool
    reference_n: int
    current_n: int
    against: str = "reference"
    gap: float | None = None
    before: dict[str, float] | None = None  # figures for people: quartiles, shares or the rate
    now: dict[str, float] | None = None


@dataclass(frozen=True)
class DriftReport:
    """What one comparison found, the largest effect beside its bound first.

    `state`: compared; learning, while the champion's first days are not over; few, where there is too little traffic; unknown, without
    a champion or its reference. Only what was compared drifts.
    """

    state: str
    findings: tuple[Finding, ...]
    reference_n: int
    current_n: int
    since: str | None  # of the current traffic, ISO 8601; None without any
    until: str | None
    policy: str  # sha256
    version: str = ""
    explanation: str = ""

    @property
    def drifted(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.drifted)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings]}

    @staticmethod
    def from_json(told: dict[str, Any]) -> DriftReport:
        """The report that `to_json` told."""
        return DriftReport(**{**told, "findings": tuple(Finding(**each) for each in told["findings"])})

    def __str__(self) -> str:
        return json.dumps(self.to_json())


def compare(reference: pa.Table, current: pa.Table, policy: DriftPolicy, baseline: pa.Table | None = None) -> DriftReport:
    """The report on `current`; all three are tables of `lineage.traffic.SCHEMA`."""
    now = columns(current)
    known = columns(reference)
    before = None if baseline is None else columns(baseline)
    made = [
        each for part, one, two, first in _parts(known, now, before, policy) for each in _findings(part, one, two, first, policy) if each
    ]
    findings = sorted(_judged(made, policy), key=lambda each: (not each.drifted, -each.effect / each.bound))
    span = [each.isoformat(timespec="milliseconds") if each else None for each in _span(current)]
    state = "compared" if findings else "few"
    counted = f"{current.num_rows:,} answers; a task is compared from {policy.window.fewest:,} on"
    said = _sentence(findings) if findings else f"Too little traffic to compare: {counted}."
    return DriftReport(state, tuple(findings), reference.num_rows, current.num_rows, span[0], span[1], policy.digest, explanation=said)


def confirmed(reports: Sequence[DriftReport], policy: DriftPolicy) -> tuple[Finding, ...]:
    """The findings of the newest of `reports` (of one version, in any order) that as many windows in a row show as the policy wants,
    the ends of which lie its hours apart.
    """
    ordered = sorted((each for each in reports if each.until), key=lambda each: str(each.until), reverse=True)
    if not ordered or ordered[0].state != "compared":
        return ()
    row = [ordered[0]]
    for report in ordered[1:]:
        apart = datetime.fromisoformat(str(row[-1].until)) - datetime.fromisoformat(str(report.until))
        if len(row) < policy.consecutive and apart >= timedelta(hours=policy.hours_between):
            row.append(report)
    if len(row) < policy.consecutive:
        return ()
    seen = [{(each.name, each.slice) for each in report.drifted} for report in row]
    return tuple(each for each in row[0].drifted if all((each.name, each.slice) in found for found in seen))


def _span(current: pa.Table) -> tuple[datetime | None, datetime | None]:
    found = pc.min_max(current["time"])
    return found["min"].as_py(), found["max"].as_py()


def _sentence(findings: Sequence[Finding]) -> str:
    drifted = [each for each in findings if each.drifted]
    if not drifted:
        return f"Nothing drifted in {len(findings)} comparisons."
    first = drifted[0]
    more = f", and {len(drifted) - 1} more" if len(drifted) > 1 else ""
    return f"{first.name} of {first.slice} drifted: effect {first.effect:.2f}, bound {first.bound:.2f}{more}."


Parts = Iterator[tuple[str, Columns, Columns, Columns | None]]


def _parts(known: Columns, now: Columns, before: Columns | None, policy: DriftPolicy) -> Parts:
    """The slices that are compared: all of the traffic, each task, and within a task the commonest values of a column."""
    yield ALL, known, now, before
    for task in sorted({each for each in now.task if each}):
        one, two, first = (None if side is None else side.where(side.task == task) for side in (known, now, before))
        if one is None or two is None or len(two) < policy.window.fewest:
            continue
        yield f"task={task}", one, two, first
        for column in policy.slices:
            counted = Counter(value for value in two.values[column] if value)
            common = [value for value, count in counted.most_common(policy.most_slices) if count >= policy.window.fewest]
            for value in common if len(counted) > 1 else ():
                sides = (None if side is None else side.where(side.values[column] == value) for side in (one, two, first))
                yield f"task={task},{column}={value}", *sides  # type: ignore[misc]


def _findings(part: str, known: Columns, now: Columns, before: Columns | None, policy: DriftPolicy) -> Iterator[Finding | None]:
    """The findings of one slice, before they are adjusted."""
    kinds: list[tuple[str, str, Callable[[str, Columns], np.ndarray], Callable[..., Any]]] = []
    if part == ALL:
        kinds = [(name, group, _number, _rate) for name, group in RATES.items()]
    else:
        kinds = [(name, group, _number, _numeric) for name, group in NUMERIC.items()]
        kinds += [(name, group, _value, _categorical) for name, group in CATEGORICAL.items() if f"{name}=" not in part]
        kinds += [("embedding", EMBEDDING, _sketch, _vectors)]
    for name, group, of, test in kinds:
        if name not in policy.ignored:
            sides = [of(name, side) if side is not None else None for side in (known, now, before)]
            yield _finding(name, group, part, sides, test, policy)


def _finding(
    name: str, group: str, part: str, sides: Sequence[np.ndarray | None], test: Callable[..., Any], policy: DriftPolicy
) -> Finding | None:
    """One finding of the columns of reference, current traffic and baseline; None where any has too few values."""
    known, now, before = sides
    fewest = policy.window.fewest
    if known is None or now is None or len(now) < fewest or (before is not None and len(before) < fewest):
        return None
    unknowable = name in BY_BASELINE or len(known) < fewest
    if before is None and unknowable:
        return None
    past = known if before is None else before
    tested, figures, bound = test(past, now)
    limit = policy.bound_of.get(name, getattr(policy.bounds, bound))
    large = tested.effect > limit
    gap = tested.effect if before is None else test(known, now)[0].effect if large and not unknowable else None
    enough = large and (gap is None or gap > limit)
    against = "reference" if before is None else "baseline"
    effect, rounded = round(tested.effect, DIGITS), None if gap is None else round(gap, DIGITS)
    told = figures(past), figures(now)
    return Finding(
        name, group, part, tested.test, effect, limit, tested.p, tested.p, enough, len(past), len(now), against, rounded, *told
    )


def _judged(findings: Sequence[Finding], policy: DriftPolicy) -> list[Finding]:
    adjusted = holm([each.p for each in findings], policy.alpha)[0]
    return [
        replace(each, adjusted_p=p, drifted=each.drifted and p < policy.alpha) for each, p in zip(findings, adjusted, strict=True)
    ]


def _number(name: str, side: Columns) -> np.ndarray:
    found = side.numbers[name]
    return found[~np.isnan(found)]


def _value(name: str, side: Columns) -> np.ndarray:
    found = side.values[name]
    return found[found != None]  # noqa: E711 - of each element


def _sketch(_: str, side: Columns) -> np.ndarray:
    return side.sketch[~np.isnan(side.sketch[:, 0])]


Made = tuple[two_samples.Outcome, Callable[[np.ndarray], dict[str, float] | None], str]


def _numeric(past: np.ndarray, now: np.ndarray) -> Made:
    return two_samples.numeric(past, now), _quartiles, "numeric"


def _quartiles(values: np.ndarray) -> dict[str, float]:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return {"p25": round(float(low), DIGITS), "p50": round(float(middle), DIGITS), "p75": round(float(high), DIGITS)}


def _categorical(past: np.ndarray, now: np.ndarray) -> Made:
    counts = Counter(past.tolist()), Counter(now.tolist())
    names = sorted(counts[0].keys() | counts[1].keys())
    arrays = [np.array([count[name] for name in names]) for count in counts]
    shares = [array / array.sum() for array in arrays]
    moved = [names[place] for place in np.argsort(-np.abs(shares[0] - shares[1]), kind="stable")[:TOLD]]

    def told(values: np.ndarray) -> dict[str, float]:
        count = counts[0] if values is past else counts[1]
        return {name: round(count[name] / len(values), 4) for name in moved}

    return two_samples.categorical(*arrays), told, "categorical"


def _rate(past: np.ndarray, now: np.ndarray) -> Made:
    return two_samples.rate(past, now), lambda values: {"rate": round(float(values.mean()), DIGITS)}, "rate"


def _vectors(past: np.ndarray, now: np.ndarray) -> Made:
    return two_samples.vectors(past, now), lambda _: None, "embedding"
