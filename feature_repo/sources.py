"""A snapshot as Feast reads it: one Parquet file a source, times in two columns, rows in order of their ids.

A row whose catalogue gives no time has always been true (`SINCE_ALWAYS`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalogue.snapshot import Snapshot
from feature_repo.activity import INSTANT, product_activity, query_activity
from goodsight.errors import InputError

SINCE_ALWAYS = datetime(1970, 1, 2, tzinfo=UTC)
PRODUCT_COLUMNS = ["id", "title", "description", "category_path", "attributes", "price", "group", "split", "updated"]
QUERY_COLUMNS = ["id", "kind", "text", "relevant", "split", "updated"]


def write_sources(snapshot: Path, folder: Path) -> datetime:
    """Writes products, queries, pairs and events as Feast sources; returns the newest time that the snapshot knows of.

    Raises `InputError` when it has no products.
    """
    opened = Snapshot.open(snapshot)
    products, queries = opened.products(PRODUCT_COLUMNS), opened.queries(QUERY_COLUMNS)
    if not products.num_rows:
        raise InputError(f"Snapshot {snapshot} has no products.", "Import a catalogue with at least one product.")
    events = opened.read("events")
    times = (products["updated"], queries["updated"], events["time"], events["created"])
    newest = max(SINCE_ALWAYS, *(pc.max(column).as_py() or SINCE_ALWAYS for column in times))
    write_rows(_product_rows(products), folder / "products.parquet")
    write_rows(_query_rows(queries), folder / "queries.parquet")
    write_rows(_pair_rows(queries, newest), folder / "pairs.parquet")
    pq.write_table(events, folder / "events.parquet")
    pq.write_table(product_activity(events), folder / "product_activity.parquet")
    pq.write_table(query_activity(events), folder / "query_activity.parquet")
    return newest


def _product_rows(products: pa.Table) -> pa.Table:
    category = pc.binary_join(products["category_path"], " > ")
    rows = products.append_column("category", category).drop_columns("category_path")
    return _timed(rows.rename_columns({"id": "product_id"}))


def _query_rows(queries: pa.Table) -> pa.Table:
    return _timed(queries.drop_columns("relevant").rename_columns({"id": "query_id"}))


def _pair_rows(queries: pa.Table, newest: datetime) -> pa.Table:
    """One row a (query, relevant product). A query without a time is asked now: at the newest time of the snapshot."""
    times = pc.fill_null(queries["updated"].cast(INSTANT), pa.scalar(newest, INSTANT)).combine_chunks()
    parents = pc.list_parent_indices(queries["relevant"].combine_chunks())
    pairs = pa.table(
        {
            "query_id": queries["id"].take(parents),
            "product_id": pc.list_flatten(queries["relevant"]),
            "event_timestamp": times.take(parents),
        }
    )
    return distinct(pairs)


def distinct(rows: pa.Table) -> pa.Table:
    return rows.group_by(rows.column_names).aggregate([])


def _timed(rows: pa.Table) -> pa.Table:
    """`rows` with `updated` as both of Feast's times: when the value became true, and when it was written down."""
    times = pc.fill_null(rows["updated"].cast(INSTANT), pa.scalar(SINCE_ALWAYS, INSTANT))
    rows = rows.drop_columns("updated")
    return rows.append_column("event_timestamp", times).append_column("created_timestamp", times)


def write_rows(rows: pa.Table, path: Path) -> None:
    """`rows` in order of their ids: the same rows give the same bytes."""
    keys = [(name, "ascending") for name in ("query_id", "product_id") if name in rows.column_names]
    pq.write_table(rows.sort_by(keys).combine_chunks(), path)
