"""What a call may raise. What is worth trying again has been tried again by then."""

from __future__ import annotations

from goodsight_client.models import Problem


class GoodsightError(Exception):
    """A call got no answer; `problem` is what the server said of it, if it said something."""

    def __init__(self, message: str, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


class Refused(GoodsightError):
    """The request is wrong, or the key may not ask it (4xx): sent again it is refused again."""


class Unavailable(GoodsightError):
    """The server was not reached or had no room (429, 502, 503, 504), each time that was tried."""


class Failed(GoodsightError):
    """The server failed (another 5xx), or what it said is no answer."""
