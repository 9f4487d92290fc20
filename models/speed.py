"""How fast a training goes and what it holds: samples a second, memory, and on a GPU the share of its peak (MFU)."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

BF16_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}  # dense operations a second, data sheets


def bf16_peak(device: torch.device) -> float | None:
    """What the GPU does at most, in bf16 operations a second; None for a CPU, and a GPU that is not listed."""
    if device.type != "cuda":
        return None
    return next((peak for name, peak in BF16_PEAK.items() if name in torch.cuda.get_device_name(device)), None)


def memory_mib(device: torch.device) -> float:
    """The most that was held so far: of the GPU's memory, or by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


class Work(TorchDispatchMode):
    """Within the block `flops` counts the floating-point operations of matrix products, convolutions and attention.

    The figures of torch's FlopCounterMode, which fails where a part of a training runs without gradients, as soft targets do.
    """

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count:
            self.flops += count(*args, **(kwargs or {}), out_val=found)
        return found


class Speed:
    """Measures a training on `device` from one telling to the next."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.peak = device, bf16_peak(device)
        self.operations = 0  # of a step
        self.started = time.perf_counter()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Counts the operations of the first step, where they tell a share of a peak."""
        if self.peak is None or self.operations:
            yield
            return
        with Work() as work:
            yield
        self.operations = work.flops

    def since(self, steps: int, samples: int) -> dict[str, float]:
        """`samples_per_second` (of all processes), `memory_mib` and `mfu` of the `steps` since the last call."""
        now = time.perf_counter()
        seconds, self.started = max(now - self.started, 1e-9), now
        found = {"samples_per_second": samples / seconds, "memory_mib": memory_mib(self.device)}
        if self.peak and self.operations:
            found["mfu"] = self.operations * steps / seconds / self.peak
        return found
