"""Amazon Berkeley Objects: `listings/metadata/listings_*.json.gz` and `images/metadata/images.csv.gz` beside `images/small` or
`images/original` (Collins et al. 2022, arXiv 2110.06199; the collection's README).

A listing is an item in one marketplace, so an item that is sold in several has several listings: they share a group, and so a
split. Most values come in several languages; English is taken where there is one, and titles of all languages are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from catalogue.layouts.source import Source, media_reader
from catalogue.layouts.tables import Table, csv_lines, json_lines
from catalogue.records import Row
from goodsight.errors import InputError

WHAT = "listings/metadata/listings_*.json.gz and images/metadata/images.csv.gz of Amazon Berkeley Objects"
LISTINGS, IMAGES = "listings/metadata/listings_*.json*", "images/metadata/images.csv.gz"
SIZES = ("small", "original")  # folders of images, in order of preference
TABLE = ("brand", "color", "fabric_type", "finish_type", "item_shape", "material", "model_name", "model_year", "pattern", "style")


def fits(path: Path) -> bool:
    return path.is_dir() and any(path.glob(LISTINGS))


def source(path: Path) -> Source:
    paths = _image_paths(path)
    tables = [
        replace(listing, lines=_products(listing, paths))
        for listing in (Table("product", file.name, json_lines(file)) for file in sorted(path.glob(LISTINGS)))
    ]
    return Source(tables, media_reader(path))


def _image_paths(folder: Path) -> dict[str, str]:
    """Image id -> path inside the folder. Raises `InputError` without the list or the images; an entry that cannot be read is none."""
    size = next((size for size in SIZES if (folder / "images" / size).is_dir()), None)
    if size is None or not (folder / IMAGES).is_file():
        raise InputError(f"{folder} has listings but no {IMAGES} or no images/{SIZES[0]}.", "Unpack abo-images-small.tar there too.")
    rows = (line.record for line in csv_lines(folder / IMAGES) if line.record is not None)
    found = {str(row["image_id"]): f"images/{size}/{row['path']}" for row in rows if row.get("image_id") and row.get("path")}
    if not found:
        raise InputError(f"{folder / IMAGES} lists no images by columns image_id and path.", "Unpack abo-images-small.tar again.")
    return found


def _products(listing: Table, paths: dict[str, str]) -> Iterator[Any]:
    for line in listing.lines:
        yield line if line.record is None else replace(line, record=_product(line.record, paths))


def _product(record: Row, paths: dict[str, str]) -> Row:
    others = record.get("other_image_id") or []
    ids = [record.get("main_image_id"), *(others if isinstance(others, list) else [others])]
    one = partial(_english, record)
    described = one("product_description") or ". ".join(_values(record.get("bullet_point"), "en"))
    item, shop = record.get("item_id"), record.get("domain_name")
    return {
        "id": f"{item}@{shop}" if isinstance(item, str) and item and isinstance(shop, str) and shop else item,
        "group": item,
        "source": shop,
        "title": one("item_name"),
        "title_i18n": _titles(record.get("item_name")),
        "description": described,
        "category_path": _values(record.get("product_type"))[:1],
        "attributes": {name: value for name in TABLE if (value := one(name))},
        "images": [paths.get(image, image) if isinstance(image, str) else image for image in ids if image],
    }


def _entries(values: Any) -> list[Row]:
    return [value for value in values if isinstance(value, dict) and value.get("value") is not None] if isinstance(values, list) else []


def _values(values: Any, language: str = "") -> list[str]:
    """The values of a list of `{"language_tag": ..., "value": ...}`, of one language where it has some."""
    entries = _entries(values)
    wanted = [entry for entry in entries if str(entry.get("language_tag", "")).startswith(language)]
    return [str(entry["value"]) for entry in wanted or entries]


def _english(record: Row, name: str) -> str:
    return next(iter(_values(record.get(name), "en")), "")


def _titles(values: Any) -> dict[str, str]:
    """Language -> title, the first of each."""
    found: dict[str, str] = {}
    for entry in _entries(values):
        language = str(entry.get("language_tag") or "").partition("_")[0]
        if language:
            found.setdefault(language, str(entry["value"]))
    return found
