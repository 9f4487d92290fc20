"""Goodsight's own layout: `products.jsonl` (or .csv, .parquet), `queries_*`, `events`, `categories.txt`, and media files."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from catalogue.layouts.source import Source, media_reader
from catalogue.layouts.tables import SUFFIXES, regular, table
from goodsight.errors import InputError

CATEGORIES = "categories.txt"
WHAT = "products.jsonl (or .csv, .parquet), and the media files that it names"


def fits(path: Path) -> bool:
    return path.is_dir() and bool(_files(path, "products"))


def source(path: Path) -> Source:
    """Raises `InputError` for two product tables, of which nobody knows the right one."""
    products = _files(path, "products")
    if len(products) > 1:
        raise InputError(f"{path} has {' and '.join(file.name for file in products)}.", "Keep one table of products.")
    tables = [table(products[0], "product")]
    tables += [table(file, "query") for file in _files(path, "queries_*")]
    tables += [table(file, "event") for file in _files(path, "events")]
    return Source(tables, media_reader(path), _categories(path))


def _files(folder: Path, stem: str) -> list[Path]:
    """The tables of a name, links that lead nowhere too."""
    return sorted(file for file in folder.iterdir() if any(fnmatchcase(file.name, stem + suffix) for suffix in SUFFIXES))


def _categories(folder: Path) -> list[str] | None:
    """Category paths that `categories.txt` allows, one a line, or None without the file."""
    path = folder / CATEGORIES
    if not (path.exists() or path.is_symlink()):
        return None
    try:
        lines = regular(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text", "Save it as UTF-8, one category path a line.") from error
    return sorted({" > ".join(part.strip() for part in line.split(" > ")) for line in lines if line.strip()})
