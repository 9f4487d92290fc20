"""A snapshot on disk: Parquet shards of products, queries, events and unreadable lines, with a manifest of digests.

A snapshot never changes once written. Its digest covers content alone (files, schema version, split rule, categories),
so the same catalogue gives the same digest. Opening one checks every byte against the manifest; media bytes stream in
row groups of some hundreds, never all at once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from catalogue.manifest import as_written, checksum, content_digest
from catalogue.records import (
    EVENT_SCHEMA,
    MEDIA,
    PRODUCT_SCHEMA,
    QUERY_SCHEMA,
    RELEASE_SCHEMA,
    SPLIT_RULE,
    TOMBSTONE_SCHEMA,
    UNREADABLE_SCHEMA,
)
from goodsight.digests import sha256_file, sha256_files
from goodsight.errors import InputError, IntegrityError
from goodsight.files import read_json, write_json

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
TABLES = {
    "products": PRODUCT_SCHEMA,
    "queries": QUERY_SCHEMA,
    "events": EVENT_SCHEMA,
    "tombstones": TOMBSTONE_SCHEMA,
    "releases": RELEASE_SCHEMA,
    "unreadable": UNREADABLE_SCHEMA,
}
GROUP_ROWS, GROUP_BYTES = 256, 64 * 2**20
SHARD_ROWS, SHARD_BYTES = 8192, 256 * 2**20

Columns = Sequence[str] | None


def _media_bytes(row: dict[str, Any]) -> int:
    values = (row.get(name) for name in MEDIA)
    return sum(sum(map(len, value)) if isinstance(value, list) else len(value) for value in values if value)


def _compression(schema: pa.Schema) -> dict[str, str]:
    """zstd for text and numbers; media are compressed already."""
    lists = {name for name in schema.names if pa.types.is_list(schema.field(name).type)}
    paths = {name: f"{name}.list.element" if name in lists else name for name in schema.names}
    return {path: "NONE" if name in MEDIA else "ZSTD" for name, path in paths.items()}


class ShardWriter:
    """Writes one table of a snapshot as `<folder>/<table>/NNNNN.parquet`, in shards and row groups of bounded size."""

    def __init__(self, folder: Path, table: str, start: int = 0) -> None:
        self.schema = TABLES[table]
        self.folder = folder / table
        self.shards = start  # of which so many are there already
        self._rows: list[dict[str, Any]] = []
        self._waiting_bytes = 0  # media bytes of the rows not yet written
        self._shard_rows = 0
        self._shard_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._end_shard()

    def add(self, row: dict[str, Any]) -> None:
        """Adds one row of the table's schema."""
        self._rows.append(row)
        self._waiting_bytes += _media_bytes(row)
        if len(self._rows) >= GROUP_ROWS or self._waiting_bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._writer = open_shard(self.folder / shard_name(self.shards), self.schema)
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.schema), row_group_size=GROUP_ROWS)
        self._shard_rows += len(self._rows)
        self._shard_bytes += self._waiting_bytes
        self._rows, self._waiting_bytes = [], 0
        if self._shard_rows >= SHARD_ROWS or self._shard_bytes >= SHARD_BYTES:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self.shards += 1
        self._shard_rows = self._shard_bytes = 0


def shard_name(number: int) -> str:
    return f"{number:05d}.parquet"


def open_shard(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer for one shard, with the settings that make equal rows equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [name for name in ("source", "split", "licence", "kind", "file") if name in schema.names]
    return pq.ParquetWriter(
        path,
        schema,
        compression=_compression(schema),
        use_dictionary=texts,
        write_statistics=False,
        write_page_checksum=True,
        store_schema=True,
    )


def row_groups(shard: pq.ParquetFile, groups: Sequence[int], columns: Columns = None) -> Iterator[pa.Table]:
    """These row groups, a table each; as many are read together as fit into GROUP_BYTES, since small ones are slow one by one."""
    rows, sizes = {}, {}
    for group in groups:
        told = shard.metadata.row_group(group)
        rows[group], sizes[group] = told.num_rows, told.total_byte_size
    together = max(1, GROUP_BYTES // max(sizes.values(), default=1))
    for start in range(0, len(groups), together):
        some, done = groups[start : start + together], 0
        read = shard.read_row_groups(some, columns=columns)
        for group in some:
            yield read.slice(done, rows[group])
            done += rows[group]


def _rows_of(files: dict[str, str], folder: Path, table: str) -> int:
    return sum(pq.read_metadata(folder / file).num_rows for file in files if file.startswith(f"{table}/"))


def _licences(files: dict[str, str], folder: Path) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for file in files:
        if file.startswith("products/"):
            counts.update(pq.ParquetFile(folder / file).read(columns=["licence"])["licence"].to_pylist())
    return dict(sorted(counts.items()))


def write_manifest(folder: Path, categories: list[str] | None, source: str, parent: str | None) -> dict[str, Any]:
    """Writes `manifest.json` for the shards in `folder` and returns it.

    `source` is the name of the catalogue folder, `parent` the digest of the snapshot that this one was made from.
    """
    files = sha256_files(folder)
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "files": files,
        "split_rule": SPLIT_RULE,
        "categories": categories,
    }
    manifest |= {
        "digest": content_digest(manifest),
        "counts": {table: _rows_of(files, folder, table) for table in TABLES},
        "licences": _licences(files, folder),
        "source": source,
        "parent": parent,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    manifest["checksum"] = checksum(manifest)
    write_json(folder / MANIFEST, manifest)
    return manifest


def check_manifest(manifest: Any, path: Path) -> None:
    """Raises `InputError` when the manifest lacks what reading needs, `IntegrityError` when it was altered."""
    again = "Import the catalogue again, or fetch the snapshot from its version."
    shapes = {"schema_version": int, "files": dict, "split_rule": str, "counts": dict, "digest": str, "source": str}
    if not isinstance(manifest, dict):
        raise InputError(f"broken manifest {path}: not a JSON object", again)
    wrong = [name for name, kind in shapes.items() if not isinstance(manifest.get(name), kind)]
    if wrong or "categories" not in manifest:
        raise InputError(
            f"broken manifest {path}: {', '.join(wrong or ['categories'])} missing or of the wrong type", again
        )
    if manifest["schema_version"] != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {manifest['schema_version']}, this release reads {SCHEMA_VERSION}", again
        )
    for file in manifest["files"]:
        parts = PurePosixPath(file).parts
        if len(parts) != 2 or parts[0] not in TABLES or ".." in parts:
            raise InputError(f"broken manifest {path}: {file!r} is no shard of a snapshot", again)
    if not as_written(manifest):
        raise IntegrityError(f"broken manifest {path}: it does not say what it said when it was written", again)


def _check_files(folder: Path, files: dict[str, str]) -> None:
    again = "Import the catalogue again, or fetch the snapshot from its version."
    for file, digest in files.items():
        if not (folder / file).is_file():
            raise IntegrityError(f"{folder / file} is missing from the snapshot", again)
        if sha256_file(folder / file) != digest:
            raise IntegrityError(f"{folder / file} has changed since the snapshot was written", again)


@dataclass(frozen=True)
class Snapshot:
    """An opened snapshot. `products` and `queries` read whole columns, `*_batches` stream rows with their media."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Snapshot:
        """Opens the snapshot in `path` after checking every file against its digest.

        Raises `InputError` for a broken manifest and `IntegrityError` when a file is missing or has changed.
        """
        file = path / MANIFEST
        try:
            manifest = read_json(file)
        except InputError as error:
            raise InputError(f"broken manifest: {error.message}", "Import the catalogue again.") from error
        check_manifest(manifest, file)
        _check_files(path, manifest["files"])
        return cls(path, manifest)

    @property
    def digest(self) -> str:
        """sha256 of the content, in hex."""
        return self.manifest["digest"]

    def shards(self, table: str) -> list[Path]:
        """Shard files of a table (`products`, `queries`, `events`, `unreadable`) in row order."""
        return [self.folder / file for file in sorted(self.manifest["files"]) if file.startswith(f"{table}/")]

    def read(self, table: str, columns: Columns = None) -> pa.Table:
        """All rows of a table; ask for columns, or the media of all of them come into memory."""
        schema = TABLES[table] if columns is None else pa.schema([TABLES[table].field(name) for name in columns])
        parts = [pq.ParquetFile(file).read(columns=schema.names).select(schema.names) for file in self.shards(table)]
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def batches(self, table: str, columns: Columns = None, size: int = GROUP_ROWS) -> Iterator[pa.RecordBatch]:
        """Rows of a table in order, at most `size` at a time; a batch never spans two row groups (bounded memory)."""
        names = None if columns is None else list(columns)
        for file in self.shards(table):
            with pq.ParquetFile(file, pre_buffer=False) as shard:
                for group in range(shard.num_row_groups):
                    yield from shard.iter_batches(size, row_groups=[group], columns=names, use_threads=False)  # too small to share out

    def take(self, table: str, rows: Sequence[int], columns: Columns = None) -> list[dict[str, Any]]:
        """The rows of the given numbers, which ascend; only the row groups that they are in are read."""
        start = done = 0
        found: list[dict[str, Any]] = []
        names = None if columns is None else list(columns)
        for file in self.shards(table) if rows else ():
            if done == len(rows):
                break
            with pq.ParquetFile(file, pre_buffer=False) as shard:
                inside: dict[int, list[int]] = {}  # row group -> places in it
                for group in range(shard.num_row_groups):
                    end = start + shard.metadata.row_group(group).num_rows
                    upto = bisect_left(rows, end, lo=done)
                    if upto > done:
                        inside[group] = [row - start for row in rows[done:upto]]
                    start, done = end, upto
                for places, read in zip(inside.values(), row_groups(shard, list(inside), names), strict=True):
                    found += read.take(pa.array(places)).to_pylist()
        return found

    def products(self, columns: Columns = None) -> pa.Table:
        """Products (PRODUCT_SCHEMA), all columns or those named."""
        return self.read("products", columns)

    def queries(self, columns: Columns = None) -> pa.Table:
        """Queries (QUERY_SCHEMA), all columns or those named."""
        return self.read("queries", columns)

    def product_batches(self, columns: Columns = None, size: int = GROUP_ROWS) -> Iterator[pa.RecordBatch]:
        """Products as a stream of batches of at most `size` rows."""
        return self.batches("products", columns, size)

    def query_batches(self, columns: Columns = None, size: int = GROUP_ROWS) -> Iterator[pa.RecordBatch]:
        """Queries as a stream of batches of at most `size` rows."""
        return self.batches("queries", columns, size)
