"""The index finds what is nearest, and refuses bytes and bundles that are not its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodsight.errors import InputError, IntegrityError
from goodsight.files import read_json, write_json
from serving.index import Index, build_index

PROVENANCE = {"candidate": "c" * 64, "bundle": "b" * 64, "snapshot": "s" * 64}


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
    found = Index.load(folder, PROVENANCE["bundle"]).search(unit(30), 5)
    assert [near[0][0]["id"] for near in found] == [f"p{row}" for row in range(30)]
    assert all(len(near) == 5 for near in found)
    assert all([s for _, s in near] == sorted((s for _, s in near), reverse=True) for near in found)
    assert found[0][0][0] == {"id": "p0", "title": "p0", "category": "A > B", "price": 1.5}
    assert found[0][0][1] == pytest.approx(1.0, abs=1e-5)


def test_more_answers_than_products_are_all_products(folder: Path) -> None:
    assert len(Index.load(folder, PROVENANCE["bundle"]).search(unit(1), 100)[0]) == 30


def test_the_record_names_its_origin(folder: Path) -> None:
    record = read_json(folder / "index.json")
    assert {name: record[name] for name in PROVENANCE} == PROVENANCE
    assert (record["kind"], record["dimension"], record["count"]) == ("flat", 8, 30)


def test_the_same_input_has_the_same_digest(folder: Path, tmp_path: Path) -> None:
    assert build_index(unit(30), table(30), PROVENANCE, tmp_path / "again") == read_json(folder / "index.json")["digest"]


@given(name=st.sampled_from(["vectors.faiss", "products.parquet", "index.json", "model.sig"]), place=st.floats(0, 1, exclude_max=True))
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


@pytest.mark.parametrize("name", ["vectors.faiss", "products.parquet"])
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
