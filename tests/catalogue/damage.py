"""What may happen to a catalogue: to the fields of its records, to its columns, and to the bytes of its files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.catalogue.layouts.sound import DEEP, Rows, packed, unpacked

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(st.characters(exclude_categories=[]), max_size=12),
    st.lists(st.one_of(st.text(max_size=5), st.integers(), st.none()), max_size=3),
    st.dictionaries(st.text(max_size=4), st.one_of(st.text(max_size=4), st.none(), st.floats()), max_size=2),
    st.sampled_from(["../secret.jpg", "/etc/passwd", "images", "images/none.jpg", "audio/a.flac", "\0", "train", "view", "x" * 1500]),
    st.sampled_from(["0000-01-01", "99999-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-13-01", "20260101"]),
    st.sampled_from(["9.9", "1e999", "nan", "Home > Sofas", '{"a": 1}', "[1", '["a"], "b": 1', "\ud800", 10**400, DEEP, [DEEP]]),
)
GONE, RENAMED = "gone", "renamed"  # instead of a value
SNIPPETS = [b'"', b"\n", b"\r", b"\0", b",", b"{", b"\xff", b"\xe9", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"NaN", b"[" * 3000, b"x" * 5000]
HOWS = ("flip", "cut", "insert", "empty", "folder", "pipe", "link", "missing", "latin-1", "utf-16", "bom", "magic", "twice", "zeros")


@dataclass(frozen=True)
class Cell:
    """A field of a record that holds another value, or none, or goes by another name."""

    row: int
    field: int
    value: Any


@dataclass(frozen=True)
class Harm:
    """What happens to the bytes of a file."""

    file: int
    how: str
    place: float
    more: bytes
    inside: bool  # of an archive


@dataclass(frozen=True)
class Damage:
    cells: list[Cell]
    odd: list[tuple[int, int]]  # column, and what it holds instead
    harms: list[Harm]


CELL = st.builds(Cell, st.integers(0, 11), st.integers(0, 15), st.one_of(VALUES, st.sampled_from([GONE, RENAMED])))
MORE = st.one_of(st.sampled_from(SNIPPETS), st.binary(max_size=9))
HARM = st.builds(Harm, st.integers(0, 11), st.sampled_from(HOWS), st.floats(0, 1), MORE, st.booleans())
DAMAGE = st.builds(
    Damage,
    st.lists(CELL, max_size=5),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 40)), max_size=2),
    st.lists(HARM, max_size=2),
)


def harmed_rows(rows: Rows, cells: list[Cell]) -> None:
    records = [record for kind in rows.values() for record in kind]
    for cell in cells:
        record = records[cell.row % len(records)]
        name = list(record)[cell.field % len(record)]
        value = record.pop(name) if cell.value in (GONE, RENAMED) and len(record) > 1 else cell.value
        if cell.value != GONE:
            record[f"{name}s" if cell.value == RENAMED else name] = value


def harmed_bytes(data: bytes, harm: Harm) -> bytes:
    place = int(harm.place * max(len(data) - 1, 0))
    change: dict[str, Callable[[], bytes]] = {
        "flip": lambda: data[:place] + bytes(byte ^ 1 << place % 8 for byte in data[place : place + 1]) + data[place + 1 :],
        "cut": lambda: data[:place],
        "insert": lambda: data[:place] + harm.more + data[place:],
        "empty": lambda: b"",
        "latin-1": lambda: data.replace(b"S", "é".encode("latin-1")),
        "utf-16": lambda: data.decode("utf-8", "replace").encode("utf-16"),
        "bom": lambda: b"\xef\xbb\xbf" + data,
        "magic": lambda: b"PK\x03\x04" + data[4:],
        "twice": lambda: data + data,
        "zeros": lambda: data[:place] + b"\0" * 16 + data[place + 16 :],
    }
    return change[harm.how]()


def do_harm(folder: Path, harm: Harm) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    path = files[harm.file % len(files)] if files else folder / "none"
    if harm.how in ("folder", "pipe", "link", "missing"):
        path.unlink(missing_ok=True)
        {"folder": Path.mkdir, "pipe": os.mkfifo, "link": lambda path: path.symlink_to("../secret.jpg"), "missing": str}[harm.how](path)
    elif files:
        inside = unpacked(path) if harm.inside else None
        path.write_bytes(harmed_bytes(path.read_bytes(), harm) if inside is None else packed(path, harmed_bytes(inside, harm)))
