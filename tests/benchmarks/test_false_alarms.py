"""The simulation of drift: its fast tests are those of `monitoring.drift`, and its changes change what they say."""

from __future__ import annotations

import runpy
from typing import Any

import numpy as np
import pytest

from goodsight.digests import HOUSE
from monitoring.drift import compare
from monitoring.drift_policy import DriftPolicy
from tests.monitoring.traffic import Row, traffic


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    return runpy.run_path(str(HOUSE / "benchmarks" / "false_alarms.py"))


def in_two_ways(row: Row, dice: np.random.Generator) -> Row:
    return {**row, "input": None, **({"modalities": "image"} if row["task"] == "categorize" and dice.random() < 0.5 else {})}


def test_drawn_traffic_is_tested_as_traffic_is(benchmark: dict[str, Any]) -> None:
    pool, policy, dice = traffic(500, 1, in_two_ways), DriftPolicy(), np.random.default_rng(2)
    before, days = benchmark["counts"](500, 3_000, 1, dice)[0], benchmark["counts"](500, 900, 2, dice)
    days[1] += np.where(np.arange(500) < 60, 12, 0)  # a change, so that effects are large too
    found = [each for part in benchmark["parts"](pool) for each in benchmark["tested"](part, before, days, policy)]
    for day in (0, 1):
        current, baseline = (pool.take(np.repeat(np.arange(500), counts)) for counts in (days[day], before))
        report = compare(baseline, current, policy)
        golden = {(each.slice, each.name): each for each in report.findings if each.slice != "all"}
        fast = {(part, name): (effects[day], chances[day]) for part, name, effects, chances, _ in found if not np.isnan(chances[day])}
        assert fast.keys() == golden.keys() and len(fast) > 25
        for key, (effect, chance) in fast.items():
            assert effect == pytest.approx(golden[key].effect, rel=1e-3, abs=2e-4), key
            assert chance == pytest.approx(golden[key].p, rel=0.02, abs=1e-9), key


def test_what_drifts_is_judged_as_a_report_is(benchmark: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")
    judged = runpy.run_path(str(HOUSE / "benchmarks" / "drawn.py"))["judged"]
    found = [
        ("s", "large and sure", np.array([0.5, 0.5]), np.array([1e-9, np.nan]), 0.2),
        ("s", "small and sure", np.array([0.1, 0.1]), np.array([1e-9, 1e-9]), 0.2),
        ("s", "not sure of two", np.array([0.5, 0.5]), np.array([0.0075, 0.2]), 0.2),
    ]
    assert judged(found, DriftPolicy()) == ([{("s", "large and sure"), ("s", "not sure of two")}, set()], [True, True])


@pytest.mark.parametrize("name", ["photos darker by", "texts longer by", "share of texts in a new language", "share moved to one category"])
def test_a_change_of_size_nought_changes_nothing_and_a_large_one_is_found(benchmark: dict[str, Any], name: str) -> None:
    change, _ = benchmark["CHANGES"][name]
    dice, current = np.random.default_rng(3), traffic(1_000, 4)
    assert change(current, 0.0, dice).select([each for each in current.schema.names if each != "language"]) == current.select(
        [each for each in current.schema.names if each != "language"]
    )
    report = compare(traffic(1_500, 5), change(current, 0.5, dice), DriftPolicy())
    assert report.drifted
