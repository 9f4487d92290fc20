"""A dataset that Hugging Face `datasets` saved to disk (`save_to_disk`), one split or several.

Images and sounds come as they were stored, class labels by their names. Our fields are taken by name, so most datasets need a
mapping; a row without an id gets that of its place, a split of the dataset is the split of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogue.layouts.source import Source, media_reader
from catalogue.layouts.tables import Line, Table, as_json
from goodsight.errors import InputError
from goodsight.settings import silence_telemetry

if TYPE_CHECKING:
    import datasets

WHAT = "a folder made by the save_to_disk of Hugging Face datasets"
SPLITS = {"train": "train", "validation": "val", "valid": "val", "dev": "val", "test": "test"}
MEDIA = {"image": "images"}  # a column's usual name -> our field


def fits(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or ((path / "state.json").is_file() and (path / "dataset_info.json").is_file())


def source(path: Path) -> Source:
    """Raises `InputError` for a folder that the library cannot read."""
    silence_telemetry()
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read as a dataset: {error}", "Save it again with save_to_disk.") from error
    parts = found if isinstance(found, datasets.DatasetDict) else {"rows": found}
    return Source([Table("product", name, _lines(part, name), len(part)) for name, part in parts.items()], media_reader(path))


def _lines(rows: datasets.Dataset, name: str) -> Iterator[Line]:
    import datasets

    labels = {}
    for column, kind in rows.features.items():
        if isinstance(kind, datasets.Image | datasets.Audio):
            rows = rows.cast_column(column, type(kind)(decode=False))
        elif isinstance(kind, datasets.ClassLabel):
            labels[column] = kind.names
    for number, row in enumerate(rows, start=1):
        named = {column: labels[column][value] for column, value in row.items() if column in labels and value is not None}
        yield Line(number, _with_defaults({**as_json(row), **named}, name, number))


def _with_defaults(row: dict[str, Any], split: str, number: int) -> dict[str, Any]:
    found = {"id": f"{split}-{number}", **({"split": SPLITS[split]} if split in SPLITS else {})}
    return found | {MEDIA.get(name, name): value for name, value in row.items() if value is not None}
