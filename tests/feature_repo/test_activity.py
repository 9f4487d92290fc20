"""Features of events: at any instant the counts and the price are those that someone who knew only what was known would find."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_repo.activity import PRODUCT_COUNTS, QUERY_COUNTS, product_activity, query_activity, query_words
from tests.feature_repo.made import KINDS, START, event, events_table

HELD = {"view": ("views_7d", "views_30d"), "click": ("clicks_30d",), "cart": ("carts_30d",), "purchase": ("purchases_7d", "purchases_30d")}


def known_by(events: list[dict[str, Any]], instant: datetime) -> list[dict[str, Any]]:
    return [event for event in events if max(event["time"], event["created"]) <= instant]


def slow(events: list[dict[str, Any]], instant: datetime) -> dict[str, Any]:
    """The features of one product at `instant`, counted event by event."""
    known = known_by(events, instant)
    found: dict[str, Any] = {count.name: 0 for count in PRODUCT_COUNTS}
    for told in known:
        age = instant - told["time"]
        names = HELD.get(told["kind"], ("price_changes_30d",) if told["kind"] == "price" else ())
        for name in (*names, *(["searches_30d"] if told["query"] else [])):
            found[name] += age < timedelta(days=7 if name.endswith("_7d") else 30)
    prices = [event for event in known if event["kind"] == "price"]
    newest = max((event["time"] for event in prices), default=None)
    found["last_price"] = {event["value"] for event in prices if event["time"] == newest} or {None}
    return found


def at(rows: pa.Table, key: str, instant: datetime) -> dict[str, Any] | None:
    """The last row of `key` by `instant`."""
    name = rows.column_names[0]
    found = [row for row in rows.to_pylist() if row[name] == key and row["event_timestamp"] <= instant]
    return found[-1] if found else None


hours = st.integers(0, 60 * 24)
events_of_a_product = st.lists(
    st.builds(
        lambda kind, hour, late, value, query: event("p", kind, hour / 24, (hour + late) / 24, float(value), query),
        st.sampled_from(KINDS),
        hours,
        st.sampled_from([0, 0, 0, 5, 24 * 8, 24 * 40]),
        st.integers(1, 9),
        st.sampled_from(["", "", "red sofa"]),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(events=events_of_a_product, asked=st.lists(hours, min_size=1, max_size=6))
@example(events=[], asked=[0])
def test_a_row_tells_what_was_known_and_nothing_more(events: list[dict[str, Any]], asked: list[int]) -> None:
    rows = product_activity(events_table(events))
    edges = [event["time"] + timedelta(days=days) for event in events for days in (0, 7, 30)]
    for instant in [START + timedelta(hours=hour) for hour in asked] + edges:
        row, expected = at(rows, "p", instant), slow(events, instant)
        prices = expected.pop("last_price")
        if row is None:
            assert not known_by(events, instant)
            continue
        assert {name: row[name] for name in expected} == expected
        assert row["last_price"] in prices


def test_nothing_is_counted_before_it_was_written_down() -> None:
    rows = product_activity(events_table([event("p", "purchase", 0, told=2)]))
    assert at(rows, "p", START + timedelta(days=1)) is None
    row = at(rows, "p", START + timedelta(days=2))
    assert row is not None and row["purchases_7d"] == 1
    assert [row["event_timestamp"] for row in rows.to_pylist()] == [START + timedelta(days=days) for days in (2, 7, 30)]


def test_a_price_told_late_about_an_earlier_day_does_not_replace_a_later_one() -> None:
    prices = [(0, 0, 10.0), (5, 5, 12.0), (3, 6, 11.0)]
    rows = product_activity(events_table([event("p", "price", day, told, value) for day, told, value in prices]))
    found = [at(rows, "p", START + timedelta(days=day)) for day in (0, 4, 5, 6, 40)]
    assert [row and row["last_price"] for row in found] == [10.0, 10.0, 12.0, 12.0, 12.0]


def test_queries_are_counted_by_their_words() -> None:
    asked = [("Red  Sofa", "view"), ("red sofa ", "purchase"), ("LAMP", "view"), ("", "view")]
    rows = query_activity(events_table([event("p", kind, 0, query=query) for query, kind in asked]))
    found = {row["words"]: [row[count.name] for count in QUERY_COUNTS] for row in rows.to_pylist() if row["event_timestamp"] == START}
    assert found == {"red sofa": [2, 2, 1], "lamp": [1, 1, 0]}
    assert query_words("Red  Sofa") == query_words("red\tsofa ") == "red sofa"
