"""The layouts of public datasets, each made small on the spot, imported as a user would, and read back from the snapshot."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catalogue.importer import import_catalogue
from catalogue.layouts.mapping import ColumnMapping
from catalogue.snapshot import Snapshot
from goodsight.errors import InputError
from tests.catalogue.made import jpeg


def products(path: Path, out: Path, *arguments: Any) -> list[dict[str, Any]]:
    import_catalogue(path, out, *arguments)
    return Snapshot.open(out).products().to_pylist()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# Amazon Berkeley Objects


def tagged(*values: tuple[str, str]) -> list[dict[str, str]]:
    return [{"language_tag": language, "value": value} for language, value in values]


LISTING = {
    "item_id": "B01",
    "domain_name": "amazon.de",
    "item_name": tagged(("de_DE", "Sofa, breit"), ("en_GB", "Wide sofa")),
    "bullet_point": tagged(("en_GB", "Soft"), ("en_GB", "Oak legs"), ("de_DE", "Weich")),
    "product_type": [{"value": "SOFA"}],
    "color": tagged(("en_GB", "Red")),
    "main_image_id": "81i",
    "other_image_id": ["91j"],
}


@pytest.fixture
def abo(tmp_path: Path) -> Path:
    other = {"item_id": "B01", "domain_name": "amazon.com", "item_name": tagged(("en_US", "Wide couch")), "main_image_id": "lost"}
    lines = "".join(json.dumps(one) + "\n" for one in (LISTING, other)) + '{"item_name": []}\n'
    write(tmp_path / "abo/listings/metadata/listings_0.json.gz", gzip.compress(lines.encode()))
    write(tmp_path / "abo/images/small/81/81i.jpg", jpeg(8, 8))
    write(tmp_path / "abo/images/small/91/91j.jpg", jpeg(9, 9))
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    writer.writerows([["image_id", "height", "width", "path"], ["81i", 8, 8, "81/81i.jpg"], ["91j", 9, 9, "91/91j.jpg"]])
    write(tmp_path / "abo/images/metadata/images.csv.gz", gzip.compress(rows.getvalue().encode()))
    return tmp_path / "abo"


def test_abo_listings(abo: Path, tmp_path: Path) -> None:
    first, second = products(abo, tmp_path / "out")
    assert (first["id"], first["group"], first["source"]) == ("B01@amazon.de", "B01", "amazon.de")
    assert (first["title"], first["description"]) == ("Wide sofa", "Soft. Oak legs")
    assert json.loads(first["title_i18n"]) == {"de": "Sofa, breit", "en": "Wide sofa"}
    assert first["category_path"] == ["SOFA"] and json.loads(first["attributes"]) == {"color": "Red"}
    assert first["images"] == [jpeg(8, 8), jpeg(9, 9)] and first["problems"] == []
    assert second["group"] == "B01" and second["split"] == first["split"]
    assert second["problems"] == ["images: the file 'lost' is missing"]
    [bad] = Snapshot.open(tmp_path / "out").read("unreadable").to_pylist()
    assert (bad["file"], bad["line"]) == ("listings_0.json.gz", 3) and "no id" in bad["reason"]


def test_abo_without_its_images_is_refused(abo: Path, tmp_path: Path) -> None:
    (abo / "images/metadata/images.csv.gz").unlink()
    with pytest.raises(InputError, match="has listings but no images"):
        import_catalogue(abo, tmp_path / "out")


# M5Product

ITEM = {"item_id": "12", "caption": "红色沙发", "category": "Home > Sofas", "table": {"material": "oak"}, "image": "images/12.jpg"}


@pytest.mark.parametrize("form", ["array", "by id", "lines"])
def test_m5product(tmp_path: Path, form: str) -> None:
    forms = {"array": json.dumps([ITEM, "broken"]), "by id": json.dumps({"12": ITEM, "13": 5}), "lines": json.dumps(ITEM) + "\nbroken\n"}
    text = forms[form]
    write(tmp_path / "m5" / ("meta_info.jsonl" if form == "lines" else "meta_info.json"), text.encode())
    write(tmp_path / "m5/images/12.jpg", jpeg(8, 8))
    [row] = products(tmp_path / "m5", tmp_path / "out")
    assert (row["id"], row["title"], row["category_path"], row["images"]) == ("12", "红色沙发", ["Home", "Sofas"], [jpeg(8, 8)])
    assert json.loads(row["attributes"]) == {"material": "oak"}
    assert Snapshot.open(tmp_path / "out").manifest["counts"]["unreadable"] == 1


# FashionGen


def hdf5(path: Path, rows: list[dict[str, Any]]) -> None:
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name in rows[0]:
            values = [row[name] for row in rows]
            texts = isinstance(values[0], str)
            file[name] = np.array([[value.encode("latin-1")] for value in values]) if texts else np.array(values)


def photo(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)


def worn(product: int, seed: int) -> dict[str, Any]:
    texts = {"input_name": "Robe à pois", "input_description": "Soft.", "input_category": "DRESSES", "input_subcategory": "SHORT DRESSES"}
    return {"input_productID": product, **texts, "input_brand": "Chloé", "input_image": photo(seed)}


def test_fashiongen(tmp_path: Path) -> None:
    hdf5(tmp_path / "f/fashiongen_256_256_train.h5", [worn(7, 0), worn(9, 1), worn(7, 2)])
    hdf5(tmp_path / "f/fashiongen_256_256_validation.h5", [worn(8, 3)])
    first, second, third = products(tmp_path / "f", tmp_path / "out")
    assert [row["id"] for row in (first, second, third)] == ["7", "9", "8"]
    assert [row["split"] for row in (first, second, third)] == ["train", "train", "val"]
    assert (first["title"], first["category_path"]) == ("Robe à pois", ["DRESSES", "SHORT DRESSES"])
    assert json.loads(first["attributes"]) == {"brand": "Chloé"}
    decoded = [np.array(Image.open(io.BytesIO(data))) for data in first["images"]]
    assert np.array_equal(decoded, [photo(0), photo(2)])  # without loss


def test_a_file_that_is_no_fashiongen_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "f.h5", b"no HDF5")
    hdf5(tmp_path / "g.h5", [{"input_name": "Dress"}])
    for name, words in (("f.h5", "cannot be read as HDF5"), ("g.h5", "has no column input_productID, input_image")):
        with pytest.raises(InputError, match=words):
            import_catalogue(tmp_path / name, tmp_path / "out")


# Hugging Face datasets


def test_a_dataset_on_disk(tmp_path: Path) -> None:
    import datasets

    kinds = {"name": datasets.Value("string"), "kind": datasets.ClassLabel(names=["chair", "sofa"]), "image": datasets.Image()}
    features = datasets.Features(kinds)
    rows = {"name": ["Wide sofa", None], "kind": [1, 0], "image": [{"bytes": jpeg(8, 8), "path": None}, None]}
    splits = {split: datasets.Dataset.from_dict(rows, features=features) for split in ("train", "validation")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    mapping = ColumnMapping.model_validate({"product": {"title": "name", "category_path": "kind"}})
    first, second, third, _ = products(tmp_path / "saved", tmp_path / "out", "", mapping)
    assert [row["id"] for row in (first, second, third)] == ["train-1", "train-2", "validation-1"]
    assert (first["title"], first["category_path"], first["images"], first["split"]) == ("Wide sofa", ["sofa"], [jpeg(8, 8)], "train")
    assert (second["title"], second["images"], third["split"]) == ("", [], "val")


# Which layout it is


def test_the_layout_is_recognised_or_all_are_listed(tmp_path: Path) -> None:
    write(tmp_path / "other/readme.txt", b"")
    with pytest.raises(InputError) as refused:
        import_catalogue(tmp_path / "other", tmp_path / "out")
    assert all(name in str(refused.value) for name in ("folder:", "m5product:", "abo:", "fashiongen:", "huggingface:"))
    write(tmp_path / "m5/meta_info.json", json.dumps([ITEM]).encode())
    with pytest.raises(InputError, match="no catalogue of layout abo"):
        import_catalogue(tmp_path / "m5", tmp_path / "out", "abo")


def test_two_tables_of_products_are_refused(tmp_path: Path) -> None:
    for name in ("products.jsonl", "products.csv"):
        write(tmp_path / "two" / name, b"id\n")
    with pytest.raises(InputError, match=r"has products\.csv and products\.jsonl"):
        import_catalogue(tmp_path / "two", tmp_path / "out")
