"""The TorchServe handler: request bodies in, JSON answers out, over the engine-free predictor.

A body is the JSON of one request, or an image (content type image/...), which is a `categorize` of that image. A request that
is malformed gets its own status 400 and reason, one about a product that the index lacks a 404; the others of its batch are
answered. Every answer has an id, under which the prediction log tells what was answered, and traits of what was asked. The
metrics tell how many there were of each kind, and where the time went; of inputs a sample is kept where that was asked for.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from goodsight.digests import sha256_bytes
from goodsight.errors import InputError, NotFoundError
from goodsight.files import read_json
from goodsight.settings import settings
from lineage.predictions import Prediction, PredictionLog, new_id, now
from serving import inputs
from serving.features import ProductFeatures, stores
from serving.inputs import InputSample
from serving.predictor import Predictor
from serving.request import COPY, Request, parse
from serving.timings import Timings
from serving.traits import Traits
from serving.worker_metrics import WorkerMetrics

EMPTY = (b"", b"{}")


def load(folder: Path) -> Predictor:
    """The predictor in a model archive that was unpacked to `folder`."""
    return Predictor.load(folder / "candidate", folder / "index", read_json(folder / "version.json")["version"])


def load_features(folder: Path) -> ProductFeatures | None:
    """The features that serve beside the archive `folder` of a model store, or None where it was deployed without."""
    beside = stores(folder.parent.parent.parent) / folder.name
    return ProductFeatures(beside) if beside.is_dir() else None


def read_request(body: bytes, content_type: str) -> Request:
    """The request in a body. Raises `InputError` when it is malformed."""
    if content_type.startswith("image/"):
        return parse({"task": "categorize", "image": body})
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"Bad request: the body is not JSON ({error}).") from error
    if not isinstance(fields, dict):
        raise InputError(f"Bad request: the body is a JSON {type(fields).__name__}, not an object.")
    return parse(fields)


def _content_type(context: Any, place: int) -> str:
    headers = context.get_all_request_header(place)
    return next((value for name, value in headers.items() if name.lower() == "content-type"), "")


def _read_or_refuse(predictor: Predictor, body: bytes, content_type: str) -> Request | InputError:
    try:
        return predictor.answerable(read_request(body, content_type))
    except InputError as error:
        return error


def answer(worker: Handler, rows: Sequence[Mapping[str, Any]], context: Any) -> list[str]:
    """One JSON text for each of `rows`, which the log will tell of; sets the HTTP status of each on TorchServe's `context`.

    The empty request that drains a version is answered once the log has all that came before it.
    """
    came, started, timings = now(), time.perf_counter(), Timings()
    raws, types = [bytes(row.get("body", b"")) for row in rows], [_content_type(context, place) for place in range(len(rows))]
    with timings.on("reading"):
        read = [_read_or_refuse(worker.predictor, raw, kind) for raw, kind in zip(raws, types, strict=True)]
    made: dict[int, np.ndarray] = {}
    found = worker.predictor.predict_batch([request for request in read if isinstance(request, Request)], timings, made)
    if worker.features:
        worker.features.add(found)
    answers, places = iter(found), [place for place, each in enumerate(read) if isinstance(each, Request)]
    by_place = {places[number]: row for number, row in made.items()}
    bodies = [{"id": new_id(), **({"error": str(each)} if isinstance(each, InputError) else next(answers))} for each in read]
    latency_ms = 1000 * (time.perf_counter() - started)
    for place, (raw, request, body) in enumerate(zip(raws, read, bodies, strict=True)):
        context.set_response_content_type(place, "application/json")
        if isinstance(request, InputError):
            context.set_response_status(*_status(request), place)
        else:
            worker.sample.offer(request.digest, raw, types[place])
        if raw in EMPTY:
            worker.log.flush()
        elif COPY not in map(str.lower, context.get_all_request_header(place)):
            traits = worker.traits.of(request, body, by_place.get(place)) if isinstance(request, Request) else None
            worker.log.log(replace(_logged(worker.predictor, raw, request, body, came, latency_ms), traits=traits))
    statuses = [_status(each)[0] if isinstance(each, InputError) else 200 for each in read]
    worker.metrics(context).batch([(body.get("task", ""), status) for body, status in zip(bodies, statuses, strict=True)], timings)
    return [json.dumps(body, ensure_ascii=False, allow_nan=False) for body in bodies]


def _status(refused: InputError) -> tuple[int, str]:
    return (404, "Not Found") if isinstance(refused, NotFoundError) else (400, "Bad Request")


def _logged(
    predictor: Predictor, raw: bytes, request: Request | InputError, body: Mapping[str, Any], came: str, latency_ms: float
) -> Prediction:
    """What the log keeps of one answer: vectors are not kept. The input of a refused request is its body as it came."""
    asked = request if isinstance(request, Request) else None
    return Prediction(
        id=body["id"],
        time=came,
        task=body.get("task", ""),
        modalities=body.get("modalities", ()),
        model_version=predictor.version,
        candidate=predictor.candidate,
        index=predictor.index.digest,
        features=body.get("features") or "",
        input=asked.digest if asked else sha256_bytes(raw),
        k=asked.k if asked else 0,
        results=[_name_and_score(result) for result in body.get("results", ()) if "vector" not in result],
        latency_ms=latency_ms,
        status="ok" if asked else "refused",
    )


def _name_and_score(result: Mapping[str, Any]) -> tuple[str, float]:
    return (result["id"], result["score"]) if "id" in result else (result["category"], result["probability"])


class Handler:
    """What a TorchServe worker holds: `initialize` once, then `handle` for each batch."""

    predictor: Predictor
    features: ProductFeatures | None
    log: PredictionLog
    sample: InputSample
    traits: Traits

    def initialize(self, context: Any) -> None:
        folder = Path(context.system_properties["model_dir"])
        archive = folder.resolve()  # in the store, which is the path to name in an error
        self.predictor, precision = load(archive).on_this_machine(settings().root)
        self.features = load_features(archive)
        self.metrics(context).precision(precision)
        self.log = PredictionLog(settings().predictions_url)
        self.sample = InputSample(inputs.folder(settings().root), settings().input_sample)
        self.traits = Traits(self.predictor.index.words)
        threading.Thread(target=self.traits.warm, name="traits", daemon=True).start()

    def handle(self, rows: Sequence[Mapping[str, Any]], context: Any) -> list[str]:
        return answer(self, rows, context)

    def metrics(self, context: Any) -> WorkerMetrics:
        return WorkerMetrics(getattr(context, "metrics", None), self.predictor.version)
