"""What the steps of a run on a cluster took, kept under home until its last step tells the ledger: each step is a pod of its own.

    <home>/runs/<id>/steps/<step>.json

On one machine the run itself hears of its steps.
"""

from __future__ import annotations

from typing import Any

from goodsight.errors import GoodsightError
from goodsight.files import read_json, write_json
from goodsight.settings import settings

MEASURED = ("cpu_seconds", "gpu_seconds", "peak_rss_bytes")
TRAINS = "pretrain"  # the step that a TrainJob may do


def keep(run_id: str, name: str, state: str, used: dict[str, float], ended: str) -> None:
    """Keeps what one step took. Of a TrainJob's pods it counts what they had, used or not, for as long as the step waited for them."""
    asked = settings()
    if name == TRAINS and asked.train_runtime:
        had = {"cpu_seconds": asked.train_nodes * asked.train_cpus, "gpu_seconds": asked.train_nodes * asked.train_gpus}
        used = {**used, **{each: round(used[each] + count * used["seconds"], 3) for each, count in had.items()}}
    write_json(asked.root / "runs" / run_id / "steps" / f"{name}.json", {"name": name, "state": state, "ended": ended, **used})


def of_run(run_id: str) -> dict[str, Any]:
    """What a `run` event tells of the steps of a run: their order, seconds, what was measured, money; nothing where none was kept."""
    from lineage.runs import Step
    from monitoring.prices import Prices

    told = sorted(_kept(run_id), key=lambda step: step["ended"])
    if not told:
        return {}
    prices, costs = Prices.in_force(), {}
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
    }


def _kept(run_id: str) -> list[dict[str, Any]]:
    found = []
    for path in (settings().root / "runs" / run_id / "steps").glob("*.json"):
        try:
            found.append(read_json(path))
        except GoodsightError:  # a step that was not told of costs nothing that is known
            continue
    return found
