"""Table files: the same records out of JSON lines, CSV and Parquet, and of damaged files a reason for every line."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogue.layouts.tables import SHOWN_CHARACTERS, Line, table
from goodsight.errors import InputError
from tests.catalogue.layouts.made import csv_text

RECORDS = [
    {"id": "a", "title": 'A "red" sofa; wide', "category_path": ["Home", "Sofas"], "attributes": {"colour": "red"}},
    {"id": "b", "title": "Zwei\nZeilen", "images": ["b 1.jpg", "b 2.jpg"]},
]


def read(path: Path) -> list[Line]:
    return list(table(path, "product").lines)


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.csv", "t.tsv", "semicolons.csv", "t.parquet"])
def test_every_format_gives_the_same_records(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
    if name.endswith(".parquet"):
        names = list(dict.fromkeys(name for record in RECORDS for name in record))
        pq.write_table(pa.table({name: [record.get(name) for record in RECORDS] for name in names}), path)
    elif name.endswith("sv"):
        path.write_text(csv_text(RECORDS, {"t.csv": ",", "t.tsv": "\t"}.get(name, ";")))
    else:
        path.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    found = read(path)
    assert [{name: value for name, value in line.whole().items() if value} for line in found] == RECORDS
    assert [line.number for line in found] == ([2, 3] if name.endswith("sv") else [1, 2])
    assert table(path, "product").total >= (0 if name.endswith(".gz") else 2)


def test_a_bad_row_of_a_csv_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfid,title\na,Sofa\nb\nc,\xff\n\n,\nd,1,2\ne,\"two\nlines\"\nf,Chair\n")
    found = read(path)
    assert [(line.number, line.reason or line.record) for line in found] == [
        (2, {"id": "a", "title": "Sofa"}),
        (3, "the row has 1 cells, the header 2"),
        (4, "the line is not UTF-8 text"),
        (7, "the row has 3 cells, the header 2"),
        (8, {"id": "e", "title": "two\nlines"}),
        (10, {"id": "f", "title": "Chair"}),
    ]


@pytest.mark.parametrize("row", ['a,"Sofa', '"a,Sofa', 'a,"So"fa', '"', 'a,"', 'a,"Sofa\nwide'])
def test_a_stray_quotation_mark_costs_one_row(tmp_path: Path, row: str) -> None:
    (tmp_path / "t.csv").write_text(f'id,title\n{row}\nb,Chair\nc,"two\nlines"\nd,Lamp\n')
    found = read(tmp_path / "t.csv")
    more = row.count("\n")
    assert [line.number for line in found if line.record is None] == [2, 3][: 1 + more]
    assert [(line.number, line.record) for line in found if line.record] == [
        (3 + more, {"id": "b", "title": "Chair"}),
        (4 + more, {"id": "c", "title": "two\nlines"}),
        (6 + more, {"id": "d", "title": "Lamp"}),
    ]


HEADERS = [
    ("", "has no header"),
    ("id,id\n1,2\n", "names 'id' more than once"),
    ("x" * 2**23 + ",y\n", "is longer than"),
    ("ïd\n1\n", "not UTF-8"),
]


@pytest.mark.parametrize(("text", "words"), HEADERS)
def test_a_csv_without_a_header_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=words):
        read(tmp_path / "t.csv")


def test_a_cut_archive_and_a_broken_parquet_are_refused(tmp_path: Path) -> None:
    archive = gzip.compress(b'{"id": "a"}\n' * 1000)
    (tmp_path / "t.jsonl.gz").write_bytes(archive[:-20])
    with pytest.raises(InputError, match="is damaged after line"):
        read(tmp_path / "t.jsonl.gz")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read(tmp_path / "t.parquet")


def test_a_cell_is_json_as_a_whole_or_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('id;title\na;["oak"], "cell": 5\n')
    assert read(tmp_path / "t.csv")[0].record == {"id": "a", "title": '["oak"], "cell": 5'}


def test_a_row_of_parquet_that_cannot_be_read_costs_one_row(tmp_path: Path) -> None:
    columns = {
        "id": pa.array(["a", "b", "c"]),
        "title": pa.array([b"Sofa", b"Caf\xe9", b"Lamp"]).view(pa.string()),
        "updated": pa.array([0, 0, 2**52], pa.timestamp("ms")),
        "attributes": pa.array([{"made": 5, "took": 1}] * 3, pa.struct([("made", pa.time32("s")), ("took", pa.duration("s"))])),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    first, second, third = read(tmp_path / "t.parquet")
    assert first.whole()["title"] == "Sofa" and first.whole()["attributes"] == {"made": "00:00:05", "took": "0:00:01"}
    assert second.reason.startswith("its title cannot be read") and '"id": "b"' in second.text
    assert third.reason.startswith("its updated cannot be read") and (third.number, '"Lamp"' in third.text) == (3, True)


def test_a_parquet_file_with_a_broken_name_of_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": ["a"], "colour": ["red"]}), path)
    path.write_bytes(path.read_bytes().replace(b"colour", b"colo\xfcr"))
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read(path)


def test_values_of_arrow_become_those_of_json(tmp_path: Path) -> None:
    row = {
        "price": Decimal("9.90"),
        "updated": datetime(2024, 2, 3, tzinfo=UTC),
        "images": [{"bytes": b"\xff\xd8", "path": None}, {"bytes": None, "path": "b.jpg"}],
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "t.parquet")
    [line] = read(tmp_path / "t.parquet")
    assert line.record == {"price": 9.9, "updated": "2024-02-03T00:00:00+00:00", "images": [b"\xff\xd8", "b.jpg"]}


@settings(deadline=None, max_examples=200)
@given(damage=st.binary(max_size=40), place=st.integers(0, 100), kind=st.sampled_from(["jsonl", "csv"]))
def test_damage_costs_no_line_and_no_traceback(tmp_path_factory: pytest.TempPathFactory, damage: bytes, place: int, kind: str) -> None:
    path = tmp_path_factory.mktemp("damaged") / f"t.{kind}"
    lines = [b'{"id": "%d", "title": "sofa"}' % number for number in range(5)]
    if kind == "csv":
        lines = [b"id,title", *(b"%d,sofa" % number for number in range(5))]
    whole = b"\n".join(lines) + b"\n"
    place = min(place, len(whole) - 1)
    path.write_bytes(whole[:place] + damage + whole[place:])
    try:
        found = read(path)
    except InputError as error:
        assert kind == "csv" and "is no CSV table" in error.message
        return
    assert all(line.reason and len(line.start()) <= SHOWN_CHARACTERS for line in found if line.record is None)
    if kind == "jsonl" and not set(b"\n") & set(damage):
        assert len(found) == 5
    if kind == "csv" and not set(b'"\r\n') & set(damage):  # which join or part lines
        assert len(found) == 5
