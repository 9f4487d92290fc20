"""One event of the ledger, and how a row of its table is believed. Apart from the ledger, so that reading one needs no SQLAlchemy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from goodsight.digests import canonical_json, sha256_json
from goodsight.errors import IntegrityError


@dataclass(frozen=True)
class Event:
    """One thing that happened: `subjects` are the digests it is about, `previous` the hash of the event before it."""

    seq: int
    time: str
    kind: str
    actor: str
    subjects: list[str]
    payload: dict[str, Any]
    previous: str

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @property
    def hash(self) -> str:
        """sha256 of the event as canonical JSON."""
        return sha256_json(self.to_json())

    @staticmethod
    def of(row: Mapping[Any, Any]) -> Event:
        """The event in a row of the table. Raises `IntegrityError` when its bytes are not what its hash says."""
        try:
            subjects, payload = json.loads(row["subjects"]), json.loads(row["payload"])
            found = Event(row["seq"], row["time"], row["kind"], row["actor"], subjects, payload, row["previous"])
            texts = (row["subjects"], row["payload"], row["hash"])
            same = (canonical_json(subjects), canonical_json(payload), found.hash) == texts
        except (TypeError, ValueError) as error:
            raise broken(row["seq"], f"unreadable ({error})") from error
        if not same:
            raise broken(row["seq"], "not what its hash says")
        return found


def broken(seq: Any, what: str) -> IntegrityError:
    return IntegrityError(f"Ledger event {seq!r} is {what}.", "The ledger was altered: restore it from a backup.")
