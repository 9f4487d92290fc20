"""Tests that may be looked at after every request: is the new version worse than the one that serves, by more than is allowed?

Everything compared is a mean of numbers between 0 and 1: the share of requests that failed, the share that was slow, how far two
answers agree. Of each, `bounds` gives a confidence sequence: bounds that hold at all times at once with the chance 1 - alpha, so
that a decision may be taken at the first moment that suits (Robbins 1970, "Statistical methods related to the law of the iterated
logarithm"; as always-valid inference in Johari, Pekelis & Walsh 2017, "Always valid inference"; as the beta-binomial mixture in
Howard, Ramdas, McAuliffe & Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences"). It is a likelihood
ratio whose alternative is mixed over Beta(1/2, 1/2): a martingale at the true mean, which exceeds 1 / alpha at any time with the
chance alpha at the most (Ville). Sums and counts are all that it reads, so a test goes on after a restart as if there was none.

Numbers between 0 and 1 need not be 0 or 1: the ratio is convex in each, so its mean is at most that of a 0 or 1 of the same mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

STEPS = 40  # halvings: bounds are right to 1e-12
HALF = 0.5  # both parameters of the mixture
LOG_BETA_OF_HALVES = math.log(math.pi)

Finding = Literal["worse", "shown", "open"]


@dataclass(frozen=True)
class Evidence:
    """What one test says now. `low` to `high` holds the true value of `seen`, whenever one looks.

    `worse`: it is shown to be beyond `limit`, on the wrong side. `shown`: it is shown to be within. `open`: neither is yet.
    """

    name: str
    seen: float | None  # None: nothing was seen
    low: float
    high: float
    limit: float
    finding: Finding


def log_ratio(total: float, count: int, mean: float) -> float:
    """How much likelier `count` numbers in [0, 1] that sum to `total` are under the mixture than under `mean`, as a logarithm."""
    rest = count - total
    mixture = math.lgamma(total + HALF) + math.lgamma(rest + HALF) - math.lgamma(count + 2 * HALF) - LOG_BETA_OF_HALVES
    return mixture - _times_log(total, mean) - _times_log(rest, 1 - mean)


def _times_log(count: float, chance: float) -> float:
    if count <= 0:
        return 0.0
    return count * math.log(chance) if chance > 0 else -math.inf


def bounds(total: float, count: int, alpha: float) -> tuple[float, float]:
    """Where the true mean of `count` numbers in [0, 1] that sum to `total` is: a confidence sequence at level 1 - `alpha`."""
    if count == 0:
        return 0.0, 1.0
    mean, wanted = min(max(total / count, 0.0), 1.0), -math.log(alpha)

    def crossing(end: float) -> float:
        """Between the mean, where the ratio is least, and `end`: the nearest place that is out."""
        if log_ratio(total, count, end) < wanted:
            return end
        inside, outside = mean, end
        for _ in range(STEPS):
            middle = (inside + outside) / 2
            if log_ratio(total, count, middle) < wanted:
                inside = middle
            else:
                outside = middle
        return outside

    return crossing(0.0), crossing(1.0)


def not_more(name: str, new: tuple[float, int], old: tuple[float, int], margin: float, alpha: float) -> Evidence:
    """Whether the mean of `new` (sum, count) is above that of `old` by more than `margin`.

    The bounds of the two, at alpha / 2 each, bound their difference, however unequal the two counts are.
    """
    low_new, high_new = bounds(*new, alpha / 2)
    low_old, high_old = bounds(*old, alpha / 2)
    low, high = low_new - high_old, high_new - low_old
    seen = new[0] / new[1] - old[0] / old[1] if new[1] and old[1] else None
    return Evidence(name, seen, low, high, margin, "worse" if low > margin else "shown" if high <= margin else "open")


def at_least(name: str, total: float, count: int, floor: float, alpha: float) -> Evidence:
    """Whether the mean of `count` numbers in [0, 1] that sum to `total` is `floor` or more."""
    low, high = bounds(total, count, alpha)
    seen = total / count if count else None
    return Evidence(name, seen, low, high, floor, "worse" if high < floor else "shown" if low >= floor else "open")
