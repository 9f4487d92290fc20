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
from serving.predictor import Predictor
from serving.request import Request, parse


def load(folder: Path) -> Predictor:
    """The predictor in a model archive that was unpacked to `folder`."""
    return Predictor.load(folder / "candidate", folder / "index", read_json(folder / "version.json")["version"])


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


def answer(predictor: Predictor, rows: Sequence[Mapping[str, Any]], context: Any) -> list[str]:
    """One JSON text for each of `rows`; sets the HTTP status of each on TorchServe's `context`."""
    read = [_read_or_refuse(predictor, row, context.get_all_request_header(place)) for place, row in enumerate(rows)]
    answers = iter(predictor.predict_batch([request for request in read if isinstance(request, Request)]))
    texts = []
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

    def initialize(self, context: Any) -> None:
        folder = Path(context.system_properties["model_dir"])
        self.predictor = load(folder.resolve())  # the archive in the store, which is the path to name in an error

    def handle(self, rows: Sequence[Mapping[str, Any]], context: Any) -> list[str]:
        return answer(self.predictor, rows, context)
