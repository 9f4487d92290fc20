"""The layouts of public datasets, each made small on the spot, imported as a user would, and read back from the snapshot."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catalogue.importer import import_catalogue
from catalogue.layouts.mapping import ColumnMapping
from catalogue.snapshot import Snapshot
from goodsight.errors import InputError
from tests.catalogue.layouts import made
from tests.catalogue.layouts.made import ITEM, hdf5, photo, tagged, worn, write
from tests.catalogue.made import jpeg


def products(path: Path, out: Path, *arguments: Any) -> list[dict[str, Any]]:
    import_catalogue(path, out, *arguments)
    return Snapshot.open(out).products().to_pylist()


# Amazon Berkeley Objects


@pytest.fixture
def abo(tmp_path: Path) -> Path:
    other = {"item_id": "B01", "domain_name": "amazon.com", "item_name": tagged(("en_US", "Wide couch")), "main_image_id": "lost"}
    made.abo(tmp_path / "abo", "".join(json.dumps(one) + "\n" for one in (made.LISTING, other)) + '{"item_name": []}\n')
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


@pytest.mark.parametrize("harm", [lambda data: data[:-9], lambda data: b"PK" + data, lambda data: gzip.compress(b"id,file\n81i,x\n")])
def test_abo_with_a_damaged_list_of_images_is_refused(abo: Path, tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    path = abo / "images/metadata/images.csv.gz"
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(InputError, match=r"images\.csv\.gz"):
        import_catalogue(abo, tmp_path / "out")


@pytest.mark.parametrize("change", [{"main_image_id": ["81i"]}, {"other_image_id": 5}, {"item_id": ["B01"]}])
def test_abo_of_wrong_types_has_a_reason(abo: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    made.abo(abo, json.dumps(made.LISTING | change) + "\n")
    import_catalogue(abo, tmp_path / "out")
    snapshot = Snapshot.open(tmp_path / "out")
    assert [*snapshot.products()["problems"].to_pylist(), *snapshot.read("unreadable")["reason"].to_pylist()][0]


# M5Product

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


def test_m5product_keeps_both_items_of_one_name_and_tells_what_is_too_deep(tmp_path: Path) -> None:
    deep = '{"item_id": "14", "table": ' + "[" * 200 + "]" * 200 + "}"
    write(tmp_path / "m5/meta_info.json", f'{{"12": {json.dumps(ITEM)}, "12": {json.dumps(ITEM)}, "14": {deep}}}'.encode())
    assert [row["id"] for row in products(tmp_path / "m5", tmp_path / "out")] == ["12", "12"]
    [bad] = Snapshot.open(tmp_path / "out").read("unreadable").to_pylist()
    assert "nested too deeply" in bad["reason"] and '"14"' in bad["text"]


# FashionGen


def test_fashiongen(tmp_path: Path) -> None:
    hdf5(tmp_path / "f/fashiongen_256_256_train.h5", worn((7, 0), (9, 1), (7, 2)))
    hdf5(tmp_path / "f/fashiongen_256_256_validation.h5", worn((8, 3)))
    first, second, third = products(tmp_path / "f", tmp_path / "out")
    assert [row["id"] for row in (first, second, third)] == ["7", "9", "8"]
    assert [row["split"] for row in (first, second, third)] == ["train", "train", "val"]
    assert (first["title"], first["category_path"]) == ("Robe à pois", ["DRESSES", "SHORT DRESSES"])
    assert json.loads(first["attributes"]) == {"brand": "Chloé"}
    decoded = [np.array(Image.open(io.BytesIO(data))) for data in first["images"]]
    assert np.array_equal(decoded, [photo(0), photo(2)])  # without loss


def test_a_file_that_is_no_fashiongen_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "f.h5", b"no HDF5")
    hdf5(tmp_path / "g.h5", {"input_name": ["Dress"]})
    for name, words in (("f.h5", "cannot be read as HDF5"), ("g.h5", "has no column input_productID, input_image")):
        with pytest.raises(InputError, match=words):
            import_catalogue(tmp_path / name, tmp_path / "out")


def test_fashiongen_tells_which_column_or_product_is_damaged(tmp_path: Path) -> None:
    columns = worn((7, 0), (9, 1), (7, 2))
    hdf5(tmp_path / "short.h5", columns | {"input_name": ["Robe"]})
    with pytest.raises(InputError, match="columns of other lengths than input_productID: input_name"):
        import_catalogue(tmp_path / "short.h5", tmp_path / "out")
    hdf5(tmp_path / "bright.h5", columns | {"input_image": [[[[0.5] * 7]]] * 3})
    assert products(tmp_path / "bright.h5", tmp_path / "out") == []
    assert ["cannot be read" in row["reason"] for row in Snapshot.open(tmp_path / "out").read("unreadable").to_pylist()] == [True, True]


def test_fashiongen_with_flat_columns_and_rows_without_a_product(tmp_path: Path) -> None:
    import h5py

    hdf5(tmp_path / "flat.h5", worn((7, 0), (9, 1), (7, 2)))
    with h5py.File(tmp_path / "flat.h5", "a") as file:
        del file["input_name"], file["input_productID"]
        file["input_name"] = ["Dress", "Coat", "Dress"]
        file["input_productID"] = [7.0, np.nan, np.nan]
    assert [row["title"] for row in products(tmp_path / "flat.h5", tmp_path / "out")] == ["Dress"]
    assert Snapshot.open(tmp_path / "out").manifest["counts"]["unreadable"] == 2


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


def test_a_dataset_that_is_cut_between_its_rows_is_refused(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_dict({"id": ["a", "b"]}).save_to_disk(tmp_path / "saved")
    [file] = (tmp_path / "saved").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(InputError, match=f"{file.name} is cut short"):
        import_catalogue(tmp_path / "saved", tmp_path / "out")


def test_a_dataset_with_a_broken_text_and_a_label_without_a_name(tmp_path: Path) -> None:
    import datasets
    import pyarrow as pa

    kinds = {"title": datasets.Value("string"), "category_path": datasets.ClassLabel(names=["chair", "sofa"])}
    texts = pa.array([b"Sofa", b"Caf\xe9"]).view(pa.string())
    table = pa.table({"title": texts, "category_path": [-1, 1]}).cast(datasets.Features(kinds).arrow_schema)
    datasets.Dataset(table).save_to_disk(tmp_path / "s")
    [row] = products(tmp_path / "s", tmp_path / "out")
    assert (row["title"], row["category_path"]) == ("Sofa", [])
    [bad] = Snapshot.open(tmp_path / "out").read("unreadable").to_pylist()
    assert bad["line"] == 2 and bad["reason"].startswith("its title cannot be read")


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
