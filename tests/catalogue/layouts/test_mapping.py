"""The mapping file: somebody's columns as our fields, and every mistake in it said in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from catalogue.layouts.mapping import ColumnMapping
from catalogue.layouts.tables import Line, Table
from goodsight.errors import InputError

RECORD = {
    "sku": 7,
    "brand": "Nordic",
    "name": {"en": "Sofa", "de": "Sofa, breit"},
    "category": "Home/Sofas/ Wide",
    "front": "a.jpg",
    "more": ["b.jpg", "c.jpg"],
    "colour": "red",
    "price": 10,
}


def mapped(spec: dict, *records: dict | None) -> list[Line]:
    lines = [Line(number, record, "", "" if record else "broken") for number, record in enumerate(records, 1)]
    [table] = ColumnMapping.model_validate(spec).apply([Table("product", "items.csv", lines)])
    return list(table.lines)


def test_columns_become_fields() -> None:
    spec = yaml.safe_load("""
        product:
          id: sku
          title: [brand, name.en]
          category_path: {column: category, separator: "/"}
          images: [front, more]
          attributes: [colour, brand, weight]
          licence: {value: CC0}
    """)
    [line, other] = mapped(spec, RECORD, {"sku": 8, "weight": 3})
    assert {name: line.whole()[name] for name in (*spec["product"], "price")} == {
        "id": 7,
        "title": "Nordic Sofa",
        "category_path": ["Home", "Sofas", "Wide"],
        "images": ["a.jpg", "b.jpg", "c.jpg"],
        "attributes": {"colour": "red", "brand": "Nordic"},
        "licence": "CC0",
        "price": 10,
    }
    assert other.whole() == {"sku": 8, "weight": 3, "id": 8, "attributes": {"weight": 3}, "licence": "CC0"}


def test_a_mapped_field_never_keeps_its_old_value() -> None:
    line, _ = mapped({"product": {"title": "brand"}}, {"title": "internal name", "id": 1}, {"brand": "Nordic"})
    assert line.whole() == {"id": 1}


def test_unreadable_lines_pass() -> None:
    assert [line.reason for line in mapped({"product": {"id": "sku"}}, RECORD, None)] == ["", "broken"]


def test_an_empty_column_is_a_column() -> None:
    [line] = mapped({"product": {"images": ["front", "more"], "price": "cost"}}, {"id": 1, "front": None, "more": None, "cost": None})
    assert line.whole() == {"id": 1, "front": None, "more": None, "cost": None}


def test_a_column_that_no_record_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"No record of items\.csv has a column nmae\.en"):
        mapped({"product": {"id": "sku", "title": "nmae.en"}}, RECORD)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("product: {tittle: name}", "no field 'tittle'; it has id, source, title"),
        ("products: {id: sku}", "wrong at products"),
        ("product: {id: {column: a, value: b}}", "either a column or a value"),
        ("product: [", "cannot be read"),
        ("- product", "is wrong"),
    ],
)
def test_a_wrong_mapping_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mapping.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        ColumnMapping.load(tmp_path / "mapping.yaml")
