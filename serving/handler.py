"""The TorchServe handler: request bodies in, JSON answers out, over the engine-free predictor.

A body is the JSON of one request, or an image (content type image/...), which is a `categorize` of that image. A request that
is malformed gets its own status 400 and reason; the others of its batch are answered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from goodsight.errors import InputError
from goodsight.files import read_json
from serving.features import ProductFeatures, stores
from serving.predictor import Predictor
from serving.request import Request, parse


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
        return predictor.readable(read_request(bytes(row.get("body", b"")), content_type))
    except InputError as error:
        return error


def answer(
    predictor: Predictor, features: ProductFeatures | None, rows: Sequence[Mapping[str, Any]], context: Any
) -> list[str]:
    """One JSON text for each of `rows`; sets the HTTP status of each on TorchServe's `context`."""
    read = [_read_or_refuse(predictor, row, context.get_all_request_header(place)) for place, row in enumerate(rows)]
    found = predictor.predict_batch([request for request in read if isinstance(request, Request)])
    if features:
        features.add(found)
    answers, texts = iter(found), []
    for place, request in enumerate(read):
        context.set_response_content_type(place, "application/json")
        if isinstance(request, InputError):
            context.set_response_status(400, "Bad Request", place)
        body = {"error": str(request)} if isinstance(request, InputError) else next(answers)
        texts.append(json.dumps(body, ensure_ascii=False, allow_nan=False))
    return texts


class Handler:
    """What a TorchServe worker holds: `initialize` once, then `handle` for each batch."""

    predictor: Predictor
    features: ProductFeatures | None

    def initialize(self, context: Any) -> None:
        folder = Path(context.system_properties["model_dir"])
        archive = folder.resolve()  # in the store, which is the path to name in an error
        self.predictor, self.features = load(archive), load_features(archive)

    def handle(self, rows: Sequence[Mapping[str, Any]], context: Any) -> list[str]:
        return answer(self.predictor, self.features, rows, context)
