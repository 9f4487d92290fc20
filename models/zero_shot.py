"""What a model knows of category names it was never told: categories by name alone, and products of a topic.

ECLIP's zero-shot categorization (papers.md 2.4) and InterBERT's topic-based recommendation with the category as topic.
Legend: B products, K categories, D width.
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


def named(preprocess: Preprocess, categories: list[str]) -> Batch:
    """The words of `categories` as a batch of texts."""
    return preprocess.batch([None] * len(categories), [category_words(name) for name in categories])


@torch.inference_mode()
def topic_embeddings(model: Architecture, preprocess: Preprocess, categories: list[str]) -> tuple[Tensor, Tensor]:
    """t of the categories' words `(K, D)`, to compare with i, and their vectors `(K, 3 * D)`, to search products with."""
    batch = named(preprocess, categories)
    return model.unimodal(model.encode(batch)).text.cpu(), model.embed(batch).cpu()
