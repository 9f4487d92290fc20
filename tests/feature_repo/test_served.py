"""The store that serves beside a model: a run's store with the vectors of the index and with what happened since."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.online import OnlineFeatures
from feature_repo.served import forget_events, forget_features, serve_features
from feature_repo.store import build_features, historical, open_store
from goodsight.digests import sha256_folder
from goodsight.settings import settings
from tests.feature_repo.made import START, event, events_table, product, query, snapshot_of
from tests.servers import PASSWORD

PRODUCTS = [product("a", price=10.0), product("b", price=20.0)]
EVENTS = [event("a", "view", 0, query="red sofa"), event("b", "price", 1, value=8.0)]
NOW = START + timedelta(days=2)
VECTORS = np.array([[0.6, 0.8], [1.0, 0.0]], np.float32)
SERVERS = [pytest.param(f"{name}_url", marks=pytest.mark.servers) for name in ("redis", "postgres")]


@pytest.fixture(scope="module")
def run_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    build_features(snapshot_of(folder, PRODUCTS, [query("q", "a")], EVENTS), folder / "store")
    return folder / "store"


@pytest.fixture
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server of the parameter, named by the setting."""
    found = request.getfixturevalue(request.param) if request.param else ""
    monkeypatch.setenv("GOODSIGHT_ONLINE_STORE", found)
    settings.cache_clear()
    yield found
    settings.cache_clear()


def serve(run_store: Path, folder: Path, number: int, vectors: np.ndarray = VECTORS) -> Path:
    digests = {"index": f"{number}" * 64, "candidate": "c" * 64}
    serve_features(run_store, folder / f"model-{number}", f"model-{number}", digests, ["a", "b"], vectors, NOW)
    return folder / f"model-{number}"


def test_the_service_of_the_model_has_listing_activity_signals_and_vectors(run_store: Path, tmp_path: Path) -> None:
    before = sha256_folder(run_store)
    with OnlineFeatures(serve(run_store, tmp_path, 1)) as online:
        found = online.read("model-1", {"product_id": ["b", "nobody", "a"]})
        assert found["title"] == ["Title of b", None, "Title of a"]
        assert found["embedding"][0] == [1.0, 0.0] and found["embedding"][2] == pytest.approx([0.6, 0.8])
        assert found["price_now"] == [8.0, None, 10.0] and found["views_30d"] == [0, None, 1]
    assert sha256_folder(run_store) == before


def test_online_and_offline_agree_vectors_too(run_store: Path, tmp_path: Path) -> None:
    store = serve(run_store, tmp_path, 1)
    with open_store(store) as feast:
        asked = pa.table({"product_id": ["a", "b"], "event_timestamp": pa.array([NOW] * 2, pa.timestamp("us", tz="UTC"))})
        offline = historical(feast, "model-1", asked).sort_by("product_id").to_pydict()
        assert feast.get_feature_service("model-1").tags["index"] == "1" * 64
    with OnlineFeatures(store) as online:
        found = online.read("model-1", {"product_id": ["a", "b"]})
    for name, values in found.items():
        assert [None if value != value else value for value in offline[name]] == values, name


def test_what_was_pushed_counts_in_every_store_beside_it_and_once(run_store: Path, tmp_path: Path) -> None:
    seen = [event("b", "view", 1.5, query="lamp"), event("a", "view", 0, query="red sofa")]  # the second is known from the snapshot
    with OnlineFeatures(serve(run_store, tmp_path, 1)) as first:
        first.push(events_table(seen), NOW)
        first.push(events_table(seen), NOW)
        assert first.products(["a", "b"])["views_30d"] == [1, 1]
        first.push(events_table([event("b", "view", 1.6)]), NOW)
        first.refresh(NOW)
        assert first.products(["a", "b"])["views_30d"] == [1, 2]
    assert len(list((tmp_path / "pushed").glob("*.parquet"))) == 1
    with OnlineFeatures(serve(run_store, tmp_path, 2)) as second:
        assert second.products(["a", "b"])["views_30d"] == [1, 2]
        assert second.queries(["lamp"])["asked_7d"] == [1]
        second.push(events_table([event("b", "view", 1.7)]), NOW)
        assert second.products(["b"])["views_30d"] == [3]
    assert sum(pq.read_table(file).num_rows for file in (tmp_path / "pushed").glob("*.parquet")) == 4


def test_a_product_is_taken_out_of_what_was_pushed(run_store: Path, tmp_path: Path) -> None:
    with OnlineFeatures(serve(run_store, tmp_path, 1)) as online:
        online.push(events_table([event("a", "view", 1.5), event("b", "view", 1.5)]), NOW)
        online.push(events_table([event("b", "view", 1.6)]), NOW)
    forget_events(tmp_path, "b")
    left = [pq.read_table(file)["product"].to_pylist() for file in sorted((tmp_path / "pushed").glob("*.parquet"))]
    assert left == [["a"], []]


@pytest.mark.parametrize("url", ["", *SERVERS], indirect=True)
def test_models_share_an_online_store_without_mixing_and_leave_nothing(url: str, run_store: Path, tmp_path: Path) -> None:
    one, two = serve(run_store, tmp_path, 1), serve(run_store, tmp_path, 2, -VECTORS)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not any(PASSWORD.encode() in path.read_bytes() for path in written)
    assert (one / "online.db").exists() == (not url)
    with OnlineFeatures(one) as first, OnlineFeatures(two) as second:
        first.push(events_table([event("a", "view", 1.5)]), NOW)
        assert (first.products(["a"])["views_30d"], second.products(["a"])["views_30d"]) == ([2], [1])
        assert first.read("model-1", {"product_id": ["b"]})["embedding"] == [[1.0, 0.0]]
        assert second.read("model-2", {"product_id": ["b"]})["embedding"] == [[-1.0, 0.0]]
        forget_features(one)
        assert not one.exists() and second.products(["b"])["price_now"] == [8.0]
    if url.startswith("redis"):
        import redis

        assert {key.rpartition(b"goodsight_")[2][:12] for key in redis.Redis.from_url(url).scan_iter()} == {b"2" * 12}
