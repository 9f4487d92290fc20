"""What the feature store adds to answers, and that no answer fails or waits because a store does not answer."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from tenacity import retry, stop_after_delay, wait_fixed

from feature_repo.online import OnlineFeatures
from feature_repo.store import build_features
from goodsight.settings import settings
from serving.client import Client
from serving.deploy import Probe, deploy, rollback
from serving.features import ProductFeatures, stores
from tests.feature_repo.made import events_table, product, snapshot_of
from tests.servers import found, free_port
from tests.serving.conftest import TITLES

pytestmark = pytest.mark.torchserve
SHOWN = {"id", "title", "category", "price", "score", "popularity", "conversion_30d", "discount"}


@pytest.fixture(scope="module")
def run_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of a run whose products are those of the index."""
    folder = tmp_path_factory.mktemp("run")
    rows = [product(f"p{row}", title=title, price=10.0 + row) for row, title in enumerate(TITLES)]
    build_features(snapshot_of(folder, rows, []), folder / "store")
    return folder / "store"


@pytest.fixture(scope="module")
def home(made: Any, run_store: Path, probes: list[Probe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("features") / "home"
    deploy(made.candidate, made.index, "1", probes, home, run_store)
    return home


def told(kind: str, value: float | None = None) -> Any:
    """An event of a minute ago about the third product, the first of those that have a price."""
    now = datetime.now(UTC) - timedelta(minutes=1)
    return events_table([{"product": "p2", "kind": kind, "time": now, "created": now, "value": value}])


def third(client: Client) -> dict[str, Any]:
    """That product, among all of them."""
    return next(row for row in client.search("red sofa", k=100)["results"] if row["id"] == "p2")


def test_answers_have_prices_and_signals_of_now_over_pushes_deployments_and_rollback(
    home: Path, made: Any, other: Any, run_store: Path, probes: list[Probe], serve: Callable[[Path], Any], tmp_path: Path
) -> None:
    copied = shutil.copytree(home, tmp_path / "home")
    serve(copied)
    client = Client.connect(copied)
    answer = client.search("red sofa", k=3)
    assert answer["features"] == "goodsight-1"
    assert all(set(row) == SHOWN for row in answer["results"])
    assert (third(client)["price"], third(client)["discount"], third(client)["popularity"]) == (12.0, 0.0, 0.0)
    deploy(made.candidate, made.index, "1", probes, copied, run_store)  # the server goes on reading the store that it has open
    with OnlineFeatures(stores(copied) / "goodsight-1") as online:
        online.push(told("price", 7.5), datetime.now(UTC))
    assert (third(client)["price"], third(client)["discount"]) == (7.5, 0.375)

    deploy(other.candidate, other.index, "2", probes, copied, run_store)
    assert client.search("red sofa")["features"] == "goodsight-2"
    assert third(client)["price"] == 7.5
    with OnlineFeatures(stores(copied) / "goodsight-2") as online:
        online.push(told("price", 5.0), datetime.now(UTC))
    rollback("1", copied)
    assert client.search("red sofa")["features"] == "goodsight-1"
    assert third(client)["price"] == 5.0
    deploy(other.candidate, other.index, "3", probes, copied, run_store)
    assert sorted(path.name for path in stores(copied).glob("goodsight-*")) == ["goodsight-1", "goodsight-3"]
    assert "features" not in client.categorize("red sofa")


def test_a_version_without_features_shows_what_the_index_says(deployed: Path, serve: Callable[[Path], Any], tmp_path: Path) -> None:
    copied = shutil.copytree(deployed, tmp_path / "home")
    serve(copied)
    answer = Client.connect(copied).search("red sofa", k=1)
    assert "features" not in answer and set(answer["results"][0]) == {"id", "title", "category", "price", "score"}


@pytest.fixture
def own_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A Redis of this test's own, named by the setting."""
    port = free_port()
    command = [found("redis-server"), "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    retry(stop=stop_after_delay(30), wait=wait_fixed(0.1), reraise=True)(redis.Redis(port=port).ping)()
    monkeypatch.setenv("GOODSIGHT_ONLINE_STORE", f"redis://127.0.0.1:{port}/0")
    settings.cache_clear()
    yield process
    settings.cache_clear()
    process.kill()
    process.wait(timeout=30)


def asked() -> list[dict[str, Any]]:
    """Answers as the predictor gives them."""
    product = {"id": "p0", "title": "red sofa", "category": "Seating", "price": 10.0, "score": 0.9}
    return [{"task": "search", "results": [dict(product)]}, {"task": "categorize", "results": []}]


@pytest.mark.servers
@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL], ids=["hangs", "is gone"])
def test_an_answer_does_not_wait_for_a_store_that_is_down(
    fault: signal.Signals, own_redis: subprocess.Popen[bytes], made: Any, run_store: Path, tmp_path: Path
) -> None:
    from feature_repo.served import serve_features
    from goodsight.files import read_json
    from serving.index import Index

    index = Index.load(made.index, read_json(made.candidate / "candidate.json")["bundles"]["retrieve"])
    store = tmp_path / "features" / "goodsight-1"
    serve_features(run_store, store, "goodsight-1", {"index": index.digest}, index.ids, index.vectors, datetime.now(UTC))
    features = ProductFeatures(store)
    features.add(answers := asked())
    assert answers[0]["features"] == "goodsight-1" and set(answers[0]["results"][0]) == SHOWN

    own_redis.send_signal(fault)
    started = time.monotonic()
    features.add(answers := asked())
    features.add(again := asked())
    assert time.monotonic() - started < 3
    assert json.dumps(answers) == json.dumps(again)
    assert answers[0]["features"] is None and answers[0]["results"] == asked()[0]["results"]
    if fault == signal.SIGSTOP:
        own_redis.send_signal(signal.SIGCONT)
        retry(stop=stop_after_delay(30), wait=wait_fixed(0.2), reraise=True)(_is_back)(features)


def _is_back(features: ProductFeatures) -> None:
    features.add(answers := asked())
    assert answers[0]["features"] == "goodsight-1"
