"""CommerceMM's pretraining as two forward/backward updates a step (papers.md 1.5).

Update A, a batch of product pages: image-text contrast, matching with hard negatives, masked words.
Update B, a batch of cross-pairs of one source (query, view or post -> product): up to 3 x 3 retrieval terms.
The fusion encoder runs once an update, on one concatenated batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from goodsight.errors import InputError
from models.commercemm import Batch, CommerceMM, Embeddings
from models.config import Recipe
from models.dataset import ProductData
from models.objectives import (
    mask_words,
    masked_cross_entropy,
    same,
    sample_hard_negatives,
    symmetric_info_nce,
)
from models.preprocess import Preprocess
from models.sampling import PairSampler, epoch_rows, generator
from models.training import History, train

Losses = dict[str, Tensor]


def concatenate(batches: list[Batch]) -> Batch:
    """One batch of all rows; texts are padded to the longest."""
    longest = max(batch["text_mask"].shape[1] for batch in batches)

    def padded(tensor: Tensor) -> Tensor:
        missing = longest - tensor.shape[1]
        return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], dim=1) if missing else tensor

    return {
        name: torch.cat([padded(batch[name]) if name.startswith("text") else batch[name] for batch in batches])
        for name in batches[0]
    }


def image_text_update(
    model: CommerceMM, data: ProductData, rows: Tensor, fused: int, preprocess: Preprocess, rng: torch.Generator
) -> Losses:
    """Update A on product `rows`: `itc` over all of them; `itm` and `mlm` over the first `fused`."""
    pages = data.products(rows)
    image, text = model.image_embedding(pages), model.text_embedding(pages)
    groups = data.groups[rows]
    positives = same(groups)
    losses = {"itc": symmetric_info_nce(image, text, positives, model.scale)}

    few = slice(0, fused)
    similarity = model.scale * image[few] @ text[few].T
    hard_text = sample_hard_negatives(similarity, positives[few, few], rng)
    hard_image = sample_hard_negatives(similarity.T, positives[few, few], rng)
    page = {name: value[few] for name, value in pages.items()}
    masked, labels = mask_text(model, page, preprocess, rng)
    mixed = concatenate([page, exchange(page, text=hard_text), exchange(page, image=hard_image), masked])
    image_rows = torch.cat([image[few], image[few], image[few][hard_image], image[few]])
    text_rows = torch.cat([text[few], text[few][hard_text], text[few], model.text_embedding(masked)])
    first = model.first_token(mixed, image_rows, text_rows)
    hidden = model.fuse(mixed, first, words=True)

    size = len(page["text_ids"])
    matched = torch.zeros(3 * size, dtype=torch.long)
    matched[:size] = 1
    usable = torch.cat([torch.ones(size, dtype=torch.bool)] + 2 * [~positives[few, few].all(dim=1)])
    losses["itm"] = masked_cross_entropy(model.match_head(hidden[: 3 * size, 0])[usable], matched[usable])
    words = hidden[3 * size :, 1 : 1 + labels.shape[1]]
    asked = labels >= 0
    losses["mlm"] = masked_cross_entropy(model.word_logits(words[asked]), labels[asked])
    return losses


def exchange(page: Batch, text: Tensor | None = None, image: Tensor | None = None) -> Batch:
    """The same pages with the texts or the images of other rows."""
    rows = {"text": text, "image": image}
    return {
        name: value if rows[name.split("_")[0]] is None else value[rows[name.split("_")[0]]] for name, value in page.items()
    }


def mask_text(model: CommerceMM, page: Batch, preprocess: Preprocess, rng: torch.Generator) -> tuple[Batch, Tensor]:
    """The pages with masked words, sent through the frozen text tower again, and the labels `(B, T)`; images stay whole."""
    ids, mask = page["text_ids"], page["text_mask"]
    special = torch.isin(ids, torch.tensor(preprocess.special_ids)) | ~mask
    vocabulary = model.towers.text.word_embeddings.shape[0]
    masked, labels = mask_words(ids, special, preprocess.mask_id, vocabulary, rng)
    return {**page, "text_ids": masked, "text_tokens": model.towers.text_tokens(masked, mask)}, labels


def omni_losses(left: Embeddings, right: Embeddings, positives: Tensor, scale: Tensor) -> Losses:
    """Cross-pair terms x -> y of x in the left's embeddings and y in the right's (papers.md 1.4), symmetrised.

    A side without an image has no i and no m, one without a text no t and no m; each term averages over the rows that have both.
    """
    losses = {}
    for x, (x_rows, x_there) in _available(left).items():
        for y, (y_rows, y_there) in _available(right).items():
            kept = x_there & y_there
            if bool(kept.any()):
                losses[f"{x}->{y}"] = symmetric_info_nce(x_rows[kept], y_rows[kept], positives[kept][:, kept], scale)
    return losses


def _available(side: Embeddings) -> dict[str, tuple[Tensor, Tensor]]:
    return {
        "i": (side.image, side.has_image),
        "t": (side.text, side.has_text),
        "m": (side.multimodal, side.has_image & side.has_text),
    }


def omni_update(model: CommerceMM, data: ProductData, drawn: dict[str, Tensor]) -> Losses:
    """Update B on cross-pairs of one source: its retrieval terms, both sides fused in one call."""
    left, right = query_side(data, drawn), data.products(drawn["product"])
    if len(drawn) == 2:  # one modality on the left: nothing to fuse there
        sides = model.unimodal(left), model.embeddings(right)
    else:
        sides = model.embeddings(concatenate([left, right])).split(len(drawn["product"]))
    return omni_losses(*sides, relevant(data, drawn), model.scale)


def query_side(data: ProductData, drawn: dict[str, Tensor]) -> Batch:
    if "view" in drawn and "query" in drawn:
        return data.posts(drawn["view"], drawn["query"])
    return data.view_queries(drawn["view"]) if "view" in drawn else data.text_queries(drawn["query"])


def relevant(data: ProductData, drawn: dict[str, Tensor]) -> Tensor:
    """`(B, B)` bool: product m answers query n, by its own pairs or by standing in the leak group of its product."""
    positives = same(data.groups[drawn["product"]])
    count = len(data.product_ids)
    for name, pairs in (("query", data.query_pairs), ("view", data.view_pairs)):
        if name in drawn:
            known = pairs.query * count + pairs.product
            positives = positives | torch.isin(drawn[name][:, None] * count + drawn["product"][None, :], known)
    return positives


def pretrain(
    model: CommerceMM, data: ProductData, preprocess: Preprocess, recipe: Recipe, checkpoints: Path
) -> History:
    """Trains `model` in place on the training split; goes on from the newest whole checkpoint in `checkpoints`.

    Raises `InputError` when no product to learn from has both an image and a text.
    """
    pages = data.whole_pages("train", "catalogue")
    if not len(pages):
        raise InputError("No product to learn from has both an image and a text.", "Add images and titles to products of the split train.")
    pairs = PairSampler(data)

    def updates(step: int) -> Iterator[Losses]:
        rng = generator(recipe.seed, step)
        drawn = pages[epoch_rows(len(pages), min(recipe.batch, len(pages)), step, recipe.seed)]
        yield image_text_update(model, data, drawn, recipe.fused, preprocess, rng)
        if pairs.sources:
            source = pairs.sources[step % len(pairs.sources)]
            yield omni_update(model, data, pairs.draw(source, recipe.batch, step, recipe.seed))

    return train(model, updates, recipe, checkpoints, "pretraining")
