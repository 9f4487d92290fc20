"""How it stands: runs, champion, decisions and why, drift over time, verdicts, data quality, feedback and costs, on one page.

Read from the ledger, the state files of runs and the prediction log; nothing is written. A decision is made every quarter of an hour and
each has all its figures, so few are read whole: the newest, the last of each hour, and the last of each day before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from goodsight.errors import GoodsightError
from lineage import feedback, history
from lineage.event import Event
from lineage.runs import Run, Step, list_runs

# Which step waits for which; a test compares it with the pipeline.
GRAPH = {
    "resolve": (),
    "snapshot": ("resolve",),
    "validate": ("snapshot",),
    "features": ("validate",),
    "pretrain": ("features",),
    "finetune categorize": ("pretrain",),
    "finetune retrieve": ("pretrain",),
    "evaluate": ("finetune categorize", "finetune retrieve"),
    "gate": ("evaluate",),
    "register": ("gate",),
    "index": ("register",),
    "deploy": ("index",),
}
RUNS, DECISIONS, VERDICTS, VALIDATIONS, FINDINGS = 20, 40, 12, 40, 24  # shown at most
HOURLY, DAILY = timedelta(days=3), timedelta(days=90)  # how far drift is shown by the hour, and by the day
COST_DAYS = FEEDBACK_DAYS = 30
OF_DECISION = ("decision", "reason", "run_id", "champion", "revision", "by", "triggers", "constraints")
OF_FINDING = ("name", "group", "slice", "test", "effect", "bound", "adjusted_p", "drifted", "reference_n", "current_n")
LATE = timedelta(hours=1)  # until what was said of older days is read again
COSTS = ("cost", "cpu_seconds", "gpu_seconds", "energy_kwh")


@dataclass
class _FinishedDays:
    """What is kept of the days before yesterday: how many answers they had, which never changes, and what was said of these, which may
    still come: LATE later than it is said."""

    answered: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: list[dict[str, Any]] = field(default_factory=list)
    until: datetime = datetime.min.replace(tzinfo=UTC)
    read: datetime = datetime.min.replace(tzinfo=UTC)

    def __call__(self, url: str, since: datetime, until: datetime, now: datetime) -> list[dict[str, Any]]:
        """Figures of the days (UTC) from `since` to before `until`, in parts, of which a day may have two."""
        anew = self.until != until
        if anew:
            found = feedback.by_day(url, max(since, self.until), until, names=feedback.ANSWERED)
            self.answered |= {each["day"]: each for each in found}
            self.answered = {day: each for day, each in self.answered.items() if day >= f"{since:%F}"}
        if anew or now - self.read >= LATE:
            self.said, self.read = feedback.by_day(url, since, until, names=feedback.SAID), now
        self.until = until
        return [*self.answered.values(), *self.said]


@dataclass
class Status:
    """Tells how it stands with the home `root`. What was read of a decision is kept, since the ledger never changes, and the figures of
    finished days, of which there may be millions of answers."""

    root: Path
    ledger: str
    predictions: str
    _decisions: dict[int, dict[str, Any]] = field(default_factory=dict)
    _days: _FinishedDays = field(default_factory=_FinishedDays)

    def __call__(self, now: datetime) -> dict[str, Any]:
        """All of it as JSON, at the instant `now` (with a time zone). Raises `GoodsightError` when the ledger cannot be read."""
        runs = list_runs(self.root, self.ledger)
        decisions = self._read_decisions(now)
        return {
            "now": now.isoformat(timespec="seconds"),
            "graph": GRAPH,
            "champion": _champion(self.ledger, now),
            "runs": [_run(run) for run in runs[:RUNS]],
            "decisions": [{name: value for name, value in each.items() if name != "drift"} for each in decisions[::-1][:DECISIONS]],
            "drift": _drift(decisions),
            "verdicts": _verdicts(self.ledger),
            "data": [_validation(event) for event in history.newest(self.ledger, "validation", VALIDATIONS).events],
            "feedback": _feedback(self.predictions, self._days, now),
            "costs": _costs(runs, now),
        }

    def _read_decisions(self, now: datetime) -> list[dict[str, Any]]:
        """The decisions that are shown or are a point of a line, oldest first."""
        wanted = {
            *history.numbers(self.ledger, "trigger", DECISIONS),
            *history.last_of_each(self.ledger, "trigger", (now - HOURLY).isoformat(), len("2027-01-31T10")),
            *history.last_of_each(self.ledger, "trigger", (now - DAILY).isoformat(), len("2027-01-31")),
        }
        found = history.numbered(self.ledger, wanted - set(self._decisions)).events
        self._decisions = {seq: told for seq, told in self._decisions.items() if seq in wanted}
        self._decisions |= {event.seq: _decision(event) for event in found}
        return [self._decisions[seq] for seq in sorted(self._decisions)]


def _decision(event: Event) -> dict[str, Any]:
    """What a page shows of a decision, and what its drift adds to the lines."""
    told = {name: event.payload.get(name) for name in OF_DECISION}
    drift = event.payload.get("drift") or {}
    findings = [{name: each.get(name) for name in OF_FINDING} for each in drift.get("findings") or ()]
    kept = {name: drift.get(name) for name in ("state", "explanation", "until", "current_n")}
    return {"seq": event.seq, "time": event.time, **told, "drift": {**kept, "findings": findings}}


def _champion(ledger: str, now: datetime) -> dict[str, Any] | None:
    """Who is champion, as the ledger has it, and for how long."""
    moves = history.newest(ledger, "alias_move", 1).events
    if not moves:
        return None
    told, since = moves[0].payload, datetime.fromisoformat(moves[0].time)
    return {
        "version": told["version"],
        "previous": told.get("previous"),
        "since": moves[0].time,
        "age_days": round((now - since) / timedelta(days=1), 3),
        "by": moves[0].actor,
        "reason": told.get("reason") or "",
    }


def _run(run: Run) -> dict[str, Any]:
    told = run.to_json()
    if run.kubeflow:
        told["steps"] = [*({**asdict(Step(name)), "cached": True} for name in _from_cache(run)), *told["steps"]]
    unshown = {"pid", "created", "namespace", "asked"}
    return {name: value for name, value in told.items() if name not in unshown}


def _from_cache(run: Run) -> list[str]:
    """The steps of a run on a cluster that were silent and are behind it all the same: they came from Kubeflow's cache."""
    told = {step.name for step in run.steps}
    passed = set[str]().union(*(_up_to(name) for name in told & GRAPH.keys()))
    return [name for name in GRAPH if name in passed - told]


def _up_to(name: str) -> set[str]:
    return {name}.union(*map(_up_to, GRAPH[name]))


def _drift(decisions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The findings of the newest comparison, those that drifted first, each with its effects since, as [time, effect, drifted]."""
    compared = [each for each in decisions if each["drift"]["findings"]]
    if not compared:
        newest = decisions[-1]["drift"] if decisions else {}
        return {"time": None, "state": newest.get("state"), "explanation": newest.get("explanation"), "count": 0, "findings": []}
    newest = compared[-1]
    findings = sorted(newest["drift"]["findings"], key=_weight)[:FINDINGS]
    lines: dict[tuple[str, str], list[list[Any]]] = {(each["name"], each["slice"]): [] for each in findings}
    for decision in compared:
        for each in decision["drift"]["findings"]:
            if (line := lines.get((each["name"], each["slice"]))) is not None:
                line.append([decision["time"], each["effect"], each["drifted"]])
    told = {name: newest["drift"][name] for name in ("state", "explanation", "current_n")}
    count = len(newest["drift"]["findings"])
    shown = [{**each, "points": lines[each["name"], each["slice"]]} for each in findings]
    return {"time": newest["time"], **told, "count": count, "findings": shown}


def _weight(finding: dict[str, Any]) -> tuple[bool, float]:
    return (not finding["drifted"], -(finding["effect"] or 0) / (finding["bound"] or 1))


def _verdicts(ledger: str) -> list[dict[str, Any]]:
    """The newest verdicts of the gate, the version that a candidate became with them."""
    versions = {event.payload["candidate"]: event.payload["version"] for event in history.of_kind(ledger, "registration").events}
    return [_verdict(event, versions) for event in history.newest(ledger, "verdict", VERDICTS).events[::-1]]


def _verdict(event: Event, versions: dict[str, str]) -> dict[str, Any]:
    told = event.payload
    candidate = (told.get("candidate") or {}).get("digest", "")
    kept = {name: told.get(name) for name in ("decision", "failed", "overridden", "policy", "verdict")}
    return {"seq": event.seq, "time": event.time, **kept, "candidate": candidate, "version": versions.get(candidate)}


def _validation(event: Event) -> dict[str, Any]:
    told = {name: event.payload.get(name) for name in ("decision", "reason", "products_in", "kept", "quarantined", "by_reason")}
    return {"time": event.time, **told, "digest": event.payload.get("raw_digest", "")}


def _feedback(predictions: str, finished: _FinishedDays, now: datetime) -> list[dict[str, Any]]:
    """What people said, by day; nothing where the prediction log cannot be read: the rest of the page stands without it."""
    yesterday = datetime.combine(now.astimezone(UTC).date(), time.min, UTC) - timedelta(days=1)
    since = yesterday - timedelta(days=FEEDBACK_DAYS - 1)
    days: dict[str, dict[str, Any]] = {}
    try:
        for part in (*finished(predictions, since, yesterday, now), *feedback.by_day(predictions, yesterday, now)):
            days[part["day"]] = days.get(part["day"], dict.fromkeys(feedback.FIGURES, 0)) | part
    except GoodsightError:
        return []
    return [days[day] for day in sorted(days)]


def _costs(runs: Sequence[Run], now: datetime) -> dict[str, Any]:
    """What the runs of the last days cost; None is what nobody measured."""
    since = (now - timedelta(days=COST_DAYS)).isoformat()
    recent = [run for run in runs if (run.ended or run.started) >= since]
    sums = {name: _sum(getattr(step, name) for run in recent for step in run.steps) for name in COSTS}
    currency = next((run.currency for run in recent if run.currency), "")
    return {"days": COST_DAYS, "runs": len(recent), "promoted": sum(bool(run.version) for run in recent), "currency": currency, **sums}


def _sum(values: Iterable[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return sum(told) if told else None
