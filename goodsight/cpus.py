"""How many CPUs this process may use."""

from __future__ import annotations

import os
from pathlib import Path

LIMIT = Path("/sys/fs/cgroup/cpu.max")  # of a container: `QUOTA PERIOD` in microseconds, or `max PERIOD`


def available_cpus() -> int:
    """The CPUs of the machine that this process may run on, and of a container with a limit only as many as that."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = LIMIT.read_text().split()
        return allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):
        return allowed
