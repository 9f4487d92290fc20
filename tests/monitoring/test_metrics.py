"""What the controller's metrics say of decisions, drift, champion, runs, feedback and data, as Prometheus reads them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from goodsight.errors import BusyError
from monitoring.metrics import Metrics, served

FINDING = {
    "name": "brightness", "group": "input", "slice": "all", "test": "ks", "effect": 0.4, "bound": 0.2, "p": 1e-9, "adjusted_p": 1e-8,
    "drifted": True, "reference_n": 500, "current_n": 300,
}  # fmt: skip
DECISION = {
    "decision": "hold",
    "reason": "Drift of brightness, and a cool-down until 12:00.",
    "triggers": [
        {"name": "drift", "kind": "drift", "fired": True, "since": "2026-11-01T00:00:00+00:00", "figures": {}, "explanation": ""},
        {"name": "weekly", "kind": "schedule", "fired": False, "since": None, "figures": {}, "explanation": ""},
    ],
    "constraints": [{"name": "cool-down", "holds": True, "figures": {}, "explanation": ""}],
    "drift": {"findings": [FINDING]},
}


def run(id: str, state: str, **more: Any) -> dict[str, Any]:
    step = {"name": "train", "state": "SUCCEEDED", "seconds": 60.0, "cached": False, "cpu_seconds": 100.0, "cost": 0.5}
    ended = None if state == "RUNNING" else "2026-11-01T01:00:00+00:00"
    return {"run_id": id, "state": state, "started": "2026-11-01T00:00:00+00:00", "ended": ended, "steps": [step], "verdict": None, **more}


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Name and the values of its labels, these in order of their names -> value."""
    found = [sample for family in text_string_to_metric_families(metrics.text().decode()) for sample in family.samples]
    return {(sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value for sample in found}


def test_a_decision_is_told_with_what_fired_and_what_held() -> None:
    metrics = Metrics()
    metrics.update(decision=DECISION)
    found = samples(metrics)
    assert found["goodsight_trigger_fired", "drift", "drift"] == 1 and found["goodsight_trigger_fired", "schedule", "weekly"] == 0
    assert found["goodsight_trigger_since_timestamp_seconds", "drift"] == 1793491200.0
    assert found["goodsight_constraint_holds", "cool-down"] == 1
    assert found["goodsight_drift_effect", "input", "brightness", "all"] == 0.4 and found["goodsight_drift_rows",] == 300


def test_what_is_gone_is_gone_from_the_metrics() -> None:
    metrics = Metrics()
    metrics.update(decision=DECISION)
    metrics.update(drift={"findings": []})
    assert not [name for name in samples(metrics) if name[0] == "goodsight_drift_effect"]
    assert samples(metrics)["goodsight_constraint_holds", "cool-down"] == 1  # what is not given stays


def test_runs_are_counted_as_the_ledger_has_them() -> None:
    metrics = Metrics()
    metrics.update(runs=[run("3", "RUNNING"), run("2", "FAILED"), run("1", "SUCCEEDED", verdict="promote")])
    found = samples(metrics)
    assert found["goodsight_runs_total", "FAILED"] == found["goodsight_runs_total", "SUCCEEDED"] == found["goodsight_run_going",] == 1
    assert found["goodsight_runs_total", "LOST"] == 0 and found["goodsight_verdicts_total", "promote"] == 1
    assert found["goodsight_runs_cpu_seconds_total",] == 200 and found["goodsight_runs_cost_total",] == 1.0
    assert found["goodsight_run_started_timestamp_seconds",] == 1793491200.0


def test_champion_feedback_and_data() -> None:
    metrics = Metrics()
    metrics.update(
        champion={"version": "7", "since": "2026-11-01T00:00:00+00:00"},
        feedback={"predictions": 100, "judged": 20, "correct": 15},
        data={"decision": "failed", "quarantined": 30, "products_in": 100},
    )
    found = samples(metrics)
    assert found["goodsight_champion", "7"] == 1 and found["goodsight_feedback_correct_ratio",] == 0.75
    assert found["goodsight_data_refused",] == 1 and found["goodsight_data_quarantined_ratio",] == 0.3


def test_an_evaluation_that_fails_is_counted_and_is_no_sign_of_life() -> None:
    metrics = Metrics()
    with pytest.raises(ZeroDivisionError), metrics.evaluating() as told:
        told["decision"] = "wait"
        raise ZeroDivisionError
    assert samples(metrics)["goodsight_watch_evaluations_total", "failed"] == 1
    assert samples(metrics)["goodsight_watch_evaluated_timestamp_seconds",] == 0
    with metrics.evaluating() as told:
        told["decision"] = "wait"
    assert samples(metrics)["goodsight_watch_evaluations_total", "wait"] == 1
    assert samples(metrics)["goodsight_watch_evaluated_timestamp_seconds",] > 1.7e9


def test_they_are_served_on_a_port_of_their_own() -> None:
    metrics = Metrics()
    with served(metrics, "127.0.0.1", 0) as port:
        metrics.leads(True)
        assert "goodsight_watch_leader 1.0" in httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        with pytest.raises(BusyError, match="cannot be served"), served(metrics, "127.0.0.1", port):
            pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
