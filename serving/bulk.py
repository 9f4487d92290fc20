"""Bulk prediction: every product of a snapshot through one model, into one Parquet file.

The snapshot is taken a part at a time, and each part is a whole file before the next begins, so work that was killed goes on after
its last whole part, and parts can be made side by side (`pipelines.bulk`). A product with a medium that cannot be decoded is answered
from what is left of it, one with nothing to read is not; `problem` says which and why. The file's metadata (`goodsight`, JSON) names
the model and the snapshot.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from catalogue.media import decode_audio, decode_image, video_frames
from catalogue.snapshot import Snapshot
from goodsight.digests import sha256_json
from goodsight.errors import InputError
from goodsight.files import read_json, whole_file
from goodsight.progress import note, track
from lineage.signing import verify
from models.bundle import Bundle

BulkTask = Literal["embed", "categorize"]
BUNDLES: Mapping[str, str] = {"embed": "retrieve", "categorize": "categorize"}  # which bundle of a candidate does which task
PART_ROWS = 1024  # some minutes of one slow core are lost at the most
BATCH_ROWS = 32
COLUMNS = ("id", "title", "description", "attributes", "images", "video", "audio")
METADATA, FIRST = b"goodsight", b"first"  # of a file: its work; of a part also the number of its first row
SCORED = pa.struct([("category", pa.string()), ("probability", pa.float32())])


@dataclass(frozen=True)
class Work:
    """What is to be done: `categorize` tells the `k` likeliest categories, `embed` one vector."""

    task: BulkTask
    version: str  # of the registered model
    candidate: str  # digest
    snapshot: str  # digest
    k: int = 5

    @property
    def digest(self) -> str:
        return sha256_json(asdict(self))


def work_of(task: BulkTask, version: str, candidate: Path, snapshot: Snapshot, k: int = 5) -> Work:
    """The work of `version`, whose files are in `candidate`, on a snapshot."""
    return Work(task, version, read_json(candidate / "candidate.json")["digest"], snapshot.digest, k)


def parts_of(snapshot: Snapshot, rows: int = PART_ROWS) -> list[tuple[int, int]]:
    """(first row, number of rows) of each part of the products. Raises `InputError` when there are none."""
    count = snapshot.manifest["counts"]["products"]
    if not count:
        raise InputError("The snapshot has no products.", "Give a catalogue with at least one.")
    return [(start, min(rows, count - start)) for start in range(0, count, rows)]


def load_bundle(candidate: Path, task: BulkTask) -> Bundle:
    """The bundle that does `task`, of a signed candidate, on the device of the settings. Raises `IntegrityError` as `verify` does."""
    from models.device import device

    verify(candidate)
    return Bundle.load(candidate / BUNDLES[task], device())


def predict_part(bundle: Bundle, work: Work, snapshot: Snapshot, part: tuple[int, int], out: Path) -> None:
    """Writes the answers for one part of the products to `out`, whole, in their order."""
    start, count = part
    tables = []
    for first in range(start, start + count, BATCH_ROWS):
        products = snapshot.take("products", range(first, min(first + BATCH_ROWS, start + count)), COLUMNS)
        tables.append(_answers(bundle, work, products))
    told = {METADATA: json.dumps(asdict(work), sort_keys=True).encode(), FIRST: str(start).encode()}
    with whole_file(out) as aside:
        pq.write_table(pa.concat_tables(tables).replace_schema_metadata(told), aside, compression="zstd")


def merge(parts: Sequence[Path], out: Path) -> int:
    """Joins the parts of one work to the file `out`, whole, in the order of the products; returns how many they are.

    Raises `InputError` when they are not of one work, and when one is missing.
    """
    opened = sorted(map(pq.ParquetFile, parts), key=_first)
    works = {file.schema_arrow.metadata[METADATA] for file in opened}
    if len(works) != 1:
        raise InputError(f"The parts are of {len(works)} works.", "Join the parts of one model and one snapshot.")
    ends = accumulate(file.metadata.num_rows for file in opened)
    if [0, *ends][:-1] != list(map(_first, opened)):
        raise InputError(f"The {len(opened)} parts are not all that there are.", "Make the missing ones.")
    schema = opened[0].schema_arrow.with_metadata({METADATA: works.pop()})
    with whole_file(out) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        for file in opened:
            for batch in file.iter_batches():
                writer.write_batch(batch)
    return sum(file.metadata.num_rows for file in opened)


def _first(part: pq.ParquetFile) -> int:
    return int(part.schema_arrow.metadata[FIRST])


def told(file: Path) -> dict[str, Any]:
    """What a file of answers says of itself: the fields of its `Work`."""
    fields: dict[str, Any] = json.loads(pq.read_schema(file).metadata[METADATA])
    return fields


def predict(candidate: Path, work: Work, snapshot: Snapshot, out: Path) -> int:
    """All parts one after the other, then the file `out`; returns the number of products. Killed, the same call goes on."""
    beside = out.with_name(f"{out.name}.parts")
    folder = beside / work.digest[:16]
    todo = list(enumerate(parts_of(snapshot)))
    files = [folder / f"{number:05d}.parquet" for number, _ in todo]
    missing = [(number, part) for number, part in todo if not files[number].exists()]
    if 0 < len(missing) < len(todo):
        note(f"{len(todo) - len(missing)} of {len(todo)} parts are there already")
    if missing:
        bundle = load_bundle(candidate, work.task)
        rows = snapshot.manifest["counts"]["products"]
        for number, part in track(missing, work.task, "products", total=rows, place=lambda each: each[1][0]):
            predict_part(bundle, work, snapshot, part, files[number])
    count = merge(files, out)
    shutil.rmtree(beside)
    return count


def _answers(bundle: Bundle, work: Work, products: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows of `products`, those that the model cannot read without an answer."""
    read = [_readable(bundle, product) for product in products]
    batch = [fields for fields, _ in read if fields]
    found = iter(_predict(bundle, work, batch) if batch else [])
    rows = [
        {
            "id": product["id"],
            **(next(found) if fields else {}),
            "modalities": list(fields),
            "problem": problem,
        }
        for product, (fields, problem) in zip(products, read, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=_schema(work))


def _schema(work: Work) -> pa.Schema:
    answer = {
        "embed": [("vector", pa.list_(pa.float32()))],  # of one size, but Parquet cannot say that of rows without one
        "categorize": [("category", pa.string()), ("probability", pa.float32()), ("categories", pa.list_(SCORED))],
    }[work.task]
    return pa.schema([("id", pa.string()), *answer, ("modalities", pa.list_(pa.string())), ("problem", pa.string())])


def _readable(bundle: Bundle, product: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """What the model reads of a product, by modality, and what is wrong with the product."""
    text = bundle.preprocess.product_text(product["title"] or "", product["description"] or "")
    readers: dict[str, Callable[[], Any]] = {
        "text": lambda: text or None,
        "image": partial(_decoded, decode_image, (product["images"] or [None])[0]),
        "table": lambda: json.loads(product["attributes"] or "{}") or None,
        "video": partial(_decoded, video_frames, product["video"]),
        "audio": partial(_decoded, decode_audio, product["audio"]),
    }
    fields: dict[str, Any] = {}
    problems = []
    for modality in bundle.config.modalities:
        try:
            if (value := readers[modality]()) is not None:
                fields[modality] = value
        except InputError as error:
            problems.append(f"{modality}: {error.message}")
    if not fields:
        problems.append("there is nothing that the model reads")
    return fields, "; ".join(problems) or None


def _decoded(decode: Callable[[bytes], Any], data: bytes | None) -> Any:
    return decode(data) if data else None


@torch.inference_mode()
def _predict(bundle: Bundle, work: Work, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    images, texts, *others = ([row.get(name) for row in rows] for name in ("image", "text", "table", "video", "audio"))
    batch = bundle.preprocess.batch(images, texts, *others)
    if work.task == "embed":
        return [{"vector": vector} for vector in bundle.model.embed(batch).float().cpu().tolist()]
    best = bundle.model.classify(batch).float().softmax(dim=1).cpu().topk(min(work.k, len(bundle.labels)), dim=1)
    return [
        {
            "category": bundle.labels[labels[0]],
            "probability": chances[0],
            "categories": [{"category": bundle.labels[label], "probability": p} for label, p in zip(labels, chances, strict=True)],
        }
        for labels, chances in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]

