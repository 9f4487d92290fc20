"""The Open Inference Protocol, version 2, for tools that speak it (KServe, Triton's clients): tensors of texts and images in.

`parameters.task` says what is asked: categorize, search, embed or recommend. Every row of the inputs is one request. The outputs
are `vector` (FP32, one row each) for embed, and `results` (BYTES, one JSON array each) for the others. Errors are problems, whose
`error` is what the protocol wants to have.
"""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import goodsight
from models.config import Effort
from serving.gateway import bodies
from serving.gateway.asking import answers
from serving.gateway.gateway import Gateway
from serving.gateway.problems import Problem, fields_at_fault
from serving.gateway.routes import caller
from serving.gateway.schemas import LARGEST_BATCH, Task
from serving.request import MAX_K
from serving.running import MODEL

Version = Annotated[str, InPath(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="A version that is loaded.")]


class Tensor(BaseModel):
    """Texts, or images as base64, one a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Literal["text", "image"]
    datatype: Literal["BYTES"] = "BYTES"
    shape: list[int] = Field(min_length=1, max_length=2, description="The number of rows; a second dimension of 1 may follow.")
    data: list[str] = Field(min_length=1, max_length=LARGEST_BATCH)
    parameters: dict[str, Any] = {}

    @model_validator(mode="after")
    def _of_its_shape(self) -> Tensor:
        if self.shape not in ([len(self.data)], [len(self.data), 1]):
            raise ValueError("shape is not that of data")
        return self


class Parameters(BaseModel):
    """What is asked of every row."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task: Task = "categorize"
    k: int = Field(default=10, ge=1, le=MAX_K)
    effort: Effort | None = None


class InferenceRequest(BaseModel):
    """Rows of a text, an image, or both."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "parameters": {"task": "categorize", "k": 3},
                    "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["red sofa", "oak shelf"]}],
                }
            ]
        },
    )

    id: str | None = Field(default=None, max_length=256)
    parameters: Parameters = Parameters()
    inputs: list[Tensor] = Field(min_length=1, max_length=2)
    outputs: list[dict[str, Any]] = Field(default=[], description="Read by nobody: there is one output.")

    @model_validator(mode="after")
    def _fit(self) -> InferenceRequest:
        if len({len(each.data) for each in self.inputs}) > 1 or len({each.name for each in self.inputs}) < len(self.inputs):
            raise ValueError("inputs have different numbers of rows, or the same name")
        return self

    def rows(self) -> list[dict[str, Any]]:
        """One request a row."""
        asked = {name: value for name, value in self.parameters.model_dump().items() if name != "task" and value is not None}
        return [
            {**asked, **{name: value for name, value in zip([each.name for each in self.inputs], row, strict=True) if value}}
            for row in zip(*(each.data for each in self.inputs), strict=True)
        ]


class OutputTensor(BaseModel):
    name: str
    datatype: Literal["FP32", "BYTES"]
    shape: list[int]
    data: list[float] | list[str]


class InferenceResponse(BaseModel):
    """Answers, one a row; `parameters.ids` has the id of each, for its passport."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    model_name: str
    model_version: str
    parameters: dict[str, Any]
    outputs: list[OutputTensor]


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Live(BaseModel):
    live: bool


class Ready(BaseModel):
    ready: bool


class ModelReady(BaseModel):
    name: str
    ready: bool


def router(gateway: Gateway) -> APIRouter:
    """The routes of `/v2`."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    _add_server(routes, gateway)
    for path, name in ((f"/models/{MODEL}", "model"), (f"/models/{MODEL}/versions/{{version}}", "version")):
        _add_model(routes, gateway, path, name)
    return routes


def _add_server(routes: APIRouter, gateway: Gateway) -> None:
    @routes.get("", operation_id="server", summary="Name and version of the server", response_model=ServerMetadata)
    async def server() -> ServerMetadata:
        return ServerMetadata(name=MODEL, version=goodsight.__version__, extensions=[])

    @routes.get("/health/live", operation_id="server_live", summary="Does the process answer?", response_model=Live)
    async def live() -> Live:
        return Live(live=True)

    @routes.get("/health/ready", operation_id="server_ready", summary="Would a request be answered?", response_model=Ready)
    async def ready() -> Ready:
        if not await gateway.ready():
            raise Problem(503, "The model is not ready, or the server stops.", 1)
        return Ready(ready=True)


def _add_model(routes: APIRouter, gateway: Gateway, path: str, name: str) -> None:
    """The routes of the default version (`name` "model"), or of one that the path names ("version")."""
    responses = {200: {"model": InferenceResponse}}

    async def metadata(request: Request, version: str | None = None) -> ModelMetadata:
        await gateway.admit(request, "predict")
        found = await gateway.upstream.transport.describe(version or "all")
        if version and not found:
            raise Problem(404, f"No version {version} is loaded.")
        return _metadata(sorted(each["modelVersion"] for each in found))

    async def ready(request: Request, version: str | None = None) -> ModelReady:
        await gateway.admit(request, "predict")
        if gateway.stopping or not await gateway.upstream.ready(version):
            raise Problem(404 if version else 503, "No such version is ready." if version else "The model is not ready.", 1)
        return ModelReady(name=MODEL, ready=True)

    async def infer(request: Request, version: str | None = None) -> Response:
        await gateway.admit(request, "predict")
        return await _infer(gateway, request, version)

    if name == "version":
        metadata, ready, infer = (_of_a_version(each) for each in (metadata, ready, infer))  # type: ignore[assignment]
    else:
        metadata, ready, infer = (_of_the_default(each) for each in (metadata, ready, infer))  # type: ignore[assignment]
    routes.get(path, operation_id=f"{name}_metadata", summary="What goes in and out", response_model=ModelMetadata)(metadata)
    routes.get(f"{path}/ready", operation_id=f"{name}_ready", summary="Would a request be answered?", response_model=ModelReady)(ready)
    routes.post(
        f"{path}/infer", operation_id=f"{name}_infer", summary="Predict", response_model=None, response_class=JSONResponse,
        responses=responses,  # type: ignore[arg-type]
    )(infer)  # fmt: skip


def _of_a_version(call: Any) -> Any:
    async def called(request: Request, version: Version) -> Any:
        return await call(request, version)

    return called


def _of_the_default(call: Any) -> Any:
    async def called(request: Request) -> Any:
        return await call(request)

    return called


def _metadata(versions: list[str]) -> ModelMetadata:
    inputs = [TensorMetadata(name=name, datatype="BYTES", shape=[-1]) for name in ("text", "image")]
    outputs = [TensorMetadata(name="results", datatype="BYTES", shape=[-1]), TensorMetadata(name="vector", datatype="FP32", shape=[-1, -1])]
    return ModelMetadata(name=MODEL, versions=versions, platform="goodsight", inputs=inputs, outputs=outputs)


async def _infer(gateway: Gateway, request: Request, version: str | None) -> Response:
    body = await bodies.in_time(request, request.body())
    asked = await asyncio.to_thread(_parsed, body) if len(body) > bodies.LARGE else _parsed(body)
    task = asked.parameters.task
    rows = [{"task": task, **bodies.checked(row, task)} for row in asked.rows()]
    if version and not await gateway.upstream.transport.describe(version):
        raise Problem(404, f"No version {version} is loaded.")
    await gateway.charge(request, len(rows) - 1)
    found = []
    for each in await answers(gateway.upstream, rows, caller(request), version):
        if isinstance(each, Problem):
            raise each
        found.append(each)
    request.state.version = found[0].version
    return JSONResponse(_response(asked, task, [json.loads(each.body) for each in found], request.state.request_id))


def _parsed(body: bytes) -> InferenceRequest:
    try:
        return InferenceRequest.model_validate_json(body)
    except ValidationError as error:
        raise Problem(400, f"Bad request: {fields_at_fault(error)}.") from error


def _response(asked: InferenceRequest, task: str, found: list[dict[str, Any]], request_id: str) -> dict[str, Any]:
    if task == "embed":
        vectors = [each["results"][0]["vector"] for each in found]
        shape, data = [len(vectors), len(vectors[0])], [value for vector in vectors for value in vector]
        output: dict[str, Any] = {"name": "vector", "datatype": "FP32", "shape": shape, "data": data}
    else:
        texts = [json.dumps(each["results"], ensure_ascii=False) for each in found]
        output = {"name": "results", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return {
        "id": asked.id or request_id, "model_name": MODEL, "model_version": found[0]["model_version"],
        "parameters": {"task": task, "ids": [each["id"] for each in found]}, "outputs": [output],
    }  # fmt: skip
