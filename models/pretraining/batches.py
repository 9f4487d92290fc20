"""Batches that objectives are made of: rows joined, parts exchanged, words masked, cross-pairs and their retrieval terms."""

from __future__ import annotations

import torch
from torch import Tensor

from models.architectures.base import Architecture, Embeddings
from models.dataset import Batch, ProductData
from models.objectives.contrast import same, symmetric_info_nce
from models.objectives.masking import mask_words
from models.preprocess import Preprocess

Losses = dict[str, Tensor]


def first_rows(batch: Batch, count: int) -> Batch:
    return {name: value[:count] for name, value in batch.items()}


def concatenate(batches: list[Batch]) -> Batch:
    """One batch of all rows; texts and tables are padded to the longest."""

    def joined(name: str) -> Tensor:
        parts = [batch[name] for batch in batches]
        longest = max(part.shape[1] for part in parts)
        return torch.cat([_padded(part, longest) for part in parts])

    return {name: joined(name) for name in batches[0]}


def _padded(tensor: Tensor, longest: int) -> Tensor:
    missing = longest - tensor.shape[1]
    return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], dim=1) if missing else tensor


def exchange(page: Batch, modality: str, rows: Tensor) -> Batch:
    """The same pages with one modality (`text`, `image`) of other rows."""
    return {name: value[rows] if name.startswith(f"{modality}_") else value for name, value in page.items()}


def special_tokens(preprocess: Preprocess, ids: Tensor, mask: Tensor) -> Tensor:
    """`(B, T)` bool: positions that no objective masks."""
    return torch.isin(ids, torch.tensor(preprocess.special_ids).to(ids.device)) | ~mask


def mask_text(model: Architecture, page: Batch, preprocess: Preprocess, rng: torch.Generator) -> tuple[Batch, Tensor]:
    """The pages with masked words, sent through the text tower again, and the labels `(B, T)`; images stay whole."""
    ids, mask = page["text_ids"], page["text_mask"]
    masked, labels = mask_words(
        ids, special_tokens(preprocess, ids, mask), preprocess.mask_id, model.towers.text.vocabulary, rng
    )
    return reread(model, page, "text", masked), labels


def reread(model: Architecture, page: Batch, modality: str, ids: Tensor) -> Batch:
    """The page with other word pieces in `text` or `table`, and their tower tokens."""
    without = {name: value for name, value in page.items() if name != f"{modality}_tokens"}
    return model.encode({**without, f"{modality}_ids": ids})


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
        "m": (side.multimodal, side.has_multimodal),
    }


def omni_update(model: Architecture, data: ProductData, drawn: dict[str, Tensor], fused: int) -> Losses:
    """The retrieval terms of cross-pairs of one source (query, view or post -> product): those of i and t over all rows,
    those of m over the first `fused`.
    """
    left, right = model.encode(query_side(data, drawn)), model.encode(data.products(drawn["product"]))
    positives, losses = relevant(data, drawn).to(model.device), {}
    if fused:
        sides = _fused_sides(model, first_rows(left, fused), first_rows(right, fused), whole="view" in drawn and "query" in drawn)
        losses = omni_losses(*sides, positives[:fused, :fused], model.scale)
    if fused < len(positives):
        losses |= omni_losses(model.unimodal(left), model.unimodal(right), positives, model.scale)
    return losses


def _fused_sides(model: Architecture, left: Batch, right: Batch, whole: bool) -> tuple[Embeddings, Embeddings]:
    """i, t and m of both sides; a left that is not `whole` is one modality, with nothing to fuse."""
    if not whole:
        return model.unimodal(left), model.embeddings(right)
    if left.keys() != right.keys():
        return model.embeddings(left), model.embeddings(right)
    return model.embeddings(concatenate([left, right])).split(len(right["text_mask"]))  # both in one call


def cross_pair_update(model: Architecture, data: ProductData, drawn: dict[str, dict[str, Tensor]], turn: str | None, fused: int) -> Losses:
    """Cross-pairs of several sources. The fusion encoder sees `fused` rows of the source `turn`; the others give their terms
    of i and t, a fifth of the cost with frozen towers. Losses are named `<source> <x>-><y>`.
    """
    losses: Losses = {}
    for source, rows in drawn.items():
        found = omni_update(model, data, rows, fused if source == turn else 0)
        losses |= {f"{source} {term}": loss for term, loss in found.items()}
    return losses


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
