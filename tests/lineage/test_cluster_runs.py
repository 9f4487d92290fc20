"""A run on a cluster is known while it goes on, by what its steps tell from their pods."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from goodsight.files import read_json, write_json
from goodsight.settings import settings
from lineage import cluster_runs, record, runs
from lineage.runs import Run
from tests.serving.gateway.standing_of_runs import at

USED = {"seconds": 2.0, "cpu_seconds": 1.5, "gpu_seconds": 0.0, "peak_rss_bytes": 2**30}
THERE, NAME = "0f6c", "retrain-7"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path))
    settings.cache_clear()
    cluster_runs.begin(tmp_path, THERE, "resolve", NAME)
    cluster_runs.end(tmp_path, THERE, "resolve", "done", came={"revision": "shop-2"}, **USED)
    cluster_runs.begin(tmp_path, THERE, "snapshot")
    return tmp_path


def listed(home: Path) -> list[Run]:
    return runs.list_runs(home, settings().ledger_url)


def silent(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_it_goes_on_under_its_name_with_the_steps_so_far(home: Path) -> None:
    (run,) = listed(home)
    assert (run.run_id, run.kubeflow, run.state, run.revision) == (NAME, THERE, "RUNNING", "shop-2")
    assert [(step.name, step.state) for step in run.steps] == [("resolve", "SUCCEEDED"), ("snapshot", "RUNNING")]
    assert [step.cpu_seconds for step in run.steps] == [1.5, None]
    assert run.started == run.steps[0].started < run.steps[1].started


def test_the_ledger_ends_it(home: Path) -> None:
    cluster_runs.end(home, THERE, "snapshot", "failed", **USED)
    assert listed(home)[0].state == "RUNNING", "Kubeflow may try the step again"
    record.run("FAILED", NAME, "shop-2", "no disk", kubeflow=THERE)
    (run,) = listed(home)
    assert (run.state, run.cause, run.kubeflow) == ("FAILED", "no disk", THERE)


def test_kubeflow_may_try_it_again_after_its_end(home: Path) -> None:
    record.run("FAILED", NAME, "shop-2", "no disk", kubeflow=THERE)
    cluster_runs.begin(home, THERE, "snapshot")
    (run,) = listed(home)
    assert run.state == "RUNNING" and run.started < run.since == run.steps[-1].started


def test_a_step_of_which_nothing_is_heard_is_lost_until_it_is_heard_again(home: Path) -> None:
    silent(cluster_runs.place(home, THERE, "snapshot"), cluster_runs.SILENT_SECONDS["started"] + 1)
    assert [run.state for run in listed(home)] == ["LOST"]
    cluster_runs.beat(home, THERE, "snapshot")
    assert [run.state for run in listed(home)] == ["RUNNING"]


@pytest.mark.parametrize("state", ["done", "failed"])
def test_between_steps_it_waits_for_a_pod_for_longer(home: Path, state: str) -> None:
    cluster_runs.end(home, THERE, "snapshot", state, **USED)
    silent(place := cluster_runs.place(home, THERE, "snapshot"), cluster_runs.SILENT_SECONDS["started"] + 1)
    assert [run.state for run in listed(home)] == ["RUNNING"]
    silent(place, cluster_runs.SILENT_SECONDS[state] + 1)
    assert [run.state for run in listed(home)] == ["LOST"]


def test_of_two_with_one_name_the_newest_counts_and_its_end_ends_both(home: Path) -> None:
    """It was deleted at Kubeflow and started again, or copied there."""
    for there in ("1a", "ff"):
        cluster_runs.begin(home, there, "resolve", NAME)
        assert [run.kubeflow for run in listed(home)] == [there]
    record.run("SUCCEEDED", NAME, "shop-2", "", kubeflow="ff")
    assert [(run.kubeflow, run.state) for run in listed(home)] == [("ff", "SUCCEEDED")]


def test_a_run_on_one_machine_under_its_name_ends_it(home: Path) -> None:
    record.run("SUCCEEDED", NAME, "shop-2", "")
    assert [(run.kubeflow, run.state) for run in listed(home)] == [("", "SUCCEEDED")]


def test_the_clock_of_the_last_pod_may_be_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = (datetime.now(UTC) - timedelta(minutes=2)).isoformat()
    heard = cluster_runs.began(cluster_runs.steps_of(home, THERE)[-1])
    with at(datetime.fromisoformat(behind)):
        record.run("FAILED", NAME, "shop-2", "no disk", kubeflow=THERE, heard=heard)
    assert [run.state for run in listed(home)] == ["FAILED"]


def test_other_pipelines_are_no_runs_of_retraining(home: Path) -> None:
    cluster_runs.begin(home, "b-1", "bulk-parts")
    assert [run.run_id for run in listed(home)] == [NAME]


@pytest.mark.parametrize("text", ['{"name": "snap', "{}", "[]", '{"name": "snapshot", "state": "done"}'])
def test_a_step_that_cannot_be_read_hides_no_other(home: Path, text: str) -> None:
    cluster_runs.place(home, THERE, "snapshot").write_text(text)
    assert [step.name for run in listed(home) for step in run.steps] == ["resolve"]


def test_a_run_of_an_older_release_told_at_its_end_alone(home: Path) -> None:
    told = {"name": "resolve", "state": "done", "ended": datetime.now(UTC).isoformat(), **USED}
    write_json(cluster_runs.place(home, "77", "resolve"), told)
    assert [run.kubeflow for run in listed(home)] == [THERE]


def test_steps_of_an_older_release_are_read(home: Path) -> None:
    ended = datetime.now(UTC) + timedelta(seconds=5)
    write_json(cluster_runs.place(home, THERE, "validate"), {"name": "validate", "state": "done", "ended": ended.isoformat(), **USED})
    step = listed(home)[0].steps[-1]
    assert (step.name, datetime.fromisoformat(step.started)) == ("validate", ended - timedelta(seconds=2))


def test_a_step_that_begins_again_is_told_anew(home: Path) -> None:
    cluster_runs.end(home, THERE, "snapshot", "failed", **USED)
    cluster_runs.begin(home, THERE, "snapshot")
    assert "ended" not in read_json(cluster_runs.place(home, THERE, "snapshot"))
