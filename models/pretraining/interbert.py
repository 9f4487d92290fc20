"""InterBERT's three objectives in one update: masked segments, masked regions without leaks, matching (papers.md 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from models.architectures.interbert import InterBERT
from models.dataset import Batch, ProductData
from models.distributed import own_generator, share
from models.objectives.masking import IGNORED, mask_one_span, mask_segments
from models.objectives.reconstruction import masked_cross_entropy, posterior_divergence
from models.objectives.regions import mask_regions
from models.preprocess import Preprocess
from models.pretraining.batches import Losses, special_tokens
from models.recipes import Recipe
from models.sampling import epoch_rows, whole_share
from models.training import Update, Updates

FAMILIES = ("msm", "mrm", "itm")
MATCHED = 0.5  # of the pages
HARD_SHARE = 0.2  # of the mismatched texts
HARD_POOL, HARD_LIMIT = 30, 0.5  # the most similar texts, of those less similar than the limit


class Mismatches:
    """Texts of other products: a fifth hard ones, near in TF-IDF yet not the same; the others at random."""

    def __init__(self, data: ProductData, pages: Tensor) -> None:
        self.pages, self.groups = pages, data.groups
        self.words = TfidfVectorizer().fit_transform([data.titles[row] for row in pages.tolist()])
        self.place = {row: place for place, row in enumerate(pages.tolist())}

    def draw(self, rows: Tensor, rng: torch.Generator) -> Tensor:
        """`(B,)` product rows, one for each of `rows`; a row may get one of its own group when nothing else is drawn."""
        others = self.pages[torch.randint(len(self.pages), (len(rows), 4), generator=rng)]
        foreign = self.groups[others] != self.groups[rows][:, None]
        drawn = others[torch.arange(len(rows)), foreign.int().argmax(dim=1)]
        hard = (torch.rand(len(rows), generator=rng) < HARD_SHARE).nonzero().flatten()
        for place in hard.tolist():
            near = self._near(int(rows[place]))
            if len(near):
                drawn[place] = self.pages[int(near[int(torch.randint(len(near), (), generator=rng))])]
        return drawn

    def _near(self, row: int) -> np.ndarray:
        alike = np.asarray((self.words[self.place[row]] @ self.words.T).todense()).ravel()
        alike[(alike >= HARD_LIMIT) | (self.groups[self.pages] == self.groups[row]).numpy()] = -1.0
        order = np.argsort(-alike, kind="stable")[:HARD_POOL]
        return order[alike[order] > 0]


@dataclass
class Mixed:
    """Product rows `(B,)`, those whose texts they carry, and whether that is a text of theirs."""

    rows: Tensor
    texts: Tensor
    matched: Tensor


def mix(data: ProductData, rows: Tensor, mismatches: Mismatches, rng: torch.Generator) -> Mixed:
    """Half of the pages carry another product's text."""
    matched = torch.rand(len(rows), generator=rng) < MATCHED
    texts = torch.where(matched, rows, mismatches.draw(rows, rng))
    return Mixed(rows, texts, matched | (data.groups[texts] == data.groups[rows]))


def interbert_update(
    model: InterBERT, page: Batch, matched: Tensor, recipe: Recipe, preprocess: Preprocess, rng: torch.Generator
) -> Losses:
    """One pass over pages some of which carry another product's text (not `matched` `(B,)`), words and regions masked together."""
    wanted = recipe.objectives or FAMILIES
    page, matched = model.encode(page), matched.to(model.device)
    ids, mask = page["text_ids"], page["text_mask"]
    mask_words = mask_one_span if "span" in model.config.variant else mask_segments
    special = special_tokens(preprocess, ids, mask)
    masked, labels = mask_words(ids, special, preprocess.mask_id, model.towers.text.vocabulary, rng)
    regions, there = model.regions(page)
    asked = mask_regions(model.boxes[1:], there, rng)
    seen = regions.masked_fill(asked[..., None], 0.0)
    image, text = model.streams(seen, there, masked if "msm" in wanted else ids, mask)
    losses: Losses = {}
    if "msm" in wanted:
        labels = labels.masked_fill(~matched[:, None], IGNORED)  # a wrong picture gives noise (papers.md 4.6)
        losses["msm"] = masked_cross_entropy(model.word_logits(text[labels >= 0]), labels[labels >= 0])
    if "mrm" in wanted:
        counted = asked & matched[:, None]
        targets = model.towers.image_posteriors(regions[counted])
        losses["mrm"] = posterior_divergence(model.region_head(image[:, 1:][counted]), targets)
    if "itm" in wanted:
        losses["itm"] = masked_cross_entropy(model.match_logits(image, text), matched.long())
    return losses


def updates(model: InterBERT, data: ProductData, pages: Tensor, preprocess: Preprocess, recipe: Recipe) -> Updates:
    """One update a step over the training products `pages`."""
    mismatches = Mismatches(data, pages)
    size = whole_share(recipe.fused, len(pages))

    def step_updates(step: int) -> list[Update]:
        drawn = pages[epoch_rows(len(pages), size, step, recipe.seed)]
        rng = own_generator(recipe.seed, step)
        mixed = mix(data, share(drawn), mismatches, rng)
        return [
            Update(
                lambda: {**data.products(mixed.rows), **data.texts.take(mixed.texts)},
                lambda page: interbert_update(model, page, mixed.matched, recipe, preprocess, rng),
                lambda: data.names(drawn),
            )
        ]

    return step_updates
