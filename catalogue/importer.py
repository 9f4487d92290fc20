"""Catalogue folder -> snapshot: `products.jsonl`, `queries_*.jsonl`, `events.jsonl` and the media files they name.

Streams line by line, so that memory does not grow with the catalogue. A bad line never stops the good ones: it becomes
a row of the `unreadable` table. Media are read only from inside the folder and only up to GOODSIGHT_MAX_MEDIA_BYTES.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

from catalogue.records import (
    MAX_LINE_BYTES,
    Read,
    Row,
    event_row,
    parse_line,
    product_row,
    query_row,
    shown,
    unreadable_row,
)
from catalogue.snapshot import ShardWriter, write_manifest
from goodsight.errors import InputError
from goodsight.files import whole_folder
from goodsight.progress import track
from goodsight.settings import settings

PRODUCTS = "products.jsonl"
CATEGORIES = "categories.txt"
LAYOUT = "A catalogue folder holds products.jsonl (a JSON object a line: id, title, category_path, ...) and its media."


def _media_reader(folder: Path) -> Read:
    """A function that reads the media file at a path relative to `folder`, and nothing outside it."""
    root = folder.resolve()
    limit = settings().max_media_bytes

    def read(name: str) -> bytes:
        relative = PurePosixPath(name)
        if not name or "\0" in name or relative.is_absolute() or ".." in relative.parts:
            raise InputError(f"{shown(name)} is no path inside the catalogue folder")
        try:
            path = (root / relative).resolve()
            if not path.is_relative_to(root):
                raise InputError(f"{shown(name)} is a link that leads out of the catalogue folder")
            if not stat.S_ISREG(path.stat().st_mode):
                raise InputError(f"{shown(name)} is no file")
            with open(path, "rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError as error:
            raise InputError(f"the file {shown(name)} is missing") from error
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"the file {shown(name)} cannot be read: {type(error).__name__}") from error
        if len(data) > limit:
            raise InputError(f"the file {shown(name)} is larger than {limit:,} bytes (GOODSIGHT_MAX_MEDIA_BYTES)")
        return data

    return read


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes) of every line that is not blank; of an overlong line only the start."""
    number = 0
    with open(path, "rb") as file:
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            end = raw
            while len(end) > MAX_LINE_BYTES and not end.endswith(b"\n"):
                end = file.readline(MAX_LINE_BYTES + 1)
            if raw.strip():
                yield number, raw


def _count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))


def _import_file(
    path: Path, kind: str, row: Callable[[Row, int], Row], rows: ShardWriter, unreadable: ShardWriter
) -> None:
    """Adds every line of `path` to `rows`, or to `unreadable` with its reason."""
    for number, raw in track(_lines(path), f"import {path.name}", "lines", total=_count_lines(path)):
        try:
            rows.add(row(parse_line(raw), number))
        except InputError as error:
            unreadable.add(unreadable_row(kind, path.name, number, raw, error.message))


def _categories(folder: Path) -> list[str] | None:
    """Category paths that `categories.txt` allows, one a line, or None without the file."""
    path = folder / CATEGORIES
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text", "Save it as UTF-8, one category path a line.") from error
    return sorted({" > ".join(part.strip() for part in line.split(" > ")) for line in lines if line.strip()})


def _check_folder(folder: Path) -> None:
    """Raises `InputError` when `folder` cannot be a catalogue folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder.", LAYOUT)
    if not (folder / PRODUCTS).is_file():
        raise InputError(f"{folder} has no {PRODUCTS}.", LAYOUT)
    if next(_lines(folder / PRODUCTS), None) is None:
        raise InputError(f"{folder / PRODUCTS} is empty.", LAYOUT)


def _import_tables(folder: Path, aside: Path) -> None:
    read = _media_reader(folder)
    splits: dict[str, str] = {}

    def product(record: Row, line: int) -> Row:
        row = product_row(record, line, read)
        splits.setdefault(row["id"], row["split"])
        return row

    with ExitStack() as stack:
        tables = {
            name: stack.enter_context(ShardWriter(aside, name))
            for name in ("products", "queries", "events", "unreadable")
        }
        bad = tables["unreadable"]
        _import_file(folder / PRODUCTS, "product", product, tables["products"], bad)
        for file in sorted(folder.glob("queries_*.jsonl")):

            def query(record: Row, line: int, name: str = file.name) -> Row:
                return query_row(record, line, name, splits, read)

            _import_file(file, "query", query, tables["queries"], bad)
        if (folder / "events.jsonl").is_file():
            _import_file(folder / "events.jsonl", "event", event_row, tables["events"], bad)


def import_catalogue(folder: Path, out: Path) -> dict[str, Any]:
    """Writes the catalogue in `folder` as a snapshot to `out` and returns its manifest.

    The same files give the same digest and the same bytes. Raises `InputError` when `folder` is no catalogue folder.
    """
    _check_folder(folder)
    categories = _categories(folder)
    with whole_folder(out) as aside:
        _import_tables(folder, aside)
        return write_manifest(aside, categories, folder.resolve().name, parent=None)
