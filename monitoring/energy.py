"""The energy of a step, estimated from what it used: codecarbon's tables of hardware, asked once a machine, offline.

codecarbon's own tracker samples the machine from a process of it, so it counts what others do there and misses what containers do.
Here its figures for power (a CPU by its model, memory by its size, a GPU by its limit) are multiplied with what the step itself used:
CPU time, the largest memory over its time, the time that it held GPUs. The same figures give the same estimate, wherever the step ran.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from goodsight.digests import sha256_json
from goodsight.errors import GoodsightError
from goodsight.files import read_json, write_json
from lineage.runs import Step

JOULES = 3.6e6  # in a kWh
GIB = 2**30
MOST_CPU_WATTS = 20.0  # a virtual machine sees few of the threads that share what the table says of the whole chip


@dataclass(frozen=True)
class Power:
    """Watts of one busy CPU, of one GiB of memory and of one GPU that is held; `cpu` and `gpu` name the models."""

    cpu_watts: float
    memory_gib_watts: float
    gpu_watts: float
    cpu: str = ""
    gpu: str = ""

    def energy_kwh(self, step: Step) -> float | None:
        """The estimate for a step; None when nobody measured its CPU time."""
        if step.cpu_seconds is None:
            return None
        memory = (step.peak_rss_bytes or 0) / GIB * step.seconds * self.memory_gib_watts
        return (step.cpu_seconds * self.cpu_watts + memory + (step.gpu_seconds or 0.0) * self.gpu_watts) / JOULES


def power(root: Path) -> Power:
    """The power of this machine, from a file under home when it was asked before: to tell the CPU takes seconds."""
    place = root / "monitoring" / f"power-{sha256_json(_machine())[:16]}.json"
    try:
        return Power(**read_json(place))
    except (GoodsightError, TypeError):
        found = measure()
        write_json(place, asdict(found))
        return found


def _machine() -> list[str]:
    """What tells one kind of machine from another, without a library."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.is_file() else []
    gpus = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    return [str(os.cpu_count()), *names[:1], *gpus]


def measure() -> Power:
    """What codecarbon's tables say of this machine."""
    import logging

    import psutil
    from codecarbon.core.cpu import TDP
    from codecarbon.core.util import count_physical_cpus
    from codecarbon.external.logger import logger
    from codecarbon.external.ram import RAM

    logger.setLevel(logging.ERROR)  # it warns of every CPU that it takes its default for
    cpu, gib = TDP(), psutil.virtual_memory().total / GIB
    memory = RAM()._calculate_ram_power(gib)  # the public way reads the memory of a process or of a whole machine
    watts, model = _gpu()
    per_cpu = (cpu.tdp or 0.0) * count_physical_cpus() / (os.cpu_count() or 1)
    return Power(round(min(per_cpu, MOST_CPU_WATTS), 3), round(memory / gib, 4), watts, cpu.model or "", model)


def _gpu() -> tuple[float, str]:
    """The power limit in watts and the name of the first GPU; 0 where there is none."""
    from codecarbon.core import gpu

    if not gpu.is_gpu_details_available():
        return 0.0, ""
    first = gpu.AllGPUDevices().get_gpu_static_info()[0]
    return float(first.get("power_limit") or 0.0), str(first.get("name", ""))
