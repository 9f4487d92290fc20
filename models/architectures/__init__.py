"""The four architectures by name."""

from __future__ import annotations

from models.architectures.base import Architecture
from models.architectures.commercemm import CommerceMM
from models.architectures.eclip import ECLIP
from models.architectures.interbert import InterBERT
from models.architectures.scale import SCALE
from models.config import ModelConfig

CLASSES: dict[str, type[Architecture]] = {"commercemm": CommerceMM, "eclip": ECLIP, "scale": SCALE, "interbert": InterBERT}


def build(config: ModelConfig, classes: int = 0) -> Architecture:
    """The network of `config`, with a class head when there are `classes`; towers hold no published weights yet."""
    return CLASSES[config.architecture](config, classes)
