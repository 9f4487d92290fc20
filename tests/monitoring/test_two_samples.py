"""The tests of two samples: scipy's numbers, no difference where there is none, and a larger effect of a larger change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitoring.two_samples import Outcome, categorical, numeric, rate, vectors

SIZES = st.integers(60, 400)


def test_numeric_is_scipys_kolmogorov_smirnov() -> None:
    dice = np.random.default_rng(1)
    for shift in (0.0, 0.1, 0.3):
        one, two = dice.normal(size=3_000), np.round(dice.normal(size=2_000) + shift, 1)
        golden, found = stats.ks_2samp(one, two, method="asymp"), numeric(one, two)
        assert found.effect == pytest.approx(golden.statistic, abs=1e-12)
        assert found.p == pytest.approx(golden.pvalue, rel=0.15, abs=1e-12)


def test_categorical_is_scipys_chi_squared() -> None:
    one, two = np.array([300, 200, 100, 50]), np.array([250, 240, 90, 80])
    golden, found = stats.chi2_contingency(np.stack([one, two]), correction=False), categorical(one, two)
    assert found.p == pytest.approx(golden.pvalue)
    size = one.sum() * two.sum() / (one.sum() + two.sum())
    assert found.effect == pytest.approx(np.sqrt((golden.statistic - 3) / size))


def test_rare_values_are_one() -> None:
    common, rare = np.array([500, 500]), np.ones(200, int)
    apart = categorical(np.concatenate([common, rare, 0 * rare]), np.concatenate([common, 0 * rare, rare]))
    assert apart.p > 0.9, "two hundred values, each seen once, tell nothing apart"


def test_rate_is_fishers_test_and_cohens_h() -> None:
    one, two = np.repeat([1.0, 0.0], [30, 970]), np.repeat([1.0, 0.0], [45, 455])
    found = rate(one, two)
    assert found.p == pytest.approx(stats.fisher_exact([[30, 970], [45, 455]]).pvalue)
    assert found.effect == pytest.approx(2 * np.arcsin(np.sqrt(0.09)) - 2 * np.arcsin(np.sqrt(0.03)))


def test_vectors_are_hotellings_test_where_the_means_alone_differ() -> None:
    dice = np.random.default_rng(3)
    chances = [vectors(dice.normal(size=(400, 8)), dice.normal(size=(300, 8))).p for _ in range(300)]
    assert stats.kstest(chances, "uniform").pvalue > 0.001, "p is uniform where nothing differs"
    moved = vectors(dice.normal(size=(4_000, 8)), dice.normal(size=(4_000, 8)) + np.eye(8)[0])
    assert moved.effect == pytest.approx(1.0, abs=0.2) and moved.p < 1e-12


def test_vectors_see_a_change_that_leaves_the_mean() -> None:
    dice = np.random.default_rng(4)
    one, two = dice.normal(size=(2_000, 4)), 1.6 * dice.normal(size=(2_000, 4))
    assert vectors(one, two).p < 1e-6 and vectors(one, two).effect > 0.5


def test_vectors_of_few_directions_and_constant_ones() -> None:
    dice = np.random.default_rng(5)
    flat = np.concatenate([dice.normal(size=(300, 2)), np.zeros((300, 30))], axis=1)
    assert vectors(flat, flat.copy()).p == pytest.approx(1.0)
    still = np.ones((200, 32))
    assert vectors(still, still).effect == 0.0


Test = Callable[[np.ndarray, np.ndarray], Outcome]
Draw = Callable[[np.random.Generator, int, float], np.ndarray]


def counts(dice: np.random.Generator, n: int, change: float) -> np.ndarray:
    return dice.multinomial(n, np.array([0.4 + change / 4, 0.3 - change / 8, 0.3 - change / 8]))


KINDS: dict[str, tuple[Test, Draw]] = {
    "numeric": (numeric, lambda dice, n, change: dice.normal(size=n) + change),
    "categorical": (categorical, counts),
    "rate": (rate, lambda dice, n, change: (dice.random(n) < 0.3 + change / 4).astype(float)),
    "vectors": (vectors, lambda dice, n, change: dice.normal(size=(n, 8)) + change / 2),
}


@pytest.mark.parametrize("kind", KINDS)
@given(n=SIZES, m=SIZES, seed=st.integers(0, 10**6))
def test_a_sample_does_not_differ_from_itself(kind: str, n: int, m: int, seed: int) -> None:
    test, draw = KINDS[kind]
    sample = draw(np.random.default_rng(seed), n, 0.0)
    found = test(sample, sample.copy())
    assert found.effect == pytest.approx(0.0, abs=1e-9) and found.p == pytest.approx(1.0)
    other = test(sample, draw(np.random.default_rng(seed + 1), m, 0.0))
    assert 0 <= other.p <= 1 and np.isfinite(other.effect) and other.effect >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_change_has_a_larger_effect_and_a_smaller_p(kind: str) -> None:
    test, draw = KINDS[kind]
    reference = draw(np.random.default_rng(1), 3_000, 0.0)
    found = [test(reference, draw(np.random.default_rng(2), 3_000, change)) for change in (0.0, 0.3, 0.6, 0.9, 1.2)]
    effects, chances = [each.effect for each in found], [each.p for each in found]
    assert effects == sorted(effects) and effects[-1] > 3 * max(effects[0], 0.02)
    assert chances == sorted(chances, reverse=True) and chances[0] > 0.001 > chances[1]
