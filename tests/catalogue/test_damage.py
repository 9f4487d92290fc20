"""Randomly damaged catalogues: never a traceback, never a lost row, always a reason, in every format and through an update."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogue.importer import import_catalogue
from catalogue.snapshot import Snapshot
from catalogue.update import import_update
from catalogue.validation import validate
from goodsight.errors import InputError
from tests.catalogue.made import write_lines

NAMES = ("id", "title", "category_path", "price", "images", "attributes", "updated", "split", "deleted", "group")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(st.characters(exclude_categories=[]), max_size=12),
    st.lists(st.one_of(st.text(max_size=5), st.integers(), st.none()), max_size=3),
    st.dictionaries(st.text(max_size=4), st.one_of(st.text(max_size=4), st.none(), st.floats()), max_size=2),
    st.sampled_from(["../x.jpg", "/etc/passwd", "images", "9.9", "2026-13-01", "Home > Sofas", "train", "\0", '{"a": 1}', "[1"]),
)
DAMAGE = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)
CATALOGUE = st.lists(st.tuples(st.integers(0, 6), DAMAGE), min_size=1, max_size=8)


def records(damaged: list[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"id": f"p{number}", "title": "Sofa", "category_path": ["Home"]} | damage for number, damage in damaged]


def total(snapshot: Snapshot) -> int:
    """Lines that a snapshot accounts for."""
    counts: dict[str, int] = snapshot.manifest["counts"]
    assert all(row["reason"] for row in snapshot.read("unreadable").to_pylist())
    return sum(counts.values())


def imported(folder: Path, out: Path) -> Snapshot:
    import_catalogue(folder, out)
    return Snapshot.open(out)


@settings(deadline=None, max_examples=200)
@given(damaged=CATALOGUE)
def test_no_line_of_json_is_lost(tmp_path_factory: pytest.TempPathFactory, damaged: list[tuple[int, dict[str, Any]]]) -> None:
    folder = tmp_path_factory.mktemp("json")
    write_lines(folder / "products.jsonl", list(records(damaged)))
    write_lines(folder / "queries_text.jsonl", [{"qid": "q", "relevant": ["p1"]} | damage for _, damage in damaged])
    write_lines(folder / "events.jsonl", [{"product": "p1", "kind": "view", "time": "2026-01-01"} | damage for _, damage in damaged])
    assert total(imported(folder, folder / "out")) == 3 * len(damaged)


@settings(deadline=None, max_examples=100)
@given(damaged=CATALOGUE)
def test_no_row_of_a_csv_is_lost(tmp_path_factory: pytest.TempPathFactory, damaged: list[tuple[int, dict[str, Any]]]) -> None:
    folder = tmp_path_factory.mktemp("csv")
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(NAMES)
    for record in records(damaged):
        cells = (record.get(name, "") for name in NAMES)
        writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in cells])
    (folder / "products.csv").write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
    assert total(imported(folder, folder / "out")) == len(damaged)


@settings(deadline=None, max_examples=50)
@given(prices=st.lists(st.one_of(st.none(), st.floats(), st.integers(-(2**60), 2**60).map(float)), min_size=1, max_size=8))
def test_no_row_of_a_parquet_file_is_lost(tmp_path_factory: pytest.TempPathFactory, prices: list[float | None]) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    pq.write_table(pa.table({"id": [f"p{n // 2}" for n in range(len(prices))], "price": prices}), folder / "products.parquet")
    assert total(imported(folder, folder / "out")) == len(prices)


@settings(deadline=None, max_examples=50)
@given(before=CATALOGUE, after=CATALOGUE)
def test_an_update_accounts_for_every_line(
    tmp_path_factory: pytest.TempPathFactory, before: list[tuple[int, dict[str, Any]]], after: list[tuple[int, dict[str, Any]]]
) -> None:
    folder = tmp_path_factory.mktemp("update")
    for name, damaged in (("before", before), ("after", after)):
        (folder / name).mkdir()
        write_lines(folder / name / "products.jsonl", list(records(damaged)))
    old = imported(folder / "before", folder / "old")
    import_update(folder / "after", folder / "old", folder / "new")
    new = Snapshot.open(folder / "new")
    given_ids = set(imported(folder / "after", folder / "changes").products(["id"])["id"].to_pylist())
    stones = {row["id"] for row in new.read("tombstones").to_pylist()}
    stay = [id for id in old.products(["id"])["id"].to_pylist() if id not in given_ids | stones]
    assert [id for id in new.products(["id"])["id"].to_pylist() if id not in given_ids] == stay
    assert given_ids <= set(new.products(["id"])["id"].to_pylist())


@settings(deadline=None, max_examples=8)
@given(damaged=CATALOGUE)
def test_validation_keeps_or_quarantines_every_row(
    tmp_path_factory: pytest.TempPathFactory, damaged: list[tuple[int, dict[str, Any]]]
) -> None:
    folder = tmp_path_factory.mktemp("validation")
    write_lines(folder / "products.jsonl", list(records(damaged)))
    write_lines(folder / "events.jsonl", [{"product": "p1", "kind": "view", "time": "2026-01-01"} | damage for _, damage in damaged])
    try:
        raw = imported(folder, folder / "raw")
    except InputError as error:
        assert "has no records" in error.message
        return
    verdict = validate(folder / "raw", folder / "out", folder / "quarantine.parquet", folder / "report")
    rows = pq.read_table(folder / "quarantine.parquet").to_pylist()
    assert verdict.products_in == verdict.kept + verdict.quarantined == len(damaged) - raw.manifest["counts"]["tombstones"]
    assert verdict.events_in == verdict.events_kept + verdict.events_quarantined == len(damaged)
    assert verdict.quarantined + verdict.events_quarantined + verdict.queries_quarantined == len(rows)
    assert all(row["reasons"] and all(row["reasons"]) for row in rows)
