"""FashionGen (Rostamzadeh et al. 2018, arXiv 1806.08317): HDF5 files with one row a photo, several photos a product.

`fashiongen_*_train.h5` and `fashiongen_*_validation.h5` hold columns `input_*` of one value a row, texts in Latin-1, photos as
arrays `(H, W, 3)` uint8. The rows of a product become one product with its photos, kept without loss as PNG.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from catalogue.layouts.source import Source, media_reader
from catalogue.layouts.tables import AGAIN, Line, Table, regular, unreadable
from catalogue.records import MAX_IMAGES
from goodsight.errors import InputError

if TYPE_CHECKING:
    import h5py

WHAT = "*.h5 of FashionGen (or such a file), with columns input_productID, input_name, input_image"
SPLITS = {"train": "train", "validation": "val", "test": "test"}  # by the file's name
TABLE = {"brand": "input_brand", "gender": "input_gender", "season": "input_season", "composition": "input_composition"}
NEEDED = ("input_productID", "input_name", "input_image")


def fits(path: Path) -> bool:
    return bool(_files(path))


def source(path: Path) -> Source:
    return Source([_table(file) for file in _files(path)], media_reader(path))


def _files(path: Path) -> list[Path]:
    found = [path] if path.is_file() else sorted(path.glob("*")) if path.is_dir() else []
    return [file for file in found if file.suffix in (".h5", ".hdf5")]


def _table(file: Path) -> Table:
    """Raises `InputError` for a file that is no such HDF5."""
    import h5py

    try:
        with h5py.File(regular(file), "r") as rows:
            photos = _photos(file, rows)
    except InputError:
        raise
    except Exception as error:  # a file can be broken in many ways; each is its fault, told as such
        raise InputError(f"{file} cannot be read as HDF5: {error}", AGAIN) from error
    split = next((split for name, split in SPLITS.items() if name in file.stem), None)
    return Table("product", file.name, _lines(file, photos, split), len(photos))


def _photos(file: Path, rows: h5py.File) -> list[tuple[str, list[int]]]:
    """Products and the numbers of their rows; a row without a product stands alone. Raises `InputError` for columns that do not fit."""
    import h5py

    columns = {name: rows[name] for name in rows if name.startswith("input_") and isinstance(rows[name], h5py.Dataset)}
    if absent := [name for name in NEEDED if name not in columns]:
        raise InputError(f"{file} has no column {', '.join(absent)}.", f"The layout is: {WHAT}.")
    lengths = {name: column.shape[:1] for name, column in columns.items()}
    if other := sorted(name for name, length in lengths.items() if length != lengths[NEEDED[0]]):
        raise InputError(f"{file} has columns of other lengths than {NEEDED[0]}: {', '.join(other)}.", AGAIN)
    found: dict[str | int, list[int]] = {}
    for number, value in enumerate(columns[NEEDED[0]][:]):
        found.setdefault(_text(value) or number, []).append(number)
    return [(identity if isinstance(identity, str) else "", numbers) for identity, numbers in found.items()]


def _lines(file: Path, photos: list[tuple[str, list[int]]], split: str | None) -> Iterator[Line]:
    import h5py

    with h5py.File(file, "r") as rows:
        for identity, numbers in photos:
            try:
                line = Line(numbers[0] + 1, _product(rows, identity, numbers) | ({"split": split} if split else {}))
            except Exception as error:  # as above
                line = unreadable(numbers[0] + 1, f"{NEEDED[0]} {identity}", f"the product cannot be read: {error}")
            yield line


def _product(rows: h5py.File, identity: str, numbers: list[int]) -> dict[str, Any]:
    def cell(name: str) -> str:
        return _text(rows[name][numbers[0]]) if name in rows else ""

    levels = (cell("input_category"), cell("input_subcategory"))
    return {
        "id": identity,
        "title": cell("input_name"),
        "description": cell("input_description"),
        "category_path": list(dict.fromkeys(level for level in levels if level)),
        "attributes": {name: value for name, column in TABLE.items() if (value := cell(column))},
        "images": [_png(rows["input_image"][number]) for number in numbers[:MAX_IMAGES]],
    }


def _text(cell: Any) -> str:
    """The value of a cell, or of its first place where it has several; empty for none and for NaN."""
    value = next(iter(np.asarray(cell).reshape(-1).tolist()), None)
    if isinstance(value, bytes):
        return value.decode("latin-1").strip()
    return "" if value is None or value != value else str(value)


def _png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
