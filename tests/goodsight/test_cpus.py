"""A container with a limit of CPUs starts no more threads than it has CPUs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from goodsight import cpus

LIMITS = [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("", None), ("9000000 1000", None)]


@pytest.mark.parametrize("limit, wanted", LIMITS)
def test_the_limit_of_a_container_counts(limit: str, wanted: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(cpus, "LIMIT", tmp_path / "cpu.max")
    assert cpus.available_cpus() == (wanted or len(os.sched_getaffinity(0)))


def test_without_a_container_every_cpu_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "LIMIT", tmp_path / "nowhere")
    assert cpus.available_cpus() == len(os.sched_getaffinity(0))
