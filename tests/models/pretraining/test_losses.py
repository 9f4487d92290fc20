"""What a fresh model's losses must be near, the terms of each source, and curves that do not change unnoticed."""

from __future__ import annotations

import json
import os
from math import log
from pathlib import Path

import pytest
import torch

import models.training
from models.architectures import build
from models.architectures.base import Architecture
from models.config import ARCHITECTURES, model_config
from models.dataset import ProductData
from models.pretraining import OBJECTIVES, pretrain
from models.recipes import Recipe
from tests.models.made import SHORT, preprocess, shop

GOLDEN = Path(__file__).with_name("golden")
WORDS = 30522
ALL = Recipe(steps=1, batch=64, fused=64, learning_rate=1e-3)


def fresh_losses(name: str, data: ProductData, recipe: Recipe = ALL) -> dict[str, float]:
    """The losses of the first steps of a fresh model, averaged."""
    torch.manual_seed(0)
    model = build(model_config(name, "tiny")).eval()
    update = OBJECTIVES[name].updates(model, data, data.whole_pages("train", "catalogue"), preprocess(), recipe)
    seen: dict[str, list[float]] = {}
    for step in range(6):
        for part in update(step):
            for key, loss in part().items():
                seen.setdefault(key, []).append(float(loss.detach()))
    return {key: sum(values) / len(values) for key, values in seen.items()}


@pytest.fixture(scope="module")
def losses() -> dict[str, dict[str, float]]:
    return {name: fresh_losses(name, shop(count=160, architecture=name)) for name in ARCHITECTURES}


@pytest.mark.parametrize(
    "name, loss, value",
    [
        ("commercemm", "itm", log(2)),
        ("commercemm", "mlm", log(WORDS)),
        ("interbert", "itm", log(2)),
        ("interbert", "msm", log(WORDS)),
        ("scale", "mlm", log(WORDS)),
        ("scale", "mem", log(WORDS)),
    ],
)
def test_a_guess_costs_what_a_guess_costs(losses: dict[str, dict[str, float]], name: str, loss: str, value: float) -> None:
    assert losses[name][loss] == pytest.approx(value, rel=0.1)


@pytest.mark.parametrize(
    "name, loss, candidates",
    [("commercemm", "itc", 64), ("eclip", "itc", 64), ("eclip", "inter", 192), ("eclip", "intra", 4)],
)
def test_a_contrast_among_strangers_is_the_logarithm_of_their_number(name: str, loss: str, candidates: int) -> None:
    """Random pictures: a fresh model cannot tell the candidates apart; at a temperature of 1 it guesses."""
    data = shop(count=160, architecture=name)
    data.images.tokens = torch.randn_like(data.images.tokens.float()).half()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Architecture, "scale", torch.tensor(1.0))
        assert fresh_losses(name, data)[loss] == pytest.approx(log(candidates), rel=0.15)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_family_can_be_trained_alone(name: str) -> None:
    data = shop(architecture=name)
    for family in OBJECTIVES[name].FAMILIES:
        recipe = Recipe(steps=1, batch=8, fused=8, learning_rate=1e-3, objectives=(family,))
        found = fresh_losses(name, data, recipe)
        assert found, family
        assert all(torch.tensor(list(found.values())).isfinite()), family


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_loss_is_nan_in_bf16(name: str) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = fresh_losses(name, shop(architecture=name), SHORT)
    assert all(torch.tensor(list(found.values())).isfinite()), found


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_curve_is_the_committed_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change that is meant to move it: GOODSIGHT_WRITE_GOLDEN=1 writes the file anew."""
    monkeypatch.setattr(models.training, "precision", lambda device: ("32-true", "for the golden curve"))
    torch.manual_seed(3)
    history = pretrain(build(model_config(name, "tiny")), shop(architecture=name), preprocess(), SHORT, tmp_path)
    path = GOLDEN / f"{name}.jsonl"
    if os.environ.get("GOODSIGHT_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in history))
    golden = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(golden) == len(history)
    for row, known in zip(history, golden, strict=True):
        assert row == pytest.approx(known, rel=2e-3)
