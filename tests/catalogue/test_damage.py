"""Randomly damaged catalogues of every layout: never a traceback, never a lost row, always a reason.

How many rows went in is counted here, without the code under test: the lines of a text file as they stand after the damage, the
rows that were written into a binary one.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
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
from tests.catalogue.damage import CELL, DAMAGE, Cell, Damage, do_harm, harmed_rows
from tests.catalogue.layouts import made
from tests.catalogue.layouts.sound import LAYOUTS, MEDIA, Layout, Rows, events, lines_of, products, queries, unpacked
from tests.catalogue.made import Record, noise_jpeg

EXAMPLES = 23  # of each layout: more than 200 in all
SEED = int(os.environ.get("GOODSIGHT_TEST_SEED", "0"))  # another one finds other damage
SECRET = noise_jpeg(7)  # beside the catalogue, not in it


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
