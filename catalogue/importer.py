"""A catalogue in any of the `layouts` -> snapshot.

Streams line by line, so that memory does not grow with the catalogue. A bad line never stops the good ones: it becomes
a row of the `unreadable` table.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from catalogue.layouts import open_source
from catalogue.layouts.mapping import Mapping
from catalogue.layouts.source import Source
from catalogue.layouts.tables import Table
from catalogue.records import Row, event_row, product_row, query_row, unreadable_row
from catalogue.snapshot import ShardWriter, write_manifest
from goodsight.errors import InputError
from goodsight.files import whole_folder
from goodsight.progress import track

PLURALS = {"product": "products", "query": "queries", "event": "events"}  # kind of record -> table of the snapshot


def import_catalogue(path: Path, out: Path, layout: str = "", mapping: Mapping | None = None) -> dict[str, Any]:
    """Writes the catalogue at `path` as a snapshot to `out` and returns its manifest.

    The same files give the same digest and the same bytes. Raises `InputError` when `path` is no catalogue of the `layout`
    (or of any) or has no product, and when the `mapping` does not fit it.
    """
    source = open_source(path, layout)
    tables = mapping.apply(source.tables) if mapping else source.tables
    with whole_folder(out) as aside:
        _import_tables(tables, source, aside)
        manifest = write_manifest(aside, source.categories, path.resolve().name, parent=None)
        if not manifest["counts"]["products"] + manifest["counts"]["unreadable"]:
            raise InputError(f"{path} has no products: {', '.join(table.name for table in tables)} is empty.")
        return manifest


def _import_tables(tables: list[Table], source: Source, aside: Path) -> None:
    splits: dict[str, str] = {}  # of every product read so far
    with ExitStack() as stack:
        writers = {name: stack.enter_context(ShardWriter(aside, name)) for name in (*PLURALS.values(), "unreadable")}
        for table in tables:
            row_of = _reader(table, source, splits)
            for line in track(table.lines, f"import {table.name}", "lines", total=table.total):
                try:
                    row = row_of(line.whole(), line.number)
                except InputError as error:
                    writers["unreadable"].add(unreadable_row(table.kind, table.name, line.number, line.start(), error.message))
                    continue
                writers[PLURALS[table.kind]].add(row)
                if table.kind == "product":
                    splits.setdefault(row["id"], row["split"])


def _reader(table: Table, source: Source, splits: dict[str, str]) -> Callable[[Row, int], Row]:
    """What makes a row of a record and its line number; it raises `InputError` for a record without an id."""
    if table.kind == "product":
        return partial(product_row, file=table.name, read=source.read)
    if table.kind == "query":
        return partial(query_row, file=table.name, splits=splits, read=source.read)
    return event_row
