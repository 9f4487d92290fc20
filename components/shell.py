"""What every component does around its step: no telemetry, memory kept, no orphan, one error line, a digest on every artifact."""

from __future__ import annotations

import os
import resource
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from goodsight.digests import sha256_folder
from goodsight.errors import EXIT_RETRY, GoodsightError
from goodsight.memory import keep_freed_memory
from goodsight.progress import emit
from goodsight.settings import silence_telemetry

RUN_PID = "GOODSIGHT_RUN_PID"


def of_a_local_run() -> bool:
    """Whether a `goodsight run` on this machine started this process."""
    return RUN_PID in os.environ


def _end_with_the_run() -> None:
    """Ends this process when the `goodsight run` that started it is gone, so that a killed run leaves nothing behind."""
    if not of_a_local_run():
        return
    descriptor = os.pidfd_open(int(os.environ[RUN_PID]))

    def wait() -> None:
        select.select([descriptor], [], [])
        os._exit(EXIT_RETRY)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def step(name: str, **outputs: Any) -> Iterator[None]:
    """Runs one step; on success every output artifact carries the digest of its bytes, which the cache checks again."""
    silence_telemetry()
    keep_freed_memory()
    _end_with_the_run()
    emit("step", name=name, state="started")
    started = time.monotonic()
    try:
        yield
    except GoodsightError as error:
        emit("error", name=name, type=type(error).__name__, message=error.message, hint=error.hint)
        sys.exit(error.exit_code)
    for artifact in outputs.values():
        artifact.metadata["digest"] = sha256_folder(Path(artifact.path))
    emit(
        "step",
        name=name,
        state="done",
        seconds=round(time.monotonic() - started, 3),
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
