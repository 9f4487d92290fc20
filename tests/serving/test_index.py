"""The index finds what is nearest, and refuses bytes and bundles that are not its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from goodsight.errors import InputError, IntegrityError, NotFoundError
from goodsight.files import read_json, write_json
from serving.filters import Filters
from serving.index import Index, Wanted, build_index

PROVENANCE = {"candidate": "c" * 64, "bundle": "b" * 64, "snapshot": "s" * 64}


FILES = ["vectors.faiss", "products.arrow", "filters/rows.npy", "words/indptr.csc.index.npy", "facets.json", "index.json", "model.sig"]


def unit(rows: int, width: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def table(rows: int) -> pa.Table:
    names = [f"p{row}" for row in range(rows)]
    return pa.table({"id": names, "title": names, "category": ["A > B"] * rows, "price": [1.5] * rows, "extra": names})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("index") / "index"
    build_index(unit(30), table(30), PROVENANCE, out)
    return out


def test_every_vector_finds_its_own_product_first(folder: Path) -> None:
    found = Index.load(folder, PROVENANCE["bundle"]).search(unit(30), [Wanted(5)] * 30)
    assert [near[0][0]["id"] for near in found] == [f"p{row}" for row in range(30)]
    assert all(len(near) == 5 for near in found)
    assert all([s for _, s in near] == sorted((s for _, s in near), reverse=True) for near in found)
    assert found[0][0][0] == {"id": "p0", "title": "p0", "category": "A > B", "price": 1.5}
    assert found[0][0][1] == pytest.approx(1.0, abs=1e-5)


def test_more_answers_than_products_are_all_products(folder: Path) -> None:
    assert len(Index.load(folder, PROVENANCE["bundle"]).search(unit(1), [Wanted(100)])[0]) == 30


def test_the_record_names_its_origin(folder: Path) -> None:
    record = read_json(folder / "index.json")
    assert {name: record[name] for name in PROVENANCE} == PROVENANCE
    assert (record["kind"], record["dimension"], record["count"]) == ("flat", 8, 30)


def test_the_same_input_has_the_same_digest(folder: Path, tmp_path: Path) -> None:
    assert build_index(unit(30), table(30), PROVENANCE, tmp_path / "again") == read_json(folder / "index.json")["digest"]


@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True))
def test_a_changed_byte_is_refused(folder: Path, name: str, place: float) -> None:
    path = folder / name
    whole = path.read_bytes()
    at = int(place * len(whole))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    try:
        with pytest.raises(IntegrityError, match=name):
            Index.load(folder, PROVENANCE["bundle"])
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["vectors.faiss", "products.arrow", "words/vocabulary.npy"])
def test_a_missing_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name} is missing"):
        Index.load(tmp_path / "copy", PROVENANCE["bundle"])


def test_a_changed_record_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    record = read_json(tmp_path / "copy" / "index.json")
    write_json(tmp_path / "copy" / "index.json", {**record, "bundle": "x" * 64})
    with pytest.raises(IntegrityError, match=r"index\.json is not as it was signed"):
        Index.load(tmp_path / "copy", "x" * 64)


def test_the_index_of_another_bundle_is_refused(folder: Path) -> None:
    with pytest.raises(IntegrityError, match="made by bundle bbbbbbbbbbbb, not by bundle dddddddddddd"):
        Index.load(folder, "d" * 64)


@pytest.mark.parametrize(
    ("vectors", "products", "words"),
    [
        (unit(3), table(4), "do not belong"),
        (unit(0), table(0), "no products"),
        (np.full((2, 4), np.nan, np.float32), table(2), "2 of 2 vectors are not finite"),
    ],
)
def test_what_cannot_be_indexed_leaves_nothing(vectors: np.ndarray, products: pa.Table, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        build_index(vectors, products, PROVENANCE, tmp_path / "index")
    assert not any(tmp_path.iterdir())


def shop(rows: int) -> pa.Table:
    """Four categories, prices 0, 1, 2, ... and one unknown, colours and sizes."""
    paths = ["Seating", "Seating > Sofa", "Seating > Sofa > Corner", "Seatings"]
    attributes = [{"Colour": ["Red", "green"] if row % 2 else "blue", "width": row % 5 / 2, "new": row % 3 == 0} for row in range(rows)]
    return pa.table(
        {
            "id": [f"p{row}" for row in range(rows)],
            "title": [f"thing {row}" for row in range(rows)],
            "category": [paths[row % 4] for row in range(rows)],
            "price": pa.array([*map(float, range(rows - 1)), None], pa.float64()),
            "attributes": [json.dumps(each) for each in attributes],
        }
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    out = tmp_path_factory.mktemp("shop") / "index"
    build_index(unit(40), shop(40), PROVENANCE, out)
    return Index.load(out, PROVENANCE["bundle"])


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, lambda row: True),
        ({"category": ["Seating"]}, lambda row: row % 4 != 3),
        ({"category": ["Seating > Sofa"]}, lambda row: row % 4 in (1, 2)),
        ({"category": ["Seatings", "Seating > Sofa > Corner"]}, lambda row: row % 4 in (2, 3)),
        ({"category": ["Sofa"]}, lambda row: False),
        ({"price": {"min": 10}}, lambda row: 10 <= row < 39),
        ({"price": {"min": 10, "max": 12.5}}, lambda row: 10 <= row <= 12),
        ({"attributes": {"colour": ["red"]}}, lambda row: row % 2 == 1),
        ({"attributes": {"COLOUR": ["GREEN", "Blue"]}}, lambda row: True),
        ({"attributes": {"width": ["0.5", "2.0"], "new": ["true"]}}, lambda row: row % 5 in (1, 4) and row % 3 == 0),
        ({"attributes": {"nothing": ["x"]}}, lambda row: False),
        ({"category": ["Seating"], "price": {"max": 20}, "attributes": {"colour": ["red"]}}, lambda row: row % 4 == 1 and row <= 20),
    ],
)
def test_filters_leave_the_nearest_of_what_passes(index: Index, filters: dict[str, Any], passes: Callable[[int], bool]) -> None:
    query, allowed = unit(1, seed=5), [row for row in range(40) if passes(row)]
    (found,) = index.search(query, [Wanted(100, Filters.model_validate(filters))])
    truth = sorted(allowed, key=lambda row: -float(unit(40)[row] @ query[0]))
    assert [row["id"] for row, _ in found] == [f"p{row}" for row in truth]


def test_each_query_has_its_own_wishes(index: Index) -> None:
    both = index.search(unit(2), [Wanted(3, excluded=("p0", "unknown")), Wanted(5, Filters(category=["Seatings"]))])
    assert [len(found) for found in both] == [3, 5]
    assert "p0" not in {row["id"] for row, _ in both[0]}
    assert {row["category"] for row, _ in both[1]} == {"Seatings"}


def test_vectors_are_found_by_id(index: Index) -> None:
    assert np.array_equal(index.vectors_of(["p7", "p2", "p7"]), unit(40)[[7, 2, 7]])
    with pytest.raises(NotFoundError, match="no product 'p99'"):
        index.vectors_of(["p1", "p99"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": ["red"]},
        {"category": "Seating"},
        {"category": [""]},
        {"price": {"min": -1}},
        {"price": {"min": 5, "max": 4}},
        {"price": {"min": float("inf")}},
        {"price": {"min": "5"}},
        {"attributes": {"colour": "red"}},
        {"attributes": {str(name): [] for name in range(21)}},
        {"category": ["x"] * 101},
    ],
)
def test_filters_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Filters.model_validate(wrong)
