"""Small sound catalogues of every layout, written as their makers would, or with columns that hold something odd."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.catalogue.layouts import made
from tests.catalogue.made import Record, flac, jpeg, noise_jpeg

MEDIA = {"images/a.jpg": noise_jpeg(0), "images/b.jpg": noise_jpeg(1), "video/v.jpg": jpeg(96, 32), "audio/a.flac": flac()}
DEEP = "@deep"  # stands for lists in lists, so many that no Python would write them

Rows = dict[str, list[Record]]  # kind -> records


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


def unpacked(path: Path) -> bytes | None:
    """The text in a file, None for an archive that is broken."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error):
        return None


def packed(path: Path, data: bytes) -> bytes:
    return gzip.compress(data) if path.suffix == ".gz" else data


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
