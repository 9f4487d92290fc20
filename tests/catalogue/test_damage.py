"""Randomly damaged catalogues of every layout: never a traceback, never a lost row, always a reason.

How many rows went in is counted here, without the code under test: the lines of a text file as they stand after the damage, the
rows that were written into a binary one.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from catalogue.importer import import_catalogue
from catalogue.records import TABLE_OF
from catalogue.shards import link_shards
from catalogue.snapshot import TABLES, Snapshot, write_manifest
from catalogue.update import import_update
from catalogue.validation import validate
from goodsight.digests import sha256_json
from goodsight.errors import GoodsightError
from tests.catalogue.layouts import made
from tests.catalogue.made import Record, flac, jpeg, noise_jpeg

EXAMPLES = 23  # of each layout: more than 200 in all
SEED = int(os.environ.get("GOODSIGHT_TEST_SEED", "0"))  # another one finds other damage
MEDIA = {"images/a.jpg": noise_jpeg(0), "images/b.jpg": noise_jpeg(1), "video/v.jpg": jpeg(96, 32), "audio/a.flac": flac()}
SECRET = noise_jpeg(7)  # beside the catalogue, not in it
DEEP = "@deep"  # stands for lists in lists, so many that no Python would write them

Rows = dict[str, list[Record]]  # kind -> records


# What a sound catalogue is


def products(tag: str) -> list[Record]:
    return [
        {
            "id": f"{tag}p{number}",
            "title": f"Sofa {number}",
            "description": "Soft",
            "category_path": ["Home", "Sofas"],
            "price": 9.5,
            "images": ["images/a.jpg", "images/b.jpg"][: number + 1],
            "video": "video/v.jpg",
            "audio": "audio/a.flac",
            "attributes": {"colour": "red"},
            "title_i18n": {"de": "Sofa"},
            "updated": "2026-01-01",
            "split": "train",
            "group": f"g{number}",
            "deleted": False,
        }
        for number in range(4)
    ]


def queries(tag: str) -> list[Record]:
    kinds: list[Record] = [{"text": "sofa"}, {"image": "images/a.jpg"}, {"audio": "audio/a.flac", "transcript": "sofa"}]
    return [{"qid": f"{tag}q{number}", "relevant": [f"{tag}p1"], "split": "test", **kind} for number, kind in enumerate(kinds)]


def events(tag: str) -> list[Record]:
    event = {"product": f"{tag}p1", "kind": "price", "value": 9.5, "query": "sofa", "time": "2026-01-02", "created": "2026-01-03"}
    return [event, event | {"kind": "view"}, event | {"product": f"{tag}p2"}]


# How it is written in each layout


def text_of(record: Record) -> str:
    return json.dumps(record).replace(f'"{DEEP}"', "[" * 800 + "]" * 800)


def lines_of(records: list[Record]) -> bytes:
    return "".join(text_of(record) + "\n" for record in records).encode()


def cells_of(records: list[Record], delimiter: str) -> bytes:
    return made.csv_text(records, delimiter).replace(DEEP, "[" * 800 + "]" * 800).encode("utf-8", "surrogatepass")


def clean(value: Any) -> Any:
    """What Arrow can hold of a value."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.encode("utf-8", "replace").decode()


def column(values: list[Any]) -> pa.Array:
    values = [None if value == {} else value for value in values]  # Parquet has no empty object
    try:
        return pa.array(values)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return pa.array([None if value is None else clean(value) for value in values])


def arrow_of(records: list[Record], odd: dict[str, str]) -> pa.Table:
    """A table of the records, some columns of which hold something else."""
    names = list(dict.fromkeys(clean(name) for record in records for name in record))
    columns = {name: column([record.get(name) for record in records]) for name in names}
    for name in odd.keys() & columns.keys():
        columns[name] = ODD[odd[name]](len(records))
    return pa.table(columns)


ODD: dict[str, Callable[[int], pa.Array]] = {
    "late": lambda n: pa.array([2**55] * n, pa.timestamp("ms")),
    "nanoseconds": lambda n: pa.array([2**60 + 1] * n, pa.timestamp("ns")),
    "zone": lambda n: pa.array([1] * n, pa.timestamp("us", tz="Mars/Olympus")),
    "year 0": lambda n: pa.array([-719_900] * n, pa.int32()).view(pa.date32()),
    "year 99999": lambda n: pa.array([35_000_000] * n, pa.int32()).view(pa.date32()),
    "time": lambda n: pa.array([5] * n, pa.time64("us")),
    "duration": lambda n: pa.array([2**62] * n, pa.duration("s")),
    "latin-1": lambda n: pa.array([b"Caf\xe9"] + [b"Cafe"] * (n - 1)).view(pa.string()),
    "bytes": lambda n: pa.array([b"\xff\xd8"] * n),
    "decimal": lambda n: pa.array([Decimal(10) ** 60] * n, pa.decimal256(76, 2)),
    "nan": lambda n: pa.array([float("nan")] * n),
    "infinite": lambda n: pa.array([float("inf")] * n, pa.float32()),
    "half": lambda n: pa.array(np.full(n, 0.5, dtype=np.float16)),
    "enormous": lambda n: pa.array([2**64 - 1] * n, pa.uint64()),
    "nothing": lambda n: pa.nulls(n),
    "lists": lambda n: pa.array([[float("nan"), None]] * n),
    "objects": lambda n: pa.array([{"bytes": None, "path": "../secret.jpg"}] * n),
    "map": lambda n: pa.array([[("a", 1), ("a", 2)]] * n, pa.map_(pa.string(), pa.int64())),
    "times inside": lambda n: pa.array([{"made": 5}] * n, pa.struct([("made", pa.time32("s"))])),
    "durations inside": lambda n: pa.array([{"made": 5}] * n, pa.struct([("made", pa.duration("s"))])),
    "late inside": lambda n: pa.array([{"made": 2**55}] * n, pa.struct([("made", pa.timestamp("ms"))])),
    "dictionary": lambda n: pa.array(["x"] * n).dictionary_encode(),
}
ODD_ARRAYS: dict[str, Callable[[int], Any]] = {
    "short": lambda n: np.array([[b"x"]]),
    "wide": lambda n: np.ones((n, 2), dtype=np.int32),
    "empty": lambda n: np.ones((n, 0), dtype=np.int32),
    "flat": lambda n: np.array([b"Caf\xe9"] * n),
    "objects": lambda n: np.array(["x"] * n, dtype=object),
    "nan": lambda n: np.full((n, 1), np.nan),
    "one": lambda n: np.int64(5),
    "truth": lambda n: np.ones((n, 1), dtype=bool),
    "grey": lambda n: np.zeros((n, 4, 4), dtype=np.uint8),
    "bright": lambda n: np.full((n, 4, 4, 3), 0.5),
    "channels": lambda n: np.zeros((n, 4, 4, 7), dtype=np.uint8),
    "fields": lambda n: np.zeros((n, 1), dtype=[("a", "i4"), ("b", "S3")]),
}


def folder_as(suffix: str) -> Callable[..., None]:
    def write(folder: Path, rows: Rows, odd: dict[str, str]) -> None:
        for stem, records in {"products": rows["product"], "queries_all": rows["query"], "events": rows["event"]}.items():
            path = folder / (stem + suffix)
            if suffix == ".parquet":
                pq.write_table(arrow_of(records, odd), path)
            elif suffix in (".csv", ".tsv"):
                made.write(path, cells_of(records, "," if suffix == ".csv" else "\t"))
            else:
                made.write(path, packed(path, lines_of(records)))
        made.write(folder / "categories.txt", b"Home > Sofas\n")

    return write


def abo(folder: Path, rows: Rows, odd: dict[str, str]) -> None:
    made.abo(folder, lines_of(rows["product"]).decode())


def m5product(folder: Path, rows: Rows, odd: dict[str, str]) -> None:
    made.write(folder / "meta_info.json", f"[{', '.join(map(text_of, rows['product']))}]".encode())


def m5product_by_id(folder: Path, rows: Rows, odd: dict[str, str]) -> None:
    items = (f"{json.dumps(str(record.get('item_id')))}: {text_of(record)}" for record in rows["product"])
    made.write(folder / "meta_info.json", f"{{{', '.join(items)}}}".encode())


def huggingface(folder: Path, rows: Rows, odd: dict[str, str]) -> None:
    import datasets

    datasets.disable_progress_bars()
    table = arrow_of(rows["product"], odd)
    try:
        halves = {"train": datasets.Dataset(table.slice(0, 2)), "validation": datasets.Dataset(table.slice(2))}
    except (ValueError, pa.ArrowException):  # a column that the library itself does not take
        return huggingface(folder, rows, {})
    datasets.DatasetDict(halves).save_to_disk(folder)


def fashiongen(folder: Path, rows: Rows, odd: dict[str, str]) -> None:
    import h5py

    columns = {name: [row.get(name) for row in rows["product"]] for name in rows["product"][0]}
    for name, values in columns.items():
        kinds = {type(value) for value in values}
        if kinds != {np.ndarray} and (kinds != {int} or max(map(abs, values)) > 2**60):
            columns[name] = [clean(value).encode("latin-1", "replace").decode("latin-1") for value in values]
    made.hdf5(folder / "fashiongen_train.h5", columns)
    with h5py.File(folder / "fashiongen_train.h5", "a") as file:
        for name in odd.keys() & columns.keys():
            del file[name]
            file[name] = ODD_ARRAYS[odd[name]](len(rows["product"]))


def photos(tag: str) -> list[Record]:
    columns = made.worn(*((int(tag, 16) * 10 + number % 3, number) for number in range(4)))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def listings(tag: str) -> list[Record]:
    return [made.LISTING | {"item_id": f"{tag}p{number}"} for number in range(4)]


def items(tag: str) -> list[Record]:
    return [made.ITEM | {"item_id": f"{tag}p{number}", "image": "images/a.jpg"} for number in range(4)]


@dataclass(frozen=True)
class Layout:
    """How the records of a layout are made and written, and which names its odd columns may have."""

    write: Callable[[Path, Rows, dict[str, str]], None]
    products: Callable[[str], list[Record]] = products
    others: bool = False  # queries and events
    odd: tuple[str, ...] = ()
    media: bool = True


FIELDS = tuple(products("")[0]) + ("qid", "relevant", "text", "product", "kind", "value", "time", "created")
LAYOUTS = {
    **{name: Layout(folder_as(f".{name}"), others=True) for name in ("jsonl", "jsonl.gz", "csv", "tsv")},
    "parquet": Layout(folder_as(".parquet"), others=True, odd=tuple(ODD)),
    "abo": Layout(abo, listings, media=False),
    "fashiongen": Layout(fashiongen, photos, odd=tuple(ODD_ARRAYS), media=False),
    "m5product": Layout(m5product, items),
    "m5product by id": Layout(m5product_by_id, items),
    "huggingface": Layout(huggingface, odd=tuple(ODD)),
}


# What may happen to it

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


def unpacked(path: Path) -> bytes | None:
    """The text in a file, None for an archive that is broken."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error):
        return None


def packed(path: Path, data: bytes) -> bytes:
    return gzip.compress(data) if path.suffix == ".gz" else data


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


# How much goes in, counted without the code under test


def json_lines(path: Path) -> int | None:
    data = unpacked(path)
    return None if data is None else sum(bool(line.strip()) for line in data.split(b"\n"))


def csv_rows(path: Path, written: bytes, rows: int) -> int | None:
    """As many as were written, while all that parts rows and cells stands where it stood; else nobody can say how many rows there are."""
    shape = re.compile(rb'[^"\r\n]')
    plain = b"\r" not in written and written.count(b"\n") == rows + 1
    return rows if path.read_bytes() == written or (plain and shape.sub(b"", path.read_bytes()) == shape.sub(b"", written)) else None


def stored(path: Path) -> int | None:
    """Distinct products of an HDF5 file, None when its ids cannot be read."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            column = np.asarray(file["input_productID"])
            ids = [value.strip() if isinstance(value, bytes) else value for value in column.reshape(len(column), -1)[:, 0].tolist()]
            nameless = [identity for identity in ids if identity in (b"", "") or identity != identity]
            return len({str(identity) for identity in ids if identity not in nameless}) + len(nameless)
    except Exception:
        return None


def items_of(path: Path) -> int | None:
    try:
        return len(json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=lambda pairs: [*pairs]))
    except (ValueError, TypeError, RecursionError):
        return None


def went_in(folder: Path, rows: Rows, written: dict[str, bytes]) -> dict[str, int | None]:
    """Kind -> how many records the folder holds, None where nobody can say; a file that cannot be unpacked counts as None too."""
    found: dict[str, int | None] = dict.fromkeys(TABLE_OF, 0)
    if (folder / "fashiongen_train.h5").is_file():
        return found | {"product": stored(folder / "fashiongen_train.h5")}
    if (folder / "meta_info.json").is_file():
        return found | {"product": items_of(folder / "meta_info.json")}
    if (folder / "dataset_dict.json").is_file():
        return found | {"product": len(rows["product"])}
    kinds = {"listings": "product", "products": "product", "queries_all": "query", "events": "event"}
    for path in [*folder.glob("listings/metadata/*"), *folder.glob("*.*")]:
        stem = path.name.partition(".")[0].removesuffix("_0")
        if stem in kinds and path.is_file():
            kind = kinds[stem]
            found[kind] = rows_of(path, written[path.relative_to(folder).as_posix()], len(rows[kind]))
    return found


def rows_of(path: Path, written: bytes, rows: int) -> int | None:
    if path.suffix == ".parquet":
        return rows
    if path.suffix in (".csv", ".tsv"):
        return csv_rows(path, written, rows)
    return json_lines(path)


# What must hold


def imported(folder: Path, out: Path) -> Snapshot:
    import_catalogue(folder, out)
    return Snapshot.open(out)


def accounted(snapshot: Snapshot) -> Counter[str]:
    """Kind -> records that a snapshot has a place for."""
    unreadable, stones = (snapshot.read(table).to_pylist() for table in ("unreadable", "tombstones"))
    assert all(understandable(row["reason"]) for row in unreadable)
    kinds = Counter(row["kind"] for row in [*unreadable, *stones])
    return kinds + Counter({kind: snapshot.manifest["counts"][table] for kind, table in TABLE_OF.items()})


def understandable(reason: str) -> bool:
    """Words, and no name of a class of Python's in them."""
    return len(reason.split()) > 2 and not re.search(r"Traceback|\w(Error|Exception)\b|<class", reason)


def told(snapshot: Snapshot) -> str:
    """All that a snapshot says, but for its media."""
    names = {table: [name for name in schema.names if name not in MEDIA_COLUMNS] for table, schema in TABLES.items()}
    return json.dumps([snapshot.read(table, names[table]).to_pylist() for table in TABLES], default=str)


MEDIA_COLUMNS = ("images", "image", "video", "audio")


def ids_in(folder: Path, tag: str) -> Iterator[str]:
    """The ids of products and queries that a person finds in the text files of a catalogue."""
    for path in [*folder.glob("listings/metadata/*"), *folder.glob("products.*"), *folder.glob("queries_all.*"), *folder.glob("meta_*")]:
        if path.is_file() and path.suffix != ".parquet":
            yield from (found.decode() for found in re.findall(tag.encode() + rb"[pq]\d", unpacked(path) or b""))


def damaged(layout: Layout, damage: Damage, folder: Path) -> tuple[dict[str, int | None], str]:
    """Writes a catalogue, damages it, and returns what goes in and what its ids begin with."""
    tag = f"{sha256_json(repr(damage))[:6]}"
    rows: Rows = {"product": layout.products(tag)}
    rows |= {"query": queries(tag), "event": events(tag)} if layout.others else {"query": [], "event": []}
    harmed_rows(rows, damage.cells)
    names, kinds = sorted({name for kind in rows.values() for record in kind for name in record}), layout.odd
    odd = {names[column % len(names)]: kinds[kind % len(kinds)] for column, kind in damage.odd if kinds}
    folder.mkdir()
    (folder.parent / "secret.jpg").write_bytes(SECRET)
    for name, data in MEDIA.items() if layout.media else ():
        made.write(folder / name, data)
    layout.write(folder, rows, odd)
    written = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for harm in damage.harms:
        do_harm(folder, harm)
    return went_in(folder, rows, written), tag


def check_import(layout: Layout, damage: Damage, work: Path) -> Counter[str]:
    """Imports a damaged catalogue and returns what was accounted for, nothing when it was refused."""
    folder, home = work / "shop", work / "home"
    expected, tag = damaged(layout, damage, folder)
    home.mkdir()
    try:
        snapshot = imported(folder, home / "raw")
    except GoodsightError as error:
        assert not any(home.iterdir()), "a refusal leaves nothing behind"
        names = {str(folder), *(path.name for path in folder.rglob("*"))}
        assert error.hint and any(name in error.message for name in names), f"no way out is told: {error}"
        return Counter()
    found, said = accounted(snapshot), told(snapshot)
    assert [path.name for path in home.iterdir()] == ["raw"]
    assert {kind: found[kind] for kind, count in expected.items() if count is not None} == {
        kind: count for kind, count in expected.items() if count is not None
    }
    assert not [identity for identity in ids_in(folder, tag) if identity not in said]
    return found


def decodes(row: Record) -> bool:
    """Whether all media of a row that was kept are whole, and from inside the catalogue."""
    pictures = [*(row.get("images") or []), *(row[name] for name in ("image", "video") if row.get(name) is not None)]
    for data in pictures:
        assert data != SECRET
        Image.open(io.BytesIO(data)).load()
    if row.get("audio") is not None:
        samples, _ = soundfile.read(io.BytesIO(row["audio"]))
        assert len(samples)
    return True


def check_validation(snapshots: list[Path], found: Counter[str], work: Path) -> None:
    """Validates the rows of all `snapshots` at once, which costs what one costs."""
    with_all = work / "raw"
    with_all.mkdir()
    for path in snapshots:
        for table in TABLES:
            link_shards(Snapshot.open(path), with_all, table)
    raw = write_manifest(with_all, None, "damaged", None)
    stones = Counter(row["kind"] for row in Snapshot.open(with_all).read("tombstones").to_pylist())
    verdict = validate(with_all, work / "out", work / "quarantine.parquet", work / "report")
    rows = pq.read_table(work / "quarantine.parquet").to_pylist()
    assert raw["counts"]["products"] and verdict.products_in == found["product"] - stones["product"] == verdict.kept + verdict.quarantined
    assert verdict.queries_in == found["query"] - stones["query"]
    assert verdict.queries_in == verdict.queries_kept + verdict.queries_quarantined + verdict.queries_dropped
    assert verdict.events_in == found["event"] == verdict.events_kept + verdict.events_quarantined
    assert verdict.quarantined + verdict.events_quarantined + verdict.queries_quarantined == len(rows)
    assert [row for row in rows if not row["reasons"] or not all(map(understandable, row["reasons"]))] == []
    kept = Snapshot.open(work / "out")
    assert all(decodes(row) for table in ("products", "queries") for row in kept.read(table).to_pylist())
    assert all(row["time"] and (row["value"] is None or np.isfinite(row["value"])) for row in kept.read("events").to_pylist())


@pytest.mark.parametrize("number", range(len(LAYOUTS)), ids=list(LAYOUTS))
def test_every_row_of_a_damaged_catalogue_is_kept_or_has_a_reason(
    number: int, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, snapshots, found = list(LAYOUTS.values())[number], [], Counter()
    for module in ("catalogue.records", "catalogue.layouts.tables"):
        monkeypatch.setattr(f"{module}.MAX_LINE_BYTES", 4096)

    @seed(SEED * len(LAYOUTS) + number)
    @settings(deadline=None, max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
    @given(damage=DAMAGE)
    def check(damage: Damage) -> None:
        work = tmp_path_factory.mktemp("damaged")
        if accounts := check_import(layout, damage, work):
            snapshots.append(work / "home" / "raw")
            found.update(accounts)
        assert "Traceback" not in "".join(capfd.readouterr())

    check()
    check_validation(snapshots, found, tmp_path_factory.mktemp("validation"))
    assert "Traceback" not in "".join(capfd.readouterr())


@settings(deadline=None, max_examples=50, derandomize=True)
@given(before=st.lists(CELL, max_size=5), after=st.lists(CELL, max_size=5), new=st.integers(1, 4))
def test_an_update_accounts_for_every_line(
    tmp_path_factory: pytest.TempPathFactory, before: list[Cell], after: list[Cell], new: int
) -> None:
    folder = tmp_path_factory.mktemp("update")
    for name, cells, records in (("before", before, products("")), ("after", after, products("")[:new])):
        harmed_rows({"product": records}, cells)
        made.write(folder / name / "products.jsonl", lines_of(records))
    old = imported(folder / "before", folder / "old")
    import_update(folder / "after", folder / "old", folder / "new")
    after_ids = ids_of(imported(folder / "after", folder / "changes"))
    found = Snapshot.open(folder / "new")
    stones = {row["id"] for row in found.read("tombstones").to_pylist()}
    assert [id for id in ids_of(found) if id not in after_ids] == [id for id in ids_of(old) if id not in {*after_ids, *stones}]
    assert set(after_ids) <= set(ids_of(found))


def ids_of(snapshot: Snapshot) -> list[str]:
    found: list[str] = snapshot.products(["id"])["id"].to_pylist()
    return found
