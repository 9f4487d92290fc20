"""The feature store of one snapshot: its sources, its point-in-time joins and its online values.

A store is a folder: the feature definitions' Parquet sources, Feast's registry and the SQLite online store. It holds relative
paths alone, so it may be moved. A join never sees a value that came into being after the instant it asks about. A run's store
is an artifact, which nothing changes; what serves is a copy of it (`feature_repo.served`).
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from catalogue.snapshot import Snapshot
from feature_repo.activity import INSTANT
from feature_repo.online_store import online_store_config
from feature_repo.sources import distinct, write_rows, write_sources
from goodsight.errors import InputError
from goodsight.files import whole_folder, write_bytes
from goodsight.progress import note
from goodsight.settings import settings, silence_telemetry

if TYPE_CHECKING:
    from feast import FeatureStore

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
ONLINE_BATCH = 5_000  # SQLite takes at most 32,766 keys in one question
CONFIG = "feature_store.yaml"
TEMPLATE = Path(__file__).with_name(CONFIG)

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
        newest = write_sources(snapshot, folder)
        project = f"goodsight_{Snapshot.open(snapshot).digest[:12]}"
        write_bytes(folder / CONFIG, TEMPLATE.read_bytes().replace(b"project: goodsight", f"project: {project}".encode()))
        with open_store(folder) as feast:
            from feature_repo.definitions import DEFINITIONS, ONLINE

            with quiet():
                feast.apply(DEFINITIONS)
                feast.materialize(BEGINNING, newest, feature_views=[view.name for view in ONLINE])


def training_table(store: Path, out: Path) -> None:
    """Writes the training table `out`: products as they are now, and pairs as they were when each pair came about.

    `products.parquet` has one row a product, `pairs.parquet` one row a (query, relevant product), both in order of id;
    the same store contents give the same bytes. A pair whose product was not known at the pair's time is left out.
    """
    pairs = pq.read_table(store / "pairs.parquet")
    with open_store(store) as feast:
        products = as_of(feast, "training_products", _latest(pq.read_table(store / "products.parquet")))
        known = as_of(feast, "training_products", pairs.select(["product_id", "event_timestamp"]))
        queries = as_of(feast, "training_queries", pairs.select(["query_id", "event_timestamp"]))
    kept = pairs.join(known, ["product_id", "event_timestamp"], join_type="left semi")
    if left_out := pairs.num_rows - kept.num_rows:
        note(f"{left_out:,} of {pairs.num_rows:,} pairs left out: their product was not known at the pair's time.")
    kept = kept.join(queries, ["query_id", "event_timestamp"], join_type="inner")
    with whole_folder(out) as folder:
        write_rows(products.select(PRODUCT_SCHEMA.names).cast(PRODUCT_SCHEMA), folder / "products.parquet")
        write_rows(kept.select(PAIR_SCHEMA.names).cast(PAIR_SCHEMA), folder / "pairs.parquet")


def online_products(store: Path, ids: Sequence[str]) -> pa.Table:
    """The listings (id, title, category, price) of `ids` in their order, from the online store.

    Raises `InputError` when the online store lacks one of them.
    """
    with open_store(store) as feast:
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
def open_store(folder: Path) -> Iterator[FeatureStore]:
    """Feast on `folder`; its SQLite connection is closed at the end.

    A store that does not say where its online values are has them where GOODSIGHT_ONLINE_STORE says.
    """
    silence_telemetry()
    with quiet():
        from feast import FeatureStore, RepoConfig

        said = yaml.safe_load((folder / CONFIG).read_text())
        if "online_store" not in said:
            said["online_store"] = online_store_config(settings().online_store.get_secret_value())
        feast = FeatureStore(repo_path=str(folder), config=RepoConfig(**said, repo_path=folder))
    try:
        yield feast
    finally:
        connection = getattr(feast._get_provider().online_store, "_conn", None)
        if connection is not None:
            connection.close()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Feast's prints and warnings kept off our standard output."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        yield


def historical(feast: FeatureStore, service: str, instants: pa.Table) -> pa.Table:
    """`service`'s features at each row of `instants` (key, event_timestamp), null where there was no value by then.

    The filter by created timestamp is what hides values that were written late about an earlier time (feast#6615).
    """
    with quiet():
        job = feast.get_historical_features(
            instants.to_pandas(), feast.get_feature_service(service), filter_by_created_timestamp=True
        )
        return job.to_arrow()


def as_of(feast: FeatureStore, service: str, instants: pa.Table) -> pa.Table:
    """`historical` at each distinct row of `instants`, where there was a value by then."""
    found = historical(feast, service, distinct(instants).sort_by(instants.column_names[0]))
    found = found.cast(pa.schema([(name, TYPES.get(name, pa.string())) for name in found.column_names]))
    return found.filter(pc.is_valid(found["split"]))


def _latest(products: pa.Table) -> pa.Table:
    """Every product at the newest instant among `products`."""
    ids = products["product_id"].unique()
    newest = pc.max(products["event_timestamp"])
    return pa.table({"product_id": ids, "event_timestamp": pa.repeat(newest, len(ids))})
