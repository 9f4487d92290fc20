"""The sequential tests: looked at all the time they raise few false alarms, and a version that is worse is seen soon."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.sequential import at_least, bounds, log_ratio, not_more

ALPHA = 0.05
WORLDS = 300
SPREAD = 3 * math.sqrt(ALPHA * (1 - ALPHA) / WORLDS)  # three standard errors of a share of worlds


def looks(count: int) -> list[int]:
    """Some 15 places up to `count`, close together at first. That no place is safe is tested at all of them, with the ratio alone."""
    return sorted({round(count ** (step / 16)) for step in range(1, 17)})


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.001, 0.2))
def test_bounds_hold_the_mean_that_was_seen(count: int, share: float, alpha: float) -> None:
    low, high = bounds(share * count, count, alpha)
    assert 0 <= low <= share + 1e-9 and share - 1e-9 <= high <= 1
    wider = bounds(share * count, count, alpha / 2)
    assert wider[0] <= low + 1e-12 and high <= wider[1] + 1e-12


@given(st.integers(1, 2000), st.integers(0, 2000))
def test_bounds_are_where_the_ratio_reaches_one_over_alpha(count: int, total: int) -> None:
    total = min(total, count)
    low, high = bounds(total, count, ALPHA)
    for bound in (low, high):
        if 0 < bound < 1:
            assert log_ratio(total, count, bound) == pytest.approx(-math.log(ALPHA), abs=1e-5)


def test_nothing_seen_says_nothing() -> None:
    assert bounds(0, 0, ALPHA) == (0.0, 1.0)
    assert not_more("errors", (0, 0), (0, 0), 0.01, ALPHA).finding == "open"
    assert at_least("agreement", 0, 0, 0.5, ALPHA).seen is None


@pytest.mark.parametrize("mean", [0.01, 0.3, 0.5, 0.95])
def test_the_true_mean_is_within_the_bounds_at_all_times(mean: float) -> None:
    draws = np.random.default_rng(3).random((WORLDS, 600)) < mean
    out = sum(any(log_ratio(total, n, mean) >= -math.log(ALPHA) for n, total in enumerate(world.cumsum(), 1)) for world in draws)
    assert out / WORLDS <= ALPHA + SPREAD


def test_so_is_that_of_numbers_between_0_and_1() -> None:
    draws = np.round(np.random.default_rng(5).beta(2, 1, (WORLDS, 400)), 1)
    mean = float(np.round(np.random.default_rng(6).beta(2, 1, 2_000_000), 1).mean())
    out = sum(any(log_ratio(float(total), n, mean) >= -math.log(ALPHA) for n, total in enumerate(world.cumsum(), 1)) for world in draws)
    assert out / WORLDS <= ALPHA


@pytest.mark.parametrize(("old", "new", "share"), [(0.0, 0.05, 0.5), (0.3, 0.35, 0.1)])
def test_at_the_margin_false_alarms_are_rarer_than_alpha(old: float, new: float, share: float) -> None:
    """`share` of 800 requests go to the new version, which fails more often by exactly the margin."""
    generator, alarms = np.random.default_rng(7), 0
    for _ in range(WORLDS // 2):
        routed = generator.random(800) < share
        failed = generator.random(800) < np.where(routed, new, old)
        arms = [(np.cumsum(failed & arm), np.cumsum(arm)) for arm in (routed, ~routed)]
        at = ([(float(sums[n - 1]), int(counts[n - 1])) for sums, counts in arms] for n in looks(800))
        alarms += any(not_more("errors", *both, new - old, ALPHA).finding == "worse" for both in at)
    assert alarms / (WORLDS // 2) <= ALPHA


def test_worse_is_never_passed_more_often_than_alpha() -> None:
    """The other error: a version worse by exactly the margin is told to be within it."""
    generator, passed = np.random.default_rng(9), 0
    for _ in range(WORLDS // 2):
        sums = [np.cumsum(generator.random(800) < mean) for mean in (0.15, 0.05)]
        at = ([(float(each[n - 1]), n) for each in sums] for n in looks(800))
        passed += any(not_more("errors", *both, 0.1, ALPHA).finding == "shown" for both in at)
    assert passed / (WORLDS // 2) <= ALPHA


@pytest.mark.parametrize(("chance", "most"), [(1.0, 12), (0.5, 45), (0.1, 400)])
def test_a_version_that_fails_is_seen_soon(chance: float, most: int) -> None:
    """Requests of the new version until the alarm, nine others to one of it, in the middle one of the worlds."""
    generator, needed = np.random.default_rng(11), []
    for _ in range(20):
        failed = np.cumsum(generator.random(1000) < chance)
        alarms = (n for n in looks(1000) if not_more("errors", (float(failed[n - 1]), n), (0, 9 * n), 0.01, ALPHA / 12).finding == "worse")
        needed.append(next(alarms, 1001))
    assert np.median(needed) <= most


def test_the_figures_of_the_documentation() -> None:
    """Four stages, three tests, an error budget of 1 %, and nine of ten requests to the other version."""
    assert [not_more("errors", (n, n), (0, 9 * n), 0.01, ALPHA / 12).finding for n in (4, 5)] == ["open", "worse"]
    assert [not_more("errors", (0, n), (0, 9 * n), 0.01, ALPHA / 3).finding for n in (870, 875)] == ["open", "shown"]


def test_a_good_version_is_shown_to_be_good() -> None:
    assert not_more("errors", (0, 1000), (0, 9000), 0.01, ALPHA / 3).finding == "shown"
    assert not_more("errors", (0, 300), (0, 2700), 0.01, ALPHA / 3).finding == "open"
    assert at_least("agreement", 180, 200, 0.8, ALPHA).finding == "shown"
    assert at_least("agreement", 120, 200, 0.8, ALPHA).finding == "worse"
    assert at_least("agreement", 160, 200, 0.8, ALPHA).finding == "open"
