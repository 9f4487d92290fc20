"""The run that goes on, as others see it: its state file follows every step, and SIGTERM ends it as Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from goodsight.errors import BusyError, InputError, RefusedError
from goodsight.progress import warn
from lineage import runs
from lineage.runs import Run, Step
from monitoring.energy import power
from monitoring.prices import Prices
from pipelines.reasons import keep_code

RUN_IDS = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
MEASURED = ("cpu_seconds", "gpu_seconds", "peak_rss_bytes")
POWER_SECONDS = 120.0
GRACE_SECONDS = 60.0  # for the checkpoint of a step that is told to stop


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


class Meter:
    """What a step costs: its energy by the hardware of this machine, its money by the table of prices in force.

    Raises `InputError` when that table is not right.
    """

    def __init__(self, root: Path) -> None:
        self.prices = Prices.in_force()
        self._pool = ThreadPoolExecutor(1)
        self._power = self._pool.submit(power, root)  # the first time on a machine it takes seconds
        self._pool.shutdown(wait=False)

    def costed(self, step: Step) -> Step:
        """The step with its energy, None when the hardware cannot be told, and its money."""
        try:
            step = replace(step, energy_kwh=self._power.result(POWER_SECONDS).energy_kwh(step))
        except Exception as error:  # whatever the libraries that look for hardware raise
            warn(f"The energy of the run is not known: {error!r}")
        return replace(step, cost=self.prices.of(step))


class Live:
    """Keeps the state file of one run. A file that cannot be written, for example on a full disk, does not end the run."""

    def __init__(self, run_id: str, root: Path, asked: dict[str, Any], last: Run | None = None) -> None:
        self.root, self.begun, self.meter = root, time.monotonic(), Meter(root)
        begin, first = now(), last.started if last else ""
        run = Run(run_id, "RUNNING", first or begin, asked=asked, revision=last.revision if last else "", since=begin)
        run = replace(run, currency=self.meter.prices.currency, spent=(last.cost or 0.0) if last else 0.0)
        self.run = runs.by_this_process(run)
        self.refused: RefusedError | None = None
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
            measured: dict[str, Any] = {each: event.get(each) for each in MEASURED}
            step = Step(name, state, event["seconds"], started=begun, **measured)
            step = self.meter.costed(step)
        self._step(step)

    def cached(self, name: str) -> None:
        """A step was answered from the cache."""
        if name not in {step.name for step in self.run.steps}:
            self._step(Step(name, cached=True, started=now()))

    def missed(self, name: str) -> None:
        """A step is about to run. Raises `RefusedError` when what ran has cost the budget of the run."""
        from pipelines.retrain import CODE

        budget, cost = self.run.asked.get("budget") or 0.0, self.run.cost or 0.0
        if code := CODE.get(name.split()[0]):
            with contextlib.suppress(OSError):
                keep_code(self.root, name, code)
        if budget and cost >= budget:
            told = f"The run has cost {cost:.4g} {self.run.currency} before the step {name}; its budget is {budget:g}."
            self.refused = RefusedError(told, f"Give it more and go on: goodsight runs resume {self.run.run_id} --budget MORE")
            raise self.refused

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
