"""What the steps of a run on a cluster take and come to: kept while they go on, and told to the ledger by the last one.

On one machine the run itself hears of its steps.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from goodsight.files import read_json
from goodsight.settings import RUN_ID, settings
from lineage import cluster_runs

MEASURED = ("cpu_seconds", "gpu_seconds", "peak_rss_bytes")
TRAINS = "pretrain"  # the step that a TrainJob may do
LAST = "finish"  # the step that tells of the others


@contextmanager
def going_on(step: str, run: str = "") -> Iterator[None]:
    """Tells that a step goes on, until the block is left; `run` is the name of its run in the ledger. The figures are worth less than the
    step: what cannot be written is not told."""
    told, over = (settings().root, os.environ[RUN_ID], step), threading.Event()
    with suppress(OSError):
        cluster_runs.begin(*told, run)

    def beat() -> None:
        while not over.wait(cluster_runs.BEAT_SECONDS):
            with suppress(OSError):
                cluster_runs.beat(*told)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def keep(run: str, step: str, state: str, used: dict[str, float], came: Mapping[str, Any] | None = None) -> None:
    """Keeps what one step took and came to. Of a TrainJob's pods it counts what they had, used or not, while the step waited for them."""
    asked = settings()
    if step == TRAINS and asked.train_runtime:
        had = {"cpu_seconds": asked.train_nodes * asked.train_cpus, "gpu_seconds": asked.train_nodes * asked.train_gpus}
        used = {**used, **{each: round(used[each] + count * used["seconds"], 3) for each, count in had.items()}}
    cluster_runs.end(asked.root, run, step, state, came=dict(came or {}), **used)


def of_run(run: str) -> dict[str, Any]:
    """What a `run` event tells of the steps of a run: their order, seconds each and in all, what was measured, money, what they came to.

    A step that was killed took what nobody measured. Nothing where none was kept: a step that came from Kubeflow's cache took nothing,
    and what it came to is told by the run before.
    """
    from lineage.runs import Step
    from monitoring.prices import Prices

    told = cluster_runs.steps_of(settings().root, run)
    if not told:
        return {}
    prices, costs, ended = Prices.in_force(), {}, [each for each in told if "ended" in each]
    for each in ended:
        measured = {name: each[name] for name in MEASURED}
        costs[each["name"]] = {**measured, "cost": prices.of(Step(each["name"], seconds=each["seconds"], **measured))}
    began, until = cluster_runs.began(told[0]), max((each["ended"] for each in ended), default="")
    return {
        "order": [each["name"] for each in told],
        "steps": {each["name"]: each["seconds"] for each in ended},
        "failed": [each["name"] for each in told if each["state"] != "done"],
        "costs": costs,
        "currency": prices.currency,
        "prices": prices.digest,
        "started": began,
        "heard": cluster_runs.began(told[-1]),
        "seconds": round((datetime.fromisoformat(until) - datetime.fromisoformat(began)).total_seconds(), 3) if until else None,
        **{name: value for each in told for name, value in each.get("came", {}).items()},
    }


def of_verdict(path: Path) -> dict[str, Any]:
    """What the gate's verdict, a file, means for its run: the decision, what was gained, and which snapshot and candidate it is of."""
    from lineage.costs import gain_of

    judged = read_json(path)
    subjects = [judged["candidate"][name] for name in ("snapshot", "digest")]
    return {"verdict": judged["decision"], "gain": gain_of(judged), "subjects": subjects}
