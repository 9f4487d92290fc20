"""What every architecture keeps: any subset of modalities, the same answer alone as among others, and weights that all learn."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.architectures import build
from models.architectures.base import presence
from models.config import ARCHITECTURES, EFFORTS, MODALITIES, as_dict, config_of, model_config
from models.dataset import MASKS, ProductData
from models.pretraining import OBJECTIVES, pretrain
from models.pretraining.batches import cross_pairs, omni_update
from models.recipes import Recipe
from models.sampling import PairSampler
from tests.models.made import PRODUCTS, SHORT, close, preprocess, shop, tiny_model, without


@pytest.fixture(scope="module", params=ARCHITECTURES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> Any:
    return tiny_model(classes=4, architecture=name)


@pytest.fixture(scope="module")
def data(name: str) -> ProductData:
    """Product 3 has no image, product 6 no text."""
    return shop(no_image=(3,), no_text=(6,), architecture=name)


def rows(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


def subsets(model: Any) -> list[tuple[str, ...]]:
    """Every set of modalities to take away, all of them last."""
    names = model.config.modalities
    return [some for size in range(len(names) + 1) for some in combinations(names, size)]


def test_any_subset_of_modalities_answers(model: Any, data: ProductData) -> None:
    batch = data.products(rows(1, 4, 5))
    for missing in subsets(model):
        less = without(batch, *missing)
        vectors, logits = model.embed(less), model.classify(less)
        assert vectors.isfinite().all(), missing
        assert logits.isfinite().all(), missing
        (vectors.sum() + logits.sum()).backward()
        gradients = [value.grad for value in model.parameters() if value.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients), missing
        model.zero_grad()


@torch.inference_mode()
def test_vectors_are_of_one_length(model: Any, data: ProductData) -> None:
    width = 3 * model.config.width
    for batch in (data.products(torch.arange(PRODUCTS)), data.text_queries(rows(0, 1)), data.view_queries(rows(0, 1))):
        vectors = model.embed(batch)
        assert vectors.shape == (len(batch["text_mask"]), width)
        assert close(vectors.norm(dim=1), torch.ones(len(vectors)))


@torch.inference_mode()
def test_a_row_answers_alone_as_among_others(model: Any, data: ProductData) -> None:
    together = data.products(torch.arange(PRODUCTS))
    for face in (model.embed, model.classify):
        alone = torch.cat([face(data.products(rows(row))) for row in range(PRODUCTS)])
        assert close(face(together), alone, within=1e-4)


@torch.inference_mode()
def test_padding_changes_nothing(model: Any, data: ProductData) -> None:
    batch = data.products(rows(0, 2, 3))
    longer = {name: _longer(value) if name.startswith("text_") else value for name, value in batch.items()}
    for face in (model.embed, model.classify):
        assert close(face(batch), face(longer), within=1e-4)


def _longer(value: Tensor) -> Tensor:
    return F.pad(value, (0, 0) * (value.ndim - 2) + (0, 3))


@torch.inference_mode()
def test_no_trace_of_what_is_masked(model: Any, data: ProductData) -> None:
    """What lies under the mask of a missing modality is never read."""
    batch = data.products(rows(1, 4, 5))
    for missing in model.config.modalities:
        less = without(batch, missing)
        hidden = [name for name in less if name.startswith(f"{missing}_") and name not in MASKS.values()]
        other = {**less, **{name: _other(less[name]) for name in hidden}}
        assert close(model.embed(less), model.embed(other)), missing
        assert close(model.classify(less), model.classify(other)), missing


def _other(value: Tensor) -> Tensor:
    return torch.randn_like(value) if value.is_floating_point() else value.flip(0)


@torch.inference_mode()
def test_every_modality_counts(model: Any, data: ProductData) -> None:
    batch = data.products(rows(1, 4, 5))
    for missing in model.config.modalities:
        there = presence(batch, missing)
        moved = (model.embed(batch) - model.embed(without(batch, missing))).abs().amax(dim=1)
        assert (moved[there] > 1e-4).all(), missing


@torch.inference_mode()
def test_raw_tensors_of_serving(model: Any) -> None:
    from PIL import Image

    raw = preprocess().batch([Image.new("RGB", (50, 40), "red"), None, Image.new("RGB", (9, 9), "blue")], ["red sofa", "blue chair", None])
    vectors, logits = model.embed(raw), model.classify(raw)
    assert vectors.shape == (3, 3 * 32)
    assert logits.shape == (3, 4)
    assert vectors.isfinite().all()


def test_gradients_reach_every_weight_that_should_learn(name: str) -> None:
    torch.manual_seed(5)
    model, data = tiny_model(seed=6, classes=4, architecture=name), shop(architecture=name)
    recipe = Recipe(steps=1, batch=8, fused=8, learning_rate=1e-3)
    objectives = OBJECTIVES[name]
    update = objectives.updates(model, data, data.whole_pages("train", "catalogue"), preprocess(), recipe)
    losses: list[Tensor] = [loss for step in range(6) for part in update(step) for loss in part().values()]
    pairs = PairSampler(data)
    crossed = [cross_pairs(data, pairs.draw(source, 8, 0, 1)) for source in pairs.sources]
    losses += [loss for each in crossed for loss in omni_update(model, each, fused=8).values()]
    page = data.products(rows(0, 1, 2, 3))
    losses += [F.cross_entropy(model.classify(batch), rows(0, 1, 2, 3)) for batch in (page, without(page, "text"))]
    torch.stack([loss.float() for loss in losses]).sum().backward()
    for weight, value in model.named_parameters():
        if value.requires_grad:
            assert value.grad is not None, weight
            # a constant added to all scores of a softmax changes nothing
            assert value.grad.any() or weight in CONSTANT or weight.endswith(CONSTANT_ENDS), weight
        else:
            assert value.grad is None, weight


CONSTANT = ("text_pool.bias",)
CONSTANT_ENDS = ("self.key.bias",)


def test_pretraining_lowers_every_loss(name: str, tmp_path: Any) -> None:
    torch.manual_seed(1)
    model, data = build(model_config(name, "tiny")), shop(architecture=name)
    recipe = Recipe(steps=60, batch=16, fused=16, learning_rate=3e-3)
    history = pretrain(model, data, preprocess(), recipe, tmp_path)
    known = {key for row in history for key in row} - {"step", "loss"}
    for key in known & {"itc", "inter", "intra", "simcl", "mrm", "mim_fr"}:
        curve = [row[key] for row in history if key in row]
        assert sum(curve[-10:]) < sum(curve[:10]), key
    assert all(torch.tensor(list(row.values())).isfinite().all() for row in history)


def test_the_same_seed_gives_the_same_curve(name: str, tmp_path: Any) -> None:
    def curve(folder: str) -> list[dict[str, float]]:
        model = tiny_model(seed=2, architecture=name)
        return pretrain(model, shop(architecture=name), preprocess(), SHORT, tmp_path / folder)

    assert curve("one") == curve("other")


def test_a_configuration_comes_back(name: str) -> None:
    for size in ("tiny", "small", "base"):
        config = model_config(name, size)
        assert config_of(as_dict(config)) == config
        assert set(config.modalities) <= set(MODALITIES)


@torch.inference_mode()
def test_every_effort_answers_and_says_which_was_in_force(model: Any, data: ProductData) -> None:
    batch, usual = data.products(rows(1, 3, 6)), model.embed(data.products(rows(1, 3, 6)))
    for effort in EFFORTS:
        with model.at_effort(effort) as done:
            vectors, logits = model.embed(batch), model.classify(batch)
        assert done == (effort if effort in model.efforts else "high")
        assert vectors.isfinite().all() and logits.isfinite().all()
        assert close(vectors, usual) == (done == "high")
    assert close(model.embed(batch), usual)
