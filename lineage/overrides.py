"""Overrides of the gate: a check may be passed over by name, with a reason, by someone, until an instant; all in the ledger.

What does not say all of this, or whose time is over, overrides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta

from goodsight.digests import sha256_json
from goodsight.errors import InputError
from lineage.ledger import Event, Ledger

KIND = "override"


@dataclass(frozen=True)
class Override:
    """`check` is a check's id; `candidate` the digest it holds for, empty for every one; `until` an instant (ISO 8601, UTC)."""

    check: str
    candidate: str
    reason: str
    by: str
    until: str

    def covers(self, check: str, candidate: str) -> bool:
        return self.check == check and self.candidate in ("", candidate)

    def in_force(self, now: datetime) -> bool:
        """Whether it says all that it must and its time is not over."""
        said = all(value.strip() for value in (self.check, self.reason, self.by))
        try:
            return said and now < instant(self.until)
        except InputError:
            return False


def instant(until: str) -> datetime:
    """The end of a day (`2027-01-31`, UTC) or an instant. Raises `InputError` for anything else."""
    try:
        if len(until) == len("2027-01-31"):
            return datetime.combine(date.fromisoformat(until) + timedelta(days=1), time(), UTC)
        found = datetime.fromisoformat(until)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{until!r} is no date: {error}.", "Give a day like 2027-01-31.") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def record(ledger: Ledger, override: Override, now: datetime) -> Event:
    """Writes an override into the ledger. Raises `InputError` for one that would never hold."""
    for name in ("check", "reason", "by"):
        if not getattr(override, name).strip():
            raise InputError(f"An override needs --{name}, and it is empty.", "Say which check, why, who says so, and until when.")
    if now >= instant(override.until):
        raise InputError(f"The override ends on {override.until}, which is over.", "Give a day to come: --until 2027-01-31")
    payload = {name: value for name, value in asdict(override).items() if name != "by"}
    return ledger.append(KIND, override.by, [override.candidate] if override.candidate else [], payload)


def recorded(ledger: Ledger) -> list[Override]:
    """Every override in the ledger, oldest first, whether in force or not."""
    return [_of(event) for event in ledger.events(KIND)]


def in_force(ledger: Ledger, now: datetime) -> list[Override]:
    """The overrides that hold at `now`, newest first."""
    return [override for override in reversed(recorded(ledger)) if override.in_force(now)]


def digest(overrides: Sequence[Override]) -> str:
    """One text for the same overrides; empty for none."""
    return sha256_json([asdict(override) for override in overrides]) if overrides else ""


def _of(event: Event) -> Override:
    said = {name: str(event.payload.get(name) or "") for name in ("check", "candidate", "reason", "until")}
    return Override(**said, by=event.actor)
