"""The steps of a rollout: when it goes on, when it is rolled back, and what outlives a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from goodsight.errors import BusyError, InputError
from goodsight.files import read_json
from serving.rollout import Arm, Counts, Plan, Rollout, begin, decide, keep, path, plan_of, read, refuse_while_running, write

FACTS = {"version": "2", "base": "1", "archive": "goodsight-2", "candidate": "c" * 64, "index": "i" * 64, "smoke_test": ["search"]}
LATE = "2999-01-01T00:00:00+00:00"


def started(**plan: Any) -> Rollout:
    return begin("r", plan_of(**{"hold": 100, "hold_seconds": 0, **plan}), "Ada", "spring", **FACTS)


def well(requests: int, old: int = 0) -> Counts:
    """What a good version leaves: no error, 1 % slow, answers that agree to 90 %."""
    arm = Arm(requests=requests, timed=requests, slow=requests // 100)
    other = old or 10 * requests
    return Counts(old=Arm(requests=other, timed=other, slow=other // 100), new=arm, pairs=requests, agreed=0.9 * requests)


def test_a_good_version_goes_through_its_stages_until_it_is_ready() -> None:
    rollout, names = started(), []
    while rollout.phase != "ready":
        assert decide(rollout, LATE) is None, "a stage is not over before it has its requests"
        rollout.stages[rollout.stage] = well(1000)
        assert decide(rollout, LATE)
        names.append((rollout.name, rollout.weight))
    assert names == [("canary 5 %", 0.05), ("canary 25 %", 0.25), ("canary 50 %", 0.5), ("ready", 0.5)]
    assert [(move.source, move.target) for move in rollout.moves] == [
        ("shadow", "canary 5 %"), ("canary 5 %", "canary 25 %"), ("canary 25 %", "canary 50 %"), ("canary 50 %", "ready"),
    ]  # fmt: skip
    shown = [(each["name"], each["finding"]) for each in rollout.moves[-1].evidence]
    assert shown == [("errors", "shown"), ("latency", "shown"), ("agreement", "shown")]


def test_the_last_stage_goes_on_until_all_that_was_counted_shows_it() -> None:
    rollout = started(weights=(10,))
    rollout.stages[0] = well(100)
    assert decide(rollout, LATE) and rollout.name == "canary 10 %"
    rollout.stages[1] = well(100)
    assert decide(rollout, LATE) is None, "200 requests without an error do not show that less than 1 % fail"
    rollout.stages[1] = well(2000)
    assert decide(rollout, LATE) and rollout.phase == "ready"


def test_a_stage_takes_its_time() -> None:
    rollout = started(hold_seconds=60)
    rollout.stages[0] = well(1000)
    assert decide(rollout, rollout.started) is None
    assert decide(rollout, LATE)


BAD = {
    "errors": well(100).model_copy(update={"new": Arm(requests=30, errors=15, timed=30)}),
    "latency": well(100).model_copy(update={"new": Arm(requests=30, timed=30, slow=25)}),
    "agreement": well(100).model_copy(update={"agreed": 2.0}),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("phase", ["shadow", "canary", "ready"])
def test_a_bad_version_is_rolled_back_in_every_phase(what: str, phase: Any) -> None:
    rollout = started()
    rollout.phase, rollout.stage = phase, {"shadow": 0, "canary": 1, "ready": 3}[phase]
    rollout.stages[rollout.stage] = BAD[what]
    move = decide(rollout, rollout.started)
    assert move and rollout.phase == "rolled_back" and not rollout.running and rollout.weight == 0
    assert move.why == f"worse than version 1: {what}"
    assert [each["name"] for each in move.evidence if each["finding"] == "worse"] == [what]
    assert decide(rollout, LATE) is None


def test_errors_that_both_versions_have_are_no_reason() -> None:
    rollout = started()
    rollout.stages[0] = Counts(old=Arm(requests=1000, errors=300), new=Arm(requests=90, errors=28), pairs=60, agreed=50)
    assert decide(rollout, LATE) is None


def test_what_a_person_decides_is_not_overruled() -> None:
    rollout = started()
    rollout.stages[0] = BAD["errors"]
    rollout.move("promoting", "Ada", "I know why", LATE)
    assert decide(rollout, LATE) is None and rollout.running


def test_without_shadow_it_starts_with_callers_and_asks_for_no_agreement() -> None:
    rollout = started(shadow=0, weights=(50,))
    assert (rollout.name, rollout.weight) == ("canary 50 %", 0.5)
    rollout.stages[1] = well(2000).model_copy(update={"pairs": 0, "agreed": 0.0})
    assert decide(rollout, LATE) and rollout.phase == "ready"


WRONG = [{"weights": (50, 5)}, {"weights": (0,)}, {"weights": (101,)}, {"weights": ()}, {"shadow": 2}, {"hold": 0}]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        plan_of(**wrong)


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    rollout = started()
    rollout.stages[0] = well(1000)
    decide(rollout, LATE)
    write(tmp_path, rollout)
    assert read(tmp_path) == rollout
    assert read_json(path(tmp_path))["stages"]["0"]["new"]["requests"] == 1000
    path(tmp_path).write_text('{"version": "2"}')
    with pytest.raises(InputError, match="is no rollout"):
        read(tmp_path)


def test_the_gateway_takes_over_what_a_person_decided(tmp_path: Path) -> None:
    mine = started()
    write(tmp_path, mine)
    theirs = read(tmp_path)
    assert theirs
    theirs.move("promoting", "Ada", "spring", LATE)
    write(tmp_path, theirs)
    mine.stages[0] = BAD["errors"]
    decide(mine, LATE)
    kept = keep(tmp_path, mine)
    assert kept and kept.phase == "promoting" and kept.stages[0] == BAD["errors"]
    theirs.move("ready", "Ada", "the switch failed", LATE)
    write(tmp_path, theirs)
    assert (kept := keep(tmp_path, kept)) and kept.phase == "ready"
    theirs.move("aborted", "Ada", "no", LATE)
    write(tmp_path, theirs)
    assert (kept := keep(tmp_path, kept)) and kept.phase == "aborted"


def test_another_rollout_or_none_takes_its_place(tmp_path: Path) -> None:
    write(tmp_path, begin("s", Plan(), "Ben", "summer", **FACTS))
    kept = keep(tmp_path, started())
    assert kept and kept.id == "s"
    path(tmp_path).unlink()
    assert keep(tmp_path, kept) is None and read(tmp_path) is None


def test_nothing_else_is_deployed_meanwhile(tmp_path: Path) -> None:
    refuse_while_running(tmp_path)
    rollout = started()
    write(tmp_path, rollout)
    with pytest.raises(BusyError, match="rollout of version 2 goes on"):
        refuse_while_running(tmp_path)
    rollout.move("aborted", "Ada", "no", LATE)
    write(tmp_path, rollout)
    refuse_while_running(tmp_path)
