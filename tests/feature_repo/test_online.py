"""Online features: what serving reads is what training would see, fresh events are there at once, and windows empty."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from math import log1p
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.online import OnlineFeatures
from feature_repo.signals import SIGNALS
from feature_repo.skew import product_skew
from feature_repo.store import build_features, historical, open_store
from tests.feature_repo.made import START, event, events_table, product, query, snapshot_of

PRODUCTS = [product("a", price=10.0), product("b", price=20.0), product("c")]
EVENTS = [
    event("a", "view", 0, query="Red  Sofa"),
    event("a", "view", 25, query="red sofa"),
    event("a", "purchase", 25, query="red sofa"),
    event("b", "price", 26, value=15.0),
    event("b", "view", 26.5, told=40),  # told after the newest time
]
NOW = START + timedelta(days=40)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    build_features(snapshot_of(tmp_path, PRODUCTS, [query("q", "a")], EVENTS), tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def online(store: Path) -> Iterator[OnlineFeatures]:
    with OnlineFeatures(store) as opened:
        yield opened


def row(found: dict[str, list[Any]], place: int = 0) -> dict[str, Any]:
    return {name: values[place] for name, values in found.items()}


def test_products_have_their_activity_and_what_follows_from_it(online: OnlineFeatures) -> None:
    a, b, c = (row(online.products(["a", "b", "c"]), place) for place in range(3))
    assert (a["views_30d"], a["purchases_30d"], a["searches_30d"], a["last_price"]) == (1, 1, 2, None)
    assert (a["popularity"], a["conversion_30d"], a["price_now"], a["discount"]) == (log1p(1), pytest.approx(1 / 11), 10.0, 0.0)
    assert (b["views_30d"], b["last_price"], b["price_now"], b["discount"]) == (1, 15.0, 15.0, 0.25)
    assert (c["views_30d"], c["popularity"], c["price_now"], c["discount"]) == (None, 0.0, None, None)


def test_the_signals_alone_are_those_that_feast_reads(online: OnlineFeatures) -> None:
    ids = ["c", "a", "nobody", "b"]
    found = online.products(ids)
    assert online.signals(dict(zip(ids, found["price"], strict=True))) == {name: found[name] for name in SIGNALS}


def test_queries_are_found_however_they_are_written(online: OnlineFeatures) -> None:
    found = online.queries([" RED sofa", "blue sofa"])
    assert found["asked_30d"] == [2, None] and found["bought_30d"] == [1, None]


def test_online_and_offline_agree_for_every_feature(store: Path, online: OnlineFeatures) -> None:
    ids = ["a", "b", "c"]
    with open_store(store) as feast:
        asked = pa.table({"product_id": ids, "event_timestamp": pa.array([NOW] * 3, pa.timestamp("us", tz="UTC"))})
        offline = historical(feast, "ranking_products", asked).sort_by("product_id")
    found = online.products(ids)
    assert set(found) >= {"price", "views_30d", "last_price", "popularity", "discount"}
    for name, values in found.items():
        told = [None if value != value else value for value in offline[name].to_pylist()]
        assert told == pytest.approx(values), name


def test_a_pushed_event_counts_at_once_and_is_kept_for_the_next_push(online: OnlineFeatures) -> None:
    online.push(events_table([event("c", "view", 40.5, query="Lamp")]), NOW + timedelta(days=1))
    assert row(online.products(["c"]))["views_30d"] == 1
    assert online.queries(["lamp"])["asked_7d"] == [1]
    online.push(events_table([event("c", "view", 41, query="lamp")]), NOW + timedelta(days=1))
    assert row(online.products(["c"]))["views_30d"] == 2
    assert online.queries(["lamp"])["asked_7d"] == [2]


def test_an_event_of_tomorrow_is_not_told_today(online: OnlineFeatures) -> None:
    online.push(events_table([event("c", "view", 45)]), NOW)
    assert row(online.products(["c"]))["views_30d"] is None
    online.refresh(NOW + timedelta(days=6))
    assert row(online.products(["c"]))["views_30d"] == 1


def test_windows_empty_as_time_goes_by(online: OnlineFeatures) -> None:
    online.refresh(NOW + timedelta(days=90))
    found = row(online.products(["a"]))
    assert (found["views_30d"], found["purchases_30d"], found["popularity"]) == (0, 0, 0.0)


def served(online: OnlineFeatures, ids: list[str]) -> pa.Table:
    found = online.products(ids)
    return pa.table({**found, "event_timestamp": pa.array([NOW] * len(ids), pa.timestamp("us", tz="UTC"))})


def test_there_is_no_skew_between_a_store_and_itself(store: Path, online: OnlineFeatures) -> None:
    found = product_skew(store, served(online, ["c", "a", "b"]))
    assert {each.feature for each in found} == set(online.products(["a"])) - {"product_id"}
    assert [each for each in found if each.differing] == []
    assert {each.compared for each in found} == {3}


def test_a_feature_that_serving_saw_otherwise_is_named_with_a_product(store: Path, online: OnlineFeatures) -> None:
    seen = served(online, ["a", "b", "c"])
    views = pa.array([1, 4, None], pa.int64())
    seen = seen.set_column(seen.column_names.index("views_30d"), "views_30d", views)
    worst = product_skew(store, seen)[0]
    assert (worst.feature, worst.differing, worst.largest, worst.example) == ("views_30d", 1, 3.0, "b")


def test_a_push_is_seen_as_skew_until_the_next_refresh(store: Path, online: OnlineFeatures) -> None:
    online.push(events_table([event("a", "click", 39.9)]), NOW)
    assert [each.feature for each in product_skew(store, served(online, ["a"])) if each.differing] == ["clicks_30d"]
    online.refresh(NOW)
    assert not any(each.differing for each in product_skew(store, served(online, ["a"])))
    assert "c" not in pq.read_table(store / "product_activity.parquet")["product_id"].to_pylist()
