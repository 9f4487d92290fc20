"""Table files as streams of lines: JSON lines (plain or gzip), CSV and Parquet.

A line is a record, or the reason why it cannot be read: a bad line never stops the good ones. What makes a whole file
unreadable (a broken header, a cut archive) is an `InputError`.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from catalogue.records import MAX_LINE_BYTES, Row, parse_line
from goodsight.errors import InputError

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")
DELIMITERS = ",;\t|"
SHOWN_CHARACTERS = 500  # of a line that cannot be read
PARQUET_ROWS = 64  # at once in memory: media may be in them


@dataclass(frozen=True)
class Line:
    """A record and its number (from 1) in its file; without a record, the start of its text and the reason."""

    number: int
    record: Row | None
    text: str = ""
    reason: str = ""

    def whole(self) -> Row:
        """The record. Raises `InputError` with the reason when there is none."""
        if self.record is None:
            raise InputError(self.reason)
        return self.record

    def start(self) -> str:
        """The start of its text, as a person would look for it in the file."""
        text = self.text if self.record is None else json.dumps(self.record, ensure_ascii=False, default=str)
        return text[:SHOWN_CHARACTERS]


@dataclass(frozen=True)
class Table:
    """The lines of one file; `total` of them, 0 when nobody knows before the end."""

    kind: str  # product, query or event
    name: str
    lines: Iterable[Line]
    total: int = 0


def table(path: Path, kind: str) -> Table:
    """The table file at `path`, by its suffix. Raises `InputError` for another one."""
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        raise InputError(f"{path.name} is no table file.", f"Give one of: {', '.join(SUFFIXES)}.")
    if suffix == ".parquet":
        return Table(kind, path.name, _parquet(path), _metadata(path).num_rows)
    read = _csv if suffix in (".csv", ".tsv") else json_lines
    return Table(kind, path.name, read(path), 0 if suffix.endswith(".gz") else _count_lines(path))


def _count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))


def unreadable(number: int, text: str, reason: str) -> Line:
    return Line(number, None, text, reason)


# JSON lines


def json_lines(path: Path) -> Iterator[Line]:
    """The lines of a file of JSON objects, gzip when its name ends in .gz."""
    for number, raw in _lines(path):
        try:
            yield Line(number, parse_line(raw))
        except InputError as error:
            yield unreadable(number, raw[:SHOWN_CHARACTERS].decode("utf-8", "replace"), error.message)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes) of every line that is not blank; of an overlong line only the start."""
    number = 0
    with _open(path) as file:
        try:
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                end = raw
                while len(end) > MAX_LINE_BYTES and not end.endswith(b"\n"):
                    end = file.readline(MAX_LINE_BYTES + 1)
                if raw.strip():
                    yield number, raw
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path} is damaged after line {number}: {error}.", "Copy or download the file again.") from error


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")


# CSV


def _csv(path: Path) -> Iterator[Line]:
    """Rows of a CSV file with a header; lists and objects in a cell are JSON, an empty cell is no value.

    A row that cannot be read is its first line alone, and reading goes on at the next: a quotation mark that is not closed costs one row.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        header = file.readline(MAX_LINE_BYTES)
        delimiter = max(DELIMITERS, key=header.count)
        names = _names(path, next(csv.reader([header], delimiter=delimiter), []))
        source = _Source(file)
        rows = csv.reader(source, delimiter=delimiter, strict=True)
        while True:
            number = source.start()
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield unreadable(number, source.again(), f"no CSV: {error}")
                continue
            if len(cells) != len(names) and any(cells):
                yield unreadable(number, source.again(), f"the row has {len(cells)} cells, the header {len(names)}")
            elif any(cells):
                yield _csv_line(number, names, cells, delimiter)


class _Source:
    """The lines of a file after its header, of which those of one row can be given again."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = iter(lines)
        self.waiting: deque[str] = deque()
        self.row: list[str] = []  # lines of the present row
        self.number = 2  # of its first line

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.waiting.popleft() if self.waiting else next(self.lines)
        self.row.append(line)
        return line

    def start(self) -> int:
        """Begins a row and returns its line number."""
        self.number, self.row = self.number + len(self.row), []
        return self.number

    def again(self) -> str:
        """Gives back the row's lines but the first, which is returned as text that any file can hold."""
        first, *others = self.row
        self.waiting.extendleft(reversed(others))
        self.row = [first]
        return first.rstrip("\r\n").encode("utf-8", "replace").decode()


def _names(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not any(names) or twice:
        wrong = f"its header names {', '.join(map(repr, twice))} more than once" if twice else "it has no header"
        raise InputError(f"{path} is no CSV table: {wrong}.", "Its first line names each column once.")
    return names


def _csv_line(number: int, names: list[str], cells: list[str], delimiter: str) -> Line:
    text = delimiter.join(cells)
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        return unreadable(number, text.encode("utf-8", "replace").decode(), "the line is not UTF-8 text")
    return Line(number, {name: _cell(cell) if cell.strip() else None for name, cell in zip(names, cells, strict=True)})


def _cell(text: str) -> Any:
    """A list or an object where the cell holds one in JSON, else its text."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return parse_line(f'{{"cell": {text}}}'.encode())["cell"]
        except InputError:
            pass
    return text


# Parquet


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _parquet(path: Path) -> Iterator[Line]:
    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=PARQUET_ROWS):
                for row in batch.to_pylist(maps_as_pydicts="lossy"):
                    number += 1
                    yield Line(number, as_json(row))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read as Parquet: {error}", "Copy or download the file again.")


def as_json(value: Any) -> Any:
    """A value of Arrow as JSON has it: times in ISO 8601, decimals as numbers; bytes stay, also those of a media struct."""
    if isinstance(value, date):  # a datetime too
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        if value.keys() == {"bytes", "path"}:  # how Hugging Face datasets keeps images and sounds
            return value["bytes"] or value["path"]
        return {name: as_json(item) for name, item in value.items()}
    return value
