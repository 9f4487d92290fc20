"""The decisions in the ledger, read from its end: they are many."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lineage.database import rows
from lineage.event import Event
from lineage.history import COLUMNS
from monitoring.decision import Decision
from monitoring.observation import Start

KIND = "trigger"
LEADER = "leader"  # the constraint of a decision that was left to the controller that leads
OF_THE_LOOK = ("now", "sequence", "previous")  # of an observation: other at each look
STARTS = 50  # of the newest decisions to start; a run that is older has ended


def newest(url: str) -> Event | None:
    """The decision that was made last. Raises `IntegrityError` when it was altered."""
    found = _read(url, "", 1)
    return found[0] if found else None


def observed(url: str, event: Event | None) -> dict[str, Any] | None:
    """What a decision was made on, as JSON. It is written once: decisions on the same name the first that has it."""
    told: dict[str, Any] | None = event.payload.get("observed") if event else None
    if told is None or "as" not in told:
        return told
    found = rows(url, f"SELECT {COLUMNS} FROM events WHERE seq = :seq", seq=told["as"])
    return {**Event.of(found[0]).payload["observed"], **{name: told[name] for name in OF_THE_LOOK}}


def payload(url: str, made: Decision) -> dict[str, Any]:
    """The payload of a decision's event; what was seen is left out where nothing has changed since the decision before."""
    told, last = made.to_json(), newest(url)
    before = observed(url, last)
    if last is None or before is None or _lasting(before) != _lasting(told["observed"]):
        return told
    first = last.payload["observed"].get("as", last.seq)
    return {**told, "observed": {"as": first, **{name: told["observed"][name] for name in OF_THE_LOOK}}}


def _lasting(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in OF_THE_LOOK}


def starts(url: str) -> list[Event]:
    """The newest decisions to start a run, oldest first."""
    return _read(url, """AND payload LIKE '%"decision":"start"%'""", STARTS)[::-1]


def between(url: str, since: datetime, until: datetime) -> list[Event]:
    """The decisions of a stretch of time, oldest first."""
    query = f"SELECT {COLUMNS} FROM events WHERE kind = :kind AND time >= :since AND time < :until ORDER BY seq"
    found = rows(url, query, kind=KIND, since=since.isoformat(), until=until.isoformat())
    return [Event.of(row) for row in found]


def start_of(events: list[Event]) -> Start | None:
    """The newest decision to start among `events`, how often its run was started, and all that asked for it."""
    told = [event for event in events if event.payload.get("decision") == "start"]
    if not told:
        return None
    last: dict[str, Any] = told[-1].payload
    mine = [event.payload for event in told if event.payload["run_id"] == last["run_id"]]
    fired = tuple(dict.fromkeys(each["name"] for one in mine for each in one["triggers"] if each["fired"]))
    return Start(last["run_id"], datetime.fromisoformat(told[-1].time), last["asked"], len(mine), fired)


def _read(url: str, condition: str, most: int) -> list[Event]:
    query = f"SELECT {COLUMNS} FROM events WHERE kind = :kind {condition} ORDER BY seq DESC LIMIT :most"
    return [Event.of(row) for row in rows(url, query, kind=KIND, most=most)]
