"""The reference of a version: what it answers on its own training and validation data, as a table of traffic.

Live traffic is compared with it (`monitoring.drift`). Products are asked for their category with all that they have, and again by
their photo alone; the queries of the catalogue are searches by words or by photo. Traits are those that serving computes. Scores are
told of validation data alone: of what it learned by heart a model is surer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalogue.media import decode_image
from catalogue.snapshot import Snapshot
from goodsight.digests import sha256_file
from goodsight.errors import InputError
from goodsight.files import read_json, whole_folder, write_json
from lineage.traffic import answer_figures, table
from serving.predictor import Predictor
from serving.request import Request
from serving.traits import figures

TRAFFIC, RECORD = "traffic.parquet", "reference.json"
SPLITS = ("train", "val")
MOST = 400  # requests of each kind
SEED = 17
BATCH = 16
SURER = ("score", "second")  # told of validation data alone
Asked = tuple[str, Request]  # split and request


def write_reference(predictor: Predictor, snapshot: Snapshot, folder: Path) -> None:
    """Writes the reference of `predictor`, which was trained on `snapshot`, to `folder`, whole.

    Raises `InputError` when the snapshot has nothing to ask.
    """
    rows: list[dict[str, Any]] = []
    asked = requests(predictor, snapshot)
    while part := list(islice(asked, BATCH)):
        rows += _answered(predictor, part, len(rows))
    if not rows:
        raise InputError("The snapshot has neither products nor queries that the model reads.", "Take the one that it was trained on.")
    with whole_folder(folder) as aside:
        pq.write_table(table(rows), aside / TRAFFIC, compression="zstd")
        told = {"version": predictor.version, "candidate": predictor.candidate, "snapshot": snapshot.digest, "rows": len(rows)}
        write_json(aside / RECORD, {**told, "sha256": sha256_file(aside / TRAFFIC)})


def read_reference(folder: Path) -> pa.Table | None:
    """The reference in `folder`, a table of `lineage.traffic.SCHEMA`; None where there is none or its bytes are others."""
    if not (folder / RECORD).is_file() or not (folder / TRAFFIC).is_file():
        return None
    return pq.read_table(folder / TRAFFIC) if read_json(folder / RECORD)["sha256"] == sha256_file(folder / TRAFFIC) else None


def requests(predictor: Predictor, snapshot: Snapshot) -> Iterator[Asked]:
    """A seeded sample of the requests that the training and validation data of a snapshot stand for."""
    reads = predictor.retrieve.config.modalities
    for product in _sample(snapshot, "products", ("title", "attributes", "images")):
        image = _image((product["images"] or [None])[0]) if "image" in reads else None
        attributes = json.loads(product["attributes"] or "{}") if "table" in reads else {}
        title = product["title"] or None if "text" in reads else None
        content: dict[str, Any] = {"text": title, "image": image, "table": attributes or None}
        if any(content.values()):
            yield product["split"], Request("categorize", 10, **content)
        if image and any(value for name, value in content.items() if name != "image"):
            yield product["split"], Request("categorize", 10, image=image)
    for query in _sample(snapshot, "queries", ("kind", "text", "image")):
        if query["kind"] == "text" and query["text"] and "text" in reads:
            yield query["split"], Request("search", 10, text=query["text"])
        elif query["kind"] == "image" and "image" in reads and (image := _image(query["image"])):
            yield query["split"], Request("search", 10, image=image)


def _sample(snapshot: Snapshot, name: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of the splits, at most `MOST` of each kind, in the order of the snapshot."""
    known = snapshot.read(name, ("split", "kind") if "kind" in columns else ("split",)).to_pylist()
    dice = np.random.default_rng(SEED)
    chosen: list[int] = []
    for kind in sorted({row.get("kind", "") for row in known}):
        places = [place for place, row in enumerate(known) if row["split"] in SPLITS and row.get("kind", "") == kind]
        chosen += dice.permutation(places)[:MOST].tolist() if places else []
    order = iter(sorted(int(place) for place in chosen))
    while part := list(islice(order, BATCH)):
        yield from snapshot.take(name, part, (*columns, "split"))


def _image(data: bytes | None) -> Any:
    try:
        return decode_image(data) if data else None
    except InputError:
        return None


def _answered(predictor: Predictor, asked: Sequence[Asked], start: int) -> list[dict[str, Any]]:
    """The rows of traffic of some requests."""
    made: dict[int, np.ndarray] = {}
    answers = predictor.predict_batch([request for _, request in asked], made=made)
    return [
        _row(predictor, split, request, answer, made.get(place), start + place)
        for place, ((split, request), answer) in enumerate(zip(asked, answers, strict=True))
    ]


def _row(
    predictor: Predictor, split: str, request: Request, answer: dict[str, Any], made: np.ndarray | None, number: int
) -> dict[str, Any]:
    results = [(each.get("id") or each["category"], each.get("score", each.get("probability"))) for each in answer["results"]]
    told = {"task": request.task, "modalities": ",".join(answer["modalities"]), "model_version": predictor.version, "status": "ok"}
    traits = figures(request, answer, made, predictor.index.words)
    row = {"id": f"reference-{number}", **told, **answer_figures(request.task, results), **traits, "time": datetime.fromtimestamp(0, UTC)}
    return {name: value for name, value in row.items() if split == "val" or name not in SURER}
