"""Opening a snapshot: every byte is checked, and a broken manifest is told as such."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from catalogue import snapshot as module
from catalogue.importer import import_catalogue
from catalogue.records import PRODUCT_SCHEMA, QUERY_SCHEMA
from catalogue.snapshot import Snapshot, write_manifest
from goodsight.errors import InputError, IntegrityError
from goodsight.files import write_json
from tests.catalogue.made import PRODUCTS, Make


@pytest.fixture
def folder(make_catalogue: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A snapshot in several shards of several row groups."""
    monkeypatch.setattr(module, "GROUP_ROWS", 2)
    monkeypatch.setattr(module, "SHARD_ROWS", 5)
    import_catalogue(make_catalogue(), tmp_path / "out")
    return tmp_path / "out"


def test_rows_keep_their_order_over_shards(folder: Path) -> None:
    snapshot = Snapshot.open(folder)
    assert len(snapshot.shards("products")) > 1
    ids = [f"p{index}" for index in range(PRODUCTS)]
    assert snapshot.products(["id"])["id"].to_pylist() == ids
    batches = list(snapshot.product_batches(["id", "images"], size=2))
    assert [name for batch in batches for name in batch.column("id").to_pylist()] == ids
    assert max(batch.num_rows for batch in batches) == 2
    assert sum(batch.num_rows for batch in snapshot.query_batches(["id"])) == PRODUCTS


@pytest.mark.parametrize("room", [1, 2000, 2**20])  # bytes that are read at a time: one row group, some, all
def test_single_rows_are_found_wherever_they_are(folder: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_BYTES", room)
    snapshot = Snapshot.open(folder)
    for rows in ([], [0], [1, 2, 3, 9], list(range(PRODUCTS)), [PRODUCTS - 1]):
        assert [row["id"] for row in snapshot.take("products", rows, ["id", "line"])] == [f"p{row}" for row in rows]


def test_tables_have_their_schema_and_columns_in_the_order_asked(folder: Path) -> None:
    snapshot = Snapshot.open(folder)
    assert snapshot.products().schema.equals(PRODUCT_SCHEMA) and snapshot.queries().schema.equals(QUERY_SCHEMA)
    assert snapshot.products(["title", "id"]).column_names == ["title", "id"]
    assert snapshot.read("unreadable").num_rows == 0


@pytest.mark.parametrize("position", [10, -10])
def test_an_altered_byte_is_found(folder: Path, position: int) -> None:
    shard = Snapshot.open(folder).shards("products")[1]
    data = bytearray(shard.read_bytes())
    data[position] ^= 1
    shard.write_bytes(data)
    with pytest.raises(IntegrityError, match="products/00001.parquet has changed"):
        Snapshot.open(folder)


def test_a_missing_shard_is_found(folder: Path) -> None:
    (folder / "queries" / "00000.parquet").unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        Snapshot.open(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 1}', "\x00"])
def test_a_broken_manifest_is_told(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="broken manifest"):
        Snapshot.open(folder)


def test_a_missing_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="broken manifest"):
        Snapshot.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"schema_version": 99}, InputError, "schema version 99"),
        ({"files": {"../../etc/passwd": "0"}}, InputError, "no shard"),
        ({"files": {}}, IntegrityError, "when it was written"),
        ({"categories": ["A"]}, IntegrityError, "when it was written"),
        ({"digest": "0" * 64}, IntegrityError, "when it was written"),
        ({"created": "2020-01-01T00:00:00+00:00"}, IntegrityError, "when it was written"),
    ],
)
def test_a_forged_manifest_is_refused(folder: Path, change: dict, error: type[Exception], words: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", manifest | change)
    with pytest.raises(error, match=words):
        Snapshot.open(folder)


def test_one_flipped_bit_anywhere_in_a_manifest_is_refused(folder: Path) -> None:
    path, dice = folder / "manifest.json", random.Random(0)
    whole = path.read_bytes()
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 1 << dice.randrange(8)
        path.write_bytes(altered)
        with pytest.raises((InputError, IntegrityError), match="manifest"):
            Snapshot.open(folder)


def test_time_and_source_do_not_change_the_digest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    other = write_manifest(folder, manifest["categories"], "else", "x")
    assert other["digest"] == manifest["digest"] and other["checksum"] != manifest["checksum"]
