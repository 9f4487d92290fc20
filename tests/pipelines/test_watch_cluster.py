"""What a controller sees and starts where runs run on Kubeflow Pipelines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from goodsight.settings import settings
from lineage import cluster_runs, record
from pipelines.platforms import OnKubeflow
from pipelines.submit import Kubeflow
from pipelines.watch import Controller
from tests.kubeflow import TOKEN, kubeflow_pipelines
from tests.pipelines.watched import Shop, policy_file

pytestmark = pytest.mark.usefixtures("no_digest_of_code")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with kubeflow_pipelines() as server:
        monkeypatch.setenv("GOODSIGHT_KFP_TOKEN", TOKEN)
        settings.cache_clear()
        yield server


def test_starting_a_run_twice_gives_one(kubeflow: Any, shop: Shop, tmp_path: Path) -> None:
    place = OnKubeflow(Kubeflow(kubeflow.url), "pipeline-steps")
    controller = Controller(policy_file(tmp_path), place)
    made = controller.look()
    (run,) = kubeflow.runs.values()
    assert (run["display_name"], run["service_account"]) == (made.run_id, "pipeline-steps")
    assert run["runtime_config"]["parameters"]["run_id"] == made.run_id
    assert made.run_id
    place.start(made.run_id, made.asked)
    assert len(kubeflow.runs) == 1
    assert controller.look().held_by == ["running"]
    run["state"] = "FAILED"
    assert controller.look().decision == "start", "it never came to tell the ledger"


def test_kubeflow_knows_better_than_the_steps_how_a_run_is(kubeflow: Any, shop: Shop, tmp_path: Path) -> None:
    controller = Controller(policy_file(tmp_path), OnKubeflow(Kubeflow(kubeflow.url), "pipeline-steps"))
    made, home = controller.look(), settings().root
    (run,) = kubeflow.runs.values()
    cluster_runs.begin(home, run["run_id"], "resolve", made.run_id or "")
    seen = controller.look()
    assert seen.held_by == ["running"] and [(each.run_id, each.state) for each in seen.seen.runs] == [(made.run_id, "RUNNING")]
    os.utime(cluster_runs.place(home, run["run_id"], "resolve"), (0, 0))
    assert controller.look().held_by == ["running"], "a step that is silent for long may be one that waits"
    run["state"] = "FAILED"
    assert controller.look().decision == "start", "nobody told the ledger"


def test_a_run_of_another_name_is_one_run_and_kubeflow_tells_its_end(kubeflow: Any, shop: Shop, tmp_path: Path) -> None:
    place = OnKubeflow(Kubeflow(kubeflow.url), "pipeline-steps")
    there = place.kubeflow.submit("retrain", {"run_id": "nightly-1"}, name="by hand")["run"]
    cluster_runs.begin(settings().root, there, "resolve", "nightly-1")
    controller = Controller(policy_file(tmp_path), place)
    seen = controller.look().seen
    assert [(run.run_id, run.state) for run in seen.runs] == [("nightly-1", "RUNNING")]
    record.run("STOPPED", "nightly-1", "", "somebody took it for lost", kubeflow=there)
    assert [(run.run_id, run.state) for run in controller.look().seen.runs] == [("nightly-1", "RUNNING")], "it goes on all the same"
    kubeflow.runs[there]["state"] = "FAILED"
    assert [(run.run_id, run.state) for run in controller.look().seen.runs][:1] == [("nightly-1", "STOPPED")]


def test_other_pipelines_are_no_retrainings(kubeflow: Any, shop: Shop, tmp_path: Path) -> None:
    place = OnKubeflow(Kubeflow(kubeflow.url), "pipeline-steps")
    place.kubeflow.submit("bulk", {"task": "embed", "revision": "shop-1", "version": "3"})
    assert place.going() == []
    place.kubeflow.submit("retrain", {"revision": "newest"}, name="by hand")
    nameless = kubeflow.run({"experiment_id": kubeflow.experiments[0]["experiment_id"], "display_name": "of a version"})
    assert {each.run_id for each in place.going()} == {"run-3", nameless["run_id"]}
    assert Controller(policy_file(tmp_path), place).look().held_by == ["running"]
