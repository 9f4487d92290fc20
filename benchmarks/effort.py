"""What each level of effort takes and is worth, from one deployed version: the same requests at every level, one after the other.

    GOODSIGHT_HOME=.goodsight OMP_NUM_THREADS=1 python benchmarks/effort.py [--products 200]

The requests are those of held-out products: the category by the title, by the photo, by both; and the product found by a still
of its video with a query's words beside (the index is the one that serves; words count through the vector alone). The levels
take turns within each request, so that whatever else the machine does meets them all. CPU milliseconds are of the one thread
that answers; the first answers of each level are off the clock. Writes `benchmarks/results/effort.json`.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from machine import described

from catalogue.media import video_frames
from catalogue.snapshot import Snapshot
from goodsight.files import write_json
from goodsight.memory import keep_freed_memory
from goodsight.settings import settings
from models.config import EFFORTS
from serving.deploy import current, store
from serving.predictor import Predictor

OUT = Path(__file__).resolve().parent / "results" / "effort.json"
WARM = 3  # requests of a kind that warm up
K = 10


@dataclass(frozen=True)
class Question:
    """A request and the ids or categories that answer it."""

    kind: str
    request: dict[str, Any]
    right: frozenset[str]


def questions(snapshot: Path, count: int) -> Iterator[Question]:
    """Of the first `count` held-out products that have a title and a photo."""
    opened = Snapshot.open(snapshot)
    words: dict[str, str] = {}  # of a held-out query, by product
    for row in opened.queries(["text", "kind", "split", "relevant"]).to_pylist():
        if row["split"] == "test" and row["kind"] == "text":
            words |= dict.fromkeys(row["relevant"], row["text"])
    for row in _held_out(opened, count):
        title, photo, category = row["title"], row["images"][0], frozenset([" > ".join(row["category_path"])])
        yield Question("category by title", {"task": "categorize", "text": title}, category)
        yield Question("category by photo", {"task": "categorize", "image": photo}, category)
        yield Question("category by both", {"task": "categorize", "text": title, "image": photo}, category)
        if row["id"] in words and row["video"]:
            post = {"text": words[row["id"]], "image": _still(row["video"])}
            yield Question("product by a still and words", {"task": "search", **post, "lexical": 0}, frozenset([row["id"]]))


def _still(video: bytes) -> bytes:
    """A frame from the middle of a product's video, as a PNG file."""
    frames, out = video_frames(video), io.BytesIO()
    frames[len(frames) // 2].save(out, "PNG")
    return out.getvalue()


def _held_out(opened: Snapshot, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for batch in opened.product_batches(["id", "title", "images", "video", "category_path", "split"]):
        found += [row for row in batch.to_pylist() if row["split"] == "test" and row["title"] and row["images"]]
    return found[:count]


@dataclass
class Asked:
    """One answer: what it took and what it was worth."""

    cpu_ms: float
    ms: float
    rank: int | None  # of the first right result, from 1
    first: str


def ask(predictor: Predictor, question: Question, effort: str) -> Asked:
    wall, cpu = time.perf_counter(), time.process_time()
    answer = predictor.predict({**question.request, "effort": effort, "k": K})
    took = 1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - wall)
    names = [row.get("id", row.get("category")) for row in answer["results"]]
    return Asked(*took, next((rank for rank, name in enumerate(names, 1) if name in question.right), None), names[0])


def figures(rows: list[Asked], high: list[Asked]) -> dict[str, Any]:
    """Of one level; `high` are the answers to the same requests at the highest."""
    return {
        "cpu_ms": round(median(row.cpu_ms for row in rows[WARM:]), 2),
        "p50_ms": round(median(row.ms for row in rows[WARM:]), 2),
        "right_first": round(mean(row.rank == 1 for row in rows), 4),
        f"mrr@{K}": round(mean(1 / row.rank if row.rank else 0.0 for row in rows), 4),
        "first_as_at_high": round(mean(row.first == other.first for row, other in zip(rows, high, strict=True)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=200)
    chosen, home = parser.parse_args(), settings().root
    keep_freed_memory()
    torch.set_num_threads(1)
    served = current(home)
    assert served, f"nothing is deployed in {home}"
    archive = store(home) / served.archive
    predictor = Predictor.load(archive / "candidate", archive / "index", served.version)
    snapshot = max(home.glob("pipeline/*/validate-component/snapshot"))
    answers: dict[str, dict[str, list[Asked]]] = {}
    for number, question in enumerate(questions(snapshot, chosen.products)):
        turn = number % len(EFFORTS)
        for effort in EFFORTS[turn:] + EFFORTS[:turn]:
            answers.setdefault(question.kind, {}).setdefault(effort, []).append(ask(predictor, question, effort))
    result: dict[str, Any] = {**described(), "candidate": predictor.candidate, "architecture": predictor.retrieve.config.architecture}
    result |= {"size": predictor.retrieve.config.size, "layers": predictor.retrieve.config.layers, "kinds": {}}
    for kind, levels in answers.items():
        told = {effort: figures(levels[effort], levels["high"]) for effort in EFFORTS}
        result["kinds"][kind] = {"requests": len(levels["high"]), **told}
    write_json(OUT, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
