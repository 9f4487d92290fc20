"""Reads the clock and the memory around some steps of a training, whichever loop runs them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from machine import wait_for
from torch.optim.optimizer import register_optimizer_step_post_hook

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # "5" sets VmHWM back to what is resident now


class Enough(Exception):
    """Raised where a loop asks for its next batch, when all steps are measured: it ends without a checkpoint."""


class StepClock:
    """Seconds and peak memory of the steps `warm` + 1 to `warm` + `steps` on `device`. `tick` is called after each step."""

    def __init__(self, device: torch.device, warm: int, steps: int) -> None:
        self.device, self.warm, self.steps = device, warm, steps
        self.done = self.before = self.peak = 0
        self.started = self.seconds = self.cpu_started = self.cpu_seconds = 0.0

    def begin(self) -> None:
        """Model and data are there, the training begins."""
        self.done = 0
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            FORGET.write_text("5")
            self.before = resident("VmRSS")

    def tick(self) -> None:
        """One step more is done."""
        self.done += 1
        if self.done == self.warm:
            wait_for(self.device)
            self.started, self.cpu_started = time.perf_counter(), time.process_time()
        if self.done == self.warm + self.steps:
            wait_for(self.device)
            self.seconds, self.cpu_seconds = time.perf_counter() - self.started, time.process_time() - self.cpu_started
            self.peak = resident("VmHWM") if self.device.type == "cpu" else torch.cuda.max_memory_allocated()

    @property
    def enough(self) -> bool:
        return self.done >= self.warm + self.steps

    def figures(self, samples: int) -> dict[str, Any]:
        """Of steps with `samples` rows each. Peak bytes: on a GPU of all tensors, on a CPU of the process; `bytes_before` the training:
        the model, the batches and, on a CPU, the libraries. CPU seconds, of all threads, tell less of what else the machine does.
        """
        each, cpu = self.seconds / self.steps, self.cpu_seconds / self.steps
        memory = {"peak_bytes": self.peak, "bytes_before": self.before}
        return {"seconds_a_step": each, "cpu_seconds_a_step": cpu, "samples_a_second": samples / each, **memory}


@contextmanager
def each_optimizer_step(clock: StepClock) -> Iterator[None]:
    """Within the block every step of any optimiser is a tick."""
    handle = register_optimizer_step_post_hook(lambda *_: clock.tick())
    try:
        yield
    finally:
        handle.remove()


def resident(field: str) -> int:
    """Bytes of this process in memory: `VmRSS` now, `VmHWM` at most."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
