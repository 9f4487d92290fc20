"""Observations as the tests of this room need them: one shop, in November, with a champion of ten days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from monitoring.observation import Champion, Data, Observation, Run, Window
from monitoring.policy import RetrainingPolicy

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)  # a Thursday
CHAMPION = Champion("3", "c" * 64, NOW - timedelta(days=10), "shop-aaaa")
OLD = Data("shop-aaaa", "a" * 64, NOW - timedelta(days=11), 0.0)
NEW = Data("shop-bbbb", "b" * 64, NOW - timedelta(hours=2), 0.2, 1)


def seen(**other: Any) -> Observation:
    """A champion on the newest data, two weeks after the first decision."""
    given = {"now": NOW, "sequence": 41, "first": NOW - timedelta(days=14), "champion": CHAMPION, "data": (OLD,)}
    return Observation(**{**given, **other})


def policy(text: str = "") -> RetrainingPolicy:
    """One trigger on new data and no constraint but those of `text`."""
    base = "triggers: {new-data: {kind: snapshot, changed: 0.05}}\ncool_down: {hours: 0, after_rejection_hours: 0}\n"
    return RetrainingPolicy.parse(text if "triggers:" in text else base + text)


def ran(ago: timedelta, state: str = "SUCCEEDED", **other: Any) -> Run:
    """A run that started so long ago and took an hour."""
    given = {"run_id": f"run-{ago}", "revision": "shop-bbbb", "verdict": "promote" if state == "SUCCEEDED" else ""}
    ended = None if state in ("RUNNING", "LOST") else NOW - ago + timedelta(hours=1)
    return Run(**{**given, "state": state, "started": NOW - ago, "ended": ended, **other})


def finding(name: str = "brightness", group: str = "input", drifted: bool = True, **other: Any) -> dict[str, Any]:
    return {
        "name": name, "group": group, "slice": "", "effect": 0.4, "bound": 0.1, "adjusted_p": 1e-6, "drifted": drifted, **other,
    }  # fmt: skip


def window(ago: timedelta, *findings: dict[str, Any], version: str = "3") -> Window:
    return Window(NOW - ago, version, findings)
