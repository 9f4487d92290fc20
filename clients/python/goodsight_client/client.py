"""The two clients. They differ in who waits: a thread, or a coroutine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from goodsight_client import calls
from goodsight_client.calls import Asked, Call, Done, Recommended, Said, Searched, Task
from goodsight_client.models import Categories, Feedback, Products, Vectors
from goodsight_client.retries import Retries

T = TypeVar("T")
TIMEOUT = 30.0  # seconds, of one try


def _options(url: str, key: str, timeout: float) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {"base_url": url, "headers": headers, "timeout": timeout}


class Client:
    """Calls to the server at `url`; `key` is needed where the server asks for one. Close it, or use it as a context.

    Every call raises `Refused`, `Unavailable` or `Failed` (`goodsight_client.errors`). Media are bytes or paths.
    """

    def __init__(self, url: str, key: str = "", timeout: float = TIMEOUT, retries: Retries = Retries()) -> None:
        self._http = httpx.Client(**_options(url, key, timeout))
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def categorize(self, text: str | None = None, **asked: Unpack[Asked]) -> Categories:
        """The likeliest categories of a product with this text, image, attributes, video, sound, or several of them."""
        return self._send(calls.predict("categorize", {"text": text, **asked}))

    def search(self, text: str | None = None, **asked: Unpack[Searched]) -> Products:
        """The products nearest to a text, an image, ..., among those that pass the `filters`."""
        return self._send(calls.predict("search", {"text": text, **asked}))

    def embed(self, text: str | None = None, **asked: Unpack[Asked]) -> Vectors:
        """The vector of a text, an image, ...: inner products of such vectors are what a search ranks by."""
        return self._send(calls.predict("embed", {"text": text, **asked}))

    def recommend(self, text: str | None = None, **asked: Unpack[Recommended]) -> Products:
        """Products for a topic, and for somebody who liked the products `liked`."""
        return self._send(calls.predict("recommend", {"text": text, **asked}))

    def similar(self, product: str, k: int = 10) -> Products:
        """The products that are like `product`."""
        return self._send(calls.similar(product, k))

    def passport(self, id: str) -> dict[str, Any]:
        """What stands behind the answer `id`: model, data, code, decisions."""
        return self._send(calls.passport(id))

    def clicked(self, id: str, product: str, **more: Unpack[Done]) -> Feedback:
        """Somebody looked closer at a product of the answer `id`. Said again it changes nothing, as all feedback."""
        return self._send(calls.feedback("click", id, {"product": product, **more}))

    def bought(self, id: str, product: str, value: float | None = None, **more: Unpack[Done]) -> Feedback:
        """Somebody bought a product of the answer `id`."""
        return self._send(calls.feedback("purchase", id, {"product": product, "value": value, **more}))

    def corrected(self, id: str, category: str, product: str | None = None, **more: Unpack[Said]) -> Feedback:
        """The right category of what the answer `id` was about, or of a product in it."""
        return self._send(calls.feedback("category", id, {"category": category, "product": product, **more}))

    def feedback(self, pieces: Iterable[Mapping[str, Any]]) -> list[Any]:
        """Many pieces, as `POST /v1/feedback` takes them; a `Problem` stands in the place of one that was refused."""
        return [kept for call in calls.much_feedback(pieces) for kept in self._send(call)]

    def batch(self, task: Task, requests: Iterable[Mapping[str, Any]]) -> list[Any]:
        """The answers to many requests of one task, in their order; a `Problem` stands in the place of one that failed."""
        return [answer for call in calls.batches(task, requests) for answer in self._send(call)]

    def _send(self, call: Call[T]) -> T:
        steps = calls.tries(call, self._retries)
        wait = next(steps)
        while True:
            time.sleep(wait)
            came = self._try(call)
            try:
                wait = steps.send(came)
            except StopIteration as end:
                answer: T = end.value
                return answer

    def _try(self, call: Call[Any]) -> httpx.Response | httpx.TransportError:
        try:
            return self._http.request(call.method, call.path, json=call.json, params=call.params)
        except httpx.TransportError as error:
            return error


class AsyncClient:
    """The same calls for asyncio: `async with AsyncClient(url) as goodsight: await goodsight.search("red sofa")`."""

    def __init__(self, url: str, key: str = "", timeout: float = TIMEOUT, retries: Retries = Retries()) -> None:
        self._http = httpx.AsyncClient(**_options(url, key, timeout))
        self._retries = retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def categorize(self, text: str | None = None, **asked: Unpack[Asked]) -> Categories:
        return await self._send(calls.predict("categorize", {"text": text, **asked}))

    async def search(self, text: str | None = None, **asked: Unpack[Searched]) -> Products:
        return await self._send(calls.predict("search", {"text": text, **asked}))

    async def embed(self, text: str | None = None, **asked: Unpack[Asked]) -> Vectors:
        return await self._send(calls.predict("embed", {"text": text, **asked}))

    async def recommend(self, text: str | None = None, **asked: Unpack[Recommended]) -> Products:
        return await self._send(calls.predict("recommend", {"text": text, **asked}))

    async def similar(self, product: str, k: int = 10) -> Products:
        return await self._send(calls.similar(product, k))

    async def passport(self, id: str) -> dict[str, Any]:
        return await self._send(calls.passport(id))

    async def clicked(self, id: str, product: str, **more: Unpack[Done]) -> Feedback:
        return await self._send(calls.feedback("click", id, {"product": product, **more}))

    async def bought(self, id: str, product: str, value: float | None = None, **more: Unpack[Done]) -> Feedback:
        return await self._send(calls.feedback("purchase", id, {"product": product, "value": value, **more}))

    async def corrected(self, id: str, category: str, product: str | None = None, **more: Unpack[Said]) -> Feedback:
        return await self._send(calls.feedback("category", id, {"category": category, "product": product, **more}))

    async def feedback(self, pieces: Iterable[Mapping[str, Any]]) -> list[Any]:
        """As `Client.feedback`, all parts at once."""
        return await self._together(calls.much_feedback(pieces))

    async def batch(self, task: Task, requests: Iterable[Mapping[str, Any]]) -> list[Any]:
        """As `Client.batch`, all parts at once."""
        return await self._together(calls.batches(task, requests))

    async def _together(self, parts: list[Call[list[Any]]]) -> list[Any]:
        return [answer for part in await asyncio.gather(*map(self._send, parts)) for answer in part]

    async def _send(self, call: Call[T]) -> T:
        steps = calls.tries(call, self._retries)
        wait = next(steps)
        while True:
            await asyncio.sleep(wait)
            came = await self._try(call)
            try:
                wait = steps.send(came)
            except StopIteration as end:
                answer: T = end.value
                return answer

    async def _try(self, call: Call[Any]) -> httpx.Response | httpx.TransportError:
        try:
            return await self._http.request(call.method, call.path, json=call.json, params=call.params)
        except httpx.TransportError as error:
            return error
