"""Whether one flipped bit anywhere is refused: 500 random places in the bundle, the index, the snapshot, the ledger and an audit bundle.

    python benchmarks/signatures.py [--home .goodsight] [--places 500]

Works on copies of what is served in the home, of the snapshot that it learned from, and of the ledger. One of the five is drawn, then
a file of it (of the ledger an event and a column), then a byte and a bit. Whoever reads it must refuse it and name the file or the
event; the predictor must do so before it parses anything but the signature. Beside it, what verifying the model costs. Writes
`benchmarks/results/signatures.json`.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import described

import serving.predictor
from catalogue.snapshot import Snapshot
from catalogue.versions import fetch, list_versions
from goodsight.errors import GoodsightError
from goodsight.files import write_json
from goodsight.settings import settings
from lineage import audit_bundle
from lineage.ledger import Ledger
from lineage.passport import passport
from lineage.signing import verify
from lineage.verify_audit_bundle import Refused, check, padding
from pipelines.passport_command import sources
from serving.deploy import current, store

OUT = Path(__file__).resolve().parent / "results" / "signatures.json"
Trial = Callable[[random.Random], tuple[str, bool]]  # flips one bit, looks, flips it back -> what was hit, whether it was refused by name


def flipped(data: bytes, draw: random.Random) -> tuple[bytes, int]:
    """`data` with one other bit, and the place of its byte."""
    altered, place = bytearray(data), draw.randrange(len(data))
    altered[place] ^= 1 << draw.randrange(8)
    return bytes(altered), place


def of_files(folders: list[Path], load: Callable[[], object]) -> Trial:
    """Flips in the files below `folders`, which `load` must refuse, naming the file."""
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())

    def trial(draw: random.Random) -> tuple[str, bool]:
        path = draw.choice(files)
        whole = path.read_bytes()
        path.write_bytes(flipped(whole, draw)[0])
        try:
            load()
            return path.name, False
        except GoodsightError as error:
            return path.name, str(path) in error.message
        finally:
            path.write_bytes(whole)

    return trial


def of_ledger(database: Path) -> Trial:
    """Flips in the columns of events, which the walk along the chain must refuse, naming the event or the one after it."""
    ledger = Ledger(f"sqlite:///{database}")
    columns = ("time", "kind", "actor", "subjects", "payload", "previous", "hash")

    def trial(draw: random.Random) -> tuple[str, bool]:
        seq, column = draw.randint(1, ledger.verify()), draw.choice(columns)
        with sqlite3.connect(database) as connection:
            ((whole,),) = connection.execute(f"SELECT CAST({column} AS BLOB) FROM events WHERE seq = ?", [seq]).fetchall()
        put = f"UPDATE events SET {column} = CAST(? AS TEXT) WHERE seq = ?"
        with sqlite3.connect(database) as connection:
            connection.execute(put, [flipped(whole, draw)[0], seq])
        try:
            ledger.verify()
            return column, False
        except GoodsightError as error:
            return column, any(f"event {number} " in error.message for number in (seq, seq + 1))
        finally:
            with sqlite3.connect(database) as connection:
                connection.execute(put, [whole, seq])

    return trial


def of_audit_bundle(path: Path) -> Trial:
    """Flips anywhere in the archive, which the program that stands alone must refuse, naming the file that holds the byte."""
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        holders = [(each.name, each.offset, each.offset_data + each.size + padding(each.size)) for each in archive]

    def trial(draw: random.Random) -> tuple[str, bool]:
        altered, place = flipped(whole, draw)
        holder = next((name for name, start, end in holders if start <= place < end), "the end of the archive")
        try:
            list(check(io.BytesIO(altered)))
            return holder, False
        except Refused as refused:
            return holder, refused.file == holder

    return trial


def prepared(home: Path, aside: Path) -> tuple[dict[str, Trial], list[Path]]:
    """The trials of all kinds on copies below `aside`, and the folders of the model and its index."""
    served = current(home)
    if served is None:
        raise SystemExit(f"Nothing is deployed in {home}.")
    model = [shutil.copytree(store(home) / served.archive / name, aside / name) for name in ("candidate", "index")]
    snapshot = fetch(list_versions(home)[-1]["revision"], home, aside / "snapshot")
    audit_bundle.write(passport(served.version, sources(home)), sources(home), aside / "audit.tar", weights=False)
    for file in (home / "ledger.db", settings().checkpoint_file):
        shutil.copy(file, aside / file.name)
    os.environ["GOODSIGHT_LEDGER_CHECKPOINT"] = str(aside / settings().checkpoint_file.name)
    settings.cache_clear()
    load = lambda: serving.predictor.Predictor.load(*model)  # noqa: E731
    trials = {
        "bundle": of_files(model[:1], load),
        "index": of_files(model[1:], load),
        "snapshot": of_files([snapshot], lambda: Snapshot.open(snapshot)),
        "ledger": of_ledger(aside / "ledger.db"),
        "audit bundle": of_audit_bundle(aside / "audit.tar"),
    }
    return trials, model


def refusals(trials: dict[str, Trial], places: int, seed: int) -> dict[str, Any]:
    """How many of `places` flips were refused by name, by kind and by what was hit: [refused, flipped]."""
    draw, hits, refused = random.Random(seed), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for _ in range(places):
        kind = draw.choice(list(trials))
        name, right = trials[kind](draw)
        hits[kind, name] += 1
        refused[kind, name] += right
    found = {kind: {name: [refused[kind, name], hits[kind, name]] for of, name in sorted(hits) if of == kind} for kind in trials}
    return {"places": places, "refused": refused.total(), "by_kind": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path(".goodsight"))
    parser.add_argument("--places", type=int, default=500)
    parser.add_argument("--seed", type=int, default=17)
    given = parser.parse_args()
    home = given.home.resolve()
    os.environ["GOODSIGHT_HOME"] = str(home)
    settings.cache_clear()
    loaded = serving.predictor.load_candidate
    with tempfile.TemporaryDirectory() as aside:
        trials, model = prepared(home, Path(aside))
        started = time.perf_counter()
        for folder in model:
            verify(folder)
        seconds = time.perf_counter() - started
        megabytes = sum(path.stat().st_size for folder in model for path in folder.rglob("*") if path.is_file()) / 1e6
        serving.predictor.load_candidate = _too_far
        found = refusals(trials, given.places, given.seed)
        serving.predictor.load_candidate = loaded
        serving.predictor.Predictor.load(*model)
    report = {"benchmark": "signatures", **described(), "megabytes": round(megabytes, 1), "verify_seconds": round(seconds, 2), **found}
    write_json(OUT, report)
    print({kind: [sum(column) for column in zip(*each.values(), strict=True)] for kind, each in found["by_kind"].items()})


def _too_far(*_: Any) -> None:
    raise AssertionError("A file was parsed before it was verified.")


if __name__ == "__main__":
    main()
