"""What a recipe may ask of the training loop: accumulation, recomputed layers, a moving average; and what ends it early."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from goodsight.errors import PreemptedError, RefusedError
from models.pretraining import pretrain
from models.recipes import Recipe
from models.sharding import blocks, recomputed
from models.training import Update, train
from tests.models.made import SHORT, preprocess, shop, tiny_model

RECIPE = Recipe(steps=4, batch=8, fused=0, learning_rate=1e-2, checkpoint_every=2, precision="32-true")
X = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Linear(4, 1)


def fit(model: Line, rows: int, fail_at: int = -1) -> Any:
    """Updates that fit the sums of `rows` rows at a time; the loss of batch `fail_at` is no number."""

    def updates(step: int) -> list[Update]:
        def losses(x: Tensor) -> dict[str, Tensor]:
            loss = (model.net(x) - x.sum(dim=1, keepdim=True)).square().mean()
            return {"fit": loss * (torch.nan if step == fail_at else 1.0)}

        at = step * rows % len(X)
        return [Update(lambda: X[at : at + rows], losses, lambda: [f"p{row}" for row in range(at, at + rows)])]

    return updates


def test_accumulated_batches_are_one_batch(tmp_path: Path) -> None:
    one, two = Line(), Line()
    whole = train(one, fit(one, 8), RECIPE, tmp_path / "one", "test")
    halves = train(two, fit(two, 4), replace(RECIPE, accumulate=2), tmp_path / "two", "test")
    assert torch.allclose(one.net.weight, two.net.weight, atol=1e-6)
    assert [row["loss"] for row in halves] == pytest.approx([row["loss"] for row in whole], abs=2e-5)


def test_the_moving_average_is_the_result_by_hand(tmp_path: Path) -> None:
    seen, model = [], Line()
    expected = model.net.weight.detach().clone()

    def told(step: int, figures: dict[str, float]) -> None:
        seen.append(model.net.weight.detach().clone())

    train(model, fit(model, 8), replace(RECIPE, average=0.8), tmp_path, "test", told=told)
    for weights in seen:
        expected = 0.8 * expected + 0.2 * weights
    assert torch.allclose(model.net.weight, expected, atol=1e-6)
    assert not torch.allclose(model.net.weight, seen[-1], atol=1e-4)


@pytest.mark.parametrize("architecture", ["commercemm", "eclip", "scale", "interbert"])
def test_recomputed_layers_have_the_same_gradients(architecture: str, tmp_path: Path) -> None:
    """Dropout too is drawn alike."""
    found = []
    for recompute in (False, True):
        model, data = tiny_model(seed=4, architecture=architecture), shop(architecture=architecture)
        history = pretrain(model, data, preprocess(), replace(SHORT, recompute=recompute), tmp_path / str(recompute))
        found.append((history, model.state_dict()))
        assert not any("forward" in vars(layer) for layer in blocks(model))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(value, found[1][1][name]) for name, value in found[0][1].items())


def test_what_is_recomputed_is_every_stack_that_learns() -> None:
    model = tiny_model()
    assert blocks(model) == list(model.layers)
    calls = 0

    def counted(*_: Any) -> None:
        nonlocal calls
        calls += 1

    model.layers[0].norm_mlp.register_forward_hook(counted)
    with recomputed(model, True):
        x = torch.randn(2, 3, 32, requires_grad=True)
        model.layers[0](x, torch.ones(2, 3, dtype=torch.bool)).sum().backward()
    assert calls == 2


def test_a_loss_that_is_no_number_is_told_with_its_batch_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    model = Line()
    with pytest.raises(RefusedError) as told:
        train(model, fit(model, 8, fail_at=3), RECIPE, tmp_path, "pretraining")
    assert told.value.message.startswith("pretraining: step 4 gave fit nan")
    assert "p8, p9, p10, p11, p12 and 3 others" in told.value.message
    assert "step-0000002" in told.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000002"]


def test_a_gradient_that_is_no_number_is_told_at_its_step(tmp_path: Path) -> None:
    model = Line()

    def updates(step: int) -> list[Update]:
        return [Update(lambda: X, lambda x: {"root": (model.net(x) * 0).abs().sqrt().sum()}, lambda: ["p"])]  # the slope at 0

    with pytest.raises(RefusedError, match=r"step 1 gave gradient norm (nan|inf) on the batch of the products p\."):
        train(model, updates, RECIPE, tmp_path, "test")


def test_sigterm_keeps_what_was_done_and_says_that_a_retry_goes_on(tmp_path: Path) -> None:
    def told(step: int, figures: dict[str, float]) -> None:
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    model, before = Line(), signal.getsignal(signal.SIGTERM)
    with pytest.raises(PreemptedError) as stopped:
        train(model, fit(model, 8), replace(RECIPE, steps=9, checkpoint_every=9), tmp_path / "stopped", "test", told=told)
    assert stopped.value.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) == before
    (kept,) = (tmp_path / "stopped").iterdir()
    assert kept.name == "step-0000003"
    again, whole = Line(), Line()
    train(again, fit(again, 8), replace(RECIPE, steps=9, checkpoint_every=9), tmp_path / "stopped", "test")
    train(whole, fit(whole, 8), replace(RECIPE, steps=9, checkpoint_every=9), tmp_path / "whole", "test")
    assert torch.equal(again.net.weight, whole.net.weight)


def test_who_listens_gets_the_figures_of_each_step(tmp_path: Path) -> None:
    found: list[tuple[int, dict[str, float]]] = []
    model = Line()
    history = train(model, fit(model, 8), RECIPE, tmp_path, "test", told=lambda step, figures: found.append((step, figures)))
    assert [step for step, _ in found] == [0, 1, 2, 3]
    for (_, figures), row in zip(found, history, strict=True):
        assert figures.items() >= row.items()
        assert figures["samples_per_second"] > 0 and figures["memory_mib"] > 100
        assert figures["gradient_norm"] > 0 and 0 <= figures["learning_rate"] <= 1e-2


def test_the_best_by_measure_is_kept_too(tmp_path: Path) -> None:
    values, model = iter([0.9, 0.1, 0.2, 0.3]), Line()

    def measure() -> float:
        model.eval()
        return next(values)

    train(model, fit(model, 8), replace(RECIPE, checkpoint_every=1), tmp_path, "test", measure=measure)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000001", "step-0000003", "step-0000004"]
