"""Paired comparison of two models on the same items: a bootstrap of clusters, its p-values and intervals, and Holm's correction.

Items of one product group stand or fall together, so clusters of items are drawn, not items. One ordinary bootstrap
serves every null hypothesis: to ask how likely a difference as good as the one seen is when the true one is `d`, the
draws are weighted as if they came from the sample tilted exponentially to mean `d` (Efron 1981; Davison & Hinkley 1997,
4.4.2 and 9.4). Such weights also give p-values far below one over the number of draws, which many comparisons need. The
sample holds one more cluster won and one lost: else answers that agree on every item would prove that they always will.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from scipy.optimize import brentq

BLOCK_NUMBERS = 2**23  # counts drawn at a time: 64 MiB
EXTREME = 1 - 1e-9  # differences of figures between 0 and 1 lie between -1 and 1
TIE = 1e-12
FIRST_REACH = 3  # standard errors
SMALLEST = 1e-300  # whose logarithm is a number


class PairedBootstrap:
    """The mean of paired `differences` (items,), in [-1, 1], whose `clusters` (items,) are independent of each other."""

    def __init__(self, differences: np.ndarray, clusters: np.ndarray, resamples: int, seed: int) -> None:
        place = np.unique(clusters, return_inverse=True)[1]
        sizes = np.bincount(place)
        self.clusters = len(sizes)
        self.difference = float(differences.mean())
        mean_size = len(differences) / self.clusters
        cells, counts = np.unique(np.bincount(place, differences) + 1j * sizes, return_counts=True)  # pairs, sorted fast
        self._sums = np.append(cells.real, [-mean_size, mean_size])  # of the differences, of each distinct cluster
        self._sizes = np.append(cells.imag, [mean_size, mean_size])
        self._shares = np.append(counts, [1, 1]) / (self.clusters + 2)
        self._drawn_sums, self._drawn_sizes = self._draw(resamples, seed)
        self._as_good = self._drawn_sums >= (self.difference - TIE) * self._drawn_sizes
        self._as_bad = self._drawn_sums <= (self.difference + TIE) * self._drawn_sizes

    @property
    def standard_error(self) -> float:
        """Of the mean, linearized: that of a ratio of sums over clusters."""
        residuals = self._sums - self.difference * self._sizes
        return math.sqrt(self._shares @ residuals**2 / self.clusters) / float(self._shares @ self._sizes)

    def p_not_above(self, bound: float) -> float:
        """p-value of "the true difference is `bound` or less": the chance of one as good as seen when it is `bound`."""
        return self._tail(bound, self._as_good, bound <= self.difference)

    def p_not_below(self, bound: float) -> float:
        """p-value of "the true difference is `bound` or more"."""
        return self._tail(bound, self._as_bad, bound >= self.difference)

    def interval(self, level: float) -> tuple[float, float]:
        """The differences that neither one-sided test rejects at `level`, below 0.5: a 1 - 2 * `level` interval."""
        return self._inverted(self.p_not_above, -1, level), self._inverted(self.p_not_below, 1, level)

    def minimum_detectable_effect(self, level: float, power: float) -> float:
        """The smallest true difference that as many clusters tell from none, with `power`, in a one-sided test at `level`."""
        normal = NormalDist()
        return self.standard_error * (normal.inv_cdf(1 - level) + normal.inv_cdf(power))

    def _draw(self, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Sums and sizes (resamples,) of samples of as many clusters; how often each distinct one comes up is drawn."""
        generator = np.random.default_rng(seed)
        block = max(1, BLOCK_NUMBERS // len(self._shares))
        parts = [min(block, resamples - start) for start in range(0, resamples, block)]
        columns = np.stack([self._sums, self._sizes], axis=1)
        drawn = [generator.multinomial(self.clusters, self._shares, part) @ columns for part in parts]
        sums, sizes = np.concatenate(drawn).T
        return sums, sizes

    def _tail(self, bound: float, event: np.ndarray, beyond: bool) -> float:
        """The chance of `event` when the true difference is `bound`; from its complement when it is likelier than not."""
        weights = self._weights(min(max(bound, -EXTREME), EXTREME))
        chance = (weights * event).mean() if beyond else 1 - (weights * ~event).mean()
        return float(min(max(chance, 0.0), 1.0))

    def _weights(self, bound: float) -> np.ndarray:
        """Of each draw: how much likelier it is in the sample tilted to the mean `bound` than in the sample itself."""
        gaps = self._sums - bound * self._sizes
        tilt = self._tilt(gaps)
        exponents = tilt * gaps
        most = exponents.max()
        log_mean = most + math.log(self._shares @ np.exp(exponents - most))
        return np.exp(tilt * (self._drawn_sums - bound * self._drawn_sizes) - self.clusters * log_mean)

    def _tilt(self, gaps: np.ndarray) -> float:
        """The exponent at which `gaps` weighted by it have mean 0; there is one, as the extremes lie on both sides of 0."""

        def mean(tilt: float) -> float:
            exponents = tilt * gaps
            return float((self._shares * np.exp(exponents - exponents.max())) @ gaps)

        reach = 1.0
        while mean(reach) < 0 or mean(-reach) > 0:
            reach *= 2
        return float(brentq(mean, -reach, reach, xtol=1e-10))

    def _inverted(self, p: Callable[[float], float], sign: int, level: float) -> float:
        """Where `p` crosses `level` on one side of the difference that was seen; `sign` itself when it does not."""

        def above(bound: float) -> float:
            return math.log(max(p(bound), SMALLEST) / level)

        near, far = self.difference, self.difference + sign * FIRST_REACH * self.standard_error
        while abs(far) < 1 and above(far) > 0:
            near, far = far, far + 2 * (far - self.difference)
        if abs(far) >= 1:
            far = sign * EXTREME
            if sign * near >= EXTREME or above(far) > 0:
                return float(sign)
        return float(brentq(above, near, far, xtol=1e-7))


def mean_interval(values: np.ndarray, clusters: np.ndarray, confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    """Interval of the mean of `values` (items,) in [0, 1], whose `clusters` (items,) are independent of each other.

    By the same bootstrap, which holds both ends possible: it does not take "all of 50 were right" for certainty.
    """
    low, high = PairedBootstrap(2 * values - 1, clusters, resamples, seed).interval((1 - confidence) / 2)
    return (1 + low) / 2, (1 + high) / 2


def holm(p: Sequence[float], alpha: float) -> tuple[list[float], list[float]]:
    """Holm's (1979) adjusted p-values, and the level at which each comparison is judged, in the order given.

    A comparison is shown when its adjusted p is at most `alpha`, which is when its own p is at most its level: `alpha`
    over the number of comparisons not yet shown when its turn comes, or when the first one failed.
    """
    count = len(p)
    adjusted, levels = [0.0] * count, [0.0] * count
    largest, level = 0.0, alpha
    for rank, place in enumerate(sorted(range(count), key=p.__getitem__)):
        if largest <= alpha:
            level = alpha / (count - rank)
        largest = max(largest, min(1.0, (count - rank) * p[place]))
        adjusted[place], levels[place] = largest, level
    return adjusted, levels
