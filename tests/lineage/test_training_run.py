"""A training in MLflow while it goes on: its figures, one run for all its pieces, and no training that waits for a lost server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from goodsight.settings import settings
from lineage.registry import connect
from lineage.training_run import EXPERIMENT, TrainingRun

FIGURES = {"step": 0.0, "loss": 2.5, "query t->i": 1.5, "samples_per_second": 12.0}


def runs() -> list[Any]:
    client = connect()
    return list(client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id]))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_a_training_that_goes_on_goes_on_in_the_same_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), TrainingRun("pretrain", tmp_path, {"batch": 8}) as run:
        run.told(0, FIGURES)
        raise RuntimeError
    (stopped,) = runs()
    assert stopped.info.status == "FAILED"
    with TrainingRun("pretrain", tmp_path, {"batch": 8}) as again:
        again.told(1, {**FIGURES, "loss": 2.0})
        again.told(2, {**FIGURES, "loss": 1.0})
    (found,) = runs()
    assert (found.info.run_id, found.info.status, found.info.run_name) == (stopped.info.run_id, "FINISHED", "pretrain")
    history = connect().get_metric_history(found.info.run_id, "loss")
    assert [(each.step, each.value) for each in history] == [(0, 2.5), (1, 2.0), (2, 1.0)]
    assert found.data.metrics["query t-to-i"] == 1.5
    assert found.data.params == {"batch": "8"}


def test_a_training_without_figures_makes_no_run(tmp_path: Path) -> None:
    with TrainingRun("pretrain", tmp_path, {}):
        pass
    assert connect().get_experiment_by_name(EXPERIMENT) is None


def test_a_server_that_is_not_there_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("GOODSIGHT_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings.cache_clear()
    with TrainingRun("pretrain", tmp_path, {}) as run:
        for step in range(3):
            run.told(step, FIGURES)
    assert capsys.readouterr().out.count("goes on without MLflow") == 1
