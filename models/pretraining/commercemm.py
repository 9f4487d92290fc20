"""CommerceMM's 14 objectives in two forward/backward updates a step (papers.md 1.5).

Update A, a batch of product pages: image-text contrast (itc), matching with hard negatives (itm), masked words (mlm),
masked image tokens by class posteriors (mim_kl) and by features (mim_fr).
Update B, a batch of cross-pairs of one source (query, view or post -> product): up to 3 x 3 retrieval terms.
The stack runs once an update, on one concatenated batch; its text-only depth K is drawn once a step.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from models.architectures.commercemm import CommerceMM
from models.chunks import in_chunks
from models.dataset import Batch, ProductData
from models.distributed import own, own_generator, rank, world
from models.draws import generator
from models.objectives.contrast import sample_hard_negatives, symmetric_info_nce
from models.objectives.masking import mask_positions
from models.objectives.reconstruction import feature_regression, masked_cross_entropy, posterior_divergence
from models.preprocess import Preprocess
from models.pretraining.batches import (
    CrossPairs,
    Losses,
    Pages,
    concatenate,
    cross_pair_update,
    cross_pairs,
    draw_pages,
    exchange,
    first_rows,
    mask_text,
)
from models.recipes import Recipe
from models.sampling import PairSampler, epoch_rows, whole_share
from models.training import Update, Updates

FAMILIES = ("itc", "itm", "mlm", "mim", "omni")


def image_text_update(model: CommerceMM, drawn: Pages, recipe: Recipe, preprocess: Preprocess, rng: torch.Generator) -> Losses:
    """Update A: `itc` over all pages; the tasks of the stack over the first `recipe.fused` (of all processes together)."""
    wanted = recipe.objectives or FAMILIES

    def embed(part: Batch) -> tuple[Tensor, ...]:
        tokens = model.encode(part)
        return model.image_embedding(tokens), model.text_embedding(tokens)

    pages = drawn.batch if recipe.chunk else model.encode(drawn.batch)
    image, text = in_chunks(embed, pages, recipe.chunk)
    everyone = drawn.positives.to(model.device)
    losses = {"itc": symmetric_info_nce(image, text, everyone, model.scale, recipe.chunk)}
    few, positives = slice(0, recipe.fused // world()), own(everyone)
    page = model.encode(first_rows(pages, recipe.fused // world()))
    parts: dict[str, Batch] = {}
    if "itm" in wanted:
        similarity = model.scale * image[few] @ text[few].T
        hard_text = sample_hard_negatives(similarity, positives[few, few], rng)
        hard_image = sample_hard_negatives(similarity.T, positives[few, few], rng)
        parts |= {"page": page, "text": exchange(page, "text", hard_text), "image": exchange(page, "image", hard_image)}
    if "mlm" in wanted:
        parts["mlm"], labels = mask_text(model, page, preprocess, rng)
    if "mim" in wanted:
        asked = mask_positions(page["image_tokens_mask"], rng)
        parts["mim"] = {**page, "image_tokens": page["image_tokens"].masked_fill(asked[..., None], 0.0)}
    if not parts:
        return losses
    mixed = concatenate(list(parts.values()))
    first = model.first_token(mixed, model.image_embedding(mixed), model.text_embedding(mixed))
    masked = [name for name in ("mlm", "mim") if name in parts]  # the last parts, of which every position is asked
    fused = len(page["text_mask"])
    state, states = model.fuse(mixed, first, whole=fused * len(masked))
    answers = dict(zip(masked, states.split(fused), strict=True)) if masked else {}
    T = mixed["text_mask"].shape[1]
    if "itm" in wanted:
        losses["itm"] = _matching(model, state[: 3 * fused], ~positives[few, few].all(dim=1))
    if "mlm" in wanted:
        words = answers["mlm"][:, 1 : 1 + labels.shape[1]][labels >= 0]
        losses["mlm"] = masked_cross_entropy(model.word_logits(words), labels[labels >= 0])
    if "mim" in wanted:
        hidden, targets = answers["mim"][:, 1 + T :][asked], page["image_tokens"][asked]
        losses["mim_kl"] = posterior_divergence(model.region_head(hidden), model.towers.image_posteriors(targets))
        losses["mim_fr"] = feature_regression(model.feature_head(hidden), targets)
    return losses


def _matching(model: CommerceMM, first: Tensor, has_negative: Tensor) -> Tensor:
    """Two-way cross-entropy on the first token `(3 * B, D)` of the pages, the pages with another's text, those with another's image."""
    matched = torch.zeros(len(first), dtype=torch.long, device=first.device)
    matched[: len(has_negative)] = 1
    usable = torch.cat([torch.ones_like(has_negative), has_negative, has_negative])
    return masked_cross_entropy(model.match_head(first)[usable], matched[usable])


def updates(model: CommerceMM, data: ProductData, pages: Tensor, preprocess: Preprocess, recipe: Recipe) -> Updates:
    """The updates of each step over the training products `pages`."""
    pairs = PairSampler(data)
    omni = "omni" in (recipe.objectives or FAMILIES) and bool(pairs.sources)
    size = max(world(), recipe.batch // 2)  # a pair has two sides: no more pictures of a source than update A has pages
    # towers that learn see every source's pixels: then one source a step, as expensive as it is
    sources = pairs.sources if not model.config.trained_towers else ()

    def step_updates(step: int) -> list[Update]:
        rng = generator(recipe.seed, step)
        depth = int(torch.randint(len(model.layers), (), generator=rng))
        if rank():  # the depth is the same for all
            rng = own_generator(recipe.seed, step)
        rows = pages[epoch_rows(len(pages), whole_share(recipe.batch, len(pages)), step, recipe.seed)]

        def image_text(drawn: Pages) -> Losses:
            with model.split_at(depth):
                return image_text_update(model, drawn, recipe, preprocess, rng)

        found = [Update(lambda: draw_pages(data, rows), image_text, lambda: data.names(rows))]
        if not omni:
            return found
        turn = pairs.sources[step % len(pairs.sources)]
        wanted = {source: pairs.draw(source, size, step, recipe.seed) for source in sources or (turn,)}

        def retrieval(drawn: dict[str, CrossPairs]) -> Losses:
            with model.split_at(depth):
                return cross_pair_update(model, drawn, turn, recipe.fused // world(), recipe.chunk)

        products = torch.cat([each["product"] for each in wanted.values()])
        draw = partial(_all_pairs, data, wanted)
        return [*found, Update(draw, retrieval, lambda: data.names(products))]

    return step_updates


def _all_pairs(data: ProductData, wanted: dict[str, dict[str, Tensor]]) -> dict[str, CrossPairs]:
    return {source: cross_pairs(data, drawn) for source, drawn in wanted.items()}
