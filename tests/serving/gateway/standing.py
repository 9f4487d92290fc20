"""What the tests of the gateway stand on: a real predictor in this process, and a model that is busy for as long as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from ts.context import Context, RequestProcessor

from serving.gateway.gateway import Gateway
from serving.goodsight_handler import GoodsightHandler

READY = [{"modelVersion": "1", "workers": [{"status": "READY"}]}]


@dataclass
class InProcess:
    """The transport to a handler that stands in this process, as TorchServe holds it, one request at a time."""

    handler: GoodsightHandler
    database: Path
    bodies: list[bytes] = field(default_factory=list)

    async def predict(self, body: bytes, version: str | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        self.bodies.append(body)
        return await asyncio.to_thread(self._handle, body)

    def _handle(self, body: bytes) -> tuple[int, bytes]:
        context = Context("goodsight", ".", {}, 8, -1, "0.12.0")
        context.request_processor = [RequestProcessor({"Content-Type": "application/json"})]
        [text] = self.handler.handle([{"body": bytearray(body)}], context)
        return context.get_response_status(0)[0], text.encode()

    async def describe(self, version: str | None = None) -> list[dict[str, Any]]:
        return READY if version in (None, "all", "1") else []

    async def metrics(self) -> bytes:
        return b""


@dataclass
class Held:
    """A model that answers when `let_go` is called; a worker of it is lost with each of the first `lost` requests."""

    lost: int = 0
    came: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0
    ready: bool = True

    def __post_init__(self) -> None:
        self._free = asyncio.Event()

    def let_go(self) -> None:
        self._free.set()

    async def predict(self, body: bytes, version: str | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        self.came.append(json.loads(body))
        if self.lost:
            self.lost -= 1
            return 500, b'{"code": 500, "type": "InternalServerException", "message": "Worker died."}'
        await self._free.wait()
        self.done += 1
        return 200, b'{"id": "1", "results": []}'

    async def describe(self, version: str | None = None) -> list[dict[str, Any]]:
        return READY if self.ready else [{"workers": []}]

    async def metrics(self) -> bytes:
        return b"ts_queue_latency_microseconds 7.0\n"


@dataclass
class Standing:
    """An application, what it shares, and a client of it."""

    app: FastAPI
    gateway: Gateway
    client: httpx.AsyncClient


Stand = Callable[..., AbstractAsyncContextManager[Standing]]


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem in a response, which is whole."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = response.json()
    assert told["status"] == status and told["title"] and told["request_id"] == response.headers["x-request-id"]
    return told
