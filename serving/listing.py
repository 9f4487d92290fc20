"""What an index says of its products, and which of them pass a filter: tables and arrays that are mapped into memory.

`products.arrow` has a row for each vector (null where the vector is out of use). Everything that can be asked for (an id, a
category and those above it, a value of an attribute) is a 64-bit key in a sorted array, with the rows that have it beside it;
prices lie in their order. So a filter costs what it leaves, and opening an index costs nothing.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from goodsight.digests import canonical_json, key64
from goodsight.errors import NotFoundError
from goodsight.files import read_json, write_json
from serving.filters import MAX_CHARACTERS, Filters

PRODUCTS, FACETS, FILTERS = "products.arrow", "facets.json", "filters"
COLUMNS = ("id", "title", "category", "price")
KEPT = (*COLUMNS, "content")
SCHEMA = pa.schema(dict.fromkeys(("id", "title", "category"), pa.string()) | {"price": pa.float64(), "content": pa.string()})
MOST_CATEGORIES, MOST_NAMES, MOST_VALUES = 1_000, 30, 50  # in the facets
ARRAYS = ("ids", "id_rows", "keys", "starts", "rows", "prices", "price_rows")


def write_listing(products: pa.Table, folder: Path) -> None:
    """Writes what `Listing` reads. `products` has the columns `KEPT` and `attributes` (a JSON object as text); null rows are empty."""
    table = products.select(KEPT).cast(SCHEMA).combine_chunks()
    with pa.OSFile(str(folder / PRODUCTS), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(table, max_chunksize=max(table.num_rows, 1))
    (folder / FILTERS).mkdir()
    arrays = dict(zip(("ids", "id_rows"), _by_id(table["id"].to_pylist()), strict=True))
    arrays |= dict(zip(("prices", "price_rows"), _by_price(table["price"]), strict=True))
    rows_of, facets = _asked_for(table["category"].to_pylist(), products["attributes"].to_pylist())
    keys = np.array(sorted(rows_of), dtype=np.uint64)
    lists = [rows_of[key] for key in keys.tolist()]
    arrays |= {"keys": keys, "starts": np.cumsum([0, *map(len, lists)], dtype=np.int64)}
    arrays["rows"] = np.array([row for rows in lists for row in rows], dtype=np.int32)
    for name in ARRAYS:
        np.save(folder / FILTERS / f"{name}.npy", arrays[name])
    known = arrays["prices"]
    write_json(folder / FACETS, facets | {"price": {"min": float(known[0]), "max": float(known[-1])} if len(known) else None})


def _by_id(ids: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    known = [(key64(id), row) for row, id in enumerate(ids) if id is not None]
    keys, rows = (np.array(column, dtype) for column, dtype in zip(zip(*known, strict=True), (np.uint64, np.int32), strict=True))
    order = np.argsort(keys, kind="stable")
    return keys[order], rows[order]


def _by_price(prices: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    values = prices.to_numpy()
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    return values[order], order.astype(np.int32)


def _asked_for(categories: Sequence[str | None], attributes: Sequence[str | None]) -> tuple[dict[int, list[int]], dict[str, Any]]:
    """The rows of each key that a filter may ask for, and the commonest of these by name, with their numbers of products."""
    found: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    shown: dict[tuple[str, str], tuple[str, str]] = {}
    for row, (category, text) in enumerate(zip(categories, attributes, strict=True)):
        here = {("", path.casefold()): ("", path) for path in _and_above(category or "")}
        here |= {(name.casefold(), value.casefold()): (name, value) for name, value in _values(text)}
        for pair, as_written in here.items():
            found[pair].append(row)
            shown.setdefault(pair, as_written)
    counts = {shown[pair]: len(rows) for pair, rows in found.items()}
    return {_key(*pair): rows for pair, rows in found.items()}, _facets(counts)


def _facets(counts: dict[tuple[str, str], int]) -> dict[str, Any]:
    by_name: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (name, value), count in counts.items():
        by_name[name][value] = count
    categories = by_name.pop("", Counter())
    often = [name for name, values in by_name.items() if max(values.values()) > 1]  # a value that one product has narrows nothing
    names = sorted(often, key=lambda name: (-by_name[name].total(), name))[:MOST_NAMES]
    return {
        "category": [{"category": path, "count": count} for path, count in sorted(_commonest(categories, MOST_CATEGORIES))],
        "attributes": {name: [{"value": v, "count": n} for v, n in _commonest(by_name[name], MOST_VALUES)] for name in names},
    }


def _commonest(counts: Counter[str], most: int) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most]


def _and_above(category: str) -> Iterator[str]:
    """A category and those that it lies in: "A > B > C", "A > B", "A"."""
    while category:
        yield category
        category = category.rpartition(" > ")[0]


def _values(attributes: str | None) -> Iterator[tuple[str, str]]:
    """Name and value of all that a filter can ask for; several values of one name come one by one."""
    for name, value in json.loads(attributes or "{}").items():
        for each in value if isinstance(value, list) else [value]:
            text = each if isinstance(each, str) else json.dumps(each)
            if each is not None and not isinstance(each, dict | list) and 0 < len(text) <= MAX_CHARACTERS and name:
                yield name, text


def _key(name: str, value: str) -> int:
    return key64(canonical_json([name, value]))


@dataclass(frozen=True)
class Allowed:
    """Which rows may be answered, (N,) bool, how many those are, and what was asked: filters, their keys, rows left out."""

    mask: np.ndarray
    count: int
    filters: Filters
    keys: list[list[int]]  # one of each list must be a product's
    without: tuple[int, ...]


@dataclass(frozen=True)
class Listing:
    """The products of one index."""

    products: pa.Table
    facets: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @staticmethod
    def open(folder: Path) -> Listing:
        products = pa.ipc.open_file(pa.memory_map(str(folder / PRODUCTS))).read_all()
        arrays = {name: np.load(folder / FILTERS / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        return Listing(products, read_json(folder / FACETS), arrays)

    @property
    def count(self) -> int:
        """Of rows, those out of use included."""
        return int(self.products.num_rows)

    def row_of(self, id: str) -> int | None:
        """The row of the product `id`, None when there is no such product."""
        at = int(np.searchsorted(self.arrays["ids"], np.uint64(key64(id))))
        while at < len(self.arrays["ids"]) and self.arrays["ids"][at] == key64(id):
            row = int(self.arrays["id_rows"][at])
            if self.products["id"][row].as_py() == id:
                return row
            at += 1
        return None

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """Their rows. Raises `NotFoundError` when there is no such product."""
        rows = [self.row_of(id) for id in ids]
        if None in rows:
            raise NotFoundError(f"There is no product {ids[rows.index(None)]!r}.", "Take ids from the answers of this version.")
        return np.array(rows, dtype=np.int64)

    def take(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """id, title, category and price of each."""
        return self.products.select(COLUMNS).take(pa.array(rows)).to_pylist()

    def allowed(self, filters: Filters | None = None, excluded: Sequence[str] = ()) -> Allowed:
        """The products that pass the filters and are none of `excluded`."""
        filters = filters or Filters()
        mask = np.ones(self.count, dtype=bool)
        if len(self.arrays["ids"]) < self.count:
            mask[:] = False
            mask[self.arrays["id_rows"]] = True
        without = tuple(row for id in excluded if (row := self.row_of(id)) is not None)
        mask[list(without)] = False
        keys = _asked_keys(filters)
        conditions = [[self._rows(key) for key in each] for each in keys] + self._prices(filters)
        for parts in conditions:
            passed = np.zeros(self.count, dtype=bool)
            for rows in parts:
                passed[rows] = True
            mask &= passed
        return Allowed(mask, int(np.count_nonzero(mask)), filters, keys, without)

    def _prices(self, filters: Filters) -> list[list[np.ndarray]]:
        low, high = filters.price.min, filters.price.max
        if low is None and high is None:
            return []
        prices = self.arrays["prices"]
        start = 0 if low is None else np.searchsorted(prices, low, "left")
        end = len(prices) if high is None else np.searchsorted(prices, high, "right")
        return [[self.arrays["price_rows"][start:end]]]

    def _rows(self, key: int) -> np.ndarray:
        at = int(np.searchsorted(self.arrays["keys"], np.uint64(key)))
        if at == len(self.arrays["keys"]) or int(self.arrays["keys"][at]) != key:
            return self.arrays["rows"][:0]
        return self.arrays["rows"][self.arrays["starts"][at] : self.arrays["starts"][at + 1]]


def _asked_keys(filters: Filters) -> list[list[int]]:
    """For each condition but that of prices the keys of which one suffices."""
    asked = [("", filters.category), *filters.attributes.items()]
    return [[_key(name.casefold(), value.casefold()) for value in values] for name, values in asked if values]
