"""What the small catalogues in the layouts of public datasets are made of."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.catalogue.made import Record, jpeg


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def csv_text(records: list[Record], delimiter: str = ",") -> str:
    """A CSV table, every cell in quotes; what is no text is JSON."""
    names = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerow(names)
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    cells = ([record.get(name, "") for name in names] for record in records)
    writer.writerows([cell if isinstance(cell, str) else json.dumps(cell) for cell in row] for row in cells)
    return text.getvalue()


# Amazon Berkeley Objects


def tagged(*values: tuple[str, str]) -> list[dict[str, str]]:
    return [{"language_tag": language, "value": value} for language, value in values]


LISTING: Record = {
    "item_id": "B01",
    "domain_name": "amazon.de",
    "item_name": tagged(("de_DE", "Sofa, breit"), ("en_GB", "Wide sofa")),
    "bullet_point": tagged(("en_GB", "Soft"), ("en_GB", "Oak legs"), ("de_DE", "Weich")),
    "product_type": [{"value": "SOFA"}],
    "color": tagged(("en_GB", "Red")),
    "main_image_id": "81i",
    "other_image_id": ["91j"],
}


def abo(folder: Path, lines: str) -> None:
    """The `lines` of one file of listings, and the two images that LISTING names."""
    write(folder / "listings/metadata/listings_0.json.gz", gzip.compress(lines.encode()))
    write(folder / "images/small/81/81i.jpg", jpeg(8, 8))
    write(folder / "images/small/91/91j.jpg", jpeg(9, 9))
    paths = "image_id,height,width,path\n81i,8,8,81/81i.jpg\n91j,9,9,91/91j.jpg\n"
    write(folder / "images/metadata/images.csv.gz", gzip.compress(paths.encode()))


# M5Product

ITEM: Record = {"item_id": "12", "caption": "红色沙发", "category": "Home > Sofas", "table": {"material": "oak"}, "image": "images/12.jpg"}


# FashionGen


def hdf5(path: Path, columns: dict[str, Any]) -> None:
    """An HDF5 file with these arrays; a list of texts becomes a column of Latin-1."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            texts = isinstance(values[0], str)
            file[name] = np.array([[value.encode("latin-1")] for value in values]) if texts else np.array(values)


def photo(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)


def worn(*photos: tuple[int, int]) -> dict[str, Any]:
    """The columns of these photos: (product, seed)."""
    texts = {"input_name": "Robe à pois", "input_description": "Soft.", "input_category": "DRESSES", "input_subcategory": "SHORT DRESSES"}
    columns = {name: [text] * len(photos) for name, text in (texts | {"input_brand": "Chloé"}).items()}
    return {"input_productID": [product for product, _ in photos], **columns, "input_image": [photo(seed) for _, seed in photos]}
