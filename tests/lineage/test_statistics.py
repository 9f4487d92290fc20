"""The gate's statistics against brute force, exact distributions and scipy; Holm against its closure."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lineage.statistics import PairedBootstrap, holm, mean_interval

SEED = 0


def bootstrap(differences: np.ndarray, clusters: np.ndarray | None = None, resamples: int = 4000) -> PairedBootstrap:
    own = np.arange(len(differences)) if clusters is None else clusters
    return PairedBootstrap(differences, own, resamples, SEED)


def hit_differences(lost: int, same: int, won: int) -> np.ndarray:
    return np.repeat([-1.0, 0.0, 1.0], [lost, same, won])


def exact_p(lost: int, same: int, won: int, bound: float) -> float:
    """The chance of the event in the tilted sample itself, summed over all numbers of wins and losses: no draws."""
    count = lost + same + won
    low, high = 1e-9, 1e9  # the tilt, as a factor, by bisection
    for _ in range(200):
        middle = np.sqrt(low * high)
        weights = np.array([(lost + 1) / middle, same, (won + 1) * middle])
        mean = (weights[2] - weights[0]) / weights.sum()
        low, high = (middle, high) if mean < bound else (low, middle)
    shares = weights / weights.sum()
    wins = np.arange(count + 1)[:, None]
    losses = np.arange(count + 1)[None, :]
    with np.errstate(invalid="ignore"):
        rest = count - wins - losses
        chance = stats.binom.pmf(wins, count, shares[2]) * stats.binom.pmf(losses, count - wins, shares[0] / (1 - shares[2]))
    return float(chance[(rest >= 0) & (wins - losses >= won - lost)].sum())


@pytest.mark.parametrize(("lost", "same", "won"), [(3, 90, 7), (0, 60, 0), (0, 95, 5), (12, 180, 8), (1, 59, 0)])
@pytest.mark.parametrize("bound", [-0.05, 0.0])
def test_p_is_that_of_the_tilted_sample(lost: int, same: int, won: int, bound: float) -> None:
    found = bootstrap(hit_differences(lost, same, won), resamples=40_000).p_not_above(bound)
    assert found == pytest.approx(exact_p(lost, same, won, bound), rel=0.05)


def test_p_of_answers_that_all_agree_is_the_rule_of_three() -> None:
    """Nothing lost among n items, when 5 % are lost in truth, has the chance 0.95**n; an ordinary bootstrap says 0.

    The p-value is a little above that: a loss may also be made good by a win.
    """
    for count in (30, 60, 200):
        assert 0.9 * 0.95**count < bootstrap(np.zeros(count)).p_not_above(-0.05) < 3 * 0.95**count


def test_p_far_below_one_over_the_draws_is_still_right() -> None:
    found = bootstrap(hit_differences(5, 985, 10), resamples=2000).p_not_above(-0.02)
    assert found == pytest.approx(exact_p(5, 985, 10, -0.02), rel=0.2)
    assert found < 1e-6


def test_p_agrees_with_a_permutation_test_of_scipy() -> None:
    rng = np.random.default_rng(1)
    for shift in (0.0, 0.004, 0.008):
        differences = rng.normal(shift, 0.25, 3000).clip(-1, 1)
        found = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", alternative="greater", n_resamples=5000, rng=np.random.default_rng(2)
        )
        assert bootstrap(differences).p_not_above(0.0) == pytest.approx(found.pvalue, abs=0.02)


def test_the_interval_agrees_with_a_bootstrap_of_scipy() -> None:
    differences = np.random.default_rng(4).beta(2, 5, 400) - 0.3
    found = stats.bootstrap((differences,), np.mean, confidence_level=0.9, n_resamples=20_000, rng=np.random.default_rng(5))
    assert bootstrap(differences).interval(0.05) == pytest.approx(tuple(found.confidence_interval), abs=0.003)
    assert bootstrap(differences).standard_error == pytest.approx(found.standard_error, rel=0.12)  # the two added clusters


def test_whole_clusters_are_drawn() -> None:
    """Every item four times over is no more evidence than once, whatever the order of the items."""
    rng = np.random.default_rng(6)
    differences = rng.choice([-1.0, 0.0, 1.0], p=[0.05, 0.88, 0.07], size=250)
    once = bootstrap(differences)
    order = rng.permutation(1000)
    fourfold = bootstrap(np.repeat(differences, 4)[order], np.repeat([f"group {place}" for place in range(250)], 4)[order])
    assert fourfold.clusters == 250
    assert fourfold.p_not_above(-0.03) == pytest.approx(once.p_not_above(-0.03))
    assert fourfold.interval(0.05) == pytest.approx(once.interval(0.05), abs=1e-6)
    assert fourfold.standard_error == pytest.approx(once.standard_error)


def test_the_blocks_of_the_draws_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(7).uniform(-1, 1, 300)
    whole = bootstrap(differences).p_not_above(-0.05)
    monkeypatch.setattr("lineage.statistics.BLOCK_NUMBERS", 300 * 7)
    assert bootstrap(differences).p_not_above(-0.05) == pytest.approx(whole, rel=1e-9)


def test_the_minimum_detectable_effect_is_found_with_the_stated_power() -> None:
    """At a true difference of that size, the test at the level finds it in about 80 of 100 worlds."""
    rng = np.random.default_rng(8)
    planned = bootstrap(hit_differences(100, 1800, 100)).minimum_detectable_effect(0.05, 0.8)
    assert planned == pytest.approx(2.486 * np.sqrt(0.1 / 2000), rel=0.02)
    shares = [0.05 - planned / 2, 0.9, 0.05 + planned / 2]
    shown = [bootstrap(rng.choice([-1.0, 0.0, 1.0], p=shares, size=2000), resamples=500).p_not_above(0.0) <= 0.05 for _ in range(200)]
    assert 0.7 < np.mean(shown) < 0.9


def test_golden_numbers() -> None:
    """Numbers of this numpy's generator; a change of its stream or of ours shows here."""
    found = PairedBootstrap(np.array([1.0, 0, 0, -1, 1, 1, 0, 1]), np.arange(8), 2000, 0)
    assert found.difference == 0.375
    assert found.p_not_above(-0.25) == pytest.approx(0.0260269957, abs=1e-9)
    assert found.interval(0.05) == pytest.approx((-0.168175, 0.764271), abs=1e-6)


worlds = st.tuples(st.integers(0, 12), st.integers(0, 60), st.integers(0, 12)).filter(lambda counts: sum(counts) >= 2)
levels = st.floats(0.0005, 0.05)


@settings(max_examples=60, deadline=None)
@given(worlds, levels, st.floats(-0.9, 0.9))
def test_interval_and_p_say_the_same(counts: tuple[int, int, int], level: float, bound: float) -> None:
    found = bootstrap(hit_differences(*counts), resamples=500)
    low, high = found.interval(level)
    assert -1 <= low <= found.difference <= high <= 1
    if abs(bound - low) > 1e-4:
        assert (found.p_not_above(bound) <= level) == (bound < low)
    if abs(bound - high) > 1e-4:
        assert (found.p_not_below(bound) <= level) == (bound > high)


@settings(max_examples=40, deadline=None)
@given(worlds, st.floats(-0.95, 0.95), st.floats(-0.95, 0.95))
def test_p_rises_with_the_bound_and_turns_with_the_sign(counts: tuple[int, int, int], one: float, other: float) -> None:
    found, turned = bootstrap(hit_differences(*counts), resamples=500), bootstrap(-hit_differences(*counts), resamples=500)
    low, high = sorted((one, other))
    assert found.p_not_above(low) <= found.p_not_above(high) + 0.05  # the draws' noise, where one side is by the complement
    assert found.p_not_above(one) == pytest.approx(turned.p_not_below(-one), abs=0.15)


def by_closure(p: list[float], alpha: float) -> list[bool]:
    """Holm by its definition (Marcus, Peritz & Gabriel 1976): shown when Bonferroni rejects every set of hypotheses with it."""
    places = range(len(p))
    sets = [chosen for size in range(1, len(p) + 1) for chosen in combinations(places, size)]
    rejected = {chosen for chosen in sets if min(p[place] for place in chosen) <= alpha / len(chosen)}
    return [all(chosen in rejected for chosen in sets if place in chosen) for place in places]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 400).map(lambda number: number / 1000), min_size=1, max_size=7), st.sampled_from([0.01, 0.05, 0.1]))
def test_holm_is_the_closure_of_bonferroni(p: list[float], alpha: float) -> None:
    adjusted, levels = holm(p, alpha)
    shown = [value <= alpha for value in adjusted]
    assert shown == by_closure(p, alpha)
    assert shown == [own <= level for own, level in zip(p, levels, strict=True)]
    assert all(own <= value <= 1 for own, value in zip(p, adjusted, strict=True))
    assert all(alpha / len(p) <= level <= alpha for level in levels)


def test_holm_on_the_example_that_can_be_done_by_hand() -> None:
    adjusted, levels = holm([0.01, 0.04, 0.03, 0.005], 0.05)
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert levels == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])
    assert holm([], 0.05) == ([], [])


def test_the_interval_of_a_mean_is_that_of_a_bootstrap_by_hand() -> None:
    dice = np.random.default_rng(5)
    values = dice.beta(2, 1, 1_000)
    by_hand = np.quantile(dice.choice(values, (4_000, len(values))).mean(axis=1), [0.025, 0.975])
    ids = np.arange(len(values)).astype(str)
    assert mean_interval(values, ids, 0.95, 2_000, seed=0) == pytest.approx(tuple(by_hand), abs=0.003)
    thrice = mean_interval(np.repeat(values, 3), np.repeat(ids, 3), 0.95, 2_000, seed=0)
    assert thrice == pytest.approx(tuple(by_hand), abs=0.003)


def test_all_right_is_not_certain() -> None:
    low, high = mean_interval(np.ones(50), np.arange(50).astype(str), 0.95, 2_000, seed=0)
    assert 0.85 < low < 0.97 and high == pytest.approx(1, abs=1e-6)
