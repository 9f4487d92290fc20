"""What the ledger tells of one thing, read without SQLAlchemy and without the rest of the chain.

Each event is checked against its own hash; whether the chain is whole is for `Ledger.verify` to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from goodsight.errors import IntegrityError
from lineage.database import rows
from lineage.event import Event

COLUMNS = "events.seq, time, kind, actor, subjects, payload, previous, hash"


@dataclass(frozen=True)
class History:
    """Events in order, and the seq of those whose bytes are not what their hash says."""

    events: list[Event]
    altered: list[int]

    def of(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]


def about(url: str, digest: str) -> History:
    """The events that have `digest` among their subjects."""
    return _history(url, "JOIN subjects ON subjects.seq = events.seq WHERE digest = :digest", digest=digest)


def of_kind(url: str, kind: str, having: str = "%") -> History:
    """The events of one kind; `having`, a pattern of LIKE, leaves out those whose payload as JSON is not like it."""
    return _history(url, "WHERE kind = :kind AND payload LIKE :having", kind=kind, having=having)


def learned_from(url: str, candidate: str) -> str:
    """Revision of the catalogue that a registered candidate learned from; empty where the ledger has no registration of it."""
    registered = about(url, candidate).of("registration")
    return str(registered[0].payload["revision"]) if registered else ""


def newest(url: str, kind: str, most: int) -> History:
    """The newest events of one kind, at most so many."""
    return numbered(url, numbers(url, kind, most))


def numbered(url: str, seqs: Iterable[int]) -> History:
    """The events with these seqs."""
    wanted = ", ".join(str(int(seq)) for seq in seqs)
    return _history(url, f"WHERE events.seq IN ({wanted})") if wanted else History([], [])


def numbers(url: str, kind: str, most: int) -> list[int]:
    """The seqs of the newest events of one kind, at most so many."""
    return _seqs(url, "SELECT seq FROM events WHERE kind = :kind ORDER BY seq DESC LIMIT :most", kind=kind, most=most)


def last_of_each(url: str, kind: str, since: str, characters: int) -> list[int]:
    """The seq of the last event of one kind in each hour (13 `characters` of its time) or day (10), from `since` on (ISO 8601, UTC)."""
    query = "SELECT MAX(seq) AS seq FROM events WHERE kind = :kind AND time >= :since GROUP BY substr(time, 1, :characters)"
    return _seqs(url, query, kind=kind, since=since, characters=characters)


def _seqs(url: str, query: str, **values: Any) -> list[int]:
    return sorted(int(row["seq"]) for row in rows(url, query, **values))


def starting(url: str, start: str) -> list[str]:
    """The digests among all subjects that start so."""
    found = rows(url, "SELECT DISTINCT digest FROM subjects WHERE digest >= :start AND digest < :end", start=start, end=start + "g")
    return sorted(row["digest"] for row in found)


def hashes(url: str) -> list[dict[str, Any]]:
    """seq and hash of every event, in order."""
    return rows(url, "SELECT seq, hash FROM events ORDER BY seq")


def _history(url: str, condition: str, **values: Any) -> History:
    found = History([], [])
    for row in rows(url, f"SELECT {COLUMNS} FROM events {condition} ORDER BY events.seq", **values):
        try:
            found.events.append(Event.of(row))
        except IntegrityError:
            found.altered.append(row["seq"])
    return found
