"""The ASOF join gives what Feast's own file store gives, and what a reader with a pencil would find."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_repo.store import quiet
from goodsight.errors import InputError
from tests.feature_repo.made import START, Rows

ROWS = pa.schema(
    [("key", pa.string()), ("true", pa.timestamp("us", tz="UTC")), ("written", pa.timestamp("us", tz="UTC")), ("value", pa.int64())]
)


@contextmanager
def store(kind: str, rows: Rows, ttl: timedelta | None = None) -> Iterator[Any]:
    """Feast with one view of `rows`, on the offline store `kind`."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Int64

    folder = Path(tempfile.mkdtemp())
    pq.write_table(pa.Table.from_pylist(rows, ROWS), folder / "rows.parquet")
    config = RepoConfig(
        project="asof",
        provider="local",
        registry="registry.db",
        repo_path=folder,
        offline_store={"type": kind},
        online_store={"type": "sqlite", "path": "online.db"},
        entity_key_serialization_version=3,
    )
    key = Entity(name="key", join_keys=["key"], value_type=ValueType.STRING)
    source = FileSource(name="rows", path="rows.parquet", timestamp_field="true", created_timestamp_column="written")
    view = FeatureView(name="view", entities=[key], source=source, schema=[Field(name="value", dtype=Int64)], ttl=ttl)
    try:
        with quiet():
            opened = FeatureStore(repo_path=str(folder), config=config)
            opened.apply([key, view])
        yield opened
    finally:
        shutil.rmtree(folder)


OURS, FEASTS = "feature_repo.asof.AsOfOfflineStore", "file"
Found = dict[tuple[str, datetime], int | None]


def joined(kind: str, rows: Rows, asked: list[tuple[str, datetime]], by_created: bool, ttl: timedelta | None = None) -> Found:
    with store(kind, rows, ttl) as opened, quiet():
        frame = pd.DataFrame(asked, columns=["key", "event_timestamp"])
        got = opened.get_historical_features(frame, ["view:value"], filter_by_created_timestamp=by_created).to_df()
    values = zip(got["key"], got["event_timestamp"], got["value"], strict=True)
    return {(key, time.to_pydatetime()): None if pd.isna(value) else int(value) for key, time, value in values}


def slow(rows: Rows, key: str, instant: datetime, by_created: bool) -> int | None:
    known = [row for row in rows if row["key"] == key and row["true"] <= instant and (not by_created or row["written"] <= instant)]
    return max(known, key=lambda row: (row["true"], row["written"]))["value"] if known else None


hours = st.integers(0, 9)
told = st.lists(st.tuples(st.sampled_from("ab"), hours, hours), min_size=1, max_size=10, unique=True)
asks = st.lists(st.tuples(st.sampled_from("abc"), hours), min_size=1, max_size=8, unique=True)


@settings(max_examples=60, deadline=None)
@given(told=told, asked=asks, by_created=st.booleans())
@example(told=[("a", 0, 0), ("a", 5, 5), ("a", 3, 7)], asked=[("a", 4), ("a", 6), ("a", 8)], by_created=True)
def test_a_join_finds_the_value_that_was_true_last_of_what_was_known(
    told: list[tuple[str, int, int]], asked: list[tuple[str, int]], by_created: bool
) -> None:
    def at(hour: int) -> datetime:
        return START + timedelta(hours=hour)

    rows = [{"key": key, "true": at(true), "written": at(written), "value": place} for place, (key, true, written) in enumerate(told)]
    instants = [(key, at(hour)) for key, hour in asked]
    expected = {(key, instant): slow(rows, key, instant, by_created) for key, instant in instants}
    assert joined(OURS, rows, instants, by_created) == expected


LATE = [("a", 0, 0, 1), ("a", 5, 5, 2), ("a", 3, 7, 3), ("b", 2, 2, 4), ("a", 8, 8, 5)]


@pytest.mark.parametrize("by_created", [True, False])
@pytest.mark.parametrize("ttl", [None, timedelta(hours=2)])
def test_feasts_own_file_store_finds_the_same(by_created: bool, ttl: timedelta | None) -> None:
    rows = [
        {"key": key, "true": START + timedelta(hours=true), "written": START + timedelta(hours=written), "value": value}
        for key, true, written, value in LATE
    ]
    asked = [(key, START + timedelta(hours=hour, minutes=30)) for key in "ab" for hour in range(10)]
    ours, theirs = (joined(kind, rows, asked, by_created, ttl) for kind in (OURS, FEASTS))
    there = {place: value for place, value in ours.items() if value is not None}
    assert there == {place: value for place, value in theirs.items() if value is not None}
    assert set(ours) == set(asked)


def test_a_time_without_a_zone_is_utc() -> None:
    rows = [{"key": "a", "true": START, "written": START, "value": 7}]
    with store(OURS, rows) as opened, quiet():
        frame = pd.DataFrame({"key": ["a", "a"], "event_timestamp": [datetime(2025, 12, 31, 23, 59), datetime(2026, 1, 1, 0, 1)]})
        got = opened.get_historical_features(frame, ["view:value"]).to_df().sort_values("event_timestamp")
    assert [None if pd.isna(value) else value for value in got["value"]] == [None, 7]


def test_entities_that_are_sql_are_refused() -> None:
    rows = [{"key": "a", "true": START, "written": START, "value": 7}]
    with store(OURS, rows) as opened, pytest.raises(InputError, match="are a str, not a pandas frame"), quiet():
        opened.get_historical_features("SELECT 1", ["view:value"]).to_df()
