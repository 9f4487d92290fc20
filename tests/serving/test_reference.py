"""The reference of a version: its own data, asked and answered as serving does, whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalogue.importer import import_catalogue
from catalogue.snapshot import Snapshot
from goodsight.errors import InputError
from goodsight.files import read_json
from lineage.traffic import SCHEMA
from serving import reference
from serving.predictor import Predictor
from serving.reference import TRAFFIC, read_reference, requests, write_reference
from serving.traits import of_image
from tests.pipelines.made import some_furniture, write_products
from tests.serving.conftest import LABELS

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Furniture, a third of it in each split, one photo of it no image."""
    folder = tmp_path_factory.mktemp("shop")
    records = some_furniture(folder, 18)
    for number, record in enumerate(records):
        record |= {"split": SPLITS[number % 3], "group": record["id"]}
    (folder / "images" / "damaged.jpg").write_bytes(b"no image")
    records[0]["images"] = ["images/damaged.jpg"]
    write_products(folder, records)
    import_catalogue(folder, folder / "snapshot")
    return Snapshot.open(folder / "snapshot")


@pytest.fixture(scope="module")
def predictor(made: Any) -> Predictor:
    return Predictor.load(made.candidate, made.index, "7")


def test_the_data_of_training_and_validation_is_asked_and_answered(predictor: Predictor, snapshot: Snapshot, tmp_path: Path) -> None:
    write_reference(predictor, snapshot, tmp_path / "reference")
    found = read_reference(tmp_path / "reference")
    assert found is not None and found.schema == SCHEMA
    rows = found.to_pylist()
    asked = [row for row in rows if row["task"] == "categorize"]
    products = [row for row in snapshot.products(["title", "split"]).to_pylist() if row["split"] != "test"]
    assert len(asked) == 2 * len(products) - 1, "each with its title and photo and by its photo alone; one photo is broken"
    assert {row["modalities"] for row in asked} == {"text,image", "image", "text"}
    assert {row["text_chars"] for row in asked} - {None} == {len(product["title"]) for product in products}
    assert all(row["category"] in LABELS and row["status"] == "ok" and len(row["sketch"]) == 32 for row in asked)
    known = [row["score"] is not None for row in asked]
    assert any(known) and not all(known), "scores are those of validation data"
    told = read_json(tmp_path / "reference" / "reference.json")
    assert told["rows"] == len(rows) and (told["version"], told["candidate"]) == ("7", predictor.candidate)
    assert told["snapshot"] == snapshot.digest


def test_traits_are_those_of_serving(predictor: Predictor, snapshot: Snapshot) -> None:
    asked = list(requests(predictor, snapshot))
    assert asked == list(requests(predictor, snapshot)), "the sample is the same each time"
    assert {split for split, _ in asked} == {"train", "val"}
    _, request = next(each for each in asked if each[1].image is not None)
    assert of_image(request.image)["width"] == request.image.width  # type: ignore[arg-type,union-attr]


def test_a_large_catalogue_is_sampled(predictor: Predictor, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "MOST", 4)
    asked = [request for _, request in requests(predictor, snapshot) if request.task == "categorize" and request.text]
    assert len(asked) == 4


def test_what_was_altered_or_is_not_there_is_no_reference(predictor: Predictor, snapshot: Snapshot, tmp_path: Path) -> None:
    assert read_reference(tmp_path) is None
    write_reference(predictor, snapshot, tmp_path / "reference")
    with open(tmp_path / "reference" / TRAFFIC, "ab") as file:
        file.write(b"!")
    assert read_reference(tmp_path / "reference") is None


def test_nothing_to_ask_is_told(predictor: Predictor, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    records = [{**record, "split": "test", "group": record["id"]} for record in some_furniture(folder, 3)]
    write_products(folder, records)
    (folder / "queries_text.jsonl").unlink()
    import_catalogue(folder, folder / "snapshot")
    with pytest.raises(InputError, match="neither products nor queries"):
        write_reference(predictor, Snapshot.open(folder / "snapshot"), tmp_path / "reference")
    assert not (tmp_path / "reference").exists()
