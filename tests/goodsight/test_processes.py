"""Which processes live, and who holds a lock."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from goodsight.processes import Process, held


def test_a_process_is_its_id_and_when_it_was_created() -> None:
    me = Process.of(os.getpid())
    assert me.alive()
    assert not replace(me, created=me.created - 60).alive()  # the id belonged to another one then


def test_one_that_ended_lives_no_more_also_before_its_parent_looks() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.of(child.pid)
    assert process.alive()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert not process.alive()
    child.communicate()
    assert not process.alive()
    with pytest.raises(psutil.NoSuchProcess):
        Process.of(2**22 + 1)  # beyond the largest process id of Linux


@pytest.mark.parametrize("how", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_a_lock_is_held_as_long_as_its_holder_wants(how: int, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not held(lock)
    with lock.open("w") as file:
        fcntl.flock(file, how)
        assert held(lock)
    assert not held(lock)
