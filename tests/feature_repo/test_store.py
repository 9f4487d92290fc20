"""The feature store: the training table and online listings of small catalogues, and what time hides from a join."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.sources import SINCE_ALWAYS
from feature_repo.store import as_of, build_features, online_products, open_store, training_table
from goodsight.digests import sha256_folder
from goodsight.errors import InputError, IntegrityError
from tests.feature_repo.made import product, query, snapshot_of

EARLY, LATE = "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"


def tables(store: Path, out: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    training_table(store, out)
    return pq.read_table(out / "products.parquet").to_pylist(), pq.read_table(out / "pairs.parquet").to_pylist()


PRODUCTS = [
    product("b", price=9.5, attributes={"colour": "red"}, description="Soft."),
    product("a", group="twins", split="test"),
    product("c", group="twins", split="test", category_path=["Garden"]),
]
QUERIES = [query("q2", "a", "b"), query("q1", "a", "a", "gone"), query("q3", "c", split="test")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a catalogue that gives no times."""
    folder = tmp_path_factory.mktemp("plain")
    build_features(snapshot_of(folder, PRODUCTS, QUERIES), folder / "store")
    return folder / "store"


def test_the_training_table_has_every_product_and_every_known_pair_in_order(plain: Path, tmp_path: Path) -> None:
    products, pairs = tables(plain, tmp_path / "table")
    assert [row["product_id"] for row in products] == ["a", "b", "c"]
    assert products[1] == {
        "product_id": "b",
        "title": "Title of b",
        "description": "Soft.",
        "attributes": '{"colour":"red"}',
        "category": "Home > Sofas",
        "group": products[1]["group"],
        "split": "train",
        "price": 9.5,
        "event_timestamp": SINCE_ALWAYS,
    }
    assert (products[0]["group"], products[0]["price"]) == ("twins", None)
    found = [(row["query_id"], row["product_id"], row["text"], row["split"]) for row in pairs]
    assert found == [
        ("q1", "a", "text of q1", "train"),
        ("q2", "a", "text of q2", "train"),
        ("q2", "b", "text of q2", "train"),
        ("q3", "c", "text of q3", "test"),
    ]


def test_the_same_catalogue_gives_the_same_bytes_wherever_the_store_lies(plain: Path, tmp_path: Path) -> None:
    build_features(snapshot_of(tmp_path, PRODUCTS, QUERIES), tmp_path / "store")
    training_table(plain, tmp_path / "one")
    moved = (tmp_path / "store").rename(tmp_path / "moved")
    training_table(moved, tmp_path / "two")
    assert sha256_folder(tmp_path / "one") == sha256_folder(tmp_path / "two")
    assert online_products(moved, ["c"])["category"].to_pylist() == ["Garden"]


def test_online_listings_come_in_the_order_asked_and_agree_with_the_training_table(plain: Path, tmp_path: Path) -> None:
    products, _ = tables(plain, tmp_path / "table")
    online = online_products(plain, ["c", "b", "a"])
    assert online.column_names == ["id", "title", "category", "price"]
    listings = [{name: row[name] for name in ("title", "category", "price")} for row in products]
    assert online.drop_columns("id").to_pylist() == listings[::-1]


def test_an_unknown_product_is_named(plain: Path) -> None:
    with pytest.raises(InputError, match="lacks 1 of 2 products, first 'nobody'"):
        online_products(plain, ["a", "nobody"])


def test_a_product_written_after_the_pair_came_about_is_not_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    products = [product("old", updated=EARLY), product("new", updated=LATE), product("always")]
    queries = [query("q1", "old", "new", "always", updated="2024-06-01T00:00:00Z"), query("q2", "new")]
    build_features(snapshot_of(tmp_path, products, queries), tmp_path / "store")
    everything, pairs = tables(tmp_path / "store", tmp_path / "table")
    assert [(row["query_id"], row["product_id"]) for row in pairs] == [("q1", "always"), ("q1", "old"), ("q2", "new")]
    assert {row["event_timestamp"] for row in everything} == {datetime(2025, 1, 1, tzinfo=UTC)}
    assert "1 of 4 pairs left out" in capsys.readouterr().out
    assert online_products(tmp_path / "store", ["new"])["title"].to_pylist() == ["Title of new"]


def test_a_value_written_late_about_an_earlier_time_is_not_seen(tmp_path: Path) -> None:
    build_features(snapshot_of(tmp_path, [product("p", updated=EARLY)], []), tmp_path / "store")
    source = tmp_path / "store" / "products.parquet"
    first = pq.read_table(source)
    times = {"event_timestamp": "2024-02-01", "created_timestamp": "2025-01-01"}
    late = first.to_pylist()[0] | {name: datetime.fromisoformat(f"{day}T00:00Z") for name, day in times.items()}
    second = pa.Table.from_pylist([late | {"title": "Backfilled"}], first.schema)
    pq.write_table(pa.concat_tables([first, second]), source)
    asked = [datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC)]
    with open_store(tmp_path / "store") as feast:
        seen = as_of(feast, "training_products", pa.table({"product_id": ["p"] * 3, "event_timestamp": asked}))
    found = dict(zip(seen["event_timestamp"].to_pylist(), seen["title"].to_pylist(), strict=True))
    assert found == {asked[1]: "Title of p", asked[2]: "Backfilled"}


def test_a_catalogue_without_queries_has_products_and_no_pairs(tmp_path: Path) -> None:
    build_features(snapshot_of(tmp_path, [product("a")], []), tmp_path / "store")
    products, pairs = tables(tmp_path / "store", tmp_path / "table")
    assert (len(products), pairs) == (1, [])


def test_an_altered_snapshot_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path, PRODUCTS, QUERIES)
    build_features(snapshot, tmp_path / "store")
    before = sha256_folder(tmp_path / "store")
    shard = next((snapshot / "products").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError):
        build_features(snapshot, tmp_path / "store")
    assert sha256_folder(tmp_path / "store") == before
    assert {path.name for path in tmp_path.iterdir()} == {"catalogue", "snapshot", "store"}
