"""M5Product (SCALE, Dong et al. 2022, section 3): `meta_info.json` with each item's caption, table, main image, frames and sound.

Its authors hand the dataset out on request; its documentation names the parts and does not list the files. Read here: a JSON
array, an object by item id, or JSON lines, with the names of `NAMES`; files that name them otherwise need a mapping.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from catalogue.layouts.source import Source, media_reader
from catalogue.layouts.tables import AGAIN, Line, Table, json_lines, unreadable
from catalogue.records import as_record, parse_json, shown
from goodsight.errors import InputError

WHAT = "meta_info.json or meta_info.jsonl of M5Product, and the media files that it names"
FILES = ("meta_info.json", "meta_info.jsonl")
NAMES = {"item_id": "id", "caption": "title", "category": "category_path", "table": "attributes", "image": "images"}


def fits(path: Path) -> bool:
    return any((path / name).is_file() for name in FILES)


def source(path: Path) -> Source:
    file = next(path / name for name in FILES if (path / name).is_file())
    lines = json_lines(file) if file.suffix == ".jsonl" else _items(file)
    return Source([Table("product", file.name, map(_named, lines))], media_reader(path))


def _items(file: Path) -> Iterator[Line]:
    """Raises `InputError` when the file holds neither a list nor an object of items."""
    try:
        found = parse_json(file.read_bytes(), _Pairs)
    except InputError as error:
        raise InputError(f"{file} cannot be read: {error.message}.", AGAIN) from error
    if isinstance(found, _Pairs):
        found = [{"item_id": name, **item} if isinstance(item, dict) else item for name, item in found.pairs]
    if not isinstance(found, list):
        raise InputError(f"{file} holds {shown(found)}, no items.", f"The layout is: {WHAT}.")
    for number, item in enumerate(found, start=1):
        try:
            yield Line(number, as_record(item))
        except InputError as error:
            yield unreadable(number, _flat(item), error.message)


def _flat(item: Any) -> str:
    """The text of an item but for what is nested in it, which may be too deep to be written."""
    if isinstance(item, dict):
        return json.dumps({name: value for name, value in item.items() if not isinstance(value, list | dict)}, ensure_ascii=False)
    return "a list" if isinstance(item, list) else shown(item)


class _Pairs(dict[str, Any]):
    """An object that still has both of two items of one name."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _named(line: Line) -> Line:
    return line if line.record is None else replace(line, record={NAMES.get(name, name): value for name, value in line.record.items()})
