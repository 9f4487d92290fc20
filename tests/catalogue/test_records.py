"""Records: whatever JSON a line holds, it becomes a row of the schema or is refused with a reason, never a crash."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogue.records import (
    PRODUCT_SCHEMA,
    QUERY_SCHEMA,
    assigned_split,
    parse_line,
    product_row,
    query_row,
    query_split,
    unreadable_row,
)
from goodsight.errors import InputError

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=8)  # lone surrogates too
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({*PRODUCT_SCHEMA.names, *QUERY_SCHEMA.names, "qid", "transcript"})


def _no_media(name: str | bytes) -> bytes:
    raise InputError(f"{name!r} is missing")


def _fits(row: dict[str, Any], schema: pa.Schema) -> bool:
    return pa.Table.from_pylist([row], schema=schema).num_rows == 1


@settings(deadline=None)
@given(record=st.dictionaries(st.sampled_from(FIELDS), ANY_JSON))
def test_any_record_becomes_a_row_or_is_refused(record: dict[str, Any]) -> None:
    line = parse_line(json.dumps(record).encode())
    for make, schema in (
        (lambda: product_row(line, 1, "products.jsonl", _no_media), PRODUCT_SCHEMA),
        (lambda: query_row(line, 1, "queries_text.jsonl", {}, _no_media), QUERY_SCHEMA),
    ):
        try:
            assert _fits(make(), schema)
        except InputError as error:
            assert "no id" in error.message


@settings(deadline=None)
@given(raw=st.binary(max_size=60))
def test_any_bytes_are_an_object_or_are_refused(raw: bytes) -> None:
    try:
        assert isinstance(parse_line(raw), dict)
    except InputError as error:
        row = unreadable_row("product", "products.jsonl", 1, raw.decode("utf-8", "replace"), error.message)
        assert json.dumps(row).encode() and error.message


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ({"price": "9.90"}, {"price": 9.9}),
        ({"price": 3}, {"price": 3.0}),
        ({"title": 501}, {"title": "501"}),
        ({"title": "  Sofa "}, {"title": "Sofa"}),
        ({"category_path": "Home > Sofas"}, {"category_path": ["Home", "Sofas"]}),
        ({"category_path": ["Home > Sofas", " ", "Red"]}, {"category_path": ["Home", "Sofas", "Red"]}),
        ({"attributes": {"b": 1, "a": float("nan")}}, {"attributes": '{"a":null,"b":1}'}),
        ({"updated": "2024-02-03"}, {"updated": datetime(2024, 2, 3, tzinfo=UTC)}),
        ({"updated": "2024-02-03T10:00:00+02:00"}, {"updated": datetime(2024, 2, 3, 8, tzinfo=UTC)}),
        ({"split": "test", "group": 7}, {"split": "test", "group": "7"}),
        ({}, {"title": "", "price": None, "images": [], "video": None, "group": "x", "attributes": "{}"}),
    ],
)
def test_what_can_be_kept_is_kept(given_: dict[str, Any], kept: dict[str, Any]) -> None:
    row = product_row({"id": "x"} | given_, 1, "products.jsonl", _no_media)
    assert {name: row[name] for name in kept} == kept and row["problems"] == []


def test_ids_are_texts_or_whole_numbers() -> None:
    assert product_row({"id": 12}, 1, "products.jsonl", _no_media)["id"] == "12"
    assert query_row({"qid": " q "}, 1, "q.jsonl", {}, _no_media)["id"] == "q"
    for wrong in (None, "", " ", True, 1.5, [], {}):
        with pytest.raises(InputError, match="no id"):
            product_row({"id": wrong}, 1, "products.jsonl", _no_media)


def test_splits_come_out_near_their_shares() -> None:
    splits = [assigned_split(f"group {index}") for index in range(3000)]
    assert 0.67 < splits.count("train") / 3000 < 0.73 and 0.08 < splits.count("val") / 3000 < 0.12
    assert query_split("sofa", {"catalogue", "val"}) == "val"
    assert {query_split(f"sofa {index}", {"test", "train"}) for index in range(50)} == {"test", "train"}
    assert query_split("sofa", {"catalogue"}) == query_split("sofa", set()) == assigned_split("sofa")
