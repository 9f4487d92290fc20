"""`goodsight features`, called as a person would, on a home whose store is real and whose server is not needed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from feature_repo.served import serve_features
from feature_repo.store import build_features
from goodsight.errors import GoodsightError, InputError
from goodsight.files import write_json
from goodsight.settings import settings
from pipelines.command import app
from tests.feature_repo.made import product, snapshot_of

NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which a version with the features of two products is recorded as served."""
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    build_features(snapshot_of(tmp_path, [product("a", price=10.0), product("b")], []), tmp_path / "store")
    served = {"version": "1", "archive": "goodsight-1", "candidate": "c" * 64, "index": "1" * 64, "previous": None, "deployed_at": ""}
    write_json(tmp_path / "home" / "serving" / "current.json", served)
    store = tmp_path / "home" / "serving" / "features" / "goodsight-1"
    serve_features(tmp_path / "store", store, "goodsight-1", {"index": "1" * 64}, ["a", "b"], np.eye(2, dtype=np.float32), NOW)
    return tmp_path


def call(*arguments: str) -> Any:
    """What the command prints as JSON; its errors are raised."""
    done = CliRunner().invoke(app, ["features", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def events_file(folder: Path, *events: dict[str, Any]) -> str:
    told = [{"product": "a", "time": (NOW - timedelta(minutes=5)).isoformat(), **event} for event in events]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in told))
    return str(folder / "events.jsonl")


def test_a_push_is_shown_is_skew_and_is_none_after_a_refresh(home: Path) -> None:
    assert "pushed" in call("push", events_file(home, {"kind": "view"}, {"kind": "price", "value": 8.0}))
    [shown] = json.loads(call("show", "a", "--json"))
    assert (shown["title"], shown["views_30d"], shown["price_now"], shown["discount"]) == ("Title of a", 1, 8.0, pytest.approx(0.2))
    assert "price_now" in call("show", "a", "b")
    with pytest.raises(GoodsightError, match="differ in .*views_30d") as raised:
        call("skew")
    assert raised.value.exit_code == 3 and "goodsight features refresh" in str(raised.value)
    assert "goodsight-1" in call("refresh")
    assert all(row["differing"] == 0 and row["compared"] == 2 for row in json.loads(call("skew", "--json")))


def test_what_cannot_be_counted_is_kept_with_its_reason_and_the_rest_counts(home: Path) -> None:
    with pytest.raises(GoodsightError, match="1 of 2 events were refused. Line 2 of events.jsonl: the event has no kind") as raised:
        call("push", events_file(home, {"kind": "view"}, {"kind": ""}))
    assert raised.value.exit_code == 3
    assert len(list((home / "home" / "serving" / "features" / "pushed").glob("refused-*.parquet"))) == 1
    assert json.loads(call("show", "a", "--json"))[0]["views_30d"] == 1


def test_an_unknown_product_and_a_home_without_a_version_are_said(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Not among the products that are served: nobody"):
        call("show", "nobody")
    with pytest.raises(InputError, match="Nothing with features is deployed"):
        call("show", "a", "--home", str(tmp_path / "other"))
