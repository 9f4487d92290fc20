"""Architectures and sizes: two dials (`architecture`, `size`) set every width and length (and every step count, see `models.recipes`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from goodsight.errors import InputError

TASKS = ("categorize", "retrieve")
MODALITIES = ("text", "image", "table", "video", "audio")
WORDLESS = "bert-base-chinese"  # a text tower without a tokenizer
Effort = Literal["low", "medium", "high"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)  # from the least to the most work for an answer


@dataclass(frozen=True)
class ModelConfig:
    """Shapes of an architecture. Legend: G image tokens, T text tokens, D width, H heads.

    `layers` is the encoder that sees all modalities: CommerceMM's one stack (its first `text_layers` see text only),
    ECLIP's instance decoder, SCALE's joint co-transformer, InterBERT's interaction module. `modality_layers` are those
    of one modality: before the joint ones in SCALE, after them in InterBERT.
    """

    architecture: str
    size: str
    image_tower: str
    text_tower: str
    image_size: int  # pixels, square
    image_grid: int  # the tower's grid is pooled to image_grid ** 2 = G tokens
    text_length: int  # T, longest text in word pieces
    width: int  # D
    heads: int
    layers: int
    text_layers: int = 0
    modality_layers: int = 0
    modalities: tuple[str, ...] = ("text", "image")
    table_length: int = 48  # longest table in word pieces
    frames: int = 6  # of a video
    audio_tokens: int = 40  # of a sound, each the mean of some frames
    mels: int = 40  # of an audio token
    queries: int = 8  # ECLIP's instance queries: the first is the product's, the others are background
    tower_layers: int = 0  # of the text tower; 0: all that it has
    variant: str = ""  # a named reading of the paper, see the architecture
    dropout: float = 0.1
    trained_towers: bool = False  # `base`: in pretraining the towers learn too, from pixels


_TINY = ModelConfig("", "tiny", "tiny", "tiny", 32, 2, 16, 32, 2, 2, table_length=16, frames=3, audio_tokens=8, mels=8, queries=4)
_SMALL = ModelConfig("", "small", "efficientnet-lite0", "minilm-l6", 224, 3, 32, 384, 6, 2)
_BASE = ModelConfig("", "base", "resnet-50", "bert-base", 224, 7, 80, 768, 12, 6, frames=12, audio_tokens=80, mels=80, trained_towers=True)

_SIZES = {
    "commercemm": {
        "tiny": replace(_TINY, layers=3),
        "small": replace(_SMALL, layers=2),
        "base": replace(_BASE, layers=6, tower_layers=6),
    },
    "eclip": {
        "tiny": replace(_TINY, image_grid=4),
        "small": replace(_SMALL, image_grid=5),
        "base": replace(_BASE, image_tower="vit-b16", image_grid=14, text_length=48),
    },
    "scale": {
        "tiny": replace(_TINY, modality_layers=1, modalities=MODALITIES),
        "small": replace(_SMALL, modality_layers=1, modalities=MODALITIES),
        "base": replace(
            _BASE,
            text_tower=WORDLESS,
            image_grid=6,
            text_length=36,
            table_length=64,
            modality_layers=6,
            tower_layers=6,
            modalities=MODALITIES,
        ),
    },
    "interbert": {
        "tiny": replace(_TINY, image_grid=4, layers=1, modality_layers=1),
        "small": replace(_SMALL, image_grid=5, layers=3, modality_layers=3, heads=12),
        "base": replace(_BASE, image_grid=5, text_length=36, modality_layers=6),
    },
}

ARCHITECTURES = tuple(_SIZES)
SIZES = tuple(_SIZES["commercemm"])


def model_config(architecture: str, size: str) -> ModelConfig:
    """The shapes of `architecture` at `size`. Raises `InputError` for a name that does not exist."""
    if architecture not in ARCHITECTURES:
        raise InputError(f"Architecture {architecture!r} is unknown.", f"Choose one of: {', '.join(ARCHITECTURES)}.")
    if size not in SIZES:
        raise InputError(f"Size {size!r} is unknown.", f"Choose one of: {', '.join(SIZES)}.")
    return replace(_SIZES[architecture][size], architecture=architecture)


def check_trainable(config: ModelConfig) -> None:
    """Raises `InputError` for a text tower that has no tokenizer: the shape of SCALE's paper, which nothing can be read with."""
    if config.text_tower == WORDLESS:
        raise InputError(
            f"Size {config.size!r} of {config.architecture} has the text tower {WORDLESS}, a shape without words.",
            "Choose the size small, or another architecture.",
        )


def config_of(fields: dict[str, Any]) -> ModelConfig:
    """The configuration that `as_dict` wrote."""
    return ModelConfig(**{**fields, "modalities": tuple(fields["modalities"])})


def as_dict(config: ModelConfig) -> dict[str, Any]:
    return asdict(config)
