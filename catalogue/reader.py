"""Rows of a snapshot as a stream for training: shuffled, shared between ranks, and resumed at the exact next row.

The order is a function of seed and epoch alone: row groups are permuted and dealt to the ranks, and the rows of each `window` of
groups are permuted among themselves. So a position is one number, and going on from it reads one window again. (The shuffle buffer of
Hugging Face `datasets` 5.2 is filled anew on resume: 308 of 4,000 rows were never seen in a trial of it.)
Shards are read where they lie, on disk or in an object store, one window ahead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from catalogue.records import Row
from catalogue.snapshot import MANIFEST, SCHEMA_VERSION, TABLES
from goodsight.errors import InputError, IntegrityError

WINDOW = 8  # row groups: 2,048 rows of a snapshot as it is written

State = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """A row group, and which of its rows are wanted."""

    shard: str
    number: int
    rows: np.ndarray


class Reader:
    """Iterating gives the rows of one epoch (of this rank) from the present position on; the next iteration is the next epoch.

    Every rank gets the same number of rows an epoch: those that do not divide evenly, less than a row group's worth a rank, are left
    out, others in each epoch. `columns`: all by default, media included; `splits`: rows of these alone.
    """

    def __init__(
        self,
        snapshot: str | Path,
        table: str = "products",
        columns: Sequence[str] | None = None,
        splits: Sequence[str] = (),
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        window: int = WINDOW,
    ) -> None:
        if not 0 <= rank < ranks:
            raise InputError(f"Rank {rank} is none of {ranks}.", "Ranks count from 0.")
        self.files, self.path = url_to_fs(str(snapshot))
        self.table, self.seed, self.rank, self.ranks, self.window = table, seed, rank, ranks, window
        self.columns = list(columns or TABLES[table].names)
        self.manifest = self._manifest()
        self.groups = self._groups(splits)
        self.epoch = self.position = 0
        if len(self.groups) < ranks:
            raise InputError(f"{snapshot} has {len(self.groups)} row groups for {ranks} ranks.", "Train on fewer ranks, or on more data.")

    def __len__(self) -> int:
        """Rows of this rank in the present epoch."""
        sizes = [sum(len(group.rows) for group in self._dealt(rank)) for rank in range(self.ranks)]
        return min(sizes)

    def __iter__(self) -> Iterator[Row]:
        length = len(self)
        with ThreadPoolExecutor(1) as ahead:
            for row in self._from(self.position, ahead):
                if self.position == length:
                    break
                self.position += 1
                yield row
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> State:
        """Where this reader is: after the last row that it gave."""
        return {**self._order(), "epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: State) -> None:
        """Goes on from a state. Raises `InputError` when it is of other data or another order."""
        if others := [name for name, value in self._order().items() if state.get(name) != value]:
            told = ", ".join(f"{name} {state.get(name)!r} instead of {self._order()[name]!r}" for name in others)
            raise InputError(f"The reader's state is of another stream: {told}.", "Start the epoch anew, or read what was read then.")
        self.epoch, self.position = state["epoch"], state["position"]

    def _order(self) -> State:
        """What the order of the rows depends on, beside the epoch."""
        rows = sum(len(group.rows) for group in self.groups)
        named = ("table", "seed", "rank", "ranks", "window")
        return {"digest": self.manifest["digest"], "rows": rows} | {name: getattr(self, name) for name in named}

    def _manifest(self) -> dict[str, Any]:
        try:
            manifest: dict[str, Any] = json.loads(self.files.cat_file(f"{self.path}/{MANIFEST}"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path} is no snapshot: {error}", "Give the folder with its manifest.json.") from error
        if manifest.get("schema_version") != SCHEMA_VERSION:
            raise InputError(f"{self.path} has schema version {manifest.get('schema_version')}, this release reads {SCHEMA_VERSION}.")
        return manifest

    def _groups(self, splits: Sequence[str]) -> list[Group]:
        """The row groups in order, with the places of the rows that are wanted."""
        found = []
        for shard in sorted(name for name in self.manifest["files"] if name.startswith(f"{self.table}/")):
            with self.files.open(f"{self.path}/{shard}") as file, pq.ParquetFile(file) as parquet:
                for number in range(parquet.num_row_groups):
                    rows = np.arange(parquet.metadata.row_group(number).num_rows)
                    if splits:
                        rows = rows[np.isin(parquet.read_row_group(number, columns=["split"])["split"].to_pylist(), list(splits))]
                    if len(rows):
                        found.append(Group(shard, number, rows))
        return found

    def _dealt(self, rank: int) -> list[Group]:
        """The groups of a rank in this epoch, in their order."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.groups))
        return [self.groups[place] for place in order[rank :: self.ranks]]

    def _from(self, position: int, ahead: ThreadPoolExecutor) -> Iterator[Row]:
        """The rows of this rank and epoch from a position on."""
        mine = self._dealt(self.rank)
        windows = [mine[start : start + self.window] for start in range(0, len(mine), self.window)]
        first = 0
        while first < len(windows) and position >= (size := sum(len(group.rows) for group in windows[first])):
            position, first = position - size, first + 1
        coming = ahead.submit(self._read, windows[first]) if first < len(windows) else None
        for number in range(first, len(windows)):
            assert coming is not None
            rows = coming.result()
            coming = ahead.submit(self._read, windows[number + 1]) if number + 1 < len(windows) else None
            order = np.random.default_rng((self.seed, self.epoch, self.rank, number)).permutation(rows.num_rows)[position:]
            position = 0
            for start in range(0, len(order), 64):
                yield from rows.take(pa.array(order[start : start + 64])).to_pylist()

    def _read(self, groups: list[Group]) -> pa.Table:
        """The wanted rows of some groups. Raises `IntegrityError` for a page whose checksum is wrong."""
        parts = []
        for group in groups:
            path = f"{self.path}/{group.shard}"
            try:
                with self.files.open(path) as file, pq.ParquetFile(file, pre_buffer=True, page_checksum_verification=True) as parquet:
                    parts.append(parquet.read_row_group(group.number, columns=self.columns).take(pa.array(group.rows)))
            except (OSError, pa.ArrowException) as error:
                raise IntegrityError(f"{path} cannot be read: {error}", "Fetch the snapshot again from its version.") from error
        return pa.concat_tables(parts)
