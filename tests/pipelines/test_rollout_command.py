"""`goodsight rollout` over a state on disk: what status tells, and how the others refuse. Live rollouts are in tests/serving."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from goodsight.errors import GoodsightError, InputError, RefusedError
from goodsight.settings import settings
from pipelines.command import app
from serving import rollout
from serving.rollout import Arm, Counts, Rollout, begin, decide, plan_of

FACTS = {"version": "2", "base": "1", "archive": "goodsight-2", "candidate": "c" * 64, "index": "i" * 64, "smoke_test": ["search"]}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "220")
    settings.cache_clear()
    return tmp_path / "home"


def called(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rollout", *arguments])


def under_way(home: Path) -> Rollout:
    """A rollout in its first canary stage, in which half of what the new version is asked fails."""
    state = begin("r", plan_of(hold=10, hold_seconds=0), "Ada", "spring [sale]", **FACTS)
    state.stages[0] = Counts(old=Arm(requests=400, timed=300), new=Arm(requests=40, timed=40), pairs=40, agreed=36, to_old=400, copies=40)
    assert decide(state, rollout.instant())
    state.stages[1] = Counts(old=Arm(requests=190, timed=190), new=Arm(requests=10, errors=2), to_old=190, to_new=10, caught=2)
    state.limit_ms = 120
    rollout.write(home, state)
    return state


def test_status_tells_the_stages_the_split_the_tests_and_the_moves(home: Path) -> None:
    under_way(home)
    said = called("status")
    assert said.exit_code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.stdout.splitlines() if "│" in line]
    assert ["shadow", "400, 0.0 %", "40", "0", "0", "40", "0"] in rows
    assert ["canary 5 %", "200, 5.0 %", "10", "2", "0", "0", "2"] in rows
    assert any(row[:1] == ["more of its requests fail by"] and row[1].startswith("20.0 % (") and row[3] == "at most 1 %" for row in rows)
    assert any(row[1:4] == ["shadow", "canary 5 %", "gateway"] for row in rows)
    assert "Version 2 beside version 1: canary 5 %. spring [sale]" in said.stdout and "above 120 ms" in said.stdout


def test_status_as_json_has_all_of_it(home: Path) -> None:
    state = under_way(home)
    told = json.loads(called("status", "--json").stdout.splitlines()[-1])
    assert [(each["weight"], each["split"]) for each in told["stages"]] == [(0, 0), (5, 0.05)]
    assert told["evidence"]["stage"] == [vars(each) for each in state.evidence()]
    assert (told["name"], told["phase"], told["limit_ms"]) == ("canary 5 %", "canary", 120)


def test_promote_waits_until_it_is_ready_and_tells_when_it_was_rolled_back(home: Path) -> None:
    state = under_way(home)
    refused = called("promote", "--reason", "spring").exception
    assert isinstance(refused, RefusedError) and "is canary 5 %, not ready" in refused.message
    state.move("rolled_back", "gateway", "worse than version 1: errors", rollout.instant())
    rollout.write(home, state)
    gone = called("promote", "--reason", "spring", "--wait").exception
    assert isinstance(gone, GoodsightError) and gone.exit_code == 3 and "worse than version 1: errors" in gone.message


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status"], "There was no rollout"),
        (["abort", "--reason", "x"], "There was no rollout"),
        (["start", "2", "--reason", "x"], "Nothing is deployed"),
        (["start", "2", "--reason", "x", "--weights", "50,5"], "Give percents that rise"),
        (["start", "2", "--reason", "x", "--weights", "a"], "are no percents"),
        (["start", "2", "--reason", " "], "only for a reason"),
    ],
)
def test_what_cannot_be_is_refused(home: Path, arguments: list[str], said: str) -> None:
    error = called(*arguments).exception
    assert isinstance(error, InputError) and said in str(error)
