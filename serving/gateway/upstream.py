"""The model server behind the gateway: a bounded queue before it, and no more under way than it takes into two batches.

What was sent is computed also when nobody waits for it any more, so its slot is free only when it is done. What waits has not been
sent: a caller who leaves, or whose time is up, frees the place at once.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import aiohttp

from goodsight.errors import InputError
from serving.gateway.caller import Caller, Leaving
from serving.gateway.encoding import encoded
from serving.gateway.problems import Problem
from serving.gateway.tracing import Tracing
from serving.management import BATCH_SIZE
from serving.running import MODEL, Running

SLOTS = 2 * BATCH_SIZE
PAUSE_SECONDS = 0.2  # before a request that found no worker is sent again
WEIGHT = 0.1  # of the newest request in the mean time of one
LARGEST_BODY = 16 * 2**20 + 2**16  # what TorchServe takes, also when media are allowed to be as large as they may be

VERSION = re.compile(rb'"model_version": "([^"]{1,64})"')


class Absent(OSError):
    """The model server is not there: nothing was sent."""


@dataclass(frozen=True)
class Reply:
    """What the model server answered: `status` 200, 400 or 404, `body` as it came, `seconds` since it was asked."""

    status: int
    body: bytes
    seconds: float

    @property
    def version(self) -> str:
        """The model version that answered, as the start of the body tells it."""
        found = VERSION.search(self.body, 0, 1000)
        return found[1].decode() if found else ""


class Transport(Protocol):
    """Who carries a request to the model server."""

    async def predict(self, body: bytes, version: str | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body. Raises `OSError` when there is no answer, `Absent` when there cannot be one."""

    async def describe(self, version: str | None = None) -> list[dict[str, Any]]:
        """The default version, that one, or with `all` each: `modelVersion` and the `status` of `workers`. Empty when there is none."""

    async def metrics(self) -> bytes:
        """What the model server counts, in Prometheus' text format; nothing when it does not answer."""

    async def close(self) -> None:
        """Lets go of the connections."""


class TorchServe:
    """The transport to the server that `find` returns, another one after a restart; None while there is none."""

    def __init__(self, find: Callable[[], Running | None]) -> None:
        self._find = find
        self._known: Running | None = None
        self._keys: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None  # of the event loop that asks first

    async def predict(self, body: bytes, version: str | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        record = self._there()
        path = f"/predictions/{MODEL}/{version}" if version else f"/predictions/{MODEL}"
        told = {"Content-Type": "application/json", "Authorization": self._keys["inference"], **headers}
        return await self._send("POST", record.inference_port, path, body, told)

    async def describe(self, version: str | None = None) -> list[dict[str, Any]]:
        path = f"/models/{MODEL}/{version}" if version else f"/models/{MODEL}"
        body = await self._read("management", path)
        return json.loads(body) if body else []

    async def metrics(self) -> bytes:
        return await self._read("metrics", "/metrics")

    def _there(self) -> Running:
        """The server, whose keys are known then. Raises `Absent`."""
        record = self._find()
        if record is None:
            raise Absent("There is no model server.")
        if record is not self._known:
            try:
                self._keys = {name: f"Bearer {record.key(name)}" for name in ("inference", "management")}
            except (InputError, KeyError) as error:
                raise Absent("The model server has ended.") from error
            self._known = record
        return record

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def _read(self, interface: Literal["management", "metrics"], path: str) -> bytes:
        """What is there; nothing when there is no answer, or none with status 200."""
        try:
            port = getattr(self._there(), f"{interface}_port")
            key = {"Authorization": self._keys["management"]} if interface == "management" else {}
            status, body = await self._send("GET", port, path, None, key)
        except OSError:
            return b""
        return body if status == 200 else b""

    async def _send(self, method: str, port: int, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with self._session.request(method, f"http://127.0.0.1:{port}{path}", data=body, headers=headers) as response:
                return response.status, await response.read()
        except aiohttp.ClientConnectorError as error:
            raise Absent(str(error)) from error
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from error


@dataclass
class Counts:
    """What the queue did, for the metrics."""

    sent: int = 0  # under way
    refused: int = 0
    left: int = 0  # while they waited
    late: int = 0
    again: int = 0  # sent a second time, after a worker was lost


class Rolling(Protocol):
    """Who brings another version in: says which one answers a request that names none."""

    async def ask(self, fields: Mapping[str, Any], caller: Caller) -> Reply:
        """As `Upstream.ask`."""

    def start(self) -> None:
        """Begins to look for rollouts, in the running event loop."""

    async def close(self) -> None:
        """Waits for what is under way and keeps what was seen."""


@dataclass
class Upstream:
    """Asks the model server. `queue` requests may wait, `slots` may be under way."""

    transport: Transport
    queue: int
    slots: int = SLOTS
    counts: Counts = field(default_factory=Counts)
    tracing: Tracing = field(default_factory=Tracing)
    rolling: Rolling | None = None
    _seconds: float = 0.05  # mean time of a request that was sent

    def __post_init__(self) -> None:
        self._free = self.slots
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._under_way: set[asyncio.Task[tuple[int, bytes]]] = set()

    async def ask(
        self,
        fields: Mapping[str, Any],
        version: str | None,
        deadline: float,
        leaving: Leaving | None = None,
        more: Mapping[str, str] | None = None,
    ) -> Reply:
        """The reply to one request; `deadline` is on the event loop's clock, `leaving` returns when the caller has gone, `more` are
        headers beside the usual ones.

        Raises `Problem`: 413 for a request that the server does not take, 429 when the queue is full, 499 when the caller left,
        503 when the server has no worker, 504 when the deadline passed.
        """
        started, body = time.perf_counter(), await encoded(fields)
        if len(body) > LARGEST_BODY:
            raise Problem(413, f"The request has {len(body):,} bytes with its media as base64; at most {LARGEST_BODY:,} are allowed.")
        await self._slot(deadline, leaving)
        with self.tracing.span("predict", version=version or "default") as headers:
            status, answer = await self._sent(body, version, deadline, {**headers, **(more or {})})
        return Reply(status, answer, time.perf_counter() - started)

    @property
    def waiting(self) -> int:
        """How many wait in the queue."""
        return len(self._waiting)

    def patience(self) -> int:
        """Seconds until those who wait now are answered, at least one: what a refused caller is told."""
        return max(1, math.ceil(len(self._waiting) * self._seconds / self.slots))

    async def _slot(self, deadline: float, leaving: Leaving | None) -> None:
        """Takes a slot, waiting in the queue for one when there is none."""
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= self.queue:
            self.counts.refused += 1
            raise Problem(429, f"{len(self._waiting)} requests wait already. Try again later.", self.patience())
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        gone = asyncio.ensure_future(leaving()) if leaving else asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait({turn, gone}, timeout=_left(deadline), return_when=asyncio.FIRST_COMPLETED)
            self._check_turn(turn, gone)
        except BaseException:
            self._give_up(turn)
            raise
        finally:
            gone.cancel()

    def _check_turn(self, turn: asyncio.Future[None], gone: asyncio.Future[None]) -> None:
        if gone.done():
            self.counts.left += 1
            raise Problem(499, "The caller left before the request was sent.")
        if not turn.done():
            self.counts.late += 1
            raise Problem(504, "The request waited for the model until its time was up.", self.patience())

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        """Out of the queue, or, when the turn came at this very moment, the slot to the next."""
        if turn.done():
            self._release()
        else:
            self._waiting.remove(turn)

    def _release(self) -> None:
        """A slot goes to who waits longest; he counts as waiting no more from now on."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._free += 1

    async def _sent(self, body: bytes, version: str | None, deadline: float, headers: Mapping[str, str]) -> tuple[int, bytes]:
        task = asyncio.ensure_future(self._carried(body, version, deadline, headers))
        self.counts.sent += 1
        self._under_way.add(task)
        task.add_done_callback(self._done)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(task)
        except TimeoutError as error:
            self.counts.late += 1
            raise Problem(504, "The model did not answer in time.", self.patience()) from error

    def _done(self, task: asyncio.Task[tuple[int, bytes]]) -> None:
        self.counts.sent -= 1
        self._under_way.discard(task)
        self._release()
        if not task.cancelled():
            task.exception()  # nobody may wait for it any more

    async def _carried(self, body: bytes, version: str | None, deadline: float, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Carries a request until it is answered. A worker that is lost on the way is replaced: once, it is sent again; a model
        server that is not there is waited for.
        """
        started, lost = time.perf_counter(), 0
        while True:
            sent = True
            try:
                status, answer = await self.transport.predict(body, version, headers)
            except OSError as error:
                sent = not isinstance(error, Absent)
                status, answer = 503, json.dumps({"message": str(error)}).encode()
            if is_answer(status, answer):
                self._seconds += WEIGHT * (time.perf_counter() - started - self._seconds)
                return status, answer
            lost += sent and b"no worker" not in answer  # it was not queued there; else a worker was lost with it, which may be why
            if lost > 1 or _left(deadline) <= PAUSE_SECONDS:
                raise Problem(503, "The model server has no worker that answers. Try again later.", self.patience())
            self.counts.again += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def ready(self, version: str | None = None) -> bool:
        """Whether a worker of the default version, or of that one, takes requests. Nothing is predicted for it."""
        described = await self.transport.describe(version)
        return any(worker.get("status") == "READY" for each in described for worker in each.get("workers", ()))

    async def close(self) -> None:
        """Waits for what is under way, then lets the model server go."""
        if self._under_way:
            await asyncio.wait(set(self._under_way))
        await self.transport.close()


def is_answer(status: int, body: bytes) -> bool:
    """Whether our handler said it: 200, or a refusal with its reason. TorchServe's own errors have a `code`, a `type` and a `message`."""
    if status == 200:
        return True
    try:
        return status < 500 and "error" in json.loads(body)
    except (ValueError, TypeError):
        return False


def _left(deadline: float) -> float:
    return max(0.0, deadline - asyncio.get_running_loop().time())
