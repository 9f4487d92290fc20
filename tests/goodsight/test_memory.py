import ctypes
import subprocess
import sys

import pytest

MADE = """
import ctypes, resource
from goodsight.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
pointer, size = ctypes.c_void_p, ctypes.c_size_t
libc.malloc.restype, libc.memset.argtypes, libc.free.argtypes = pointer, [pointer, ctypes.c_int, size], [pointer]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block = libc.malloc(64 * 2**20)
    libc.memset(block, 1, 64 * 2**20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    """Page faults of making, filling and freeing a block of 64 MiB ten times, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", MADE.format(keep=keep)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_a_freed_block_is_used_again_without_page_faults() -> None:
    assert faults(keep=True) < faults(keep=False) / 5
