"""Categorization without a class head: a product belongs to the category whose name its vectors are nearest to.

ECLIP's evaluation (papers.md 2.4). Legend: B products, K categories, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.architectures.base import Architecture
from models.dataset import Batch
from models.preprocess import Preprocess


def category_words(path: str) -> str:
    """A category path as a text: its names from the leaf up, each once."""
    return ", ".join(dict.fromkeys(reversed(path.split(" > ")))).lower()


@torch.inference_mode()
def name_embeddings(model: Architecture, preprocess: Preprocess, categories: list[str]) -> Tensor:
    """t of the categories' names, `(K, D)`."""
    return model.unimodal(model.encode(preprocess.batch([None] * len(categories), [category_words(name) for name in categories]))).text


@torch.inference_mode()
def zero_shot(model: Architecture, batch: Batch, names: Tensor) -> Tensor:
    """`(B,)` category numbers by the product's image alone: i against the names `(K, D)`."""
    return (model.unimodal(model.encode(batch)).image @ names.T).argmax(dim=1)
