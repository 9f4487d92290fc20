"""Small catalogues with events, as folders on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalogue.importer import import_catalogue
from catalogue.records import EVENT_SCHEMA

START = datetime(2026, 1, 1, tzinfo=UTC)
Rows = Sequence[dict[str, Any]]
KINDS = ("view", "click", "cart", "purchase", "price", "wishlist")


def event(product: str, kind: str, day: float, told: float | None = None, value: float | None = None, query: str = "") -> dict[str, Any]:
    """Something that happened `day` days after `START` and was written down `told` days after it."""
    time, created = (START + timedelta(days=each) for each in (day, day if told is None else told))
    return {"product": product, "kind": kind, "time": time, "created": created, "value": value, "query": query}


def events_table(events: list[dict[str, Any]]) -> pa.Table:
    """Events as a snapshot keeps them."""
    nothing = {"value": None, "query": "", "line": 1, "file": "events.jsonl", "problems": []}
    return pa.Table.from_pylist([{**nothing, **each} for each in events], EVENT_SCHEMA)


def product(id: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "title": f"Title of {id}", "category_path": ["Home", "Sofas"], "split": "train", **fields}


def query(id: str, *relevant: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "text": f"text of {id}", "relevant": list(relevant), "split": "train", **fields}


def snapshot_of(folder: Path, products: Rows, queries: Rows, events: Rows = ()) -> Path:
    """The snapshot of a catalogue of these records."""
    catalogue = folder / "catalogue"
    catalogue.mkdir(parents=True)
    for name, rows in (("products", products), ("queries_text", queries), ("events", events)):
        if rows:
            (catalogue / f"{name}.jsonl").write_text("".join(json.dumps(row, default=datetime.isoformat) + "\n" for row in rows))
    import_catalogue(catalogue, folder / "snapshot")
    return folder / "snapshot"
