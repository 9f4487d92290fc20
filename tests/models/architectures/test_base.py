"""The sizes of the papers: each `base` builds, takes one bf16 step with its towers, and has the paper's parameter count."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from models.architectures import build
from models.config import ARCHITECTURES, ModelConfig, model_config
from models.dataset import Batch

B, PIECES, FRAMES, SIDE, GRID = 1, 4, 2, 64, 3  # little of each: a CPU without native bf16 takes a minute for some dozens of tokens


def small_pictures(name: str) -> ModelConfig:
    """`base` for pictures of few pixels: the same weights, but for the positions of the image tokens."""
    return replace(model_config(name, "base"), image_size=SIDE, image_grid=GRID)


def synthetic(config: ModelConfig) -> Batch:
    """Raw tensors of a product with all that the architecture reads."""
    rng = torch.Generator().manual_seed(0)
    pieces = torch.randint(1000, 20000, (B, PIECES), generator=rng)
    batch = {
        "image": torch.randn(B, 1, 3, SIDE, SIDE, generator=rng),
        "image_mask": torch.ones(B, 1, dtype=torch.bool),
        "text_ids": pieces,
        "text_mask": torch.ones_like(pieces, dtype=torch.bool),
    }
    if "table" in config.modalities:
        table = torch.randint(1000, 20000, (B, PIECES), generator=rng)
        batch |= {"table_ids": table, "table_mask": torch.ones_like(table, dtype=torch.bool)}
        batch["video"] = torch.randn(B, FRAMES, 3, SIDE, SIDE, generator=rng)
        batch["video_mask"] = torch.ones(B, FRAMES, dtype=torch.bool)
        batch["audio_tokens"] = torch.randn(B, PIECES, config.mels, generator=rng)
        batch["audio_mask"] = torch.ones(B, PIECES, dtype=torch.bool)
    return batch


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_base_model_takes_a_step_in_bf16_through_its_towers(name: str) -> None:
    torch.manual_seed(0)
    config = small_pictures(name)
    model = build(config, classes=7)
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=1e-3)
    batch, before = synthetic(config), {key: value.clone() for key, value in _tower_weights(model).items()}
    with torch.autocast("cpu", torch.bfloat16):
        tokens = model.encode(batch)
        loss = nn.functional.cross_entropy(model.classify(tokens).float(), torch.tensor([5])) + model.embed(tokens).float().sum()
    assert loss.isfinite()
    loss.backward()
    optimizer.step()
    assert all(value.isfinite().all() for value in model.parameters())
    for key, value in _tower_weights(model).items():
        assert not torch.equal(value, before[key]), key


def _tower_weights(model: nn.Module) -> dict[str, Tensor]:
    """The first weight of each tower that learns."""
    return {
        "image": next(value for value in model.towers.image.parameters() if value.requires_grad),  # type: ignore[union-attr]
        "text": model.towers.text.layers[0].attention.self.query.weight,  # type: ignore[union-attr,index]
    }


HEADS = ("word_head", "word_bias", "feature_heads", "log_scale")


def parameters(name: str, variant: str, without: tuple[str, ...]) -> int:
    with torch.device("meta"):
        model = build(replace(model_config(name, "base"), variant=variant))
    return sum(value.numel() for key, value in model.named_parameters() if not key.startswith(("towers.image", *without)))


@pytest.mark.parametrize(
    "name, variant, without, millions",
    [("scale", "shared", HEADS, 156), ("interbert", "", (), 157)],  # as papers.md computes them: the encoders; the whole model
)
def test_the_papers_parameter_counts(name: str, variant: str, without: tuple[str, ...], millions: int) -> None:
    assert parameters(name, variant, without) / 1e6 == pytest.approx(millions, rel=0.03)
