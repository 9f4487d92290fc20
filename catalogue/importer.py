"""A catalogue in any of the `layouts` -> snapshot.

Streams line by line, so that memory does not grow with the catalogue. A bad line never stops the good ones: it becomes
a row of the `unreadable` table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalogue.layouts import open_source
from catalogue.layouts.mapping import ColumnMapping
from catalogue.layouts.source import Source
from catalogue.layouts.tables import Table
from catalogue.records import TABLE_OF, Row, event_row, product_row, query_row, tombstone_row, unreadable_row
from catalogue.snapshot import TABLES, ShardWriter, write_manifest
from goodsight.errors import InputError
from goodsight.files import whole_folder
from goodsight.progress import track


@dataclass(frozen=True)
class Before:
    """What an import is told of the versions before it."""

    parent: str | None = None  # digest of the newest
    splits: Mapping[str, str] = field(default_factory=dict)  # of products that queries may name and that are not imported
    erased: Callable[[str], bool] = lambda identity: False  # products that must not come back, by their ids


NOTHING = Before()
ERASED = "the product was erased from this catalogue and must not come back"


def import_catalogue(
    path: Path, out: Path, layout: str = "", mapping: ColumnMapping | None = None, before: Before = NOTHING
) -> dict[str, Any]:
    """Writes the catalogue at `path` as a snapshot to `out` and returns its manifest.

    The same files give the same digest and the same bytes. A record with `"deleted": true` becomes a tombstone. Raises
    `InputError` when `path` is no catalogue of the `layout` (or of any) or has no records, and when the `mapping` does not fit it.
    """
    source = open_source(path, layout)
    tables = mapping.apply(source.tables) if mapping else source.tables
    with whole_folder(out) as aside:
        _import_tables(tables, source, before, aside)
        manifest = write_manifest(aside, source.categories, path.resolve().name, before.parent)
        if not any(manifest["counts"].values()):
            files = ", ".join(table.name for table in tables)
            raise InputError(f"{path} has no records: {files} is empty.", "Give a catalogue with at least one record.")
        return manifest


def _import_tables(tables: list[Table], source: Source, before: Before, aside: Path) -> None:
    splits = dict(before.splits)
    with ExitStack() as stack:
        writers = {name: stack.enter_context(ShardWriter(aside, name)) for name in TABLES}
        for table in tables:
            row_of = _reader(table, source, splits)
            for line in track(table.lines, f"import {table.name}", "lines", total=table.total):
                try:
                    name, row = row_of(line.whole(), line.number)
                except InputError as error:
                    name, row = "unreadable", unreadable_row(table.kind, table.name, line.number, line.start(), error.message)
                if name == "products" and before.erased(row["id"]):
                    name, row = "unreadable", unreadable_row(table.kind, table.name, line.number, "", ERASED)
                writers[name].add(row)
                if name == "products":
                    splits.setdefault(row["id"], row["split"])


def _reader(table: Table, source: Source, splits: dict[str, str]) -> Callable[[Row, int], tuple[str, Row]]:
    """What makes a row of a record and its line number, and names its table; it raises `InputError` for a record without an id."""

    def row_of(record: Row, line: int) -> tuple[str, Row]:
        if table.kind == "event":
            return TABLE_OF["event"], event_row(record, line, table.name)
        if record.get("deleted") is True:
            return "tombstones", tombstone_row(record, table.kind, table.name, line)
        if table.kind == "product":
            return TABLE_OF["product"], product_row(record, line, table.name, source.read)
        return TABLE_OF["query"], query_row(record, line, table.name, splits, source.read)

    return row_of
