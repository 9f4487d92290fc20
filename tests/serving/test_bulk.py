"""Every product through a model into one file: the same answers as one by one, nothing lost, and no part made twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from catalogue.importer import import_catalogue
from catalogue.media import decode_image
from catalogue.snapshot import Snapshot
from goodsight.errors import InputError
from models.bundle import Bundle
from serving import bulk
from serving.bulk import Work, load_bundle, merge, parts_of, predict, predict_part, told, work_of
from tests.pipelines.made import some_furniture, write_products
from tests.serving.conftest import LABELS, Made

PRODUCTS = 30
DAMAGED = 3  # its row


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Furniture, of which one has a photo that is no image."""
    folder = tmp_path_factory.mktemp("shop")
    records = some_furniture(folder, PRODUCTS)
    (folder / "images" / "damaged.jpg").write_bytes(b"no image")
    records[DAMAGED]["images"] = ["images/damaged.jpg"]
    write_products(folder, records)
    import_catalogue(folder, folder / "snapshot")
    return Snapshot.open(folder / "snapshot")


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk.parts_of, "__defaults__", (12,))
    monkeypatch.setattr(bulk, "BATCH_ROWS", 5)


def work(made: Made, snapshot: Snapshot, task: bulk.BulkTask) -> Work:
    return work_of(task, "1", made.candidate, snapshot, k=2)


def test_vectors_are_those_of_the_model(made: Made, snapshot: Snapshot, tmp_path: Path) -> None:
    asked = work(made, snapshot, "embed")
    assert predict(made.candidate, asked, snapshot, tmp_path / "vectors.parquet") == PRODUCTS
    found = pq.read_table(tmp_path / "vectors.parquet").to_pylist()
    products = snapshot.products(["id", "title", "description", "images"]).to_pylist()
    assert [row["id"] for row in found] == [product["id"] for product in products]
    retrieve = Bundle.load(made.candidate / "retrieve")
    for row in (0, DAMAGED, PRODUCTS - 1):
        product = products[row]
        image = decode_image(product["images"][0]) if row != DAMAGED else None
        text = retrieve.preprocess.product_text(product["title"], product["description"])
        with torch.inference_mode():
            alone = retrieve.model.embed(retrieve.preprocess.batch([image], [text])).numpy()[0]
        assert np.allclose(found[row]["vector"], alone, atol=1e-5)
    assert told(tmp_path / "vectors.parquet") == {
        "task": "embed", "version": "1", "candidate": made.digest, "snapshot": snapshot.digest, "k": 2,
    }  # fmt: skip


def test_categories_come_with_their_probabilities_and_a_damaged_photo_with_its_problem(
    made: Made, snapshot: Snapshot, tmp_path: Path
) -> None:
    predict(made.candidate, work(made, snapshot, "categorize"), snapshot, tmp_path / "categories.parquet")
    found = pq.read_table(tmp_path / "categories.parquet").to_pylist()
    assert {row["category"] for row in found} <= set(LABELS)
    for row in found:
        assert [row["category"], row["probability"]] == list(row["categories"][0].values())
        assert len(row["categories"]) == 2 and row["categories"][0]["probability"] >= row["categories"][1]["probability"]
    problems = {number: row["problem"] for number, row in enumerate(found) if row["problem"]}
    assert list(problems) == [DAMAGED] and "no image" in problems[DAMAGED]
    assert found[DAMAGED]["modalities"] == ["text"]
    assert found[0]["modalities"] == ["text", "image"]


def test_a_product_with_nothing_to_read_is_there_without_an_answer(made: Made, tmp_path: Path) -> None:
    write_products(tmp_path, [{"id": "p1", "title": "", "images": []}, {"id": "p2", "title": "A chair"}])
    import_catalogue(tmp_path, tmp_path / "snapshot")
    snapshot = Snapshot.open(tmp_path / "snapshot")
    predict(made.candidate, work(made, snapshot, "embed"), snapshot, tmp_path / "vectors.parquet")
    nothing, chair = pq.read_table(tmp_path / "vectors.parquet").to_pylist()
    assert (nothing["id"], nothing["vector"], nothing["modalities"]) == ("p1", None, [])
    assert "nothing that the model reads" in nothing["problem"]
    assert chair["vector"] and chair["problem"] is None


def test_killed_work_goes_on_after_its_last_whole_part(
    made: Made, snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, out = work(made, snapshot, "embed"), tmp_path / "vectors.parquet"
    begun: list[tuple[int, int]] = []

    def dies_in_the_second(bundle: Bundle, work: Work, snapshot: Snapshot, part: tuple[int, int], file: Path) -> None:
        begun.append(part)
        if len(begun) == 2:
            raise KeyboardInterrupt
        predict_part(bundle, work, snapshot, part, file)

    monkeypatch.setattr(bulk, "predict_part", dies_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        predict(made.candidate, asked, snapshot, out)
    assert not out.exists()
    predict(made.candidate, asked, snapshot, out)
    assert begun == [(0, 12), (12, 12), (12, 12), (24, 6)]
    assert pq.read_table(out)["id"].to_pylist() == snapshot.products(["id"])["id"].to_pylist()
    assert list(tmp_path.iterdir()) == [out]


def test_parts_of_another_model_are_not_taken(made: Made, other: Made, snapshot: Snapshot, tmp_path: Path) -> None:
    files = []
    for number, (each, part) in enumerate(zip((made, other), parts_of(snapshot), strict=False)):
        files.append(tmp_path / f"{number}.parquet")
        predict_part(load_bundle(each.candidate, "embed"), work(each, snapshot, "embed"), snapshot, part, files[-1])
    with pytest.raises(InputError, match="2 works"):
        merge(files, tmp_path / "out.parquet")
    with pytest.raises(InputError, match="not all"):
        merge(files[:1] * 2, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_the_order_of_parts_does_not_matter(made: Made, snapshot: Snapshot, tmp_path: Path) -> None:
    asked, bundle = work(made, snapshot, "categorize"), load_bundle(made.candidate, "categorize")
    files = [tmp_path / f"{start}.parquet" for start, _ in parts_of(snapshot)]
    for part, file in zip(parts_of(snapshot), files, strict=True):
        predict_part(bundle, asked, snapshot, part, file)
    assert merge(files[::-1], tmp_path / "out.parquet") == PRODUCTS
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == snapshot.products(["id"])["id"].to_pylist()
    assert json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"goodsight"])["candidate"] == made.digest
