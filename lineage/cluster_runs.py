"""Runs on a cluster while they go on, as their steps tell of themselves; each step is a pod of its own.

    <home>/runs/<Kubeflow's id>/steps/<step>.json    written when the step begins and when it ends, touched every minute between

The last step brings them into the ledger, which ends the run. On one machine the process of the run hears of its steps (`runs`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from goodsight.errors import GoodsightError
from goodsight.files import read_json, write_json

STEPS = "steps"
FIRST = "resolve"  # runs of retraining have it, and it knows by which name the ledger will tell of the run
STATES = {"started": "RUNNING", "done": "SUCCEEDED"}
BEAT_SECONDS = 60.0
SILENT_SECONDS = 10 * BEAT_SECONDS  # a step of which nothing is heard is gone
WAITING_SECONDS = 24 * 3600.0  # a step may wait for its pod, for example for a GPU


def place(root: Path, run: str, step: str) -> Path:
    """The file of a step of the run that has this id at Kubeflow."""
    return root / "runs" / run / STEPS / f"{step}.json"


def begin(root: Path, run: str, step: str, name: str = "") -> None:
    """A step begins; `name` is that of its run in the ledger, where it is another than Kubeflow's id."""
    write_json(place(root, run, step), {"name": step, "state": "started", "started": _now(), "run": name})


def beat(root: Path, run: str, step: str) -> None:
    """The step goes on."""
    os.utime(place(root, run, step))


def end(root: Path, run: str, step: str, state: str, **told: Any) -> None:
    """The step ended: `state` is done or failed."""
    path = place(root, run, step)
    begun = _read(path) or {}
    write_json(path, {**begun, "name": step, "state": state, "ended": _now(), **told})


def steps_of(root: Path, run: str) -> list[dict[str, Any]]:
    """What the steps of a run told, in the order in which they began. One whose file cannot be read is left out."""
    found = filter(None, map(_read, (root / "runs" / run / STEPS).glob("*.json")))
    return sorted(found, key=began)


def began(step: Mapping[str, Any]) -> str:
    """When a step began; an older release told only its end and its seconds."""
    if "started" in step:
        return str(step["started"])
    return (datetime.fromisoformat(step["ended"]) - timedelta(seconds=step["seconds"])).isoformat(timespec="microseconds")


def going_on(root: Path, ended: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The runs whose last step has not told the ledger yet, each as a state file would tell it (`runs.Run.of`).

    `ended` has the times (ISO 8601, UTC) at which the runs of an id ended. LOST is one of which nothing was heard for too long; Kubeflow
    may know better.
    """
    for path in (root / "runs").glob(f"*/{STEPS}/{FIRST}.json"):
        run = path.parent.parent.name
        over = ended.get(run, "")
        if over and _written(path.parent) <= datetime.fromisoformat(over).timestamp():
            continue
        steps = steps_of(root, run)
        if steps and began(steps[-1]) > over:  # Kubeflow tries a failed run again under its id
            yield _run(root, run, steps)


def _run(root: Path, run: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    name = next((step["run"] for step in steps if step.get("run")), run)
    came = {fact: value for step in steps for fact, value in step.get("came", {}).items()}
    state, since = "RUNNING" if _heard(root, run, steps) else "LOST", began(steps[0])
    shown = [{**each, "state": STATES.get(each["state"], "FAILED"), "started": began(each)} for each in steps]
    return {**came, "run_id": name, "state": state, "started": since, "since": since, "steps": shown, "kubeflow": run}


def _heard(root: Path, run: str, steps: list[dict[str, Any]]) -> bool:
    """Whether the step that began last, or the end of it, was heard of a short time ago."""
    last = steps[-1]
    most = SILENT_SECONDS if last["state"] == "started" else WAITING_SECONDS
    return time.time() - _written(place(root, run, last["name"])) < most


def _written(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _read(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(GoodsightError):
        told: dict[str, Any] = read_json(path)
        return told
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
