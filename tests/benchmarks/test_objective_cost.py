"""What an objective costs is measured on every architecture, over the steps that were asked for."""

from __future__ import annotations

import importlib
import json
import time

import pytest
import torch

from goodsight.digests import HOUSE
from models.config import ARCHITECTURES
from models.pretraining import OBJECTIVES


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_families_cost_more_work_than_the_first_alone(
    architecture: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    families = OBJECTIVES[architecture].FAMILIES
    asked = {"architecture": architecture, "size": "tiny", "families": [families[:1], families], "batch": 8}
    asked |= {"device": "cpu", "warm": 1, "steps": 2, "threads": torch.get_num_threads()}
    cost = importlib.import_module("objective_cost")
    monkeypatch.setattr(cost.sys, "argv", ["objective_cost.py", json.dumps(asked)])
    monkeypatch.setattr(cost, "keep_freed_memory", lambda: True)  # of this process, which has other tests to run
    cost.main()
    alone, together = (json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{"))
    assert (alone["families"], together["families"]) == (list(families[:1]), list(families))
    assert 0 < alone["flops_a_step"] < together["flops_a_step"]
    assert together["samples_a_second"] == pytest.approx(8 / together["seconds_a_step"])
    assert alone["mfu"] is None and alone["peak_bytes"] > 0


def test_the_clock_reads_the_steps_after_the_warm_up() -> None:
    clocks = importlib.import_module("step_clock")
    clock, weight = clocks.StepClock(torch.device("cpu"), warm=2, steps=3), torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    clock.begin()
    started = time.perf_counter()
    with clocks.each_optimizer_step(clock):
        while not clock.enough:
            weight.sum().backward()
            optimizer.step()
    took = time.perf_counter() - started
    assert clock.done == 5
    assert 0 < clock.seconds < took
    optimizer.step()
    assert clock.done == 5, "a step after the block is not counted"
