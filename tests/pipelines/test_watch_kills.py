"""A controller that is killed at any moment: no run twice, no trigger missed, a ledger that is whole. Two controllers: one run."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from goodsight.errors import ConflictError
from goodsight.settings import settings
from lineage.event import Event
from lineage.ledger import Ledger
from lineage.runs import list_runs
from monitoring.decision import decide
from monitoring.policy import RetrainingPolicy
from pipelines.observe import observe
from pipelines.platforms import Here
from pipelines.watch import instant, keep
from tests.pipelines import controller
from tests.pipelines.watched import Shop, policy_file

KILLS = 20
LONGEST = 8.0  # seconds of one round, on a machine that has much else to do


def ended() -> list[Event]:
    return Ledger(settings().ledger_url).events("run")


def decided() -> list[Event]:
    return Ledger(settings().ledger_url).events("trigger")


def begun() -> list[list[str]]:
    """run id, revision and process of every time that a run began to train."""
    path = settings().root / "trained"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def check_whole() -> None:
    ledger = Ledger(settings().ledger_url)
    assert ledger.verify() == len(ledger.events())


def is_done(shop: Shop) -> bool:
    return {event.payload["revision"] for event in ended()} >= set(shop.revisions)


def finish(shop: Shop, policy: Path) -> None:
    """Lets a controller work until every version had its run."""
    working = controller.start(policy)
    working.until(lambda: is_done(shop))
    working.kill()


def test_a_controller_that_is_killed_at_twenty_moments_runs_each_version_once(tmp_path: Path) -> None:
    """Each kill takes the run along. Of every version that came there is one run in the end, and it succeeded once."""
    shop, policy, draw = Shop(tmp_path / "shop"), policy_file(tmp_path), random.Random(20)
    started = time.monotonic()
    finish(shop, policy)
    whole = time.monotonic() - started
    shop.add()
    for _ in range(KILLS):
        if is_done(shop) and len(shop.revisions) < 4:
            shop.add()
        working = controller.start(policy)
        working.process.join(draw.uniform(0.1, 1.1) * min(whole, LONGEST))
        assert working.process.is_alive(), working.said()[-4000:]
        working.kill()
        check_whole()
    shop.add()
    finish(shop, policy)
    check_whole()
    assert set(Counter(event.payload["run_id"] for event in ended()).values()) == {1}, "no run ended twice"
    runs = {revision: {run for run, told, _ in begun() if told == revision} for revision in shop.revisions}
    assert all(len(each) == 1 for each in runs.values()), "one run of each version, however often it began"
    assert {run.state for run in list_runs(settings().root, settings().ledger_url)} == {"SUCCEEDED"}
    assert all(event.payload["reason"] and event.payload["triggers"] and event.payload["observed"] for event in decided())


def test_two_controllers_start_one_run(tmp_path: Path) -> None:
    shop, policy = Shop(tmp_path / "shop"), policy_file(tmp_path)
    both = [controller.start(policy, "once") for _ in range(2)]
    for each in both:
        each.process.join(controller.DEADLINE)
    said = [each.said() for each in both]
    assert sorted(text.split()[0] for text in said) == ["hold", "start"], "the second one led after the first, and saw its run"
    assert [revision for _, revision, _ in begun()] == shop.revisions
    assert len(ended()) == 1
    check_whole()


def test_of_two_that_decide_the_same_the_ledger_takes_one(tmp_path: Path) -> None:
    """The leader spares others the work; the ledger alone decides who of two was first."""
    Shop(tmp_path / "shop")
    policy = RetrainingPolicy.load(policy_file(tmp_path))
    first, second = (decide(policy, observe(policy, Here(), instant())) for _ in range(2))
    keep(second)
    with pytest.raises(ConflictError):
        keep(first)
    assert [event.payload["run_id"] for event in decided()] == [second.run_id]
