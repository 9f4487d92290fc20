"""Which processes live. An id alone proves nothing, because ids are used again: a process is its id and when it was created.

Containers of one pod do not see each other's processes: there, the lock that a process holds says that it lives.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

CLOCK_SECONDS = 2.0  # the creation time of one process may read this much apart after the clock was set


@dataclass(frozen=True)
class Process:
    """One process of this machine."""

    pid: int
    created: float  # seconds since 1970

    @staticmethod
    def of(pid: int) -> Process:
        """The process that has the id now. Raises `psutil.NoSuchProcess` when none has."""
        import psutil

        return Process(pid, psutil.Process(pid).create_time())

    def alive(self) -> bool:
        """False when it ended, also when another process has its id by now."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < CLOCK_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def namespace() -> int:
    """The namespace of this process's ids: a container has its own. 0 where there are none."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def held(path: Path) -> bool:
    """Whether a process holds the lock file `path`, alone or with others."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
