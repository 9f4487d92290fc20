"""A home in which retraining has gone on for weeks: decisions with their drift, runs, verdicts, data and what people said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from goodsight.settings import settings
from lineage import record, runs
from lineage.ledger import Ledger
from lineage.runs import Run, Step

HOSTILE = '<img src=x onerror="document.title=1">'
BOUND, WEEKS = 0.2, 4
TOOK = {
    "resolve": 0.4, "snapshot": 2.1, "validate": 6.5, "features": 8.2, "pretrain": 310.0, "finetune categorize": 44.0,
    "finetune retrieve": 38.0, "evaluate": 71.0, "gate": 1.9, "register": 6.0, "index": 24.0, "deploy": 18.0,
}  # fmt: skip


def digest(number: int) -> str:
    return f"{number:064x}"


@contextmanager
def at(time: datetime) -> Iterator[None]:
    """What goes into the ledger has this time."""

    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return time

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lineage.ledger.datetime", Then)
        yield


def finding(name: str, group: str, effect: float, slice: str = "task=search") -> dict[str, Any]:
    small = 1e-6 if effect > BOUND else 0.4
    return {
        "name": name, "group": group, "slice": slice, "test": "ks", "effect": round(effect, 4), "bound": BOUND, "p": small,
        "adjusted_p": small, "drifted": effect > BOUND, "reference_n": 800, "current_n": 640, "against": "reference", "gap": None,
        "before": None, "now": None,
    }  # fmt: skip


def decision(kind: str, reason: str, day: float, run_id: str | None = None) -> dict[str, Any]:
    """A decision on a day of the weeks; brightness goes up and up, and the rest wobbles."""
    wobble = 0.03 * (1 + (7 * day) % 3)
    found = [
        finding("brightness", "input", 0.05 + 0.012 * day), finding("text_chars", "input", wobble),
        finding("score", "prediction", wobble / 2), finding("sketch", "embedding", 0.04 + 0.002 * day, "task=search,modalities=image"),
    ]  # fmt: skip
    due = kind != "wait"
    triggers = [
        {"name": "drift", "kind": "drift", "fired": due, "since": None, "figures": {}, "explanation": "Brightness changed in two windows."},
        {"name": "weekly", "kind": "schedule", "fired": False, "since": None, "figures": {}, "explanation": "Next on Sunday, 03:00 UTC."},
    ]
    held = {"name": "cool_down", "holds": kind == "hold", "figures": {}, "explanation": "24 hours after the last run."}
    return {
        "decision": kind, "run_id": run_id, "reason": reason, "policy": digest(9),
        "triggers": triggers, "constraints": [held] if due else [], "champion": "2", "revision": "furniture-1", "asked": {}, "by": "watch",
        "drift": {"state": "compared", "explanation": "Search changed.", "findings": found, "current_n": 640},
    }  # fmt: skip


def ended(run_id: str, trigger_cost: float, **more: Any) -> None:
    """The run's event in the ledger."""
    costs = {
        name: {"cpu_seconds": 1.6 * seconds, "peak_rss_bytes": 2**30, "energy_kwh": seconds / 90_000, "cost": trigger_cost * seconds / 600}
        for name, seconds in TOOK.items()
    }
    told = {"steps": TOOK, "cached": [], "costs": costs, "currency": "EUR", "seconds": sum(TOOK.values()), "data_verdict": "passed"}
    record.run(run_id=run_id, revision="furniture-1", **{"state": "SUCCEEDED", "cause": "", **told, **more})


def history(now: datetime) -> None:
    """Fills the ledger of the settings."""
    ledger, start = Ledger(settings().ledger_url), now - timedelta(weeks=WEEKS)
    for day in range(0, 7 * WEEKS, 3):
        with at(start + timedelta(days=day)):
            ledger.append("validation", "pipeline", [digest(100 + day)], _validation(100 + day, 310 if day == 15 else day))
    for number, day in ((1, 0), (2, 7)):
        with at(start + timedelta(days=day, hours=2)):
            ledger.append("verdict", "pipeline", [digest(number)], _verdict("promote", number, []))
            ledger.append("registration", "pipeline", [digest(number)], {"version": str(number), "candidate": digest(number)})
            move = {"version": str(number), "previous": str(number - 1) if number > 1 else None, "reason": "promoted by the gate"}
            ledger.append("alias_move", "pipeline", [digest(number)], move)
            ended(f"first-{number}", 0.2, verdict="promote", version=str(number))
    with at(start + timedelta(days=18)):
        ledger.append("verdict", "pipeline", [digest(3)], _verdict("reject", 3, ["recall_at_10", HOSTILE]))
        ended("worse-3", 0.2, verdict="reject")
    with at(start + timedelta(days=21)):
        full = "The step snapshot failed. No space left on device."
        ended("broken-4", 0.1, state="FAILED", cause=full, steps={"resolve": 0.4}, failed=["snapshot"], costs={})
    for day in range(7 * WEEKS):
        for hour in (1, 13):
            with at(start + timedelta(days=day, hours=hour)):
                ledger.append("trigger", "watch", [digest(2)], decision("wait", "Nothing is due.", day))
    with at(now - timedelta(minutes=20)):
        ledger.append("trigger", "watch", [digest(2)], decision("hold", "Brightness changed. But: it is 20 hours since the last run.", 28))
    with at(now - timedelta(minutes=4)):
        why = f"Brightness changed in two windows. {HOSTILE}"
        ledger.append("trigger", "watch", [digest(2)], decision("start", why, 29, "retrain-live"))


def _validation(number: int, quarantined: int) -> dict[str, Any]:
    return {
        "decision": "failed" if quarantined > 160 else "passed", "reason": f"{800 - quarantined} of 800 products kept", "by_reason": {},
        "raw_digest": digest(number), "products_in": 800, "kept": 800 - quarantined, "quarantined": quarantined,
    }  # fmt: skip


def _verdict(said: str, number: int, failed: list[str]) -> dict[str, Any]:
    facts = {"champion": None, "policy": digest(9), "verdict": digest(50), "failed": failed, "overridden": []}
    return {"decision": said, "candidate": {"digest": digest(number)}, **facts}


def going(root: Path, now: datetime, done: int) -> Run:
    """A run of this process with so many steps done and the next one going on."""
    begun = now - timedelta(minutes=4)
    steps = [Step(name, "SUCCEEDED", TOOK[name], name == "features", begun.isoformat()) for name in list(TOOK)[:done]]
    steps.append(Step(list(TOOK)[done], "RUNNING", started=(now - timedelta(seconds=42)).isoformat()))
    told = Run("retrain-live", "RUNNING", begun.isoformat(), revision="furniture-1", steps=steps, since=begun.isoformat())
    run = runs.by_this_process(told)
    runs.keep(root, run)
    return run


def now() -> datetime:
    return datetime.now(UTC)
