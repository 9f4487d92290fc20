"""What runs came to: for a point that was gained, for 1,000 answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from goodsight.errors import InputError
from goodsight.settings import settings
from lineage import record
from lineage.costs import cost_of, economy, gain_of
from lineage.predictions import Prediction, PredictionLog, new_id, now
from serving.evidence import sources

SECOND = 0.001  # price of a CPU for a second


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path))
    settings.cache_clear()
    return tmp_path


def ran(run_id: str, money: float, verdict: str | None = "promote", gain: float | None = None, **more: Any) -> None:
    told = {"metric": "leaf_accuracy", "points": gain} if gain is not None else None
    costs = {"pretrain": {"cpu_seconds": 10.0, "gpu_seconds": 1.0, "energy_kwh": 0.5, "peak_rss_bytes": 2**30, "cost": money}}
    given = {"steps": {"pretrain": 12.0}, "costs": costs, "currency": "EUR", "verdict": verdict, "gain": told, **more}
    record.run("SUCCEEDED", run_id, "shop-1", "", version="1" if verdict == "promote" else None, **given)


def answered(home: Path, count: int, milliseconds: float, status: str = "ok") -> None:
    log = PredictionLog(settings().predictions_url)
    for _ in range(count):
        log.log(
            Prediction(
                id=new_id(), time=now(), task="search", modalities=["text"], model_version="1", candidate="c", index="i", features="",
                input="x", k=1, results=[], latency_ms=milliseconds, status=status,
            )
        )  # fmt: skip
    assert log.flush()


def test_a_point_costs_what_all_runs_cost_those_that_brought_nothing_too(home: Path) -> None:
    ran("first", 4.0)
    ran("better", 3.0, gain=1.5)
    ran("no worse", 1.0, gain=-0.5)
    ran("rejected", 2.0, verdict="reject", gain=7.0)
    found = economy(sources(home), SECOND, "EUR")
    assert (found["runs"], found["promoted"], found["cost"], found["points"]) == (4, 3, 10.0, 1.5)
    assert found["per_point"] == pytest.approx(10.0 / 1.5)
    assert (found["cpu_seconds"], found["gpu_seconds"], found["energy_kwh"]) == (40.0, 4.0, 2.0)
    assert found["per_1000_answers"] is None
    assert cost_of("better", sources(home))["per_point"] == pytest.approx(2.0)
    assert cost_of("no worse", sources(home))["per_point"] is None


def test_a_candidate_that_two_runs_tell_of_gained_once(home: Path) -> None:
    ran("deploy failed", 4.0, gain=1.5, subjects=["a" * 64, "b" * 64])
    ran("from the cache", 0.0, gain=1.5, subjects=["a" * 64, "b" * 64])
    ran("another", 1.0, gain=0.5, subjects=["a" * 64, "c" * 64])
    assert economy(sources(home), SECOND, "EUR")["points"] == 2.0


def test_an_answer_has_its_share_of_the_runs_and_its_own_time(home: Path) -> None:
    ran("first", 4.0)
    answered(home, 20, 500.0)
    answered(home, 5, 500.0, status="refused")
    found = economy(sources(home), SECOND, "EUR")
    assert (found["answers"], found["answer_seconds"]) == (20, 10.0)
    assert found["answering"] == pytest.approx(0.01)
    assert found["per_1000_answers"] == pytest.approx(4.01 / 20 * 1000)
    assert economy(sources(home), SECOND, "EUR", since="2999-01-01")["answers"] == 0


def test_attempts_of_one_run_are_one_run_with_all_their_money(home: Path) -> None:
    record.run("STOPPED", "r-1", "shop-1", "", costs={"pretrain": {"cost": 1.0}}, steps={"pretrain": 1.0}, currency="EUR")
    ran("r-1", 2.0, spent=1.5)  # with an attempt that was lost and told nothing
    found = economy(sources(home), SECOND, "EUR")
    assert (found["runs"], found["cost"]) == (1, 3.5)
    one = cost_of("r-1", sources(home))
    assert (one["state"], one["cost"]) == ("SUCCEEDED", 3.5)


def test_two_currencies_are_not_added(home: Path) -> None:
    ran("first", 4.0)
    with pytest.raises(InputError, match="EUR, USD"):
        economy(sources(home), SECOND, "USD")


def test_the_gain_is_that_of_the_primary_metric_over_all_items() -> None:
    checks = [
        {"metric": "macro_f1", "slice": "all", "p": 0.1, "difference": 0.3},
        {"metric": "leaf_accuracy", "slice": "head", "p": 0.1, "difference": 0.2},
        {"metric": "leaf_accuracy", "slice": "all", "p": None, "difference": None},
        {"metric": "leaf_accuracy", "slice": "all", "p": 0.1, "difference": 0.0125},
    ]
    assert gain_of({"primary": "leaf_accuracy", "checks": checks}) == {"metric": "leaf_accuracy", "points": 1.25}
    assert gain_of({"primary": "leaf_accuracy", "checks": checks[:3]}) is None
