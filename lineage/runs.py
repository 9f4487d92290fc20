"""The runs of the pipeline: what goes on now, as its process writes it under home, and what ended, as the ledger tells it.

    <home>/runs/<id>/state.json    the run as of its last step event; written whole by the process that runs it
    <home>/runs/<id>/alive         a lock that this process holds: how another container sees that it lives

With the id of the process goes when it was created, and the namespace in which the id counts (`goodsight.processes`). A run whose
process is gone without a word is LOST; the same command under the same id goes on with it. A run on a cluster has no process: its steps
tell of it (`cluster_runs`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from goodsight.errors import GoodsightError, NotFoundError
from goodsight.files import read_json, write_json
from goodsight.processes import Process, held, namespace
from lineage import cluster_runs, history
from lineage.event import Event

STATES = ("RUNNING", "SUCCEEDED", "FAILED", "STOPPED", "LOST")
STATE, ALIVE = "state.json", "alive"


@dataclass(frozen=True)
class Step:
    """One step of a run. A step that came from the cache took and cost nothing; None is what nobody measured."""

    name: str
    state: str = "SUCCEEDED"  # or RUNNING, FAILED
    seconds: float = 0.0
    cached: bool = False
    started: str = ""
    cpu_seconds: float | None = None
    gpu_seconds: float | None = None
    peak_rss_bytes: int | None = None
    energy_kwh: float | None = None
    cost: float | None = None  # money, by the table of prices of the run


@dataclass(frozen=True)
class Run:
    """One run: `asked` are its arguments, `trigger` the seq of the decision that started it, `since` when its last attempt began."""

    run_id: str
    state: str
    started: str = ""  # ISO 8601, UTC
    ended: str | None = None
    revision: str = ""
    cause: str = ""  # why it did not succeed
    asked: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    verdict: str | None = None
    version: str | None = None
    data_verdict: str | None = None
    trigger: int | None = None
    pid: int | None = None
    seconds: float | None = None  # of the last attempt, once it ended
    since: str = ""
    currency: str = ""
    spent: float = 0.0  # money of attempts before the last one
    created: float = 0.0  # the process, seconds since 1970
    namespace: int = 0  # of the process id; 0: here
    kubeflow: str = ""  # the id that Kubeflow Pipelines has for it; empty: it ran on one machine

    @property
    def live(self) -> bool:
        return self.state == "RUNNING"

    @property
    def cost(self) -> float | None:
        """Money that it cost, all attempts together; None when nobody measured it."""
        known = _sum(step.cost for step in self.steps)
        return self.spent if known is None and self.spent else None if known is None else known + self.spent

    @property
    def gpu_seconds(self) -> float:
        return _sum(step.gpu_seconds for step in self.steps) or 0.0

    def to_json(self) -> dict[str, Any]:
        """As `goodsight runs --json` prints it."""
        return {**asdict(self), "cost": self.cost}

    @staticmethod
    def of(value: Mapping[str, Any]) -> Run:
        """The run in the JSON of a state file; what it does not tell has its default."""
        told = {each.name: value[each.name] for each in fields(Run) if each.name in value}
        known = {each.name for each in fields(Step)}
        told["steps"] = [Step(**{name: one for name, one in step.items() if name in known}) for step in value.get("steps", [])]
        return Run(**told)


def _sum(values: Iterator[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return sum(told) if told else None


def folder(root: Path, run_id: str) -> Path:
    return root / "runs" / run_id


def list_runs(root: Path, ledger_url: str) -> list[Run]:
    """Every run that home or the ledger tells of, newest first. Raises `GoodsightError` when the ledger cannot be read."""
    events = _events(ledger_url, "run")
    ended = {event.payload["run_id"]: event for event in events}
    triggers = _triggers(ledger_url)
    kept = {run.run_id: run for run in _kept(root)}
    there = {run.run_id: run for run in map(Run.of, cluster_runs.going_on(root, _over(events)))}
    found = [there.get(name) or _merged(kept.get(name), ended.get(name), root) for name in {**kept, **ended, **there}]
    found = [replace(run, trigger=triggers.get(run.run_id, run.trigger)) for run in found]
    return sorted(found, key=lambda run: (run.since or run.started, run.run_id), reverse=True)


def find(root: Path, ledger_url: str, wanted: str) -> Run:
    """The run whose id, or Kubeflow's id, is `wanted`, or whose id starts with it; `last` is the newest.

    Raises `NotFoundError` where none or several are.
    """
    runs = list_runs(root, ledger_url)
    if wanted == "last" and runs:
        return runs[0]
    found = [run for run in runs if wanted and wanted in (run.run_id, run.kubeflow)]
    found = found or [run for run in runs if wanted and run.run_id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} runs start with {wanted!r}" if found else f"There is no run {wanted!r}"
    raise NotFoundError(f"{what}.", "See them with: goodsight runs list")


def of_ledger(event: Event) -> Run:
    """The run that a `run` event tells of."""
    told = event.payload
    costs = told.get("costs") or {}
    seconds = told.get("seconds")
    took, failed, cached = told.get("steps") or {}, told.get("failed") or (), told.get("cached") or ()
    steps = []
    for name in dict.fromkeys((*told.get("order", ()), *cached, *took, *failed)):
        state = "FAILED" if name in failed else "SUCCEEDED"
        known = {"seconds": took.get(name, 0.0), "cached": name in cached and name not in took, **costs.get(name, {})}
        steps.append(Step(name, state, **known))
    return Run(
        run_id=told["run_id"],
        state=_state(told["state"]),
        started=told.get("started") or _before(event.time, seconds or 0.0),
        ended=event.time,
        revision=told.get("revision") or "",
        cause=told.get("cause") or "",
        asked=told.get("asked") or {},
        steps=steps,
        verdict=told.get("verdict"),
        version=told.get("version"),
        data_verdict=told.get("data_verdict"),
        seconds=seconds,
        currency=told.get("currency") or "",
        spent=told.get("spent") or 0.0,
        kubeflow=told.get("kubeflow") or "",
    )


def _state(told: str) -> str:
    """Kubeflow has states of its own for a run that was stopped."""
    return {"CANCELLED": "STOPPED", "CANCELED": "STOPPED", "CANCELLING": "STOPPED", "SKIPPED": "SUCCEEDED"}.get(told, told)


def _before(time: str, seconds: float) -> str:
    return (datetime.fromisoformat(time) - timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def _events(ledger_url: str, kind: str, having: str = "%") -> list[Event]:
    """The events of a kind; none while the first process of a home is about to make the tables."""
    try:
        return history.of_kind(ledger_url, kind, having=having).events
    except GoodsightError as error:
        if "no such table" in str(error.__cause__):
            return []
        raise


def _triggers(ledger_url: str) -> dict[str, int]:
    """run id -> the seq of the decision that started it."""
    told = _events(ledger_url, "trigger", having='%"decision":"start"%')  # most decisions are to wait
    return {event.payload["run_id"]: event.seq for event in told if event.payload.get("run_id")}


def _kept(root: Path) -> Iterator[Run]:
    for path in (root / "runs").glob(f"*/{STATE}"):
        with contextlib.suppress(GoodsightError, TypeError, AttributeError):  # a run that was removed just now, or a file of another kind
            yield Run.of(read_json(path))


def _over(events: Iterable[Event]) -> dict[str, str]:
    """When runs ended, by their names and by Kubeflow's ids. `heard` is when the last step began of which the end of the run knew: the
    clocks of two pods differ."""
    over: dict[str, str] = {}
    for event in events:
        for name in (event.payload["run_id"], event.payload.get("kubeflow")):
            if name:
                over[name] = max(over.get(name, ""), event.time, event.payload.get("heard") or "")
    return over


def _merged(kept: Run | None, event: Event | None, root: Path) -> Run:
    """The ledger ends a run; a later attempt of it, which goes on or was lost, is told by its state file."""
    if kept is None:
        assert event is not None
        return of_ledger(event)
    if event is not None and event.time >= kept.since:
        told, begun = of_ledger(event), {step.name: step.started for step in kept.steps}
        steps = [replace(step, started=begun.get(step.name, "")) for step in told.steps]
        return replace(told, started=kept.started or told.started, asked=told.asked or kept.asked, pid=kept.pid, steps=steps)
    return kept if not kept.live or alive(root, kept) else replace(kept, state="LOST")


def alive(root: Path, run: Run) -> bool:
    """Whether the process of a run lives: by its id, or, where ids of its namespace mean nothing, by the lock that it holds."""
    if run.namespace not in (0, namespace()):
        return held(folder(root, run.run_id) / ALIVE)
    return run.pid is not None and Process(run.pid, run.created).alive()


@contextlib.contextmanager
def living(place: Path) -> Iterator[None]:
    """Holds the lock of the run in the folder `place`, as long as this process lives and the block goes on."""
    place.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place / ALIVE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def by_this_process(run: Run) -> Run:
    """The run as one that this process runs."""
    return replace(run, pid=os.getpid(), created=Process.of(os.getpid()).created, namespace=namespace())


def keep(root: Path, run: Run) -> None:
    """Writes the state file of a run, whole."""
    write_json(folder(root, run.run_id) / STATE, asdict(run))
