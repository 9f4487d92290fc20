"""The OpenAPI document: what FastAPI knows of the routes, and what it cannot know: bodies in three forms, and the problems."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import goodsight
from serving.gateway import pieces
from serving.gateway.inference_protocol import InferenceRequest
from serving.gateway.problems import MEDIA_TYPE, ProblemDetails
from serving.gateway.schemas import FORMS, LARGEST_BATCH, MEDIA, REQUESTS, example

VERSION = goodsight.__version__
REF = "#/components/schemas/"
PROBLEMS = {
    400: "The request is malformed: the reason, field by field.",
    401: "A key is needed, and there is none that counts.",
    403: "The key does not have the scope, or the page is of another origin.",
    404: "Nothing has this id.",
    408: "The body did not come in time.",
    409: "Something else was said of the same before, or the answer has had its share of feedback.",
    413: "The body or a medium is too large.",
    415: "The body has a content type that is not read.",
    421: "The server does not answer to this Host.",
    429: "The queue is full, or the rate of the key is used up: try again after `Retry-After` seconds.",
    503: "The model is not ready, the server stops, or what is asked cannot be read now: try again after `Retry-After` seconds.",
    504: "The model did not answer in time.",
}
PREDICTING = (400, 401, 403, 404, 408, 413, 415, 421, 429, 503, 504)
STATUSES = {
    **dict.fromkeys(REQUESTS, PREDICTING),
    "similar": (400, 401, 403, 404, 421, 429, 503, 504),
    "explain": PREDICTING,
    **dict.fromkeys(("passport", "passport_page", "thumbnail", "facets"), (400, 401, 403, 404, 421, 429)),
    "feedback": (400, 401, 403, 404, 408, 409, 413, 415, 421, 429, 503),
    "status": (401, 403, 421, 429, 503),
    "model_metadata": (401, 403, 421, 429),
    "version_metadata": (400, 401, 403, 404, 421, 429),
    "model_ready": (401, 403, 421, 429, 503),
    "version_ready": (400, 401, 403, 404, 421, 429),
    "model_infer": PREDICTING,
    "version_infer": PREDICTING,
    "ready": (403, 421, 503),
    "server_ready": (403, 421, 503),
}
EVERYWHERE = (403, 421)


def document(app: FastAPI) -> dict[str, Any]:
    """The document of `app`, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _document(app)
    return app.openapi_schema


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, summary="Names categories, finds and recommends products.", routes=app.routes)
    models: list[type[BaseModel]] = [*FORMS.values(), *pieces.MODELS, ProblemDetails, InferenceRequest]
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=REF + "{model}")
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas.update(definitions["$defs"])
    made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key: gs_..."}}
    for path, methods in made["paths"].items():
        for operation in methods.values():
            _complete(operation, path)
    return made


def _complete(operation: dict[str, Any], path: str) -> None:
    operation["responses"].pop("422", None)
    task = operation["operationId"]
    if task == "explain":
        operation["requestBody"] = {"required": True, "content": _forms(task)}
    if task in REQUESTS:
        operation["requestBody"] = {"required": True, "content": _forms(task)}
        answered = operation["responses"]["200"]["content"]["application/json"]
        answered["schema"] = {"anyOf": [answered["schema"], _responses(answered["schema"])]}
        answered["example"] = example(task)
    if task == "feedback":
        operation["requestBody"] = pieces.body(REF)
        operation["responses"]["200"]["content"]["application/json"]["schema"] = pieces.answered(REF)
    if task.endswith("_infer"):
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"$ref": f"{REF}InferenceRequest"}}}}
    if path.startswith("/v1/") or "/models/" in path:
        operation["security"] = [{"key": []}, {}]
    for status in STATUSES.get(task, EVERYWHERE):
        operation["responses"][str(status)] = _problem(status)


def _problem(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {"description": PROBLEMS[status], "content": {MEDIA_TYPE: {"schema": {"$ref": f"{REF}Problem"}}}}
    if status in (429, 503):
        found["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}}
    return found


def _responses(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer to a batch."""
    each = {"anyOf": [answer, {"$ref": f"{REF}Problem"}]}
    return {"type": "object", "required": ["responses"], "properties": {"responses": {"type": "array", "items": each}}}


def _forms(task: str) -> dict[str, Any]:
    """The body of a request in each of its forms. What is wrong with one request of a batch is told in its place."""
    model, name = FORMS[task], FORMS[task].__name__
    one = {"$ref": f"{REF}{name}"}
    requests = {"type": "array", "minItems": 1, "maxItems": LARGEST_BATCH, "items": {"anyOf": [one, {"type": "object"}]}}
    batch = {"type": "object", "required": ["requests"], "properties": {"requests": requests}, "additionalProperties": False}
    extra: Any = model.model_config["json_schema_extra"]
    [shown] = extra["examples"]
    examples = {"one": {"value": shown}, "batch": {"value": {"requests": [shown, {**shown, "text": "oak shelf"}]}}}
    if task not in REQUESTS:
        batch, examples = {}, {"one": examples["one"]}
    return {
        "application/json": {"schema": {"anyOf": [one, batch]} if batch else one, "examples": examples},
        "multipart/form-data": _form(model.model_json_schema()["properties"]),
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    }


def _form(fields: dict[str, Any]) -> dict[str, Any]:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    strings = {"attributes": "application/json", "filters": "application/json"}
    kinds: dict[str, Any] = {"text": {"type": "string"}, "k": {"type": "integer"}, "lexical": {"type": "number"}}
    kinds["rerank"] = {"type": "boolean"}
    kinds |= {"effort": {"enum": ["low", "medium", "high"]}, "liked": {"type": "array", "items": {"type": "string"}}}
    kinds |= {"about": {"enum": ["categorize", "search"]}, "product": {"type": "string"}}
    kinds |= {name: {"type": "object"} for name in strings}
    properties = {name: file if name in MEDIA else kinds[name] for name in fields}
    encoding = {name: {"contentType": kind} for name, kind in strings.items() if name in fields}
    return {"schema": {"type": "object", "properties": properties, "additionalProperties": False}, "encoding": encoding}
