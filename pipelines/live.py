"""The run that goes on, as others see it: its state file follows every step, and SIGTERM ends it as Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from goodsight.errors import BusyError, InputError
from lineage import runs
from lineage.runs import Run, Step

RUN_IDS = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
MEASURED = ("cpu_seconds", "gpu_seconds", "peak_rss_bytes")
GRACE_SECONDS = 60.0  # for the checkpoint of a step that is told to stop
Costed = Callable[[Step], Step]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def check_id(run_id: str) -> str:
    """The id that someone chose for a run. Raises `InputError` when it cannot name a folder."""
    if not RUN_IDS.fullmatch(run_id):
        raise InputError(f"{run_id!r} cannot be the id of a run.", "Take letters, digits, dots, dashes and underscores, 100 at most.")
    return run_id


def before(run_id: str, root: Path, ledger_url: str) -> Run | None:
    """The run of this id as it was left. Raises `InputError` when it succeeded, `BusyError` when it goes on."""
    found = [run for run in runs.list_runs(root, ledger_url) if run.run_id == run_id]
    if not found:
        return None
    if found[0].state == "SUCCEEDED":
        raise InputError(f"The run {run_id} has succeeded already.", f"See it with: goodsight runs show {run_id}")
    if found[0].live:
        raise BusyError(f"The run {run_id} goes on.", f"Follow it: goodsight runs logs --follow {run_id}")
    return found[0]


class Live:
    """Keeps the state file of one run. A file that cannot be written, for example on a full disk, does not end the run."""

    def __init__(self, run_id: str, root: Path, asked: dict[str, Any], last: Run | None = None) -> None:
        self.root, self.begun = root, time.monotonic()
        begin, first = now(), last.started if last else ""
        run = Run(run_id, "RUNNING", first or begin, asked=asked, revision=last.revision if last else "", since=begin)
        self.run = runs.by_this_process(run)
        self.costed: Costed = lambda step: step
        self._keep()

    def know(self, **facts: Any) -> None:
        """Keeps what came to be known of the run."""
        self.run = replace(self.run, **facts)
        self._keep()

    def heard(self, event: dict[str, Any]) -> None:
        """A step began or ended; other events change nothing."""
        if event["kind"] != "step":
            return
        name, state = event["name"], {"started": "RUNNING", "done": "SUCCEEDED"}.get(event["state"], "FAILED")
        if state == "RUNNING":
            step = Step(name, state, started=now())
        else:
            begun = next((one.started for one in self.run.steps if one.name == name), "")
            step = Step(name, state, event["seconds"], started=begun, **{each: event.get(each) for each in MEASURED})
        self._step(self.costed(step))

    def cached(self, name: str) -> None:
        """A step was answered from the cache."""
        if name not in {step.name for step in self.run.steps}:
            self._step(Step(name, cached=True, started=now()))

    def ended(self, state: str, cause: str, **facts: Any) -> None:
        """The run is over."""
        steps = [replace(step, state="FAILED") if step.state == "RUNNING" else step for step in self.run.steps]
        seconds = round(time.monotonic() - self.begun, 3)
        self.know(state=state, cause=cause, ended=now(), seconds=seconds, steps=steps, **facts)

    def costs(self) -> dict[str, dict[str, Any]]:
        """name -> what was measured of each step that ran, for the ledger."""
        told = {}
        for step in self.run.steps:
            values = {name: value for name in (*MEASURED, "energy_kwh", "cost") if (value := getattr(step, name)) is not None}
            if values and not step.cached:
                told[step.name] = values
        return told

    @property
    def failed(self) -> list[str]:
        """Steps that failed, or were going on when the run ended."""
        return [step.name for step in self.run.steps if step.state != "SUCCEEDED"]

    def _step(self, step: Step) -> None:
        others = [one for one in self.run.steps if one.name != step.name]
        self.know(steps=[*others, step])

    def _keep(self) -> None:
        with contextlib.suppress(OSError):
            runs.keep(self.root, self.run)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM stops this process as Ctrl-C does, once the step that goes on had time for its checkpoint; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        first, told = not told, True
        if first:
            stop_steps()
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def stop_steps() -> None:
    """Tells the processes of the step that goes on to stop, and waits for their end; what is in a session of its own stays."""
    import psutil

    own = os.getsid(0)
    waiting = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(child.pid) == own:
                waiting.append(os.pidfd_open(child.pid))
                child.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for descriptor in waiting:
        select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        os.close(descriptor)
