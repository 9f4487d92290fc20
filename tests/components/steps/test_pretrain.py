"""A model whose towers learn goes the whole way: pretrained from pixels, fine-tuned and measured on what its own towers then say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification

import models.config
from catalogue.media import decode_image
from catalogue.snapshot import Snapshot
from components.steps.evaluate import evaluate
from components.steps.finetune import finetune
from components.steps.index import embedded
from components.steps.pretrain import pretrain
from goodsight.files import read_json
from goodsight.settings import settings
from models.bundle import Bundle
from models.config import TASKS
from models.training import read_history
from tests.components.learnable import learnable


@pytest.fixture
def learning_towers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tiny` as `base` is: its towers learn, and that of images is a ResNet."""
    torch.manual_seed(0)
    shape = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=8)
    ResNetForImageClassification(shape).save_pretrained(tmp_path / "resnet")
    sizes = models.config._SIZES["commercemm"]
    monkeypatch.setitem(sizes, "tiny", replace(sizes["tiny"], trained_towers=True, image_tower=str(tmp_path / "resnet")))


@pytest.mark.usefixtures("learning_towers")
def test_from_pixels_to_an_evaluation(tmp_path: Path) -> None:
    snapshot, table = learnable(tmp_path)
    curve = tmp_path / "curve"
    pretrain(snapshot, table, "commercemm", "tiny", 17, tmp_path / "pretrained", curve)
    history = read_history(curve)
    assert np.mean([row["itc"] for row in history[-5:]]) < np.mean([row["itc"] for row in history[:5]])
    assert list((settings().root / "features").glob("main-*.npy"))
    for task in TASKS:
        finetune(task, tmp_path / "pretrained", snapshot, table, 17, tmp_path / task, tmp_path / f"{task}-curve")
    before, *tuned = (Bundle.load(tmp_path / name) for name in ("pretrained", *TASKS))
    assert all(bundle.config.trained_towers for bundle in tuned)
    for bundle in tuned:
        assert bundle.model.towers.image_digest == before.model.towers.image_digest
        assert bundle.model.towers.text_digest == before.model.towers.text_digest
    bundles = [tmp_path / task for task in TASKS]
    found, _ = evaluate(bundles, snapshot, table, {}, tmp_path / "candidate", tmp_path / "evaluation", tmp_path / "plots")
    assert found == read_json(tmp_path / "evaluation" / "metrics.json")["metrics"]
    assert 0 < found["leaf_accuracy"] <= 1

    row = next(row for row in Snapshot.open(snapshot).products().to_pylist() if row["images"])
    retrieve = tuned[TASKS.index("retrieve")]
    vectors, _ = embedded(retrieve, snapshot, table, [row["id"]])
    page = retrieve.preprocess.product_text(row["title"], row["description"])
    with torch.inference_mode():
        asked = retrieve.model.embed(retrieve.preprocess.batch([decode_image(row["images"][0])], [page])).numpy()
    assert np.allclose(vectors, asked, atol=5e-3)  # what is kept is float16
