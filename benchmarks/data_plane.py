"""What the data plane costs: import, validation, media checks, the reader and features, each in a process of its own.

    python benchmarks/data_plane.py --catalogue FOLDER [--rows 1000000] [--only validation ...]

Validation judges generated rows without media by the whole suite, beside two peers that do part of it: the same facts by pandas as one
writes it by hand, and plain Great Expectations on the columns as they are. The point-in-time join of generated rows through Feast
stands beside DuckDB's ASOF join. The other measures take the catalogue. Writes
`benchmarks/results/data-plane.json`: seconds, peak memory, versions, machine and commit.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import described

from goodsight.files import read_json, write_json
from goodsight.settings import silence_telemetry

OUT = Path(__file__).resolve().parent / "results" / "data-plane.json"
CATEGORIES, WORDS = 500, 5000


def generate(folder: Path, rows: int) -> None:
    """A snapshot of `rows` products without media: titles of 6 words, descriptions of 30, two products a group."""
    from catalogue.records import product_row
    from catalogue.snapshot import ShardWriter, write_manifest

    dice = random.Random(0)
    words = [f"word{number}" for number in range(WORDS)]
    with ShardWriter(folder, "products") as writer:
        for number in range(rows):
            record = {
                "id": f"p{number}",
                "title": " ".join(dice.choices(words, k=6)),
                "description": " ".join(dice.choices(words, k=30)),
                "category_path": ["Home", f"Category {number % CATEGORIES}"],
                "attributes": {"colour": "red"},
                "price": dice.random() * 100,
                "group": f"g{number // 2}",
            }
            writer.add(product_row(record, number + 1, "products.jsonl", _no_media))
    write_manifest(folder, None, "generated", None)


def _no_media(name: str | bytes) -> bytes:
    raise AssertionError(name)


def validation(work: Path) -> dict[str, Any]:
    """The whole suite, with quarantine, report and the validated snapshot."""
    from catalogue.validation import validate

    verdict = validate(work / "rows", work / "validated", work / "quarantine.parquet", work / "report")
    return {"rows": verdict.products_in, "expectations": verdict.expectations["total"]}


def validation_by_pandas(work: Path) -> dict[str, Any]:
    """The facts that need no media, as one writes them with pandas."""
    import pandas as pd
    import pyarrow.dataset as ds

    columns = ["id", "title", "description", "category_path", "price", "group", "split"]
    frame = ds.dataset(work / "rows" / "products", format="parquet").to_table(columns=columns).to_pandas()
    frame["category"] = frame["category_path"].map(" > ".join)
    first = ~frame["id"].duplicated()
    train = set(frame.loc[first & (frame["split"] == "train"), "group"])
    tops = frame.loc[first, "category_path"].map(lambda path: path[0]).value_counts()
    conflicts = frame.groupby(frame["title"].str.strip().str.lower())["category"].transform("nunique") > 1
    faults = {
        "duplicate id": ~first,
        "empty title": frame["title"].str.len() < 1,
        "title too long": frame["title"].str.len() > 1000,
        "no category": frame["category"] == "",
        "unknown category": frame["category_path"].map(lambda path: tops[path[0]] < 2),
        "negative price": frame["price"] < 0,
        "unknown split": ~frame["split"].isin(["train", "val", "test", "catalogue"]),
        "group in train": frame["split"].isin(["val", "test"]) & frame["group"].isin(train),
        "long description": frame["description"].str.len() > 20_000,
        "boilerplate": frame.groupby("description")["id"].transform("size") > 20,
        "small category": frame.groupby("category")["id"].transform("size") < 3,
        "label conflict": conflicts,
    }
    return {"rows": len(frame), "expectations": len(faults), "found": int(pd.DataFrame(faults).to_numpy().sum())}


def validation_by_great_expectations(work: Path) -> dict[str, Any]:
    """Expectations that Great Expectations has by itself, on the columns as they are, every row listed."""
    silence_telemetry()
    import great_expectations as gx
    import great_expectations.expectations as gxe
    import pyarrow.dataset as ds

    columns = ["id", "title", "description", "price", "split", "group", "line"]
    frame = ds.dataset(work / "rows" / "products", format="parquet").to_table(columns=columns).to_pandas()
    expectations = [
        gxe.ExpectColumnValuesToBeUnique(column="id"),
        gxe.ExpectColumnValueLengthsToBeBetween(column="id", max_value=200),
        gxe.ExpectColumnValueLengthsToBeBetween(column="title", min_value=1, max_value=1000),
        gxe.ExpectColumnValueLengthsToBeBetween(column="description", max_value=20_000),
        gxe.ExpectColumnValuesToBeBetween(column="price", min_value=0),
        gxe.ExpectColumnValuesToBeInSet(column="split", value_set=["train", "val", "test", "catalogue"]),
        gxe.ExpectColumnValuesToNotBeNull(column="group"),
    ]
    context = gx.get_context(mode="ephemeral")
    batch = context.data_sources.add_pandas("rows").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    suite = gx.ExpectationSuite("plain", expectations=expectations)
    judge = context.validation_definitions.add(gx.ValidationDefinition(name="plain", data=batch, suite=context.suites.add(suite)))
    judge.run(batch_parameters={"dataframe": frame}, result_format="COMPLETE")
    return {"rows": len(frame), "expectations": len(expectations)}


def importing(work: Path, catalogue: Path) -> dict[str, Any]:
    """The catalogue folder -> snapshot."""
    from catalogue.importer import import_catalogue

    return {"counts": import_catalogue(catalogue, work / "imported")["counts"]}


def media(work: Path) -> dict[str, Any]:
    """Facts of the images of the imported catalogue, one core; what is timed is decoding and looking, not reading."""
    from catalogue.media_checks import media_facts
    from catalogue.snapshot import Snapshot

    class Here:
        """An executor that works in this thread."""

        map = staticmethod(map)

    images, seconds = 0, 0.0
    for batch in Snapshot.open(work / "imported").product_batches(["images"]):
        started = time.perf_counter()
        images += sum(facts.images for _, facts in media_facts(batch, Here()))  # type: ignore[arg-type]
        seconds += time.perf_counter() - started
    return {"images": images, "images_a_second": round(images / seconds)}


def reading(work: Path) -> dict[str, Any]:
    """An epoch of the imported products with their media through the reader."""
    from catalogue.reader import Reader

    reader = Reader(work / "imported")
    started = time.process_time()
    rows = sum(1 for _ in reader)
    return {"rows": rows, "rows_a_core_second": round(rows / (time.process_time() - started))}


JOINED = [f"feature_{place}" for place in range(10)]
HISTORY, INSTANTS, DAYS = (20_000, 10), 1_000_000, 180  # products and rows of each; rows that ask; the time they span
BEGIN = np.datetime64("2026-01-01", "us")


def _history(work: Path) -> tuple[Path, pa.Table]:
    """Ten features of products as they changed, on disk, and products with instants to ask about."""
    dice = np.random.default_rng(0)
    products, each = HISTORY
    times = BEGIN + np.sort(dice.integers(0, DAYS * 86_400, (products, each)), axis=1).ravel().astype("timedelta64[s]")
    stamps = pa.array(times).cast(pa.timestamp("us", tz="UTC"))
    told = {"product_id": [f"p{row // each}" for row in range(products * each)], "event_timestamp": stamps, "created_timestamp": stamps}
    pq.write_table(pa.table({**told, **{name: dice.random(products * each) for name in JOINED}}), work / "history.parquet")
    asked = BEGIN + dice.integers(0, DAYS * 86_400, INSTANTS).astype("timedelta64[s]")
    ids = [f"p{row}" for row in dice.integers(0, products, INSTANTS).tolist()]
    return work / "history.parquet", pa.table({"product_id": ids, "event_timestamp": pa.array(asked).cast(pa.timestamp("us", tz="UTC"))})


def join(work: Path) -> dict[str, Any]:
    """The point-in-time join through Feast, with the filter by created timestamp; its seconds alone."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64

    silence_telemetry()
    history, instants = _history(work)
    frame = instants.to_pandas()
    offline = {"type": "feature_repo.asof.AsOfOfflineStore"}
    config = RepoConfig(
        project="join", provider="local", registry="registry.db", repo_path=work, offline_store=offline, entity_key_serialization_version=3
    )
    store = FeatureStore(repo_path=str(work), config=config)
    source = FileSource(name="history", path=history.name, timestamp_field="event_timestamp", created_timestamp_column="created_timestamp")
    product = Entity(name="product", join_keys=["product_id"], value_type=ValueType.STRING)
    schema = [Field(name=name, dtype=Float64) for name in JOINED]
    store.apply([product, FeatureView(name="history", entities=[product], source=source, schema=schema)])
    started = time.perf_counter()
    found = store.get_historical_features(frame, [f"history:{name}" for name in JOINED], filter_by_created_timestamp=True).to_arrow()
    return {"rows": len(found), "features": len(JOINED), "join_seconds": round(time.perf_counter() - started, 2)}


def join_by_duckdb(work: Path) -> dict[str, Any]:
    """The same by hand: one ASOF join, from a frame to a table."""
    import duckdb

    history, instants = _history(work)
    frame = instants.to_pandas()  # noqa: F841  # read by name in the query
    started = time.perf_counter()
    found = duckdb.sql(
        f"SELECT frame.*, {', '.join(JOINED)} FROM frame ASOF LEFT JOIN read_parquet('{history}') AS history "
        "ON frame.product_id = history.product_id AND frame.event_timestamp >= history.event_timestamp"
    ).to_arrow_table()
    return {"rows": len(found), "features": len(JOINED), "join_seconds": round(time.perf_counter() - started, 2)}


def online(work: Path) -> dict[str, Any]:
    """What the features of twenty products, a page of search, add to an answer of the server (SQLite; the imported catalogue)."""
    from feature_repo.served import serve_features
    from feature_repo.store import build_features
    from serving.features import ProductFeatures

    build_features(work / "imported", work / "store")
    ids = pq.read_table(work / "store" / "products.parquet", columns=["product_id"])["product_id"].unique().to_pylist()
    dice = np.random.default_rng(0)
    started = time.perf_counter()
    vectors = dice.random((len(ids), 256), np.float32)
    serve_features(work / "store", work / "served" / "goodsight-1", "goodsight-1", {"index": "0" * 64}, ids, vectors, datetime.now(UTC))
    made = round(time.perf_counter() - started, 2)
    features, took = ProductFeatures(work / "served" / "goodsight-1"), []
    for _ in range(500):
        page = dice.choice(ids, 20, replace=False).tolist()
        answer = {"task": "search", "results": [{"id": id, "price": None} for id in page]}
        started = time.perf_counter()
        features.add([answer])
        took.append(1000 * (time.perf_counter() - started))
    middle, slow = np.quantile(took, [0.5, 0.99])
    figures = {"p50_ms": round(float(middle), 2), "p99_ms": round(float(slow), 2)}
    return {"answers": len(took), "products": 20, **figures, "store_products": len(ids), "store_seconds": made}


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "importing": importing,
    "media": media,
    "reading": reading,
    "join": join,
    "join_by_duckdb": join_by_duckdb,
    "online": online,
    "validation": validation,
    "validation_by_pandas": validation_by_pandas,
    "validation_by_great_expectations": validation_by_great_expectations,
}


def measured(name: str, work: Path, catalogue: Path) -> dict[str, Any]:
    """One measure in this process: what it says, its wall and CPU seconds and its peak memory."""
    started, used = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        found = MEASURES[name](work, catalogue) if name == "importing" else MEASURES[name](work)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = {"seconds": round(time.perf_counter() - started, 2), "cpu_seconds": round(time.process_time() - used, 2)}
    return {**found, **seconds, "peak_bytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--in", dest="work", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        print(json.dumps(measured(chosen.only[0], chosen.work, chosen.catalogue)))
        return
    report = {"benchmark": "data-plane", **described(), "measures": read_json(OUT)["measures"] if OUT.is_file() else {}}
    with tempfile.TemporaryDirectory() as folder:
        if any(name.startswith("validation") for name in chosen.only):
            generate(Path(folder) / "rows", chosen.rows)
        for name in MEASURES:
            if name in chosen.only or (name == "importing" and {"media", "reading", "online"} & set(chosen.only)):
                command = [sys.executable, __file__, "--catalogue", str(chosen.catalogue), "--only", name, "--in", folder]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                report["measures"][name] = json.loads(done.stdout)
                print(name, report["measures"][name])
    write_json(OUT, report)


if __name__ == "__main__":
    main()
