"""The TorchServe handler: request bodies in, JSON answers out, over the engine-free predictor.

A body is the JSON of one request, or an image (content type image/...), which is a `categorize` of that image. A request that
is malformed gets its own status 400 and reason, one about a product that the index lacks a 404; the others of its batch are
answered. Every answer has an id, under which the prediction log tells what was answered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from goodsight.digests import sha256_bytes
from goodsight.errors import InputError, NotFoundError
from goodsight.files import read_json
from goodsight.settings import settings
from lineage.predictions import Prediction, PredictionLog, new_id, now
from serving.features import ProductFeatures, stores
from serving.predictor import Predictor
from serving.request import COPY, Request, parse

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


def _read_or_refuse(predictor: Predictor, row: Mapping[str, Any], headers: Mapping[str, Any]) -> Request | InputError:
    content_type = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    try:
        return predictor.answerable(read_request(bytes(row.get("body", b"")), content_type))
    except InputError as error:
        return error


def answer(
    predictor: Predictor, features: ProductFeatures | None, rows: Sequence[Mapping[str, Any]], context: Any, log: PredictionLog
) -> list[str]:
    """One JSON text for each of `rows`, which the log will tell of; sets the HTTP status of each on TorchServe's `context`.

    The empty request that drains a version is answered once the log has all that came before it.
    """
    came, started = now(), time.perf_counter()
    read = [_read_or_refuse(predictor, row, context.get_all_request_header(place)) for place, row in enumerate(rows)]
    found = predictor.predict_batch([request for request in read if isinstance(request, Request)])
    if features:
        features.add(found)
    answers = iter(found)
    bodies = [{"id": new_id(), **({"error": str(each)} if isinstance(each, InputError) else next(answers))} for each in read]
    latency_ms = 1000 * (time.perf_counter() - started)
    for place, (row, request, body) in enumerate(zip(rows, read, bodies, strict=True)):
        context.set_response_content_type(place, "application/json")
        if isinstance(request, InputError):
            context.set_response_status(*_status(request), place)
        raw = bytes(row.get("body", b""))
        if raw in EMPTY:
            log.flush()
        elif COPY not in map(str.lower, context.get_all_request_header(place)):
            log.log(_logged(predictor, raw, request, body, came, latency_ms))
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

    def initialize(self, context: Any) -> None:
        folder = Path(context.system_properties["model_dir"])
        archive = folder.resolve()  # in the store, which is the path to name in an error
        self.predictor, self.features = load(archive), load_features(archive)
        self.log = PredictionLog(settings().predictions_url)

    def handle(self, rows: Sequence[Mapping[str, Any]], context: Any) -> list[str]:
        return answer(self.predictor, self.features, rows, context, self.log)
