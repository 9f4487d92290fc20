"""How this process asks the system for memory: large blocks are kept and used again instead of being mapped anew each time."""

from __future__ import annotations

import ctypes

# <malloc.h> of glibc
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Lets the allocator keep what is freed. True where the C library takes the request (glibc), else nothing changes.

    By default glibc maps every block of some megabytes from the system and gives it back when it is freed, so that each
    batch of a training or of a tower pays a page fault for every 4 KiB it touches: three quarters of the image tower's
    time on a virtual machine. The price is that the process stays at its peak size until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, 2**31 - 1), mallopt(_TOP_PAD, 64 * 2**20)])
