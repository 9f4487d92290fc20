"""Made traffic: rows of `lineage.traffic.SCHEMA` of searches and categories, all from one distribution unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from lineage.traffic import table

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
Row = dict[str, Any]


def _as_it_is(row: Row, _: np.random.Generator) -> Row:
    return row


def traffic(count: int, seed: int, change: Callable[[Row, np.random.Generator], Row] = _as_it_is, begin: datetime = BEGIN) -> pa.Table:
    """`count` answers, one a minute; `change` may alter each."""
    dice = np.random.default_rng(seed)
    return table(change(_row(number, seed, dice, begin), dice) for number in range(count))


def _row(number: int, seed: int, dice: np.random.Generator, begin: datetime) -> Row:
    search = dice.random() < 0.5
    row: Row = {
        "id": f"{seed}-{number}",
        "input": f"{seed}-{number}",
        "time": begin + timedelta(minutes=number),
        "task": "search" if search else "categorize",
        "modalities": "text" if search else "text,image",
        "model_version": "1",
        "status": "ok",
        "top": "p1",
        "score": dice.normal(0.7, 0.1),
        "second": 0.3,
        "results": 10,
        "latency_ms": 20.0,
        "text_chars": int(dice.poisson(12)),
        "text_words": int(dice.integers(1, 5)),
        "language": str(dice.choice(["en", "de", "und"], p=[0.6, 0.2, 0.2])),
        "oov": float(dice.random() < 0.1),
        "category": f"c{int(dice.integers(8))}",
        "sketch": dice.normal(0, 0.17, 32).tolist(),
    }
    if not search:
        row |= {"width": 640, "height": 480, "brightness": dice.normal(0.6, 0.1), "contrast": dice.normal(0.2, 0.05)}
        row |= {"saturation": dice.normal(0.3, 0.1), "sharpness": dice.normal(0.05, 0.01)}
    return row
