"""Pretraining: one loop, the updates of the model's architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from goodsight.errors import InputError
from models.architectures.base import Architecture
from models.dataset import Images, ProductData
from models.evaluate import own_text
from models.preprocess import Preprocess
from models.pretraining import commercemm, eclip, interbert, scale
from models.recipes import Recipe
from models.training import History, Told, train

OBJECTIVES: dict[str, Any] = {"commercemm": commercemm, "eclip": eclip, "scale": scale, "interbert": interbert}


def pretrain(
    model: Architecture, data: ProductData, preprocess: Preprocess, recipe: Recipe, checkpoints: Path, told: Told | None = None
) -> History:
    """Trains `model` in place on the training split; goes on from the newest whole checkpoint in `checkpoints`.

    Beside the newest checkpoints the one is kept whose images found their own texts best among the validation pages.
    Of several processes every one calls it (`models.training.train`, which also says what `told` gets). Raises `InputError`
    when no product to learn from has both an image and a text, or the recipe names an unknown objective, and `ValueError` when
    the model's towers are to learn from what they said before.
    """
    if model.config.trained_towers and isinstance(data.images, Images):
        raise ValueError("the towers are to learn, but the data are their cached tokens: load them with models.pixels.cache_for")
    objectives = OBJECTIVES[model.config.architecture]
    unknown = set(recipe.objectives) - set(objectives.FAMILIES)
    if unknown:
        raise InputError(f"Objectives {sorted(unknown)} are unknown.", f"Choose from: {', '.join(objectives.FAMILIES)}.")
    pages = data.whole_pages("train", "catalogue")
    if not len(pages):
        raise InputError("No product to learn from has both an image and a text.", "Add images and titles to products of the split train.")
    updates = objectives.updates(model, data, pages, preprocess, recipe)

    def measure() -> float:
        return own_text(model.eval(), data)

    return train(model, updates, recipe, checkpoints, "pretraining", measure, told)
