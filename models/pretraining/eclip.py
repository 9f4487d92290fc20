"""ECLIP's three objectives on two pictures a product (papers.md 2.3): itc + inter + intra, weights 1.

The second picture is another view of the product where the catalogue has one, else the same picture in a mosaic with three other
products': with pages that show one product each, nothing else would ask the decoder to tell products apart.
The decoder runs once, on one concatenated batch: picture a, picture b, and the right title over a wrong picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from models.architectures.eclip import ECLIP
from models.dataset import Batch, ProductData
from models.objectives.contrast import info_nce, intra_product, same, sample_hard_negatives, symmetric_info_nce
from models.preprocess import Preprocess
from models.pretraining.batches import Losses, concatenate, exchange, first_rows
from models.recipes import Recipe
from models.sampling import PairSampler, epoch_rows, generator
from models.training import Updates

FAMILIES = ("itc", "inter", "intra")
ALIGNING = 0.5  # share of the steps, the first, with contrast alone: what the decoder starts from must mean something


class SecondPictures:
    """Another picture of a product: a further view, a frame of its video, a shopper's photo; else a quarter of a mosaic."""

    def __init__(self, data: ProductData) -> None:
        self.data = data
        self.views: dict[int, list[int]] = {}
        for view, products in PairSampler(data).products["view"].items():
            for product in products:
                self.views.setdefault(product, []).append(view)

    def of(self, page: Batch, rows: Tensor, grid: int, rng: torch.Generator) -> Batch:
        """`page` of products `rows`, which all have an image, with image tokens `(B, G, C)` of their second pictures."""
        tokens, mask = mosaic(page["image_tokens"], grid, rng), page["image_tokens_mask"].clone()
        for place, row in enumerate(rows.tolist()):
            if row in self.views:
                choice = self.views[row][int(torch.randint(len(self.views[row]), (), generator=rng))]
                found = self.data.views.take(torch.tensor([choice]))
                tokens[place], mask[place] = found["image_tokens"][0], found["image_tokens_mask"][0]
        return {**page, "image_tokens": tokens, "image_tokens_mask": mask}


def mosaic(tokens: Tensor, grid: int, rng: torch.Generator) -> Tensor:
    """`(B, G, C)`: each picture made smaller, in a quarter drawn at random, beside those of the next three rows."""
    B, half = len(tokens), grid // 2
    plane = tokens.transpose(1, 2).unflatten(2, (grid, grid))
    place = torch.randint(4, (B,), generator=rng)
    quarters = []
    for quarter in range(4):
        shape = (half if quarter < 2 else grid - half, half if quarter % 2 == 0 else grid - half)
        shown = (torch.arange(B) + (quarter - place) % 4) % B
        quarters.append(F.adaptive_avg_pool2d(plane, shape)[shown])
    rows = [torch.cat(quarters[:2], dim=3), torch.cat(quarters[2:], dim=3)]
    return torch.cat(rows, dim=2).flatten(2).transpose(1, 2)


def instance_update(
    model: ECLIP, data: ProductData, rows: Tensor, second: SecondPictures, recipe: Recipe, rng: torch.Generator
) -> Losses:
    """`itc` over product `rows`, `inter` and `intra` over the first `recipe.fused` of them."""
    wanted = recipe.objectives or FAMILIES
    pages = model.encode(data.products(rows))
    image, text = model.image_embedding(pages), model.text_embedding(pages)
    positives = same(data.groups[rows])
    losses = {"itc": symmetric_info_nce(image, text, positives, model.scale)}
    if not {"inter", "intra"} & set(wanted):
        return losses
    few = slice(0, recipe.fused)
    page, title, own = first_rows(pages, recipe.fused), text[few], positives[few, few]
    other = second.of(page, rows[few], model.config.image_grid, rng)
    wrong = exchange(page, "image", sample_hard_negatives(model.scale * title @ image[few].T, own, rng))
    seen = model.instances(concatenate([page, other, wrong]), title.repeat(3, 1))
    product, again, astray = seen.product.chunk(3)
    if "inter" in wanted:
        fits = torch.cat([own, own, torch.zeros_like(own)], dim=1)
        anchors = ((product, again), (again, product))  # a mosaic as the anchor: the titles of its other three are negatives
        terms = [info_nce(anchor, torch.cat([title, key, astray]), fits, model.scale) for anchor, key in anchors]
        losses["inter"] = torch.stack(terms).mean()
    if "intra" in wanted:
        whole = seen.taken[: 2 * len(product)]  # of what each query took: a decoder that may add to it learns a sign, not a place
        losses["intra"] = intra_product(whole[:, 0], whole[:, 1:], title.detach().repeat(2, 1), model.scale)
    return losses


def updates(model: ECLIP, data: ProductData, pages: Tensor, preprocess: Preprocess, recipe: Recipe) -> Updates:
    """One update a step over the training products `pages`: contrast alone first, then all."""
    second = SecondPictures(data)
    aligning = replace(recipe, objectives=("itc",))

    def step_updates(step: int) -> Iterator[Losses]:
        drawn = pages[epoch_rows(len(pages), min(recipe.batch, len(pages)), step, recipe.seed)]
        now = aligning if step < ALIGNING * recipe.steps else recipe
        yield instance_update(model, data, drawn, second, now, generator(recipe.seed, step))

    return step_updates
