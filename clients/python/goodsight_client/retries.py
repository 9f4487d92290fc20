"""When a call is tried again: what the server calls temporary, and what never reached it.

Predictions change nothing, and feedback counts once, so both may be.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

TEMPORARY = (429, 502, 503, 504)


@dataclass(frozen=True)
class Retries:
    """Waits of random length below a bound that doubles ("full jitter"), so that many clients do not come back together."""

    tries: int = 5  # in all
    first: float = 0.2  # seconds, bound of the first wait
    longest: float = 10.0  # seconds

    def wait(self, tried: int, retry_after: str | None = None) -> float:
        """Seconds until the next try, after so many; at least what the server asked for in `Retry-After`."""
        bound = min(self.longest, self.first * 2 ** (tried - 1))
        asked = float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
        return min(asked, self.longest) + random.uniform(0, bound)
