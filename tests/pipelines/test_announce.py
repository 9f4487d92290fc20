"""What people and Prometheus are told of decisions: what is news, once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from goodsight.files import read_json
from goodsight.settings import settings
from lineage import cluster_runs, record
from monitoring.decision import decide
from monitoring.metrics import Metrics
from monitoring.notify import Notifier
from monitoring.observation import Data
from pipelines.announce import Announcer
from tests.monitoring.observations import NEW, NOW, OLD, policy, ran, seen

HOUR = timedelta(hours=1)


@pytest.fixture
def announcer() -> Announcer:
    return Announcer(Metrics(), Notifier(settings()))


def told(announcer: Announcer, **given: Any) -> set[str]:
    """The keys of all that was told once this was seen."""
    announcer.tell(decide(policy("retries: {most: 1, first_minutes: 0}"), seen(previous=NOW - HOUR, **given)))
    path = settings().root / "monitoring" / "notices.json"
    return set(read_json(path)["told"]) if path.exists() else set()


def test_a_start_is_told_and_waiting_is_not(announcer: Announcer) -> None:
    assert told(announcer) == set()
    assert told(announcer, data=(OLD, NEW)) == {"start retrain-20261126T120000-41"}


def test_how_runs_ended_since_the_look_before_is_told_and_what_was_before_is_not(announcer: Announcer) -> None:
    runs = (
        ran(50 * HOUR, run_id="old"),
        ran(1.5 * HOUR, run_id="new", revision="shop-aaaa"),
        ran(1.2 * HOUR, "FAILED", run_id="bad", revision="x"),
        ran(1.1 * HOUR, "STOPPED", run_id="by-a-person", revision="x"),
    )
    assert told(announcer, runs=runs) == {"run new SUCCEEDED", "run bad FAILED"}


def test_what_the_gate_said_is_told_and_what_nobody_knows_is_not(announcer: Announcer) -> None:
    runs = (ran(1.5 * HOUR, run_id="told", revision="x", verdict="reject"), ran(1.2 * HOUR, run_id="silent", revision="y", verdict=""))
    assert told(announcer, runs=runs) == {"run told SUCCEEDED"}


def test_refused_data_are_told(announcer: Announcer) -> None:
    bad = Data("shop-cccc", "d" * 64, NOW - HOUR, 0.0, refused="40% of the rows are in quarantine")
    assert told(announcer, data=(OLD, bad)) == {"data shop-cccc"}


def test_what_only_people_can_help_is_told(announcer: Announcer) -> None:
    assert told(announcer, data=(OLD, NEW), runs=(ran(50 * HOUR),)) == {"news shop-bbbb"}
    failed = tuple(ran(hours * HOUR, "FAILED", run_id=str(hours)) for hours in (60, 50))
    assert "retries shop-bbbb" in told(announcer, data=(OLD, NEW), runs=failed)
    announcer.failed("the disk is full", 2)
    assert "watch fails" not in told(announcer)
    announcer.failed("the disk is full", 3)
    assert "watch fails" in told(announcer)


def test_the_decision_is_in_the_metrics(announcer: Announcer) -> None:
    told(announcer, data=(OLD, NEW))
    assert announcer.metrics is not None
    text = announcer.metrics.text().decode()
    assert 'goodsight_trigger_fired{kind="snapshot",trigger="new-data"} 1.0' in text
    assert 'goodsight_champion{version="3"} 1.0' in text


def test_what_its_platform_says_of_a_run_is_in_the_metrics(announcer: Announcer) -> None:
    cluster_runs.begin(settings().root, "0f6c", "resolve", "on-a-cluster")
    for state, going, lost in (("RUNNING", 1, 0), ("LOST", 0, 1), ("FAILED", 0, 0)):
        told(announcer, runs=(ran(30 * HOUR, state, run_id="on-a-cluster"),))
        assert announcer.metrics is not None
        text = announcer.metrics.text().decode()
        assert f"goodsight_run_going {going}.0" in text and f'goodsight_runs_total{{state="LOST"}} {lost}.0' in text


def test_a_run_that_ended_while_a_decision_was_made_does_not_go_on_in_the_metrics(announcer: Announcer) -> None:
    record.run("SUCCEEDED", "r-1", "shop-1", "")
    told(announcer, runs=(ran(HOUR, "RUNNING", run_id="r-1"),))
    assert announcer.metrics is not None
    text = announcer.metrics.text().decode()
    assert "goodsight_run_going 0.0" in text and 'goodsight_runs_total{state="SUCCEEDED"} 1.0' in text


def test_a_run_that_only_its_platform_knows_is_in_the_metrics(announcer: Announcer) -> None:
    told(announcer, runs=(ran(30 * HOUR, "RUNNING", run_id="on-a-cluster"),))
    assert announcer.metrics is not None
    text = announcer.metrics.text().decode()
    assert "goodsight_run_going 1.0" in text
    (began,) = [float(line.split()[1]) for line in text.splitlines() if line.startswith("goodsight_run_started_timestamp_seconds ")]
    assert began == (NOW - 30 * HOUR).timestamp()
