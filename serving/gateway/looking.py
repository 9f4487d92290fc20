"""Looks at how retraining stands, for the status page: once for all who ask within a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from goodsight.settings import settings
from lineage.status import Status

FRESH_SECONDS = 1.5  # between two looks, however many look at the page

Look = Callable[[], dict[str, Any]]


def looking(home: Path | None = None, ledger: str = "", predictions: str = "") -> Look:
    """Looks at a home, a ledger and a prediction log (default: those of the settings), at most once in FRESH_SECONDS."""
    status: list[Status] = []
    lock, seen, told = threading.Lock(), -FRESH_SECONDS, dict[str, Any]()

    def look() -> dict[str, Any]:
        nonlocal seen, told
        with lock:
            if not status:
                status.append(Status(home or settings().root, ledger or settings().ledger_url, predictions or settings().predictions_url))
            if time.monotonic() - seen >= FRESH_SECONDS:
                told = status[0](datetime.now(UTC))
                seen = time.monotonic()
            return told

    return look
