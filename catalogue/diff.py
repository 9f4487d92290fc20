"""What changed between two snapshots: products and queries added, removed and changed field by field, and the shift of categories.

Shards that both snapshots have are equal, so their rows are not compared; of the others each row is remembered as hashes of its
fields, and only the rows that are shown are read again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from catalogue.comparison import shift
from catalogue.records import PRODUCT_FIELDS, QUERY_FIELDS, Row
from catalogue.snapshot import Snapshot

FIELDS = {"products": PRODUCT_FIELDS, "queries": QUERY_FIELDS}


@dataclass(frozen=True)
class Changed:
    """One row in both, `fields`: those that differ."""

    before: Row
    after: Row
    fields: list[str]


@dataclass(frozen=True)
class TableDiff:
    """Counts of all rows, and the first of each kind in order of id."""

    before: int  # rows
    after: int
    added: int
    removed: int
    changed: int
    by_field: dict[str, int]  # field -> rows in which it changed
    added_rows: list[Row]
    removed_rows: list[Row]
    changed_rows: list[Changed]


@dataclass(frozen=True)
class CategoryShift:
    """Products of each category that grew or shrank `(category, before, after)`, and the share of products that moved."""

    counts: list[tuple[str, int, int]]
    moved: float  # `comparison.shift`


@dataclass(frozen=True)
class Diff:
    products: TableDiff
    queries: TableDiff
    categories: CategoryShift


def diff(before: Snapshot, after: Snapshot, shown: int = 20) -> Diff:
    """Everything that differs, and of each kind of change the first `shown` rows whole, media included."""
    products, queries = (_table_diff(before, after, table, shown) for table in ("products", "queries"))
    return Diff(products, queries, _category_shift(_categories(before), _categories(after)))


def stays(before: Snapshot, after: Snapshot, table: str, ids: set[str]) -> set[str]:
    """Those of `ids` whose row in `before` is the same in `after`."""
    old, new = _hashes(before, after, table), _hashes(after, before, table)
    return {identity for identity in ids if old.get(identity) == new.get(identity)}


def _table_diff(before: Snapshot, after: Snapshot, table: str, shown: int) -> TableDiff:
    old, new = _hashes(before, after, table), _hashes(after, before, table)
    fields = {
        identity: [name for name, left, right in zip(FIELDS[table], old[identity], new[identity], strict=True) if left != right]
        for identity in sorted(old.keys() & new.keys())
        if old[identity] != new[identity]
    }
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    befores = _rows(before, after, table, {*list(fields)[:shown], *removed[:shown]})
    afters = _rows(after, before, table, {*list(fields)[:shown], *added[:shown]})
    return TableDiff(
        before.manifest["counts"][table],
        after.manifest["counts"][table],
        len(added),
        len(removed),
        len(fields),
        dict(Counter(name for names in fields.values() for name in names).most_common()),
        [afters[identity] for identity in added[:shown]],
        [befores[identity] for identity in removed[:shown]],
        [Changed(befores[identity], afters[identity], fields[identity]) for identity in list(fields)[:shown]],
    )


def _own_rows(snapshot: Snapshot, other: Snapshot, table: str) -> Iterator[Row]:
    """The rows of the shards that `other` does not have."""
    theirs = set(other.manifest["files"].values())
    for file in snapshot.shards(table):
        if snapshot.manifest["files"][file.relative_to(snapshot.folder).as_posix()] in theirs:
            continue
        with pq.ParquetFile(file, pre_buffer=False) as shard:
            for batch in shard.iter_batches(batch_size=64, columns=list(FIELDS[table])):
                yield from batch.to_pylist()


def _hashes(snapshot: Snapshot, other: Snapshot, table: str) -> dict[str, tuple[int, ...]]:
    """Id -> a hash of each field; of a repeated id the first row counts, as in validation."""
    found: dict[str, tuple[int, ...]] = {}
    for row in _own_rows(snapshot, other, table):
        if row["id"] not in found:
            found[row["id"]] = tuple(_hash(value) for value in row.values())
    return found


def _hash(value: Any) -> int:
    """Of what a value looks like: Python's own hash takes -1 for -2, and no NaN for another."""
    if isinstance(value, list):
        return hash(tuple(_hash(item) for item in value))
    return hash(value if isinstance(value, bytes) else repr(value))


def _rows(snapshot: Snapshot, other: Snapshot, table: str, wanted: set[str]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in _own_rows(snapshot, other, table) if wanted else ():
        if row["id"] in wanted:
            found.setdefault(row["id"], row)
    return found


def _categories(snapshot: Snapshot) -> Counter[str]:
    return Counter(" > ".join(path) for path in snapshot.products(["category_path"])["category_path"].to_pylist())


def _category_shift(before: Counter[str], after: Counter[str]) -> CategoryShift:
    """The largest changes first."""
    names = sorted(before.keys() | after.keys(), key=lambda name: (-abs(after[name] - before[name]), name))
    return CategoryShift([(name, before[name], after[name]) for name in names if before[name] != after[name]], shift(before, after))
