"""A run under an id of its own: how its attempts end, and what the next one takes over. The steps themselves are those of other tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from goodsight.errors import InputError, RefusedError
from goodsight.files import read_json
from goodsight.settings import settings
from lineage import runs
from lineage.ledger import Ledger
from pipelines import live, local
from pipelines.live import Live
from pipelines.local import Outcome, Wanted
from tests.pipelines.made import some_furniture

RESULT = {
    "data_verdict": "passed", "verdict": "promote", "model_version": "1", "snapshot": "s" * 64, "candidate": "c" * 64, "gain": None,
    "steps": [],
}  # fmt: skip


class Steps:
    """In the place of kfp.local: what the steps are asked for is kept, and they end as `end` says."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.end: BaseException | None = None

    def __call__(self, arguments: dict[str, Any], folder: Path, listener: Any, runner: str, live: Live) -> Outcome:
        self.asked.append(arguments)
        live.heard({"kind": "step", "name": "pretrain", "state": "started"})
        if self.end:
            raise self.end
        live.heard({"kind": "step", "name": "pretrain", "state": "done", "seconds": 36.0, "cpu_seconds": 36.0})
        return Outcome([], {}, 0, {})


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    from monitoring.energy import Power

    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    made = Steps()
    monkeypatch.setattr(local, "_execute", made)
    monkeypatch.setattr(local, "_result", lambda run_id, *_: {"run_id": run_id, **RESULT})
    monkeypatch.setattr(live, "power", lambda root: Power(4.0, 0.5, 0.0))
    some_furniture(tmp_path / "shop", 3)
    return made


def events(kind: str) -> list[dict[str, Any]]:
    return [event.payload for event in Ledger(settings().ledger_url).events(kind)]


def test_a_run_that_was_stopped_or_failed_goes_on_as_it_was_asked_for(steps: Steps, tmp_path: Path) -> None:
    wanted = Wanted(tmp_path / "shop", "shop", size="tiny", seed=5, quiet=True, run_id="retrain-1")
    steps.end = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        local.run(wanted)
    steps.end = RefusedError("The gate is shut.", "")
    with pytest.raises(RefusedError):
        local.run(Wanted(None, "", quiet=True, run_id="retrain-1"))
    steps.end = None
    result = local.run(Wanted(None, "", quiet=True, run_id="retrain-1", budget=3.0))
    assert [(told["state"], told["failed"]) for told in events("run")] == [
        ("STOPPED", ["pretrain"]),
        ("FAILED", ["pretrain"]),
        ("SUCCEEDED", []),
    ]
    assert steps.asked[0] == steps.asked[1] == steps.asked[2] and steps.asked[0]["seed"] == 5
    assert len(events("snapshot")) == 1, "data that were imported are not imported again"
    (run,) = runs.list_runs(settings().root, settings().ledger_url)
    assert (run.run_id, run.state, run.version, run.asked["budget"]) == ("retrain-1", "SUCCEEDED", "1", 3.0)
    assert run.cost == result["cost"]["money"] > 0
    assert read_json(runs.folder(settings().root, "retrain-1") / "result.json")["run_id"] == "retrain-1"
    with pytest.raises(InputError, match="succeeded already"):
        local.run(wanted)
    assert len(steps.asked) == 3


def test_a_run_that_brought_the_champion_itself_is_compared_with_the_one_before(steps: Steps, tmp_path: Path) -> None:
    """It was lost after it became champion: compared with itself it would do everything again."""
    steps.end = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        local.run(Wanted(tmp_path / "shop", "shop", size="tiny", quiet=True, run_id="retrain-1"))
    (run,) = runs.list_runs(settings().root, settings().ledger_url)
    Ledger(settings().ledger_url).append("registration", "pipeline", [], {"version": "2", "candidate": "c" * 64})
    assert local._registered_since(run.started) == {"2"}
    assert local._registered_since("2999-01-01") == set()
