"""How long the parts of the work on a batch took, in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Part = Literal["reading", "preprocessing", "forward", "search"]


@dataclass
class Timings:
    """Milliseconds by part; a part that is entered again adds up."""

    milliseconds: dict[Part, float] = field(default_factory=dict)

    @contextmanager
    def on(self, part: Part) -> Iterator[None]:
        """The time of the block counts for `part`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.milliseconds[part] = self.milliseconds.get(part, 0.0) + 1000 * (time.perf_counter() - started)
