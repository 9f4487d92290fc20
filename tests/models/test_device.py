"""Models train, answer and are measured where their weights lie: nothing of a step stays behind on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.config import ARCHITECTURES
from models.pretraining import pretrain
from tests.models.elsewhere import ELSEWHERE, Away, Elsewhere
from tests.models.made import SHORT, preprocess, shop, tiny_model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pretraining_stays_on_the_models_device(architecture: str, tmp_path: Path) -> None:
    data = shop(architecture=architecture)
    here = pretrain(tiny_model(architecture=architecture), data, preprocess(), SHORT, tmp_path / "here")
    with Elsewhere():
        model = tiny_model(architecture=architecture)
        model._apply(Away)
        there = pretrain(model, data, preprocess(), SHORT, tmp_path / "there")
    assert there == here
