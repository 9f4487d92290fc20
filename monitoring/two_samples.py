"""Tests of whether two samples come from one distribution, each with the size of the difference.

An effect does not grow with the samples, as a test's statistic does, and is 0 on average (or small, `numeric`) where there is no
difference. All are functions of arrays alone. Legend: N, M rows of the two samples, D numbers of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

MOST_VALUES = 50  # of a categorical column that are told apart; the others are one
FEWEST_EXPECTED = 5.0  # items of a value in either sample; rarer ones are one
WAVES = 32  # random Fourier features beside the coordinates themselves
ROWS_PER_NUMBER = 10  # of the smaller sample, for each number of a mean that is compared
MEDIAN_OF = 256  # rows of which the median distance is taken
SEED = 8


@dataclass(frozen=True)
class Outcome:
    """The name of a test, the size of the difference, and the chance of one as large where there is none."""

    test: str
    effect: float
    p: float


def numeric(reference: np.ndarray, current: np.ndarray) -> Outcome:
    """Kolmogorov and Smirnov's test of (N,) and (M,): the effect is the largest difference of the shares below a value, 0 to 1."""
    from scipy.special import kolmogorov

    one, two = np.sort(reference), np.sort(current)
    at = np.concatenate([one, two])
    shares = np.searchsorted(one, at, side="right") / len(one) - np.searchsorted(two, at, side="right") / len(two)
    distance = float(np.abs(shares).max())
    size = len(one) * len(two) / (len(one) + len(two))
    return Outcome("kolmogorov-smirnov", distance, float(kolmogorov(np.sqrt(size) * distance)))


def categorical(reference: np.ndarray, current: np.ndarray) -> Outcome:
    """Pearson's chi-squared test of counts (C,) and (C,) of the same values, rare ones together.

    The effect is Cohen's w, less what chance alone gives: the root of the mean squared difference of shares in units of their mean.
    """
    from scipy.special import chdtrc

    counts = _common(np.stack([reference, current]).astype(float))
    sizes, totals = counts.sum(axis=1, keepdims=True), counts.sum(axis=0, keepdims=True)
    freedom = counts.shape[1] - 1
    if not freedom:
        return Outcome("chi-squared", 0.0, 1.0)
    expected = sizes * totals / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    size = float(sizes.prod() / sizes.sum())
    return Outcome("chi-squared", float(np.sqrt(max(0.0, statistic - freedom) / size)), float(chdtrc(freedom, statistic)))


def _common(counts: np.ndarray) -> np.ndarray:
    """Counts (2, C) of the commonest values and, last, of the others together."""
    counts = counts[:, np.argsort(-counts.sum(axis=0), kind="stable")]
    smaller = counts.sum(axis=1).min() / counts.sum()
    kept = int(min(MOST_VALUES, (counts.sum(axis=0) * smaller >= FEWEST_EXPECTED).sum()))
    joined = np.concatenate([counts[:, :kept], counts[:, kept:].sum(axis=1, keepdims=True)], axis=1)
    return joined[:, joined.sum(axis=0) > 0]


def rate(reference: np.ndarray, current: np.ndarray) -> Outcome:
    """Fisher's exact test of two samples of yes and no, (N,) and (M,). The effect is Cohen's h, without its sign."""
    from scipy.stats import fisher_exact

    yes, sizes = (int(reference.sum()), int(current.sum())), (len(reference), len(current))
    angles = [2 * np.arcsin(np.sqrt(each / size)) for each, size in zip(yes, sizes, strict=True)]
    found = fisher_exact([[yes[0], sizes[0] - yes[0]], [yes[1], sizes[1] - yes[1]]])
    return Outcome("fisher-exact", float(abs(angles[0] - angles[1])), float(found.pvalue))


def vectors(reference: np.ndarray, current: np.ndarray) -> Outcome:
    """Hotelling's test of the means of (N, D) and (M, D) and of random Fourier features of them: MMD with a known null distribution
    (Chwialkowski et al. 2015, Fast two-sample testing with analytic representations of probability measures).

    The effect is the Mahalanobis distance of the means, less what chance alone gives: how many standard deviations the samples are
    apart in the direction that tells them apart best.
    """
    scale = median_distance(reference)
    one, two = features(reference, scale), features(current, scale)
    n, m = len(one), len(two)
    spread = ((n - 1) * np.cov(one, rowvar=False) + (m - 1) * np.cov(two, rowvar=False)) / (n + m - 2)
    return hotelling(one.mean(axis=0) - two.mean(axis=0), spread, n, m)


def hotelling(difference: np.ndarray, spread: np.ndarray, n: float, m: float) -> Outcome:
    """The test of `vectors` from the difference of two means (D,) of `n` and `m` rows and their pooled covariance (D, D)."""
    from scipy.special import fdtrc

    values, directions = np.linalg.eigh(spread)
    kept = max(1, min(int((values > 1e-6 * max(values[-1], 1e-12)).sum()), int(min(n, m)) // ROWS_PER_NUMBER))
    squared = float(((difference @ directions[:, -kept:]) ** 2 / values[-kept:].clip(1e-12)).sum())
    size, freedom = n * m / (n + m), n + m - kept - 1
    corrected = squared * (freedom - 2) / (n + m - 2) - kept / size
    p = float(fdtrc(kept, freedom, squared * size * freedom / (kept * (n + m - 2))))
    return Outcome("mean-embedding", float(np.sqrt(max(0.0, corrected))), p)


def median_distance(rows: np.ndarray) -> float:
    """About the median distance between two of the rows (N, D); 1 where they are all equal."""
    some = rows[:: max(1, len(rows) // MEDIAN_OF)][:MEDIAN_OF]
    half = len(some) // 2
    return float(np.median(np.linalg.norm(some[:half] - some[half : 2 * half], axis=1))) or 1.0


def features(rows: np.ndarray, scale: float) -> np.ndarray:
    """The rows (N, D) with random Fourier features of them beside, of a Gaussian kernel as wide as `scale`: (N, D + WAVES)."""
    waves, phases = _waves(rows.shape[1])
    return np.concatenate([rows, np.cos(rows @ waves / scale + phases)], axis=1)


@lru_cache(maxsize=8)
def _waves(dimension: int) -> tuple[np.ndarray, np.ndarray]:
    dice = np.random.default_rng(SEED)
    return dice.standard_normal((dimension, WAVES)).astype(np.float32), dice.uniform(0, 2 * np.pi, WAVES).astype(np.float32)
