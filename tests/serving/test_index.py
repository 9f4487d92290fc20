"""The index finds what is nearest, and refuses bytes and bundles that are not its own."""

from __future__ import annotations

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
from serving.fusion import Held
from serving.index import Index, Wanted, build_index, update_index
from tests.serving.shop import PROVENANCE, shop, table, unit

FILES = ["vectors.faiss", "products.arrow", "filters/rows.npy", "words/indptr.csc.index.npy"]
FILES += ["facets.json", "thumbnails.arrow", "index.json", "model.sig"]


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


def test_facets_say_what_can_be_asked_for(index: Index) -> None:
    assert index.facets["category"][1] == {"category": "Seating > Sofa", "count": 20}
    assert index.facets["price"] == {"min": 0.0, "max": 38.0}
    colours = {each["value"]: each["count"] for each in index.facets["attributes"]["Colour"]}
    assert colours == {"Red": 20, "green": 20, "blue": 20}


def test_words_count_by_the_weight_that_is_asked_for(index: Index) -> None:
    """The vector is that of p3, the words are those of p7."""

    def found(lexical: float | None) -> list[str]:
        return [row["id"] for row, _ in index.search(unit(40)[3:4], [Wanted(40, text="thing number 7", lexical=lexical)])[0]]

    assert found(None) == found(0.0) and found(0.0)[0] == "p3"
    assert found(0.9)[0] == "p7"
    assert found(1.0)[0] == "p7"
    assert set(found(0.5)[:2]) == {"p3", "p7"}
    assert len(found(0.5)) == 40
    (narrow,) = index.search(unit(40)[3:4], [Wanted(5, Filters(price={"min": 8}), text="thing 7", lexical=1.0, excluded=("p9",))])
    assert not {"p7", "p9"} & {row["id"] for row, _ in narrow}


def test_scores_are_in_order_with_words_too(index: Index) -> None:
    (found,) = index.search(unit(1), [Wanted(20, text="thing 12 13", lexical=0.4)])
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True) and len(scores) == 20


def held(relevant: Callable[[int], str]) -> Held:
    """Queries with the vector of one product and the words of the one after it."""
    return Held([f"thing {row + 1}" for row in range(30)], unit(40)[:30], [[relevant(row)] for row in range(30)])


@pytest.mark.parametrize(
    ("relevant", "best"), [(lambda row: f"p{row}", "vectors"), (lambda row: f"p{row + 1}", "words")], ids=["vectors", "words"]
)
def test_the_weight_of_words_is_what_finds_most_for_held_out_queries(relevant: Callable[[int], str], best: str, tmp_path: Path) -> None:
    build_index(unit(40), shop(40), PROVENANCE, tmp_path / "index", held(relevant))
    index = Index.load(tmp_path / "index", PROVENANCE["bundle"])
    fusion = index.record["fusion"]
    assert fusion["queries"] == 30 and fusion["mrr"]["both"] == 1.0 == fusion["mrr"][best]
    found = index.search(unit(40)[5:6], [Wanted(1, text="thing 6")])[0][0][0]["id"]
    assert found == relevant(5)


def changed(products: pa.Table) -> pa.Table:
    """The catalogue after an update: p0 to p4 left, p5 was changed, three came."""
    ids, content = [f"p{row}" for row in range(5, 40)], [f"c{row}" for row in range(5, 40)]
    kept = products.filter(pa.array([id in ids for id in products["id"].to_pylist()])).append_column("content", pa.array(content))
    new = shop(43).slice(40).append_column("content", pa.array(["n"] * 3))
    altered = kept["content"].to_pylist()
    altered[0] = "another"
    return pa.concat_tables([kept.set_column(kept.schema.get_field_index("content"), "content", pa.array(altered)), new])


@pytest.mark.parametrize("kind", ["flat", "hnsw", "lists"])
def test_an_update_embeds_what_is_new_and_answers_like_one_made_anew(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind != "flat":
        monkeypatch.setattr("serving.nearest.FLAT_FLOATS", 0)
    if kind == "lists":
        monkeypatch.setattr("serving.nearest.RECALL", 2)  # that no graph reaches
        monkeypatch.setattr("serving.nearest.EXACT_FLOATS", 10)
    first = shop(40).append_column("content", pa.array([f"c{row}" for row in range(40)]))
    build_index(unit(40), first, PROVENANCE, tmp_path / "old")
    old, products = Index.load(tmp_path / "old", PROVENANCE["bundle"]), changed(shop(40))
    assert np.flatnonzero(old.unchanged(products) < 0).tolist() == [0, 35, 36, 37]
    fresh, later = unit(4, seed=7), PROVENANCE | {"snapshot": "t" * 64}
    update_index(old, fresh, products, later, tmp_path / "updated")
    anew = np.concatenate([fresh[:1], unit(40)[6:], fresh[1:]])
    build_index(anew, products, later, tmp_path / "anew")
    updated, whole = (Index.load(tmp_path / name, PROVENANCE["bundle"]) for name in ("updated", "anew"))
    assert (updated.snapshot, updated.record["count"], sorted(updated.ids)) == ("t" * 64, 38, sorted(whole.ids))
    assert np.array_equal(updated.vectors_of(products["id"].to_pylist()), anew)
    assert len(updated.vectors) == 38
    for wanted in (Wanted(100), Wanted(5, Filters(category=["Seating > Sofa"])), Wanted(3, text="thing 41", lexical=0.5)):
        (mine,), (theirs,) = (index.search(unit(1, seed=8), [wanted]) for index in (updated, whole))
        assert [row for row, _ in mine] == [row for row, _ in theirs]
    with pytest.raises(NotFoundError, match="'p2'"):
        updated.vectors_of(["p2"])
    assert updated.record["kind"] == whole.record["kind"] == kind
    if kind == "flat":
        assert updated.digest == whole.digest


def test_a_graph_with_much_out_of_use_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.nearest.FLAT_FLOATS", 0)
    products = shop(40).append_column("content", pa.array([f"c{row}" for row in range(40)]))
    build_index(unit(40), products, PROVENANCE, tmp_path / "old")
    old = Index.load(tmp_path / "old", PROVENANCE["bundle"])
    update_index(old, unit(0), products.slice(3), PROVENANCE, tmp_path / "few")
    update_index(old, unit(0), products.slice(20), PROVENANCE, tmp_path / "half")
    few, half = (Index.load(tmp_path / name, PROVENANCE["bundle"]) for name in ("few", "half"))
    assert (few.record["rows"], few.record["count"]) == (40, 37)
    assert (half.record["rows"], half.record["count"]) == (20, 20)
    again = products.slice(1)
    update_index(few, unit(40)[1:3], again, PROVENANCE, tmp_path / "back")
    back = Index.load(tmp_path / "back", PROVENANCE["bundle"])
    assert [row["id"] for (row, _), *_ in back.search(unit(40)[1:], [Wanted(2)] * 39)] == again["id"].to_pylist()


def test_an_update_from_another_bundle_or_without_a_vector_is_refused(index: Index, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="made by another bundle"):
        update_index(index, unit(40), shop(40), PROVENANCE | {"bundle": "x" * 64}, tmp_path / "index")
    with pytest.raises(InputError, match="39 vectors for 40 new or changed"):
        update_index(index, unit(39), shop(40), PROVENANCE, tmp_path / "index")
    assert not any(tmp_path.iterdir())
