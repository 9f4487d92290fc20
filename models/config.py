"""Sizes and recipes: one dial (`size`) sets every width, length and step count of an architecture."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from goodsight.errors import InputError

ARCHITECTURES = ("commercemm",)
TASKS = ("categorize", "retrieve")


@dataclass(frozen=True)
class ModelConfig:
    """Shapes of an architecture. Legend: G image tokens, T text tokens, D width of the fusion encoder and the embeddings."""

    architecture: str
    size: str
    image_tower: str
    text_tower: str
    image_size: int  # pixels, square
    image_grid: int  # the tower's grid is pooled to image_grid ** 2 = G tokens
    text_length: int  # T, longest text in word pieces
    width: int  # D
    heads: int
    layers: int  # N layers in one stack: the first `text_layers` see text only, the others text and image
    text_layers: int
    dropout: float = 0.1


@dataclass(frozen=True)
class Recipe:
    """How long and how fast one training runs. `fused` rows of each batch also carry matching and masked words."""

    steps: int
    batch: int
    fused: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.1  # share of the steps
    seed: int = 17
    checkpoint_every: int = 50  # steps


_SIZES = {
    "tiny": ModelConfig("", "tiny", "tiny", "tiny", 32, 2, 16, 32, 2, 2, 1),
    "small": ModelConfig("", "small", "efficientnet-lite0", "minilm-l6", 160, 3, 32, 384, 6, 2, 0),
}

SIZES = tuple(_SIZES)


def model_config(architecture: str, size: str) -> ModelConfig:
    """The shapes of `architecture` at `size`. Raises `InputError` for a name that does not exist."""
    if architecture not in ARCHITECTURES:
        raise InputError(f"Architecture {architecture!r} is unknown.", f"Choose one of: {', '.join(ARCHITECTURES)}.")
    if size not in SIZES:
        raise InputError(f"Size {size!r} is unknown.", f"Choose one of: {', '.join(SIZES)}.")
    return ModelConfig(**{**asdict(_SIZES[size]), "architecture": architecture})


def as_dict(config: ModelConfig | Recipe) -> dict[str, Any]:
    return asdict(config)
