"""ECLIP's three objectives on two pictures a product (papers.md 2.3): itc + inter + intra, weights 1.

The second picture is another view of the product where the catalogue has one, else the same picture cropped.
The decoder runs once, on one concatenated batch: picture a, picture b, and the right title over a wrong picture.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models.architectures.eclip import ECLIP
from models.config import Recipe
from models.dataset import Batch, ProductData
from models.objectives.contrast import info_nce, intra_product, same, sample_hard_negatives, symmetric_info_nce
from models.preprocess import Preprocess
from models.pretraining.batches import Losses, concatenate, exchange, first_rows
from models.sampling import PairSampler, epoch_rows, generator
from models.training import Updates

FAMILIES = ("itc", "inter", "intra")
KEPT = 0.6  # least share of a side that a crop keeps


class SecondPictures:
    """Another picture of a product: a further view, a frame of its video, a shopper's photo; else a crop of its own."""

    def __init__(self, data: ProductData) -> None:
        self.data = data
        self.views: dict[int, list[int]] = {}
        for view, products in PairSampler(data).products["view"].items():
            for product in products:
                self.views.setdefault(product, []).append(view)

    def of(self, page: Batch, rows: Tensor, grid: int, rng: torch.Generator) -> Batch:
        """`page` of products `rows` with image tokens `(B, G, C)` of their second pictures."""
        tokens, mask = page["image_tokens"].clone(), page["image_tokens_mask"] & crops(len(rows), grid, rng)
        for place, row in enumerate(rows.tolist()):
            if row in self.views:
                choice = self.views[row][int(torch.randint(len(self.views[row]), (), generator=rng))]
                found = self.data.views.take(torch.tensor([choice]))
                tokens[place], mask[place] = found["image_tokens"][0], found["image_tokens_mask"][0]
        return {**page, "image_tokens": tokens, "image_tokens_mask": mask}


def crops(count: int, grid: int, rng: torch.Generator) -> Tensor:
    """`(count, grid * grid)` bool: a rectangle a row, each side at least `KEPT` of the grid."""
    least = max(1, round(KEPT * grid))
    size = torch.randint(least, grid + 1, (count, 2), generator=rng)
    start = (torch.rand(count, 2, generator=rng) * (grid - size + 1)).long()
    line = torch.arange(grid)
    inside = (line >= start[..., None]) & (line < (start + size)[..., None])  # (count, 2, grid)
    return (inside[:, 0, :, None] & inside[:, 1, None, :]).flatten(1)


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
        never = torch.zeros_like(own)
        losses["inter"] = info_nce(product, torch.cat([title, again, astray]), torch.cat([own, own, never], dim=1), model.scale)
    if "intra" in wanted:
        losses["intra"] = intra_product(product, seen.others[: len(product)], title.detach(), model.scale)
    return losses


def updates(model: ECLIP, data: ProductData, pages: Tensor, preprocess: Preprocess, recipe: Recipe) -> Updates:
    """One update a step over the training products `pages`."""
    second = SecondPictures(data)

    def step_updates(step: int) -> Iterator[Losses]:
        drawn = pages[epoch_rows(len(pages), min(recipe.batch, len(pages)), step, recipe.seed)]
        yield instance_update(model, data, drawn, second, recipe, generator(recipe.seed, step))

    return step_updates
