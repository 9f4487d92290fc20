"""Table files as streams of lines: JSON lines (plain or gzip), CSV and Parquet.

A line is a record, or the reason why it cannot be read: a bad line never stops the good ones. What makes a whole file
unreadable (a broken header, a cut archive) is an `InputError`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from catalogue.records import MAX_LINE_BYTES, Row, as_record, parse_json, parse_line
from goodsight.errors import InputError

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")
DELIMITERS = ",;\t|"
SHOWN_CHARACTERS = 500  # of a line that cannot be read
ROWS = 64  # of Arrow at once in memory: media may be in them
CUT = (EOFError, gzip.BadGzipFile, zlib.error)
AGAIN = "Copy or download the file again."


@dataclass(frozen=True)
class Line:
    """A record and its number (from 1) in its file, and the start of its text where it has one; without a record, the reason."""

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
        return (self.text or json.dumps(self.record or "", ensure_ascii=False, default=str))[:SHOWN_CHARACTERS]


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
    regular(path)
    if suffix == ".parquet":
        return Table(kind, path.name, _parquet(path), _metadata(path).num_rows)
    read = csv_lines if suffix in (".csv", ".tsv") else json_lines
    return Table(kind, path.name, read(path), 0 if suffix.endswith(".gz") else _count_lines(path))


def regular(path: Path) -> Path:
    """The path of a file. Raises `InputError` for a folder, a pipe or a link that leads nowhere."""
    if not path.is_file():
        raise InputError(f"{path} is no file.", "Put the file there that has this name, or take this away.")
    return path


def _count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))


def unreadable(number: int, text: str, reason: str) -> Line:
    return Line(number, None, text, reason)


# JSON lines


def json_lines(path: Path) -> Iterator[Line]:
    """The lines of a file of JSON objects, gzip when its name ends in .gz."""
    for number, raw in _lines(path):
        text = raw[:SHOWN_CHARACTERS].decode("utf-8", "replace").strip()
        try:
            yield Line(number, parse_line(raw), text)
        except InputError as error:
            yield unreadable(number, text, error.message)


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
        except CUT as error:
            raise InputError(f"{path} is damaged after line {number}: {error}.", AGAIN) from error


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(regular(path)) if path.suffix == ".gz" else open(regular(path), "rb")


# CSV


def csv_lines(path: Path) -> Iterator[Line]:
    """Rows of a CSV file with a header, gzip when its name ends in .gz; lists and objects in a cell are JSON, an empty cell is no value.

    A row that cannot be read is its first line alone, and reading goes on at the next: a quotation mark that is not closed costs one row.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    with _open(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        try:
            header = file.readline(MAX_LINE_BYTES + 1)
            delimiter = max(DELIMITERS, key=header.count)
            names = _names(path, header, delimiter)
            yield from _csv_rows(_Source(file), names, delimiter)
        except CUT as error:
            raise InputError(f"{path} is damaged: {error}.", AGAIN) from error


def _csv_rows(source: _Source, names: list[str], delimiter: str) -> Iterator[Line]:
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


def _is_text(text: str) -> bool:
    """Whether text that was read with its wrong bytes escaped is UTF-8."""
    return not any("\udc80" <= letter <= "\udcff" for letter in text)


def _names(path: Path, header: str, delimiter: str) -> list[str]:
    names = [cell.strip() for cell in next(csv.reader([header[:MAX_LINE_BYTES]], delimiter=delimiter), [])]
    twice = sorted({name for name in names if names.count(name) > 1})
    faults = {
        "its header is not UTF-8 text": not _is_text(header),
        f"its header is longer than {MAX_LINE_BYTES} bytes": len(header) > MAX_LINE_BYTES,
        "it has no header": not any(names),
        f"its header names {', '.join(map(repr, twice))} more than once": bool(twice),
    }
    if wrong := next((fault for fault, found in faults.items() if found), ""):
        raise InputError(f"{path} is no CSV table: {wrong}.", "Save it as UTF-8; its first line names each column once.")
    return names


def _csv_line(number: int, names: list[str], cells: list[str], delimiter: str) -> Line:
    text = delimiter.join(cells)
    if not _is_text(text):
        return unreadable(number, text.encode("utf-8", "replace").decode(), "the line is not UTF-8 text")
    record = {name: _cell(cell) if cell.strip() else None for name, cell in zip(names, cells, strict=True)}
    return Line(number, record, text[:SHOWN_CHARACTERS])


def _cell(text: str) -> Any:
    """A list or an object where the cell holds one in JSON, else its text."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return as_record({"cell": parse_json(text.encode())})["cell"]
        except InputError:
            pass
    return text


# Parquet


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except Exception as error:  # a footer can be broken in many ways; each is the file's fault, told as such
        raise _damaged(path, error) from error


def _parquet(path: Path) -> Iterator[Line]:
    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=ROWS):
                yield from arrow_lines(pa.table(batch), number + 1)
                number += len(batch)
    except Exception as error:  # as above
        raise _damaged(path, error) from error


def arrow_lines(rows: pa.Table, number: int) -> Iterator[Line]:
    """The rows, the first of which is that of `number`. A row with a value that Python cannot hold is unreadable, and it alone."""
    try:
        rows.validate(full=True)
        found = rows.to_pylist(maps_as_pydicts="lossy")
    except Exception as error:  # text that is not UTF-8, a year after 9999, an unknown time zone
        if len(rows) == 1:
            yield _unreadable_row(rows, number, error)
            return
        for place in range(len(rows)):
            yield from arrow_lines(rows.slice(place, 1), number + place)
        return
    for place, row in enumerate(found):
        yield Line(number + place, as_json(row))


def _unreadable_row(row: pa.Table, number: int, error: Exception) -> Line:
    """A row of which a column cannot be read: its text has the others."""
    fine = {}
    wrong = f"the row cannot be read: {error}"
    for name in row.column_names:
        try:
            row[name].validate(full=True)
            fine[name] = as_json(row[name].to_pylist(maps_as_pydicts="lossy")[0])
        except Exception as fault:  # as above
            wrong = f"its {name} cannot be read: {fault}"
    return unreadable(number, json.dumps(fine, ensure_ascii=False, default=str)[:SHOWN_CHARACTERS], wrong)


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read as Parquet: {error}", AGAIN)


def as_json(value: Any) -> Any:
    """A value of Arrow as JSON has it: times in ISO 8601, decimals as numbers; bytes stay, also those of a media struct."""
    if isinstance(value, date | time):  # a datetime too
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        if value.keys() == {"bytes", "path"}:  # how Hugging Face datasets keeps images and sounds
            return value["bytes"] or value["path"]
        return {name: as_json(item) for name, item in value.items()}
    return value
