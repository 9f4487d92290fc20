"""Runs as home and the ledger tell of them: which goes on, which ended and how, which was lost without a word."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from goodsight.errors import NotFoundError
from goodsight.settings import settings
from lineage import record, runs
from lineage.ledger import Ledger
from lineage.runs import Run, Step

BEGUN = "2026-05-01T10:00:00.000000+00:00"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path))
    settings.cache_clear()
    return tmp_path


def going(run_id: str = "r-1", **more: object) -> Run:
    return runs.by_this_process(replace(Run(run_id, "RUNNING", BEGUN, since=BEGUN, steps=[Step("pretrain", "RUNNING")]), **more))


def listed(home: Path) -> list[Run]:
    return runs.list_runs(home, settings().ledger_url)


def test_a_fresh_home_has_none(home: Path) -> None:
    assert listed(home) == []


def test_a_run_whose_process_lives_goes_on_as_it_was_kept(home: Path) -> None:
    runs.keep(home, kept := going(asked={"size": "tiny"}))
    assert listed(home) == [kept] and kept.live
    assert kept.to_json()["steps"][0]["name"] == "pretrain"


def test_a_run_whose_process_is_gone_is_lost(home: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    runs.keep(home, replace(going(), pid=ended.pid))
    assert [run.state for run in listed(home)] == ["LOST"]


def test_another_process_with_the_same_id_is_not_the_run(home: Path) -> None:
    kept = going()
    runs.keep(home, replace(kept, created=kept.created - 60))
    assert [run.state for run in listed(home)] == ["LOST"]


def _hold(place: Path, told: multiprocessing.connection.Connection) -> None:
    with runs.living(place):
        told.send("held")
        told.recv()


def test_in_another_container_the_lock_says_whether_it_lives(home: Path) -> None:
    runs.keep(home, kept := replace(going(), namespace=1))
    assert [run.state for run in listed(home)] == ["LOST"]
    ours, theirs = multiprocessing.Pipe()
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(runs.folder(home, kept.run_id), theirs))
    holder.start()
    assert ours.recv() == "held"
    assert [run.state for run in listed(home)] == ["RUNNING"]
    holder.kill()
    holder.join()
    assert [run.state for run in listed(home)] == ["LOST"]


def test_the_ledger_ends_a_run_that_was_killed_before_it_said_so_itself(home: Path) -> None:
    runs.keep(home, replace(going(asked={"seed": 3}), pid=None))
    costs = {"pretrain": {"cpu_seconds": 4.0, "cost": 0.5}}
    told = {"steps": {"resolve": 0.5, "pretrain": 2.5}, "cached": ["snapshot"], "failed": ["pretrain"], "costs": costs}
    record.run("FAILED", "r-1", "shop-1", "no disk", **told)
    (run,) = listed(home)
    assert (run.state, run.cause, run.revision, run.asked, run.started) == ("FAILED", "no disk", "shop-1", {"seed": 3}, BEGUN)
    assert {step.name: (step.state, step.cached) for step in run.steps} == {
        "snapshot": ("SUCCEEDED", True),
        "resolve": ("SUCCEEDED", False),
        "pretrain": ("FAILED", False),
    }
    assert run.cost == 0.5 and run.gpu_seconds == 0


def test_a_later_attempt_goes_on_after_the_ledger_ended_the_first(home: Path) -> None:
    record.run("STOPPED", "r-1", "shop-1", "")
    (told,) = listed(home)
    runs.keep(home, again := going(since="2099-01-01T00:00:00.000000+00:00", spent=0.25))
    assert told.state == "STOPPED" and listed(home) == [again] and again.cost == 0.25


def test_a_run_of_a_cluster_is_known_from_the_ledger_and_by_the_decision_that_started_it(home: Path) -> None:
    ledger = Ledger(settings().ledger_url)
    trigger = ledger.append("trigger", "pipeline", [], {"decision": "start", "run_id": "c-1"})
    record.run("CANCELLED", "c-1", "shop-2", "")
    record.run("SUCCEEDED", "c-2", "shop-2", "", seconds=60.0)
    first, second = listed(home)  # the second took a minute, so it began before
    assert (first.run_id, first.state, first.trigger) == ("c-1", "STOPPED", trigger.seq)
    assert (second.run_id, second.trigger) == ("c-2", None) and second.started < first.started


def test_a_run_is_found_by_its_start_and_the_newest_by_name(home: Path) -> None:
    for name in ("a-1", "a-2", "b-1"):
        record.run("SUCCEEDED", name, "", "")
    url = settings().ledger_url
    assert runs.find(home, url, "b").run_id == runs.find(home, url, "last").run_id == "b-1"
    with pytest.raises(NotFoundError, match="2 runs start with 'a'"):
        runs.find(home, url, "a")
    with pytest.raises(NotFoundError, match="no run 'c'"):
        runs.find(home, url, "c")


def test_a_state_file_that_cannot_be_read_hides_no_other_run(home: Path) -> None:
    (home / "runs" / "broken").mkdir(parents=True)
    (home / "runs" / "broken" / runs.STATE).write_text('{"run_id": "broken", "steps": 7')
    runs.keep(home, going())
    assert [run.run_id for run in listed(home)] == ["r-1"]
