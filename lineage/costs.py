"""What runs cost, from their events in the ledger: one of them, or what all of them came to for a point gained and for answers.

Money and energy are what the run wrote down when it ended, by the table of prices of that day; nothing here prices anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from goodsight.errors import InputError
from lineage import history, runs
from lineage.database import rows
from lineage.event import Event
from lineage.passport import subject_of
from lineage.runs import Run
from lineage.sources import Sources

MEASURED = ("cpu_seconds", "gpu_seconds", "energy_kwh", "cost")


def cost_of(wanted: str, sources: Sources) -> dict[str, Any]:
    """What the run `wanted`, or the run that made the model `wanted`, took in all and by step, and the steps that it did not do.

    A step that came from the cache cost its seconds in the run before; a run that was tried again is told by its last attempt, with
    the money of all. Raises `InputError` when the ledger tells of no such run.
    """
    attempts = [event for event in history.of_kind(sources.ledger, "run").events if event.payload["run_id"] == wanted]
    told = attempts[-1] if attempts else _of_model(wanted, sources)
    payload, run = told.payload, runs.of_ledger(told)
    kept = {name: payload.get(name) for name in ("run_id", "revision", "state", "seconds", "version")}
    ran = [step for step in run.steps if not step.cached]
    measured = {step.name: (payload.get("costs") or {}).get(step.name) for step in ran}
    sums = {name: total([run], name) for name in MEASURED}
    peak = max((step.peak_rss_bytes or 0 for step in run.steps), default=0) or None
    return {
        **kept,
        "ended": told.time,
        "steps": {step.name: step.seconds for step in ran},
        "cached": list(payload.get("cached") or ()),
        "measured": measured,
        **sums,
        "cost": run.cost,
        "currency": run.currency,
        "peak_rss_bytes": peak,
        "gain": payload.get("gain"),
        "per_point": _per(run.cost, points(payload.get("gain"))),
    }


def _of_model(wanted: str, sources: Sources) -> Event:
    subject = subject_of(wanted, sources)
    registered = [event for event in history.of_kind(sources.ledger, "registration").events if event.payload["version"] == subject.name]
    found = history.about(sources.ledger, registered[0].payload["candidate"]).of("run") if registered else []
    if subject.kind != "model" or not found:
        hint = "See them with: goodsight models list"
        raise InputError(f"The ledger tells of no run {wanted!r}, and of none that made such a model.", hint)
    return found[0]


def gain_of(verdict: dict[str, Any]) -> dict[str, Any] | None:
    """The primary metric and by how much, in points of 100, the candidate of a verdict is better than the champion of then.

    None where there was no champion to compare with.
    """
    checks = [check for check in verdict["checks"] if check["p"] is not None and check["slice"] == "all"]
    gained = [check["difference"] for check in checks if check["metric"] == verdict["primary"]]
    return {"metric": verdict["primary"], "points": round(100 * gained[0], 4)} if gained else None


def points(gain: dict[str, Any] | None) -> float:
    """Points that were gained; 0 where nothing was, or where nobody knows."""
    return max(gain["points"], 0.0) if gain else 0.0


def total(told: Iterable[Run], name: str) -> float | None:
    """The sum of one figure over the steps of runs; None when none of them has it."""
    values = [value for run in told for step in run.steps if (value := getattr(step, name)) is not None]
    return sum(values) if values else None


def economy(sources: Sources, second: float, currency: str, since: str = "") -> dict[str, Any]:
    """What all runs (since a time) came to: by outcome, for each point that promoted versions gained, for 1,000 answers.

    Runs whose candidate was rejected, or that failed, count too: they are the price of the ones that came through. An answer has its
    share of them, and what itself took: `second` is the price, in `currency`, of one CPU for a second, the most that a second of an
    answer costs. Raises `InputError` when runs were priced in several currencies.
    """
    events = [event for event in history.of_kind(sources.ledger, "run").events if event.time >= since]
    told = [runs.of_ledger(event) for event in events]
    currencies = sorted({currency, *(run.currency for run in told if run.currency)})
    if len(currencies) > 1:
        hint = "Ask for the time since the change: --since DAY"
        raise InputError(f"Runs were priced in several currencies: {', '.join(currencies)}.", hint)
    spent = sum(run.cost or 0.0 for run in {run.run_id: run for run in told}.values())  # the last attempt knows of those before it
    gained = sum(_gains(events).values())
    answered = _answers(sources.predictions, since)
    answering = answered["seconds"] * second
    return {
        "runs": len({run.run_id for run in told}),
        "promoted": len({run.run_id for run in told if run.verdict == "promote" and run.version}),
        "cost": spent,
        "currency": currency,
        **{name: total(told, name) for name in MEASURED if name != "cost"},
        "points": round(gained, 4),
        "per_point": _per(spent, gained),
        "answers": answered["count"],
        "answer_seconds": answered["seconds"],
        "answering": answering,
        "per_1000_answers": _per(spent + answering, answered["count"] / 1000),
    }


def _gains(events: Iterable[Event]) -> dict[str, float]:
    """Candidate -> points that it gained: several runs may tell of one, when its verdict came from the cache or a run went on."""
    promoted = [event for event in events if event.payload.get("verdict") == "promote"]
    return {event.subjects[-1] if event.subjects else event.payload["run_id"]: points(event.payload.get("gain")) for event in promoted}


def _per(cost: float | None, count: float) -> float | None:
    return cost / count if cost is not None and count > 0 else None


def _answers(url: str, since: str) -> dict[str, Any]:
    figures = "COUNT(*) AS count, COALESCE(SUM(latency_ms), 0) / 1000.0 AS seconds"
    found = rows(url, f"SELECT {figures} FROM predictions WHERE status = 'ok' AND time >= :since", since=since)
    return found[0] if found else {"count": 0, "seconds": 0.0}
