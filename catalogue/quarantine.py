"""The rows that validation takes out, each with its reasons, and their release: a person says that a row is right all the same.

A release is part of the next version of the catalogue (its table `releases`), so that whoever trains on that version trains on the
row too, and an auditor finds who let it in and why. It holds for as long as the row stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalogue.records import MEDIA, TABLE_OF, Row
from catalogue.shards import copy_rows
from catalogue.snapshot import TABLES, ShardWriter, Snapshot, write_manifest
from catalogue.suites import Fault, releasable
from goodsight.errors import InputError
from goodsight.files import whole_folder, write_bytes

QUARANTINE_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),  # product, query or event
        ("id", pa.string()),  # null for a line that could not be read
        ("file", pa.string()),
        ("line", pa.int32()),
        ("labels", pa.list_(pa.string())),  # the faults in two words each
        ("reasons", pa.list_(pa.string())),
        ("expectations", pa.list_(pa.string())),
        ("row", pa.string()),  # JSON without media bytes, or the start of the unreadable line
    ]
)
UNREADABLE = Fault("one JSON object with an id a line", "unreadable line", "")
KIND_OF = {table: kind for kind, table in TABLE_OF.items()}
FOR_PEOPLE = json.JSONEncoder(ensure_ascii=False, default=str)
Released = dict[tuple[str, str], set[str]]  # (kind, id) -> labels of the faults that are let pass


def quarantined_rows(snapshot: Snapshot, table: str, faults: dict[int, list[Fault]]) -> Iterator[Row]:
    """The rows of a table that have faults, by row number."""
    names = [name for name in TABLES[table].names if name not in MEDIA]
    bad = sorted(faults)
    for index, row in zip(bad, snapshot.take(table, bad, names), strict=True):
        yield {
            "kind": KIND_OF[table],
            "id": row["product" if table == "events" else "id"],
            "file": row["file"],
            "line": row["line"],
            "labels": [fault.label for fault in faults[index]],
            "reasons": [fault.reason for fault in faults[index]],
            "expectations": [fault.expectation for fault in faults[index]],
            "row": _row_json(row),
        }


def _row_json(row: Row) -> str:
    """A row as JSON for people: NaN and infinities as text, times in ISO 8601."""
    shown = {name: str(value) if isinstance(value, float) and not abs(value) < float("inf") else value for name, value in row.items()}
    return FOR_PEOPLE.encode(shown)


def unreadable_rows(snapshot: Snapshot) -> Iterator[Row]:
    """The lines that are no record."""
    told = {"labels": [UNREADABLE.label], "expectations": [UNREADABLE.expectation], "id": None}
    for row in snapshot.read("unreadable").to_pylist():
        yield {name: row[name] for name in ("kind", "file", "line")} | told | {"reasons": [row["reason"]], "row": row["text"]}


def write_quarantine(path: Path, rows: list[Row]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA), sink, compression="zstd")
    write_bytes(path, sink.getvalue().to_pybytes())


def read_quarantine(path: Path) -> list[Row]:
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


def released(snapshot: Snapshot) -> Released:
    """What the releases of a snapshot let pass."""
    found: Released = {}
    for row in snapshot.read("releases").to_pylist():
        found.setdefault((row["kind"], row["id"]), set()).update(row["labels"])
    return found


def release(snapshot: Snapshot, quarantine: list[Row], ids: Sequence[str], reason: str, by: str, out: Path) -> dict[str, Any]:
    """Writes the snapshot with releases of the given quarantined rows to `out` and returns its manifest.

    Raises `InputError` for an id that is not in quarantine, for a fault that no training could do with (a broken image stays
    broken), and without a reason or a name.
    """
    if not reason.strip() or not by.strip():
        raise InputError("A release needs a reason and a name.", 'Give --reason "why the row is right" and --by NAME.')
    rows = [row for row in quarantine if row["id"] in ids and row["kind"] != "event"]  # which has the id of its product
    if absent := sorted(set(ids) - {row["id"] for row in rows}):
        raise InputError(f"{', '.join(absent)} is not in quarantine.", "`goodsight catalogue quarantine show` lists what is.")
    fixed = {f"{row['id']} ({label})" for row in rows for label in row["labels"] if label not in releasable()}
    if fixed:
        raise InputError(f"{', '.join(sorted(fixed))} cannot be released, only corrected.", f"Can be: {', '.join(sorted(releasable()))}.")
    with whole_folder(out) as aside:
        for table in TABLES:
            copy_rows(snapshot, aside, table, set())
        with ShardWriter(aside, "releases", start=len(snapshot.shards("releases"))) as writer:
            for row in rows:
                writer.add({"kind": row["kind"], "id": row["id"], "labels": row["labels"], "reason": reason.strip(), "by": by.strip()})
        return write_manifest(aside, snapshot.manifest["categories"], snapshot.manifest["source"], parent=snapshot.digest)
