"""Times as people write them: ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def end_of(text: str) -> datetime | None:
    """The last instant of a day, or the time given, in UTC where it names no zone; None for what is neither."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return time + timedelta(days=1) - timedelta(microseconds=1) if len(text) == len("2026-01-31") else time


def start_of(text: str) -> datetime | None:
    """The first instant of a day, or the time given, in UTC where it names no zone; None for what is neither."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
