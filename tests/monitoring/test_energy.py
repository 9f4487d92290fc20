"""Energy by what a step used and what the hardware draws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from goodsight.files import read_json
from lineage.runs import Step
from monitoring import energy
from monitoring.energy import Power

OFFLINE = """
import socket, sys
from pathlib import Path
def refuse(*arguments):
    raise AssertionError("something called home")
socket.socket.connect = socket.getaddrinfo = refuse
from monitoring.energy import power
first, second = power(Path(sys.argv[1])), power(Path(sys.argv[1]))
assert first == second
"""


def test_a_step_is_charged_for_what_it_used() -> None:
    power = Power(cpu_watts=5.0, memory_gib_watts=0.5, gpu_watts=700.0)
    assert power.energy_kwh(Step("a", seconds=10, cpu_seconds=3600)) == pytest.approx(0.005)
    assert power.energy_kwh(Step("a", seconds=3600, cpu_seconds=0.0, peak_rss_bytes=2 * 2**30)) == pytest.approx(0.001)
    assert power.energy_kwh(Step("a", seconds=3600, cpu_seconds=0.0, gpu_seconds=7200)) == pytest.approx(1.4)
    assert power.energy_kwh(Step("a", seconds=3600)) is None


def test_this_machine_is_known_without_a_call_home_and_asked_once(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", OFFLINE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stdout, done.stderr
    (kept,) = (tmp_path / "monitoring").glob("power-*.json")
    found = Power(**read_json(kept))
    assert 0.5 <= found.cpu_watts <= energy.MOST_CPU_WATTS and 0 < found.memory_gib_watts < 10 and found.cpu
