"""What the routes share: the model server, who may ask it, and whether the server is about to end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request

from serving.gateway.passports import Passports
from serving.gateway.upstream import Upstream


@dataclass
class Gateway:
    """`seconds` is what one request may take; `passport` tells what stands behind an answer, or raises `InputError`."""

    upstream: Upstream
    seconds: float
    passport: Passports
    stopping: bool = False

    @property
    def open(self) -> bool:
        """Whether anyone on this machine may ask."""
        return True

    async def admit(self, request: Request, scope: str) -> None:
        """Lets the caller in, and starts his time. Raises `Problem`: 401, 403, 429."""
        request.state.deadline = asyncio.get_running_loop().time() + self.seconds

    async def charge(self, request: Request, more: int) -> None:
        """Counts `more` requests of a batch beside the first. Raises `Problem` when the caller may not ask so many now."""

    async def ready(self) -> bool:
        """Whether a request that comes now is answered."""
        return not self.stopping and await self.upstream.ready()
