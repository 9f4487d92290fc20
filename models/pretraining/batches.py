"""Batches that objectives are made of: rows joined, parts exchanged, words masked, cross-pairs and their retrieval terms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.architectures.base import Architecture, Embeddings
from models.chunks import in_chunks
from models.dataset import MASKS, Batch, ProductData
from models.distributed import first_of_each, gather, share, together
from models.objectives.contrast import Gathered, global_info_nce, same
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


@dataclass
class Pages:
    """Pages of training products: this process's `batch` of B rows, which fit which among all processes' `(R * B, R * B)`."""

    batch: Batch
    positives: Tensor


def draw_pages(data: ProductData, rows: Tensor) -> Pages:
    """The share of this process of the product `rows` of a step."""
    return Pages(data.products(share(rows)), same(data.groups[together(rows)]))


@dataclass
class CrossPairs:
    """Cross-pairs of one source: both sides of B pairs of this process, which fit which among all processes' `(R * B, R * B)`,
    and whether the left side is a whole page, with something to fuse.
    """

    left: Batch
    right: Batch
    positives: Tensor
    whole: bool


def cross_pairs(data: ProductData, drawn: dict[str, Tensor]) -> CrossPairs:
    """The share of this process of the pairs of a step (`sampling.PairSampler.draw`)."""
    own, every = ({name: part(rows) for name, rows in drawn.items()} for part in (share, together))
    whole = "view" in drawn and "query" in drawn
    return CrossPairs(query_side(data, own), data.products(own["product"]), relevant(data, every), whole)


def omni_losses(left: Embeddings, right: Embeddings, positives: Tensor, scale: Tensor, chunk: int = 0) -> Losses:
    """Cross-pair terms x -> y of x in the left's embeddings and y in the right's (papers.md 1.4), symmetrised, over the batch of
    all processes: positives `(R * B, R * B)`.

    A side without an image has no i and no m, one without a text no t and no m; each term averages over the rows that have both.
    """
    losses, rights = {}, _available(right)
    for x, left_rows in _available(left).items():
        for y, right_rows in rights.items():
            found = global_info_nce(left_rows, right_rows, positives, scale, chunk)
            if found is not None:
                losses[f"{x}->{y}"] = found
    return losses


def _available(side: Embeddings) -> dict[str, Gathered]:
    """i, t and m of this process and of all, gathered at once."""
    own = torch.stack([side.image, side.text, side.multimodal], dim=1)
    there = torch.stack([side.has_image, side.has_text, side.has_multimodal], dim=1)
    every, all_there = gather(own), gather(there)
    return {name: Gathered(own[:, at], every[:, at], there[:, at], all_there[:, at]) for at, name in enumerate("itm")}


def omni_update(model: Architecture, pairs: CrossPairs, fused: int, chunk: int = 0) -> Losses:
    """The retrieval terms of cross-pairs of one source (query, view or post -> product): those of i and t over all rows,
    those of m over the first `fused`. With `chunk`, those of i and t that many rows at a time.
    """
    positives, losses, rows = pairs.positives.to(model.device), {}, len(pairs.right[MASKS["text"]])
    fused = min(fused, rows)
    left, right = (side if chunk else model.encode(side) for side in (pairs.left, pairs.right))
    if fused:
        first, second = (model.encode(first_rows(side, fused)) for side in (left, right))
        one, other = _fused_sides(model, first, second, pairs.whole)
        losses = omni_losses(one, other, first_of_each(positives, fused), model.scale)
    if fused < rows:
        one, other = (_unimodal(model, side, chunk) for side in (left, right))
        losses |= omni_losses(one, other, positives, model.scale, chunk)
    return losses


def _unimodal(model: Architecture, side: Batch, chunk: int) -> Embeddings:
    def embed(part: Batch) -> tuple[Tensor, ...]:
        return tuple(vars(model.unimodal(model.encode(part))).values())

    return Embeddings(*in_chunks(embed, side, chunk))


def _fused_sides(model: Architecture, left: Batch, right: Batch, whole: bool) -> tuple[Embeddings, Embeddings]:
    """i, t and m of both sides; a left that is not `whole` is one modality, with nothing to fuse."""
    if not whole:
        return model.unimodal(left), model.embeddings(right)
    if left.keys() != right.keys():
        return model.embeddings(left), model.embeddings(right)
    return model.embeddings(concatenate([left, right])).split(len(right["text_mask"]))  # both in one call


def cross_pair_update(model: Architecture, drawn: dict[str, CrossPairs], turn: str | None, fused: int, chunk: int = 0) -> Losses:
    """Cross-pairs of several sources. The fusion encoder sees `fused` rows of the source `turn`; the others give their terms
    of i and t, a fifth of the cost with frozen towers. Losses are named `<source> <x>-><y>`.
    """
    losses: Losses = {}
    for source, pairs in drawn.items():
        found = omni_update(model, pairs, fused if source == turn else 0, chunk)
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
