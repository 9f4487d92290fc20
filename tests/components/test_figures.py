"""What the steps of a run on a cluster took comes into the ledger with its last step."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from components import figures, shell
from components.deploy import deploy_component
from components.register import register_component
from components.steps.finish import finish
from goodsight.files import write_json
from goodsight.settings import RUN_ID, settings
from lineage import cluster_runs, history, record, runs

USED = {"seconds": 100.0, "cpu_seconds": 10.0, "gpu_seconds": 0.0, "peak_rss_bytes": 2**30}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path))
    for name in (shell.RUN_PID, shell.LOCAL_RUN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(RUN_ID, "c-1")
    settings.cache_clear()
    return tmp_path


def test_steps_that_ran_in_pods_are_told_in_their_order_with_time_and_money(home: Path) -> None:
    with shell.step("resolve"):
        pass
    with pytest.raises(ZeroDivisionError), shell.step("gate"):
        raise ZeroDivisionError
    record.run("FAILED", "c-1", "shop-1", "the gate", **figures.of_run("c-1"))
    (run,) = runs.list_runs(home, settings().ledger_url)
    assert [(step.name, step.state) for step in run.steps] == [("resolve", "SUCCEEDED"), ("gate", "FAILED")]
    assert all(step.cpu_seconds and step.peak_rss_bytes and step.cost for step in run.steps) and run.currency
    assert run.cost == sum(step.cost or 0.0 for step in run.steps)


def test_what_the_steps_came_to_is_told_with_the_run(home: Path, tmp_path: Path) -> None:
    for name, came in (("resolve", {"revision": "shop-2"}), ("validate", {"data_verdict": "passed"}), ("register", {"version": "4"})):
        with shell.step(name) as told:
            told.update(came)
    verdict = tmp_path / "verdict.json"
    check = {"p": 0.01, "slice": "all", "metric": "leaf_accuracy", "difference": 0.015}
    judged = {"decision": "promote", "primary": "leaf_accuracy", "checks": [check], "candidate": {"digest": "d" * 64, "snapshot": "e" * 64}}
    write_json(verdict, judged)
    with shell.step("gate") as told:
        told.update(figures.of_verdict(verdict))
    finish("retrain-1", "c-1", **{"revision": "newest", "state": "SUCCEEDED", "error": "", **figures.of_run("c-1")})
    (run,) = runs.list_runs(home, settings().ledger_url)
    assert (run.run_id, run.revision, run.data_verdict, run.verdict, run.version) == ("retrain-1", "shop-2", "passed", "promote", "4")
    assert run.ended and run.started < run.ended and run.seconds is not None
    (event,) = history.about(settings().ledger_url, "d" * 64).of("run")
    assert event.payload["gain"] == {"metric": "leaf_accuracy", "points": 1.5}


def test_the_pods_of_a_train_job_count_for_what_they_had(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RUNTIME", "torch"), ("NODES", "2"), ("GPUS", "4"), ("CPUS", "8")):
        monkeypatch.setenv(f"GOODSIGHT_TRAIN_{name}", value)
    settings.cache_clear()
    figures.keep("c-1", "pretrain", "done", USED)
    figures.keep("c-1", "evaluate", "done", USED)
    told = figures.of_run("c-1")["costs"]
    assert (told["pretrain"]["gpu_seconds"], told["pretrain"]["cpu_seconds"]) == (800.0, 1610.0)
    assert (told["evaluate"]["gpu_seconds"], told["evaluate"]["cpu_seconds"]) == (0.0, 10.0)


def test_a_step_that_goes_on_is_seen_and_heard(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_runs, "BEAT_SECONDS", 0.01)
    beat, beats = cluster_runs.beat, threading.Semaphore(0)
    monkeypatch.setattr(cluster_runs, "beat", lambda *told: (beat(*told), beats.release()))
    with shell.step("resolve", run="retrain-1"):
        assert all(beats.acquire(timeout=10) for _ in range(2))
        (run,) = runs.list_runs(home, settings().ledger_url)
        assert (run.run_id, run.kubeflow, run.state, run.steps[0].state) == ("retrain-1", "c-1", "RUNNING", "RUNNING")
    (run,) = runs.list_runs(home, settings().ledger_url)
    assert (run.state, run.steps[0].state) == ("RUNNING", "SUCCEEDED")


def test_a_step_that_was_killed_is_told_as_failed_and_cost_what_nobody_measured(home: Path) -> None:
    with shell.step("resolve"):
        pass
    cluster_runs.begin(home, "c-1", "pretrain")
    finish("c-1", "c-1", **{"revision": "shop-1", "state": "FAILED", "error": "OOMKilled", **figures.of_run("c-1")})
    (run,) = runs.list_runs(home, settings().ledger_url)
    assert [(step.name, step.state, step.cpu_seconds is None) for step in run.steps] == [
        ("resolve", "SUCCEEDED", False),
        ("pretrain", "FAILED", True),
    ]


def test_a_verdict_from_the_cache_is_told_by_the_steps_after_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = {"decision": "promote", "primary": "map", "checks": [], "candidate": {"digest": "d" * 64, "snapshot": "e" * 64}}
    write_json(tmp_path / "model" / "verdict.json", judged)
    model, other = (SimpleNamespace(path=str(path), metadata={}) for path in (tmp_path / "model", tmp_path / "other"))
    (tmp_path / "other").mkdir()
    verdict = SimpleNamespace(path=str(tmp_path / "model" / "verdict.json"), metadata={})
    monkeypatch.setattr("components.steps.register.register", lambda *_: "4")
    monkeypatch.setattr("components.steps.deploy.deploy", lambda *_: "deployed")
    shape = {"architecture": "eclip", "size": "tiny", "seed": 1, "revision": "shop-1", "code": ""}
    register_component.python_func(
        candidate=model, evaluation=other, verdict=verdict, plots=other, snapshot=other, registered=other, **shape
    )
    registered = figures.of_run("c-1")
    (home / "runs" / "c-1" / "steps" / "register.json").unlink()
    deploy_component.python_func(
        candidate=model, index=other, snapshot=other, store=other, version="4", champion="", release="switch", code="", deployment=other
    )
    for told in (registered, figures.of_run("c-1")):
        assert (told["verdict"], told["version"], told["subjects"]) == ("promote", "4", ["e" * 64, "d" * 64])


def test_the_step_that_tells_of_the_others_keeps_nothing(home: Path) -> None:
    with shell.step(figures.LAST):
        pass
    assert not (home / "runs").exists()


def test_a_run_on_this_machine_keeps_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shell.LOCAL_RUN, "1")
    with shell.step("resolve"):
        pass
    assert figures.of_run("c-1") == {} and not (home / "runs").exists()


def test_a_step_goes_on_where_its_figures_cannot_be_kept(home: Path) -> None:
    (home / "runs").write_text("no folder")
    with shell.step("resolve"):
        pass
