"""What every component does around its step: no telemetry, memory kept, no orphan, one error line, lineage, digests."""

from __future__ import annotations

import os
import resource
import select
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from components import figures
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
def step(
    name: str, code: str = "", inputs: Mapping[str, Any] | None = None, run: str = "", **outputs: Any
) -> Iterator[dict[str, Any]]:
    """Runs one step; on success every output artifact carries the digest of its bytes, which the cache checks again.

    `inputs` are what it reads, for its OpenLineage events: artifacts, lists of them, or the version of what is kept elsewhere; `run` is
    the name of the run in the ledger, where it is another than its id. What is put into the dictionary that it gives is what the step
    came to, by the names of the run's event in the ledger.
    """
    silence_telemetry()
    keep_freed_memory()
    _end_with_the_run()
    with figures.going_on(name, run) if _tells(name) else nullcontext():
        yield from _step(name, code, inputs or {}, outputs)


def _tells(name: str) -> bool:
    """Whether a step keeps its figures: it is of a run on a cluster, and not the one that tells of them."""
    return bool(os.environ.get(RUN_ID)) and not of_a_local_run() and name != figures.LAST


def _step(name: str, code: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    emit("step", name=name, state="started")
    started = time.monotonic()
    lineage = StepRun(name, os.environ.get(RUN_ID, ""), code, _read(inputs))
    lineage.start()
    came: dict[str, Any] = {}
    try:
        yield came
    except GoodsightError as error:
        _end(name, "failed", started)
        emit("error", name=name, type=type(error).__name__, message=error.message, hint=error.hint)
        lineage.fail(error.message)
        sys.exit(error.exit_code)
    except Exception as error:
        _end(name, "failed", started)
        lineage.fail(repr(error))
        raise
    for output, artifact in outputs.items():
        artifact.metadata["digest"] = sha256_folder(Path(artifact.path))
        artifact.metadata["dataset"] = f"{name}/{output}"
    lineage.complete(_data(output, artifact) for output, artifact in outputs.items())
    _end(name, "done", started, came)


def _end(name: str, state: str, started: float, came: Mapping[str, Any] | None = None) -> None:
    used = _used(time.monotonic() - started)
    emit("step", name=name, state=state, **used)
    if _tells(name):
        with suppress(OSError):  # figures are worth less than the step
            figures.keep(os.environ[RUN_ID], name, state, used, came)


def _used(seconds: float) -> dict[str, float]:
    """What this process and those that it waited for took, its imports included: CPU- and GPU-seconds, and the most memory at once.

    A GPU counts from the step's beginning to its end when the process used it: nobody else had it.
    """
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(sum(each.ru_utime + each.ru_stime for each in (own, children)), 3),
        "gpu_seconds": round(seconds * _gpus(), 3),
        "peak_rss_bytes": max(own.ru_maxrss, children.ru_maxrss) * 1024,
    }


def _gpus() -> int:
    """How many GPUs this process has used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return sum(torch.cuda.max_memory_allocated(each) > 0 for each in range(torch.cuda.device_count()))


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
