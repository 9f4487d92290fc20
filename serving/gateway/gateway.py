"""What the routes share: the model server, who may ask it, and whether the server is about to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from starlette.requests import Request

from goodsight.settings import settings
from lineage.feedback_log import FeedbackLog, Given, Taken
from serving.display import Display, served
from serving.gateway.access import Access
from serving.gateway.looking import Look, looking
from serving.gateway.metrics import Metrics
from serving.gateway.passports import Passports
from serving.gateway.upstream import Upstream

Give = Callable[[Given, str], Taken]


def giving(url: str = "") -> Give:
    """Gives to the log at a SQLAlchemy URL (default: that of the settings), which is opened when the first piece comes."""
    opened = lru_cache(maxsize=1)(lambda: FeedbackLog(url or settings().predictions_url))
    return lambda given, key: opened().give(given, key)


@dataclass
class Gateway:
    """`seconds` is what one request may take; `passport` tells what stands behind an answer, or raises `InputError`,
    `display` shows what is served, `feedback` keeps what is said of an answer, by the name of a key, and `status` tells how retraining
    stands, or raises `GoodsightError`."""

    upstream: Upstream
    seconds: float
    passport: Passports
    access: Access = field(default_factory=Access)
    display: Display = field(default_factory=lambda: Display(served(settings().root)))
    feedback: Give = field(default_factory=lambda: giving())
    status: Look = field(default_factory=lambda: looking())
    stopping: bool = False

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.upstream)

    async def admit(self, request: Request, scope: str) -> None:
        """Lets the caller in, and starts his time. Raises `Problem`: 401, 403, 429."""
        request.state.deadline = asyncio.get_running_loop().time() + self.seconds
        request.state.key = await self.access.admit(request.headers, scope)

    async def charge(self, request: Request, more: int) -> None:
        """Counts `more` requests of a batch beside the first. Raises `Problem` when the caller may not ask so many now."""
        await self.access.charge(request.state.key, more)

    async def ready(self) -> bool:
        """Whether a request that comes now is answered."""
        return not self.stopping and await self.upstream.ready()
