"""A dataset that Hugging Face `datasets` saved to disk (`save_to_disk`), one split or several.

Images and sounds come as they were stored, class labels by their names. Our fields are taken by name, so most datasets need a
mapping; a row without an id gets that of its place, a split of the dataset is the split of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from catalogue.layouts.source import Source, media_reader
from catalogue.layouts.tables import ROWS, Line, Table, arrow_lines, regular
from catalogue.records import Row
from goodsight.errors import InputError
from goodsight.settings import silence_telemetry

if TYPE_CHECKING:
    import datasets

WHAT = "a folder made by the save_to_disk of Hugging Face datasets"
SPLITS = {"train": "train", "validation": "val", "valid": "val", "dev": "val", "test": "test"}
MEDIA = {"image": "images"}  # a column's usual name -> our field
END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream of Arrow; without it, rows may be missing
AGAIN = "Save it again with save_to_disk."


def fits(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or ((path / "state.json").is_file() and (path / "dataset_info.json").is_file())


def source(path: Path) -> Source:
    """Raises `InputError` for a folder that the library cannot read, or of which a part is missing."""
    silence_telemetry()
    import datasets

    for file in path.rglob("*"):
        _whole(file)
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # its files can be broken in many ways; each is their fault, told as such
        raise InputError(f"{path} cannot be read as a dataset: {error}", AGAIN) from error
    parts = found if isinstance(found, datasets.DatasetDict) else {"rows": found}
    return Source([Table("product", name, _lines(part, name), len(part)) for name, part in parts.items()], media_reader(path))


def _whole(file: Path) -> None:
    """Raises `InputError` for what is neither a folder nor a file, and for rows that end without the mark that ends them."""
    if file.is_dir():
        return
    with open(regular(file), "rb") as content:
        content.seek(max(file.stat().st_size - len(END), 0))
        if file.suffix == ".arrow" and content.read() != END:
            raise InputError(f"{file} is cut short.", AGAIN)


def _lines(rows: datasets.Dataset, split: str) -> Iterator[Line]:
    import datasets

    labels = {column: kind.names for column, kind in rows.features.items() if isinstance(kind, datasets.ClassLabel)}
    number = 1
    for batch in rows.with_format("arrow").iter(ROWS):
        for line in arrow_lines(batch, number):
            yield line if line.record is None else replace(line, record=_record(line.record, labels, split, line.number))
        number += len(batch)


def _record(row: Row, labels: dict[str, list[str]], split: str, number: int) -> Row:
    """A row with its labels by their names, under our names; a label that has no name (-1: unknown) is none."""
    named = {column: names[row[column]] if row.get(column) in range(len(names)) else None for column, names in labels.items()}
    return _with_defaults(row | named, split, number)


def _with_defaults(row: Row, split: str, number: int) -> Row:
    found = {"id": f"{split}-{number}", **({"split": SPLITS[split]} if split in SPLITS else {})}
    return found | {MEDIA.get(name, name): value for name, value in row.items() if value is not None}
