"""`monitoring.drift.compare` for traffic that is drawn from a pool, a month at a time.

A sample is how often each row of the pool was drawn, so a month is a matrix of counts and a test a few products of matrices. The tests
are those of `monitoring.two_samples`, with equal numbers (`tests/benchmarks/test_false_alarms.py`). That a finding must also be far
from the reference is left out: it can only make alarms fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
from scipy.special import kolmogorov
from scipy.stats import fisher_exact

from lineage.statistics import holm
from monitoring import two_samples
from monitoring.columns import CATEGORICAL, NUMERIC, Columns, columns
from monitoring.drift_policy import DriftPolicy

fisher = lru_cache(maxsize=1_000_000)(lambda *cells: float(fisher_exact([cells[:2], cells[2:]]).pvalue))
Found = tuple[str, str, np.ndarray, np.ndarray, float]  # slice, name, effects (days,), p (days,), bound


@dataclass(frozen=True)
class Part:
    """One slice of the pool: the rows (P,) that are in it."""

    name: str
    rows: np.ndarray
    side: Columns

    @cached_property
    def orders(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Of each numeric column its rows in order of their values, and the places where a value ends."""
        found = {}
        for name in NUMERIC:
            values = self.side.numbers[name][self.rows]
            order = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
            if len(order):
                found[name] = order, np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)
        return found

    @cached_property
    def kinds(self) -> dict[str, np.ndarray]:
        """Of each categorical column which value (R, C) a row has."""
        found = {}
        for name in CATEGORICAL:
            values = self.side.values[name][self.rows]
            names = sorted({value for value in values if value is not None})
            if names and f"{name}=" not in self.name:
                found[name] = (values[:, None] == np.array(names, object)[None, :]).astype(float)
        return found

    @cached_property
    def sketched(self) -> np.ndarray:
        return np.flatnonzero(~np.isnan(self.side.sketch[self.rows, 0]))


def parts(pool: pa.Table) -> list[Part]:
    """The slices that `compare` makes by default."""
    side, found = columns(pool), []
    for task in sorted(set(side.task)):
        rows = np.flatnonzero(side.task == task)
        found.append(Part(f"task={task}", rows, side))
        values = sorted(set(side.values["modalities"][rows]))
        for value in values if len(values) > 1 else ():
            found.append(Part(f"task={task},modalities={value}", rows[side.values["modalities"][rows] == value], side))
    return found


def tested(part: Part, before: np.ndarray, days: np.ndarray, policy: DriftPolicy) -> list[Found]:
    """The tests of one slice: of samples `days` (days, P) against one sample `before` (P,); p is NaN where there are too few rows."""
    one, many = before[part.rows].astype(float), days[:, part.rows].astype(float)
    found: list[Found] = []
    for name, (order, ends) in part.orders.items():
        found.append((part.name, name, *_numeric(one[order], many[:, order], ends, policy), policy.bounds.numeric))
    for name, kinds in part.kinds.items():
        found.append((part.name, name, *_categorical(one @ kinds, many @ kinds, policy), policy.bounds.categorical))
    chosen = part.sketched
    if len(chosen):
        rows = part.side.sketch[part.rows[chosen]]
        found.append((part.name, "embedding", *_vectors(rows, one[chosen], many[:, chosen], policy), policy.bounds.embedding))
    return found


def rates(before: dict[str, tuple[int, int]], days: list[dict[str, tuple[int, int]]], policy: DriftPolicy) -> list[Found]:
    """The tests of rates: (yes, of how many) by name."""
    found: list[Found] = []
    for name, (yes, size) in before.items():
        others = [day[name] for day in days]
        angle = [2 * np.arcsin(np.sqrt(y / n)) for y, n in [(yes, size), *others]]
        chances = np.array([fisher(yes, size - yes, y, n - y) for y, n in others])
        found.append(("all", name, np.abs(np.array(angle[1:]) - angle[0]), chances, policy.bounds.rate))
    return found


def judged(found: list[Found], policy: DriftPolicy) -> tuple[list[set[tuple[str, str]]], list[bool]]:
    """Of each day what drifted, and whether any adjusted p was below alpha."""
    effects, chances = np.stack([each[2] for each in found]), np.stack([each[3] for each in found])
    bounds, names = np.array([each[4] for each in found]), [each[:2] for each in found]
    drifted, certain = [], []
    for day in range(effects.shape[1]):
        known = np.flatnonzero(~np.isnan(chances[:, day]))
        sure = np.array(holm(chances[known, day].tolist(), policy.alpha)[0]) < policy.alpha
        drifted.append({names[place] for place in known[sure] if effects[place, day] > bounds[place]})
        certain.append(bool(sure.any()))
    return drifted, certain


def _enough(n: float, sizes: np.ndarray, policy: DriftPolicy, p: np.ndarray) -> np.ndarray:
    return np.where((sizes >= policy.window.fewest) & (n >= policy.window.fewest), p, np.nan)


def _numeric(one: np.ndarray, many: np.ndarray, ends: np.ndarray, policy: DriftPolicy) -> tuple[np.ndarray, np.ndarray]:
    n, sizes = one.sum(), many.sum(axis=1)
    shares = np.cumsum(many, axis=1)[:, ends] / sizes[:, None] - (np.cumsum(one)[ends] / n)[None, :]
    distance = np.abs(shares).max(axis=1)
    return distance, _enough(n, sizes, policy, kolmogorov(np.sqrt(n * sizes / (n + sizes)) * distance))


def _categorical(one: np.ndarray, many: np.ndarray, policy: DriftPolicy) -> tuple[np.ndarray, np.ndarray]:
    found = [two_samples.categorical(one, each) for each in many]
    p = np.array([each.p for each in found])
    return np.array([each.effect for each in found]), _enough(one.sum(), many.sum(axis=1), policy, p)


def _vectors(rows: np.ndarray, one: np.ndarray, many: np.ndarray, policy: DriftPolicy) -> tuple[np.ndarray, np.ndarray]:
    scale = two_samples.median_distance(np.repeat(rows, one.astype(int), axis=0))
    features = two_samples.features(rows, scale).astype(np.float32)
    n, sizes = one.sum(), many.sum(axis=1)
    means, scatter = many @ features / sizes[:, None], _scatter(features, one)
    found = []
    for day, m, mean in zip(many, sizes, means, strict=True):
        spread = (scatter + _scatter(features, day)) / (n + m - 2)
        found.append(two_samples.hotelling(one @ features / n - mean, spread, n, m))
    return np.array([each.effect for each in found]), _enough(n, sizes, policy, np.array([each.p for each in found]))


def _scatter(features: np.ndarray, counts: np.ndarray) -> np.ndarray:
    drawn = counts > 0
    centred = features[drawn] - (counts @ features / counts.sum()).astype(np.float32)
    return (centred.T * counts[drawn].astype(np.float32)) @ centred
