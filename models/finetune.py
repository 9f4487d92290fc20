"""Fine-tuning of a pretrained model for one task: `categorize` adds a class head, `retrieve` trains the retrieval terms alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from goodsight.errors import InputError
from models.bundle import Bundle
from models.commercemm import Batch, CommerceMM, Embeddings
from models.config import TASKS, Recipe, as_dict
from models.dataset import ProductData
from models.objectives import same, symmetric_info_nce
from models.pretrain import Losses, query_side, relevant
from models.sampling import PairSampler, epoch_rows, generator
from models.training import History, train

ONE_MODALITY = 0.2  # share of rows that lose their image, and share that lose their text


def finetune_task(
    task: str, parent: Bundle, data: ProductData, recipe: Recipe, checkpoints: Path
) -> tuple[Bundle, History]:
    """The bundle of `parent` fine-tuned for `task`, and the loss curve. Raises `InputError` for an unknown task."""
    if task not in TASKS:
        raise InputError(f"Task {task!r} is unknown.", f"Choose one of: {', '.join(TASKS)}.")
    labels = labels_of(data) if task == "categorize" else []
    model = CommerceMM(parent.config, classes=len(labels))
    model.load_state_dict(parent.model.state_dict(), strict=not labels)
    if task == "categorize":
        history = categorize(model, data, labels, recipe, checkpoints)
    else:
        history = retrieve(model, data, recipe, checkpoints)
    provenance = {**parent.provenance, "parent": parent.digest, "recipe": as_dict(recipe)}
    return Bundle(model.eval(), parent.preprocess, task, labels, provenance), history


def labels_of(data: ProductData, splits: tuple[str, ...] = ("train", "catalogue")) -> list[str]:
    """The category paths that training sees, sorted: the classes of `categorize`."""
    return sorted({data.categories[row] for row in data.rows(*splits).tolist()})


def drop_modalities(batch: Batch, rng: torch.Generator) -> Batch:
    """Takes the image or the text from some rows that have both, so that the model also answers from one of them."""
    dice = torch.rand(len(batch["text_mask"]), generator=rng)
    both = batch["image_tokens_mask"].any(dim=1) & batch["text_mask"].any(dim=1)
    no_image, no_text = both & (dice < ONE_MODALITY), both & (dice > 1 - ONE_MODALITY)
    return {
        **batch,
        "image_tokens_mask": batch["image_tokens_mask"] & ~no_image[:, None],
        "text_mask": batch["text_mask"] & ~no_text[:, None],
    }


def categorize(model: CommerceMM, data: ProductData, labels: list[str], recipe: Recipe, checkpoints: Path) -> History:
    """Cross-entropy over the leaf categories (papers.md 1.6). Trains `model` in place."""
    rows = data.rows("train", "catalogue")
    number = {label: index for index, label in enumerate(labels)}
    target = torch.tensor([number[data.categories[row]] for row in rows.tolist()])

    def updates(step: int) -> Iterator[Losses]:
        chosen = epoch_rows(len(rows), min(recipe.batch, len(rows)), step, recipe.seed)
        batch = drop_modalities(data.products(rows[chosen]), generator(recipe.seed, step))
        yield {"category": F.cross_entropy(model.classify(batch).float(), target[chosen], label_smoothing=0.05)}

    return train(model, updates, recipe, checkpoints, "fine-tuning categorize")


def retrieve(model: CommerceMM, data: ProductData, recipe: Recipe, checkpoints: Path) -> History:
    """The contrastive terms that retrieval uses: image <-> text of a page, and query, view or post -> the page's best embedding."""
    rows = data.rows("train", "catalogue")
    pages = rows[data.images.present[rows] & data.texts.mask[rows].any(dim=1)]
    pairs = PairSampler(data)

    def updates(step: int) -> Iterator[Losses]:
        drawn = pages[epoch_rows(len(pages), min(2 * recipe.batch, len(pages)), step, recipe.seed)]
        losses = {"itc": contrast_page(model, data.products(drawn), data.groups[drawn])}
        for source in pairs.sources:
            if source != "post":
                losses[source] = contrast_pairs(model, data, pairs.draw(source, recipe.batch, step, recipe.seed))
        yield losses

    return train(model, updates, recipe, checkpoints, "fine-tuning retrieve")


def contrast_page(model: CommerceMM, batch: Batch, groups: Tensor) -> Tensor:
    page = model.unimodal(batch)
    return symmetric_info_nce(page.image, page.text, same(groups), model.scale)


def contrast_pairs(model: CommerceMM, data: ProductData, drawn: dict[str, Tensor]) -> Tensor:
    """Query or view -> product, on the embeddings that serving compares."""
    left: Embeddings = model.unimodal(query_side(data, drawn))
    right = model.embeddings(data.products(drawn["product"]))
    return symmetric_info_nce(left.best, right.best, relevant(data, drawn), model.scale)
