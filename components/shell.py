"""What every component does around its step: no telemetry, memory kept, no orphan, one error line, lineage, digests."""

from __future__ import annotations

import os
import resource
import select
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from goodsight.digests import sha256_folder
from goodsight.errors import EXIT_RETRY, GoodsightError
from goodsight.memory import keep_freed_memory
from goodsight.progress import emit
from goodsight.settings import RUN_ID, silence_telemetry
from lineage.openlineage import Data, StepRun

RUN_PID = "GOODSIGHT_RUN_PID"
LOCAL_RUN = "GOODSIGHT_LOCAL_RUN"  # set in a container, which does not see the process of the run


def of_a_local_run() -> bool:
    """Whether a `goodsight run` on this machine started this process or its container."""
    return RUN_PID in os.environ or LOCAL_RUN in os.environ


def _end_with_the_run() -> None:
    """Ends this process when the `goodsight run` that started it is gone, so that a killed run leaves nothing behind."""
    if RUN_PID not in os.environ:
        return
    descriptor = os.pidfd_open(int(os.environ[RUN_PID]))

    def wait() -> None:
        select.select([descriptor], [], [])
        os._exit(EXIT_RETRY)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def step(name: str, code: str = "", inputs: Mapping[str, Any] | None = None, **outputs: Any) -> Iterator[None]:
    """Runs one step; on success every output artifact carries the digest of its bytes, which the cache checks again.

    `inputs` are what it reads, for its OpenLineage events: artifacts, lists of them, or the version of what is kept elsewhere.
    """
    silence_telemetry()
    keep_freed_memory()
    _end_with_the_run()
    emit("step", name=name, state="started")
    started = time.monotonic()
    lineage = StepRun(name, os.environ.get(RUN_ID, ""), code, _read(inputs or {}))
    lineage.start()
    try:
        yield
    except GoodsightError as error:
        emit("error", name=name, type=type(error).__name__, message=error.message, hint=error.hint)
        lineage.fail(error.message)
        sys.exit(error.exit_code)
    except Exception as error:
        lineage.fail(repr(error))
        raise
    for output, artifact in outputs.items():
        artifact.metadata["digest"] = sha256_folder(Path(artifact.path))
        artifact.metadata["dataset"] = f"{name}/{output}"
    lineage.complete(_data(output, artifact) for output, artifact in outputs.items())
    emit(
        "step",
        name=name,
        state="done",
        seconds=round(time.monotonic() - started, 3),
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _read(inputs: Mapping[str, Any]) -> Iterator[Data]:
    for name, value in inputs.items():
        for one in value if isinstance(value, list) else [value]:
            if one:
                yield _data(name, one)


def _data(name: str, value: Any) -> Data:
    """An artifact goes by the name that the step that made it gave it, whatever its reader calls it."""
    if isinstance(value, str):
        return Data(name, value)
    return Data(value.metadata.get("dataset", name), value.metadata.get("digest", ""), Path(value.path))
