"""Runs on a cluster while they go on, as their steps tell of themselves; each step is a pod of its own.

    <home>/runs/<Kubeflow's id>/steps/<step>.json    written when the step begins and when it ends, touched every minute between

The last step brings them into the ledger, which ends the run. On one machine the process of the run hears of its steps (`runs`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from goodsight.errors import GoodsightError
from goodsight.files import read_json, write_json

STEPS = "steps"
FIRST = "resolve"  # runs of retraining have it, and it knows by which name the ledger will tell of the run
STATES = {"started": "RUNNING", "done": "SUCCEEDED"}
BEAT_SECONDS = 60.0
# How long a run may be silent, by the state of the step that began last: its pod beats, Kubeflow tries it again, the next one may wait
# for a pod, for example for a GPU.
SILENT_SECONDS = {"started": 10 * BEAT_SECONDS, "failed": 3600.0, "done": 24 * 3600.0}


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
    """When a step began (ISO 8601, UTC); an older release told only its end and its seconds."""
    if "started" in step:
        return str(step["started"])
    return (datetime.fromisoformat(step["ended"]) - timedelta(seconds=step["seconds"])).isoformat(timespec="microseconds")


def going_on(root: Path, ended: Mapping[str, str]) -> list[dict[str, Any]]:
    """The runs whose last step has not told the ledger yet, each as a state file would tell it (`runs.Run.of`).

    `ended` has the times (ISO 8601, UTC) at which the runs of a name, or of an id of Kubeflow's, ended. LOST is one of which nothing was
    heard for too long; Kubeflow may know better. Of several with one name, which were started again or copied, the newest counts.
    """
    found = [run for path in (root / "runs").glob(f"*/{STEPS}/{FIRST}.json") if (run := _going_on(root, path, ended))]
    return list({run["run_id"]: run for run in sorted(found, key=lambda run: began(run["steps"][-1]))}.values())


def _going_on(root: Path, first: Path, ended: Mapping[str, str]) -> dict[str, Any] | None:
    run, resolved = first.parent.parent.name, _read(first)
    if resolved is None or "started" not in resolved:  # an older release, which told at the end
        return None
    name = resolved.get("run") or run
    over = max(ended.get(name, ""), ended.get(run, ""))
    if over and _written(first.parent) <= datetime.fromisoformat(over).timestamp():
        return None
    steps = steps_of(root, run)
    since = [began(step) for step in steps if began(step) > over]  # Kubeflow tries a failed run again under its id
    if not since:
        return None
    came = {fact: value for step in steps for fact, value in step.get("came", {}).items()}
    shown = [{**each, "state": STATES.get(each["state"], "FAILED"), "started": began(each)} for each in steps]
    state, begun = "RUNNING" if _heard(root, run, steps[-1]) else "LOST", began(steps[0])
    return {**came, "run_id": name, "state": state, "started": begun, "since": min(since), "steps": shown, "kubeflow": run}


def _heard(root: Path, run: str, last: Mapping[str, Any]) -> bool:
    """Whether the step that began last, or its end, was heard of a short time ago."""
    return time.time() - _written(place(root, run, last["name"])) < SILENT_SECONDS.get(last["state"], 0.0)


def _written(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _read(path: Path) -> dict[str, Any] | None:
    """What a step told; None where that is no file of a step."""
    with contextlib.suppress(GoodsightError, AttributeError):
        told: dict[str, Any] = read_json(path)
        if {"name", "state"} <= told.keys() and ("started" in told or {"ended", "seconds"} <= told.keys()):
            return told
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
