"""Copies of a snapshot's shards without some of their rows, group by group, so that media never come into memory all at once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalogue.records import QUERY_SCHEMA
from catalogue.snapshot import Snapshot, open_shard, row_groups, shard_name


def _link(source: Path, target: Path) -> None:
    """The same bytes at `target`: a hard link where the file system has it, since shards never change, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _filtered(group: pa.Table, keep: list[bool], known: set[str] | None) -> pa.Table:
    """The rows to keep; with `known`, the relevant ids of queries reduced to those."""
    group = group.filter(pa.array(keep))
    if known is None:
        return group
    relevant = [[product for product in ids if product in known] for ids in group["relevant"].to_pylist()]
    position = QUERY_SCHEMA.get_field_index("relevant")
    return group.set_column(
        position, QUERY_SCHEMA.field("relevant"), pa.array(relevant, QUERY_SCHEMA.field("relevant").type)
    )


def _untouched(shard: pq.ParquetFile, removed: set[int], start: int, known: set[str] | None) -> bool:
    if any(index in removed for index in range(start, start + shard.metadata.num_rows)):
        return False
    if known is None:
        return True
    ids = pc.list_flatten(shard.read(columns=["relevant"])["relevant"])
    return known.issuperset(ids.to_pylist())


def _write_shard(shard: pq.ParquetFile, target: Path, removed: set[int], start: int, known: set[str] | None) -> None:
    """Writes the kept rows of one shard, whose first row is number `start` of its table, group by group."""
    writer = None
    for group in row_groups(shard, range(shard.num_row_groups)):
        keep = [index not in removed for index in range(start, start + len(group))]
        start += len(group)
        group = _filtered(group, keep, known)
        if len(group):
            writer = writer or open_shard(target, group.schema)
            writer.write_table(group)
    if writer is not None:
        writer.close()


def copy_rows(snapshot: Snapshot, out: Path, table: str, removed: set[int], known: set[str] | None = None) -> None:
    """Writes a table of `snapshot` to folder `out` without the rows in `removed`; a shard that loses nothing is linked.

    With `known`, the relevant ids of queries are reduced to those.
    """
    start = shard_number = 0
    for file in snapshot.shards(table):
        target = out / table / shard_name(shard_number)
        with pq.ParquetFile(file, pre_buffer=False) as shard:
            if _untouched(shard, removed, start, known):
                _link(file, target)
            else:
                _write_shard(shard, target, removed, start, known)
            start += shard.metadata.num_rows
        shard_number += target.exists()


def link_shards(snapshot: Snapshot, out: Path, table: str) -> None:
    """Adds the shards of a table to those that folder `out` has already."""
    start = len(list((out / table).glob("*.parquet")))
    for number, file in enumerate(snapshot.shards(table), start):
        _link(file, out / table / shard_name(number))
