"""What the steps of a run on a cluster took and came to, kept under home until its last step tells the ledger; each is a pod of its own.

    <home>/runs/<id>/steps/<step>.json

On one machine the run itself hears of its steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from goodsight.errors import GoodsightError
from goodsight.files import read_json, write_json
from goodsight.settings import settings

MEASURED = ("cpu_seconds", "gpu_seconds", "peak_rss_bytes")
TRAINS = "pretrain"  # the step that a TrainJob may do


def keep(run_id: str, name: str, state: str, used: dict[str, float], ended: str, came: Mapping[str, Any] | None = None) -> None:
    """Keeps what one step took and came to. Of a TrainJob's pods it counts what they had, used or not, while the step waited for them."""
    asked = settings()
    if name == TRAINS and asked.train_runtime:
        had = {"cpu_seconds": asked.train_nodes * asked.train_cpus, "gpu_seconds": asked.train_nodes * asked.train_gpus}
        used = {**used, **{each: round(used[each] + count * used["seconds"], 3) for each, count in had.items()}}
    told = {"name": name, "state": state, "ended": ended, "came": came or {}, **used}
    write_json(asked.root / "runs" / run_id / "steps" / f"{name}.json", told)


def of_run(run_id: str) -> dict[str, Any]:
    """What a `run` event tells of the steps of a run: their order, seconds each and in all, what was measured, money, what they came to.

    Nothing where none was kept: a step that came from Kubeflow's cache took nothing, and what it came to is told by the run before.
    """
    from lineage.runs import Step
    from monitoring.prices import Prices

    told = sorted(_kept(run_id), key=lambda step: step["ended"])
    if not told:
        return {}
    prices, costs, began = Prices.in_force(), {}, min(_began(each) for each in told)
    for each in told:
        measured = {name: each[name] for name in MEASURED}
        costs[each["name"]] = {**measured, "cost": prices.of(Step(each["name"], seconds=each["seconds"], **measured))}
    return {
        "order": [each["name"] for each in told],
        "steps": {each["name"]: each["seconds"] for each in told},
        "failed": [each["name"] for each in told if each["state"] == "failed"],
        "costs": costs,
        "currency": prices.currency,
        "prices": prices.digest,
        "started": began.isoformat(),
        "seconds": round((datetime.fromisoformat(told[-1]["ended"]) - began).total_seconds(), 3),
        **{name: value for each in told for name, value in each.get("came", {}).items()},
    }


def of_verdict(path: Path) -> dict[str, Any]:
    """What the gate's verdict, a file, means for its run: the decision, what was gained, and which snapshot and candidate it is of."""
    from lineage.costs import gain_of

    judged = read_json(path)
    subjects = [judged["candidate"][name] for name in ("snapshot", "digest")]
    return {"verdict": judged["decision"], "gain": gain_of(judged), "subjects": subjects}


def _began(step: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(step["ended"]) - timedelta(seconds=step["seconds"])


def _kept(run_id: str) -> list[dict[str, Any]]:
    found = []
    for path in (settings().root / "runs" / run_id / "steps").glob("*.json"):
        try:
            found.append(read_json(path))
        except GoodsightError:  # a step that was not told of costs nothing that is known
            continue
    return found
