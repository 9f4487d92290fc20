"""Who asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Leaving = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Caller:
    """Who asks: the id of the request, the name of the key (empty without keys), until when, and how to know that he has left."""

    request_id: str
    key: str
    deadline: float  # of the event loop's clock
    leaving: Leaving | None = None
