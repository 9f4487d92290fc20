"""Progress of long work. A step reports on standard output, one JSON line an update; the `goodsight` command draws the bars."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

PREFIX = "@goodsight "
INTERVAL_SECONDS = 0.25
T = TypeVar("T")


def emit(kind: str, **fields: Any) -> None:
    """Prints one event line: `kind` is `progress`, `note`, `warning`, `step` or `error`."""
    line = PREFIX + json.dumps({"kind": kind, **fields}) + "\n"
    print(line, end="", flush=True)  # one write, the end of the line with it: other processes write to the same place


def parse(line: str) -> dict[str, Any] | None:
    """The event in a line of output, or None when the line is something else."""
    _, marker, text = line.partition(PREFIX)
    if not marker:
        return None
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "kind" in event else None


def note(text: str) -> None:
    """A choice and its reason, worth a line in the run's output."""
    emit("note", text=text)


def warn(text: str) -> None:
    """Something that the user should know of and that stops nothing; a run shows the same one once."""
    emit("warning", text=text)


def track(
    items: Iterable[T], what: str, unit: str, total: int | None = None, done: int = 0, place: Callable[[T], int] | None = None
) -> Iterator[T]:
    """Yields `items`, reporting how many of `total` are done (some times a second at the most).

    Where `items` leave out some of the `total`, `place` says how many come before an item.
    """
    if total is None:
        total = len(items) if isinstance(items, Sized) else 0
    last = 0.0
    for item in items:
        done = place(item) if place else done
        now = time.monotonic()
        if now - last >= INTERVAL_SECONDS:
            emit("progress", what=what, unit=unit, done=done, total=total)
            last = now
        yield item
        done += 1
    emit("progress", what=what, unit=unit, done=total if place else done, total=total)
