"""Models train, answer and are measured where their weights lie: nothing of a step stays behind on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from goodsight.errors import InputError
from goodsight.settings import Settings
from models import device as devices
from models.bundle import PRETRAINED, Bundle
from models.config import ARCHITECTURES
from models.evaluate import Evaluation, evaluate
from models.features import FeatureCache
from models.finetune import finetune_task
from models.pretraining import pretrain
from models.towers import native_bf16
from models.training import History
from tests.models.elsewhere import ELSEWHERE, Away, Elsewhere
from tests.models.made import SHORT, preprocess, shop, tiny_model


def whole_job(architecture: str, device: torch.device, folder: Path) -> tuple[list[History], Evaluation, Bundle]:
    """Pretraining, both fine-tunings, what is measured and saved: all on `device`."""
    data = shop(architecture=architecture)
    model = tiny_model(seed=4, architecture=architecture).to(device)
    curves = [pretrain(model, data, preprocess(), SHORT, folder / "pretrain")]
    bundles = []
    for task in ("categorize", "retrieve"):
        bundle, curve = finetune_task(task, Bundle(model, preprocess(), PRETRAINED, digest="d"), data, SHORT, folder / task)
        bundles.append(bundle)
        curves.append(curve)
    return curves, evaluate(bundles[0], bundles[1], data), bundles[1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_whole_training_runs_on_the_models_device_and_comes_to_the_same(architecture: str, tmp_path: Path) -> None:
    curves, figures, _ = whole_job(architecture, torch.device("cpu"), tmp_path / "here")
    with Elsewhere():
        found_curves, found_figures, bundle = whole_job(architecture, ELSEWHERE, tmp_path / "there")
        assert isinstance(bundle.model.log_scale.data, Away)
    rounded = native_bf16(torch.device("cpu"))  # to what the kernels of the processor make of it, on one device alone
    for curve, found in zip(curves, found_curves, strict=True):
        for row, again in zip(curve, found, strict=True):
            assert again == pytest.approx(row, rel=2e-2 if rounded else 1e-3)
    assert found_figures.metrics == pytest.approx(figures.metrics, abs=0.2 if rounded else 0.05)


def test_the_test_itself_notices_what_stays_on_the_cpu() -> None:
    with Elsewhere(), pytest.raises(RuntimeError, match="of the CPU"):
        torch.ones(3).to(ELSEWHERE) + torch.ones(3)


def test_features_are_computed_there_and_kept_here(tmp_path: Path) -> None:
    here = FeatureCache(tmp_path / "here", tiny_model(), preprocess()).texts("words", ["a red sofa", "lamp"])
    with Elsewhere():
        there = FeatureCache(tmp_path / "there", tiny_model().to(ELSEWHERE), preprocess()).texts("words", ["a red sofa", "lamp"])
    assert here.tokens is not None and there.tokens is not None
    assert torch.allclose(here.tokens, there.tokens, atol=1e-3)


def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.device() == torch.device("cpu")
    monkeypatch.setattr(devices, "settings", lambda: Settings(device="cuda"))
    with pytest.raises(InputError, match="finds no GPU"):
        devices.device()


def test_a_gpu_is_taken_where_there_is_one_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.device() == torch.device("cuda")
    monkeypatch.setattr(devices, "settings", lambda: Settings(device="cpu"))
    assert devices.device() == torch.device("cpu")
