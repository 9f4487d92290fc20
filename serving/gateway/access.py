"""Who may ask: nobody is asked for a key while there never was one and the server is on loopback; else a key that counts.

Keys are read again every few seconds, and at once for a key that is not known, so one that was made counts now and one that was
revoked soon does not.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from goodsight.errors import GoodsightError, InputError
from serving.gateway.keys import Key, Keys, digest, now
from serving.gateway.problems import Problem
from serving.gateway.schemas import LARGEST_BATCH

if TYPE_CHECKING:
    from limits import RateLimitItem

LOOPBACK = ("127.0.0.1", "::1", "localhost")
FRESH_SECONDS = 5.0
UNKNOWN_SECONDS = 1.0  # between two readings for keys that are not known

logger = logging.getLogger(__name__)


class Rates:
    """Counts the requests of each key, in memory or at the URI of a Redis, which several gateways share."""

    def __init__(self, uri: str = "") -> None:
        from limits.aio.strategies import SlidingWindowCounterRateLimiter
        from limits.storage import storage_from_string

        options = {} if not uri else {"implementation": "redispy"}
        self._limiter = SlidingWindowCounterRateLimiter(storage_from_string(f"async+{uri or 'memory://'}", **options))  # type: ignore[arg-type]

    async def take(self, key: Key, cost: int) -> None:
        """Counts `cost` requests. Raises `Problem` when the key may not ask so many now. A store that is down lets all through."""
        item = _window(key.rate)
        try:
            if await self._limiter.hit(item, key.name, cost=cost):
                return
            reset = (await self._limiter.get_window_stats(item, key.name)).reset_time
        except Exception as error:  # whatever store it is: that it is down is no reason to stop serving
            logger.warning("rates are not counted: %s: %s", type(error).__name__, error)
            return
        wait = max(1, math.ceil(reset - time.time()))
        raise Problem(429, f"The key {key.name!r} may ask {key.rate} requests a second. Try again later.", wait)


def _window(rate: int) -> RateLimitItem:
    """As long as a whole batch needs at that rate, a second at least."""
    from limits import RateLimitItemPerSecond

    seconds = max(1, math.ceil(LARGEST_BATCH / rate))
    return RateLimitItemPerSecond(rate * seconds, seconds)


class Access:
    """Decides by the headers of a request. `keys` may be None for a server that is always open."""

    def __init__(self, keys: Keys | None = None, rates: Rates | None = None) -> None:
        self._keys, self._rates = keys, rates or Rates()
        self._known: dict[str, Key] = {}
        self._reading: asyncio.Task[None] | None = None
        self._read_at = -math.inf
        if keys:
            self._known = {key.sha256: key for key in keys.all()}
            self._read_at = time.monotonic()

    @property
    def open(self) -> bool:
        """Whether anyone on this machine may ask: a server whose last key was revoked is not open."""
        return not self._known

    def check_host(self, host: str) -> None:
        """Raises `InputError` when others than this machine could ask without a key."""
        if host not in LOOPBACK and not any(key.counts(now()) for key in self._known.values()):
            hint = "Make one: goodsight keys create NAME, or listen on 127.0.0.1 (GOODSIGHT_HOST)."
            raise InputError(f"The gateway would listen on {host} for anyone, since there is no API key.", hint)

    async def admit(self, headers: Headers, scope: str) -> Key | None:
        """The key of a request, one request of it counted. Raises `Problem`: 401 without a key that counts, 403 without its scope,
        429 when its rate is used up.
        """
        await self._refresh(FRESH_SECONDS, wait=False)
        if self.open:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        sha256 = digest(given.strip()) if kind.lower() == "bearer" else ""
        if sha256 and sha256 not in self._known:
            await self._refresh(UNKNOWN_SECONDS, wait=True)
        key = self._known.get(sha256)
        if key is None or not key.counts(now()):
            raise Problem(401, "Give an API key that counts: Authorization: Bearer gs_...")
        if scope not in key.scopes:
            raise Problem(403, f"The key {key.name!r} does not have the scope {scope}.")
        await self._rates.take(key, 1)
        return key

    async def charge(self, key: Key | None, cost: int) -> None:
        """Counts more requests of a key. Raises `Problem` as `admit` does."""
        if key and cost > 0:
            await self._rates.take(key, cost)

    async def _refresh(self, after: float, wait: bool) -> None:
        """Reads the keys again, in a thread, when that was longer ago than `after` seconds."""
        if self._keys and self._reading is None and time.monotonic() - self._read_at > after:
            self._read_at = time.monotonic()
            self._reading = asyncio.ensure_future(self._read(self._keys))
        if wait and self._reading:
            await asyncio.wait({self._reading})

    async def _read(self, keys: Keys) -> None:
        try:
            self._known = {key.sha256: key for key in await asyncio.to_thread(keys.all)}
        except GoodsightError as error:
            logger.warning("%s The keys that were known before go on to count.", error.message)
        finally:
            self._reading = None
