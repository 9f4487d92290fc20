"""The feature store of one snapshot: its sources, its point-in-time joins and its online values.

A store is a folder: the feature definitions' Parquet sources, Feast's registry and the SQLite online store. It holds
relative paths alone, so it may be moved. Time rules: a row whose catalogue gives no time has always been true
(`SINCE_ALWAYS`), and a join never sees a value that came into being after the instant it asks about.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalogue.snapshot import Snapshot
from goodsight.errors import InputError
from goodsight.files import whole_folder
from goodsight.progress import note
from goodsight.settings import silence_telemetry

if TYPE_CHECKING:
    from feast import FeatureStore

SINCE_ALWAYS = datetime(1970, 1, 2, tzinfo=UTC)
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
INSTANT = pa.timestamp("us", tz="UTC")
ONLINE_BATCH = 5_000  # SQLite takes at most 32,766 keys in one question
TEMPLATE = Path(__file__).with_name("feature_store.yaml")

PRODUCT_COLUMNS = ["id", "title", "description", "category_path", "attributes", "price", "group", "split", "updated"]
QUERY_COLUMNS = ["id", "kind", "text", "relevant", "split", "updated"]
LISTING = ["title", "category", "price"]
TYPES = {"price": pa.float64(), "event_timestamp": INSTANT}  # all others are text
PRODUCT_TEXTS = ("product_id", "title", "description", "attributes", "category", "group", "split")
PRODUCT_SCHEMA = pa.schema(dict.fromkeys(PRODUCT_TEXTS, pa.string()) | TYPES)
PAIR_SCHEMA = pa.schema(
    dict.fromkeys(("query_id", "kind", "text", "product_id", "split"), pa.string()) | {"event_timestamp": INSTANT}
)
LISTING_SCHEMA = pa.schema(dict.fromkeys(("id", "title", "category"), pa.string()) | {"price": pa.float64()})


def build_features(snapshot: Path, store: Path) -> None:
    """Makes the folder `store` from `snapshot`: sources written, definitions applied, listings materialized online.

    Raises `InputError` when the snapshot has no products.
    """
    with whole_folder(store) as folder:
        newest = _write_sources(snapshot, folder)
        shutil.copy(TEMPLATE, folder)
        with _open(folder) as feast:
            from feature_repo.definitions import DEFINITIONS

            feast.apply(DEFINITIONS)
            feast.materialize(BEGINNING, newest, feature_views=["product_listing"])


def training_table(store: Path, out: Path) -> None:
    """Writes the training table `out`: products as they are now, and pairs as they were when each pair came about.

    `products.parquet` has one row a product, `pairs.parquet` one row a (query, relevant product), both in order of id;
    the same store contents give the same bytes. A pair whose product was not known at the pair's time is left out.
    """
    pairs = pq.read_table(store / "pairs.parquet")
    with _open(store) as feast:
        products = _as_of(feast, "training_products", _latest(pq.read_table(store / "products.parquet")))
        known = _as_of(feast, "training_products", pairs.select(["product_id", "event_timestamp"]))
        queries = _as_of(feast, "training_queries", pairs.select(["query_id", "event_timestamp"]))
    kept = pairs.join(known, ["product_id", "event_timestamp"], join_type="left semi")
    if left_out := pairs.num_rows - kept.num_rows:
        note(f"{left_out:,} of {pairs.num_rows:,} pairs left out: their product was not known at the pair's time.")
    kept = kept.join(queries, ["query_id", "event_timestamp"], join_type="inner")
    with whole_folder(out) as folder:
        _write(products.select(PRODUCT_SCHEMA.names).cast(PRODUCT_SCHEMA), folder / "products.parquet")
        _write(kept.select(PAIR_SCHEMA.names).cast(PAIR_SCHEMA), folder / "pairs.parquet")


def online_products(store: Path, ids: Sequence[str]) -> pa.Table:
    """The listings (id, title, category, price) of `ids` in their order, from the online store.

    Raises `InputError` when the online store lacks one of them.
    """
    with _open(store) as feast:
        service = feast.get_feature_service("serving_products")
        batches = [
            feast.get_online_features(service, {"product_id": list(ids[start : start + ONLINE_BATCH])}).to_dict()
            for start in range(0, len(ids), ONLINE_BATCH)
        ]
    columns = {name: [value for batch in batches for value in batch[name]] for name in LISTING}
    absent = [id for id, title in zip(ids, columns["title"], strict=True) if title is None]
    if absent:
        raise InputError(
            f"The online feature store {store} lacks {len(absent):,} of {len(ids):,} products, first {absent[0]!r}.",
            "Build the features again from the snapshot that has these products.",
        )
    return pa.table({"id": list(ids), **columns}, schema=LISTING_SCHEMA)


@contextlib.contextmanager
def _open(folder: Path) -> Iterator[FeatureStore]:
    """Feast on `folder`, its prints kept off our standard output, its SQLite connection closed at the end."""
    silence_telemetry()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore", category=UserWarning):
        from feast import FeatureStore

        feast = FeatureStore(repo_path=str(folder))
        try:
            yield feast
        finally:
            connection = getattr(feast._get_provider().online_store, "_conn", None)
            if connection is not None:
                connection.close()


def _as_of(feast: FeatureStore, service: str, instants: pa.Table) -> pa.Table:
    """`service`'s features at each distinct (key, event_timestamp) of `instants`, where there was a value by then.

    One entity at a time: Feast 0.67's file store drops rows when one join spans two entities. The filter by created
    timestamp is what hides values that were written late about an earlier time (feast#6615).
    """
    wanted = _distinct(instants).sort_by(instants.column_names[0])
    job = feast.get_historical_features(
        wanted.to_pandas(), feast.get_feature_service(service), filter_by_created_timestamp=True
    )
    found = pa.Table.from_pandas(job.to_df(), preserve_index=False)
    found = found.cast(pa.schema([(name, TYPES.get(name, pa.string())) for name in found.column_names]))
    return found.filter(pc.is_valid(found["split"]))


def _latest(products: pa.Table) -> pa.Table:
    """Every product at the newest instant among `products`."""
    ids = products["product_id"].unique()
    newest = pc.max(products["event_timestamp"])
    return pa.table({"product_id": ids, "event_timestamp": pa.repeat(newest, len(ids))})


def _write_sources(snapshot: Path, folder: Path) -> datetime:
    """Writes products, queries and pairs as Feast sources; returns the newest time in the snapshot."""
    opened = Snapshot.open(snapshot)
    products, queries = opened.products(PRODUCT_COLUMNS), opened.queries(QUERY_COLUMNS)
    if not products.num_rows:
        raise InputError(f"Snapshot {snapshot} has no products.", "Import a catalogue with at least one product.")
    newest = max(SINCE_ALWAYS, *(pc.max(table["updated"]).as_py() or SINCE_ALWAYS for table in (products, queries)))
    _write(_product_rows(products), folder / "products.parquet")
    _write(_query_rows(queries), folder / "queries.parquet")
    _write(_pair_rows(queries, newest), folder / "pairs.parquet")
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
    return _distinct(pairs)


def _distinct(rows: pa.Table) -> pa.Table:
    return rows.group_by(rows.column_names).aggregate([])


def _timed(rows: pa.Table) -> pa.Table:
    """`rows` with `updated` as both of Feast's times: when the value became true, and when it was written down."""
    times = pc.fill_null(rows["updated"].cast(INSTANT), pa.scalar(SINCE_ALWAYS, INSTANT))
    rows = rows.drop_columns("updated")
    return rows.append_column("event_timestamp", times).append_column("created_timestamp", times)


def _write(rows: pa.Table, path: Path) -> None:
    """`rows` in order of their ids: the same rows give the same bytes."""
    keys = [(name, "ascending") for name in ("query_id", "product_id") if name in rows.column_names]
    pq.write_table(rows.sort_by(keys).combine_chunks(), path)
