"""The made worlds of the gate's benchmark: their truth is what they say it is."""

from __future__ import annotations

import runpy
from typing import Any

import numpy as np
import pytest

from goodsight.digests import HOUSE


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    return runpy.run_path(str(HOUSE / "benchmarks" / "gate.py"))


def test_a_world_has_the_rates_of_its_truth_and_models_that_mostly_agree(benchmark: dict[str, Any]) -> None:
    truth = benchmark["Truth"](0.06, -0.22)
    candidate, champion = benchmark["world"](200_000, truth, np.random.default_rng(1))
    for metric, rate in benchmark["RATES"].items():
        ours, theirs = candidate.items[metric], champion.items[metric]
        worse = ours.slices["source=0"]
        differences = ours.values - theirs.values
        assert champion.metrics[metric] == pytest.approx(rate, abs=0.005)
        assert differences[~worse].mean() == pytest.approx(0.06, abs=0.01)
        assert differences[worse].mean() == pytest.approx(-0.16, abs=0.01)
        assert 0.05 < np.abs(differences[~worse]).mean() < 0.2
        together = differences[1:][ours.clusters[1:] == ours.clusters[:-1]], differences[:-1][ours.clusters[1:] == ours.clusters[:-1]]
        assert np.corrcoef(*together)[0, 1] > 0.1  # items of a group are won or lost together


def test_few_queries_are_fewer_and_worse_where_the_truth_says_so(benchmark: dict[str, Any]) -> None:
    truth = benchmark["Truth"](0.1, of_queries=-0.2, queries=50_000)
    candidate, champion = benchmark["world"](100_000, truth, np.random.default_rng(1))
    gained = {metric: candidate.metrics[metric] - champion.metrics[metric] for metric in benchmark["RATES"]}
    assert gained == {metric: pytest.approx(-0.1 if "query" in metric else 0.1, abs=0.01) for metric in gained}
    assert {metric: len(found.ids) for metric, found in candidate.items.items()} == {
        metric: 50_000 if "query" in metric else 100_000 for metric in gained
    }


def test_a_scenario_counts_worlds(benchmark: dict[str, Any]) -> None:
    counted = {"promoted": benchmark["promoted"], "always": lambda verdict: True}
    found = benchmark["scenario"](300, benchmark["Truth"](0.1), benchmark["policy"]("superiority", ["leaf_accuracy"]), counted, 5, 1)
    assert found["gate"]["promoted"]["rate"] == found["gate"]["always"]["rate"] == found["naive"]["rate"] == 1.0
    assert found["comparisons"] == 1 and 0.02 < found["minimum_detectable_effect"] < 0.1
