"""Our loop beside open_clip's: what is timed is our training, and a comparison of trainings that differ is refused."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from goodsight.digests import HOUSE


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HOUSE / "benchmarks")


class Toy(nn.Module):
    """As open_clip's model answers: the first pixels against the first word pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(12, 8), nn.Embedding(8192, 8)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, pixels: Tensor, texts: Tensor) -> dict[str, Tensor]:
        image, text = self.image(pixels[:, 0, 0, :12]), self.text(texts[:, 0])
        normal = nn.functional.normalize
        return {"image_features": normal(image, dim=1), "text_features": normal(text, dim=1), "logit_scale": self.logit_scale.exp()}


def spec(**changes: Any) -> Any:
    fields = {"towers": "small", "batch": 4, "precision": "32-true", "device": "cpu", "warm": 2, "steps": 3, "threads": 1}
    return importlib.import_module("open_clip_peer").Spec(**fields | changes)


def test_our_side_trains_and_stops_after_the_steps_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, toy = importlib.import_module("our_loop"), Toy()
    before = {name: value.clone() for name, value in toy.state_dict().items()}
    monkeypatch.setattr(ours, "towers", lambda spec: toy)
    found = ours.ours(spec(learning_rate=0.1, warmup=1))
    assert len(found["losses"]) == 5
    assert found["losses"][4] < found["losses"][0], "the batches come in turn: the first is seen again"
    assert found["samples_a_second"] == pytest.approx(4 / found["seconds_a_step"])
    assert all(not torch.equal(before[name], value) for name, value in toy.state_dict().items())


def test_the_batches_are_the_same_in_every_process_and_end_when_all_steps_are_measured() -> None:
    peer, clocks = (importlib.import_module(name) for name in ("open_clip_peer", "step_clock"))
    clock = clocks.StepClock(torch.device("cpu"), warm=1, steps=1)
    drawn, again = peer.InMemory(spec(), clock), peer.batches(spec())
    seen = []
    with pytest.raises(clocks.Enough):
        for pixels, texts in drawn:
            seen.append((pixels, texts))
            clock.tick()
    assert len(seen) == 2
    assert all(torch.equal(a, b) for pair, known in zip(seen, again, strict=True) for a, b in zip(pair, known, strict=True))
    assert not torch.equal(seen[0][0], seen[1][0])


def test_loops_that_do_not_train_alike_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    training = importlib.import_module("training")
    figures = {"seconds_a_step": 1.0, "cpu_seconds_a_step": 1.0, "samples_a_second": 4.0, "peak_bytes": 1, "bytes_before": 1}
    losses = {"our_loop.py": [2.0, 1.0], "open_clip_peer.py": [2.0, 1.001]}

    def called(peer: str, script: str, *arguments: str) -> list[dict[str, Any]]:
        if arguments[0] == "about":
            return [{"versions": {}, "flops_a_step": 1.0}]
        return [figures | {"losses": losses[script], "seconds_a_step": 1.0 if script == "our_loop.py" else 1.5}]

    monkeypatch.setattr(training, "called", called)
    found = training.loops("python", spec(), 2)
    assert found["speed_up"] == {"median": 1.5, "min": 1.5, "max": 1.5}
    assert found["losses"]["apart"] == pytest.approx(0.001, rel=0.01)
    losses["open_clip_peer.py"] = [2.0, 1.5]
    with pytest.raises(SystemExit, match="do not train alike"):
        training.loops("python", spec(), 2)
