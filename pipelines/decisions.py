"""The decisions in the ledger, read from its end: they are many."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lineage.database import rows
from lineage.event import Event
from lineage.history import COLUMNS
from monitoring.observation import Start

KIND = "trigger"
STARTS = 200  # of the newest decisions to start; a run that is older has ended


def newest(url: str) -> Event | None:
    """The decision that was made last. Raises `IntegrityError` when it was altered."""
    found = _read(url, "", 1)
    return found[0] if found else None


def starts(url: str) -> list[Event]:
    """The newest decisions to start a run, oldest first."""
    return _read(url, """AND payload LIKE '%"decision":"start"%'""", STARTS)[::-1]


def between(url: str, since: datetime, until: datetime) -> list[Event]:
    """The decisions of a stretch of time, oldest first."""
    query = f"SELECT {COLUMNS} FROM events WHERE kind = :kind AND time >= :since AND time < :until ORDER BY seq"
    found = rows(url, query, kind=KIND, since=since.isoformat(), until=until.isoformat())
    return [Event.of(row) for row in found]


def start_of(events: list[Event]) -> Start | None:
    """The newest decision to start among `events`, and how often its run was started."""
    told = [event for event in events if event.payload.get("decision") == "start"]
    if not told:
        return None
    last: dict[str, Any] = told[-1].payload
    attempts = sum(event.payload["run_id"] == last["run_id"] for event in told)
    fired = tuple(each["name"] for each in last["triggers"] if each["fired"])
    makers = (last.get("observed") or {}).get("makers") or {}
    return Start(last["run_id"], datetime.fromisoformat(told[-1].time), last["asked"], attempts, fired, makers)


def _read(url: str, condition: str, most: int) -> list[Event]:
    query = f"SELECT {COLUMNS} FROM events WHERE kind = :kind {condition} ORDER BY seq DESC LIMIT :most"
    return [Event.of(row) for row in rows(url, query, kind=KIND, most=most)]
