"""ECLIP's three objectives on two pictures a product (papers.md 2.3), itc + inter + intra, and a fourth of ours, place; weights 1.

The second picture is a scene that shows the product small beside others (`models.scenes`): with pages that show one product each,
nothing else would ask the decoder to tell a product from what stands around it. The first is the page's or a further view.
The decoder runs once, on one concatenated batch: picture, scene, and the right title over a wrong picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from goodsight.errors import InputError
from models.architectures.eclip import ECLIP
from models.chunks import in_chunks
from models.dataset import Batch, ProductData, Scenes
from models.distributed import own_generator, share, world
from models.objectives.contrast import info_nce, intra_product, same, sample_hard_negatives, symmetric_info_nce
from models.preprocess import Preprocess
from models.pretraining.batches import Losses, Pages, concatenate, draw_pages, exchange
from models.recipes import Recipe
from models.sampling import PairSampler, epoch_rows, whole_share
from models.training import Update, Updates

FAMILIES = ("itc", "inter", "intra", "place")
ALIGNING = 0.5  # share of the steps, the first, with contrast alone: what the decoder starts from must mean something
PRODUCTS_A_SCENE = 3  # on average
VIEWED = 0.5  # share of the products with further views that show one of those


class Views:
    """Further pictures of the training products: views, frames of videos, shoppers' photos."""

    def __init__(self, data: ProductData) -> None:
        self.data = data
        self.of: dict[int, list[int]] = {}
        for view, products in PairSampler(data).products["view"].items():
            for product in products:
                self.of.setdefault(product, []).append(view)

    def shown(self, model: ECLIP, page: Batch, rows: Tensor, rng: torch.Generator) -> Batch:
        """The encoded `page` of products `rows`; half of those that have a further view show it."""
        dice = torch.rand(len(rows), 2, generator=rng)
        chosen = {}
        for place, row in enumerate(rows.tolist()):
            if row in self.of and dice[place, 0] < VIEWED:
                chosen[place] = self.of[row][int(dice[place, 1] * len(self.of[row]))]
        if not chosen:
            return page
        found = model.encode(self.data.views.take(torch.tensor(list(chosen.values()))))
        places = torch.tensor(list(chosen)).to(model.device)
        return {**page, **{name: page[name].index_copy(0, places, value.to(page[name].dtype)) for name, value in found.items()}}


def contrast_update(model: ECLIP, drawn: Pages, chunk: int = 0) -> Losses:
    """`itc` over the pages; with `chunk`, that many at a time."""

    def embed(part: Batch) -> tuple[Tensor, ...]:
        tokens = model.encode(part)
        return model.image_embedding(tokens), model.text_embedding(tokens)

    image, text = in_chunks(embed, drawn.batch, chunk)
    return {"itc": symmetric_info_nce(image, text, drawn.positives.to(model.device), model.scale, chunk)}


def instance_update(model: ECLIP, data: ProductData, scenes: Scenes, places: Tensor, views: Views, rng: torch.Generator) -> Losses:
    """`inter`, `intra` and `place` over the rows `places` of the scenes, this process's own."""
    rows = scenes.product[places]
    page, own = model.encode(data.products(rows)), same(data.groups[rows]).to(model.device)
    pictures, of = scenes.scene[places].unique(return_inverse=True)
    cells = scenes.cells[places].to(model.device)
    title = model.text_embedding(page)
    scene = {**page, **{name: value[of.to(model.device)] for name, value in model.encode(scenes.images.take(pictures)).items()}}
    wrong = exchange(page, "image", sample_hard_negatives(model.scale * title @ model.image_embedding(page).T, own, rng))
    seen = model.instances(concatenate([views.shown(model, page, rows, rng), scene, wrong]), title.repeat(3, 1))
    product, again, astray = seen.product.chunk(3)
    fits = torch.cat([own, own, torch.zeros_like(own)], dim=1)
    anchors = ((product, again), (again, product))  # a scene as the anchor: the titles of its other products are negatives
    inter = [info_nce(anchor, torch.cat([title, key, astray]), fits, model.scale) for anchor, key in anchors]
    whole = seen.taken[: 2 * len(product)]  # of what each query took: a decoder that may add to it learns a sign, not a place
    intra = intra_product(whole[:, 0], whole[:, 1:], title.detach().repeat(2, 1), model.scale)
    return {"inter": torch.stack(inter).mean(), "intra": intra, "place": outside(seen.map.chunk(3)[1], cells)}


def outside(maps: Tensor, cells: Tensor) -> Tensor:
    """-log of the share of each map `(B, G)`, sum 1, that lies in the product's own `cells` `(B, G)`, a mean over the rows."""
    inside = (maps.float() * cells).sum(dim=1)[cells.any(dim=1)]
    return -inside.clamp(min=1e-6).log().mean() if len(inside) else maps.sum() * 0.0


def updates(model: ECLIP, data: ProductData, pages: Tensor, preprocess: Preprocess, recipe: Recipe) -> Updates:
    """One update a step over the training products `pages`: contrast alone first, then all.

    Raises `InputError` when the decoder is to learn and there is no scene to learn from, or the towers are to learn sharded.
    """
    if recipe.sharded and model.config.trained_towers:  # a rank that draws no further view calls its tower once less: all would wait
        raise InputError("ECLIP's towers cannot learn sharded.", "Train it with a copy in each process: Recipe(sharded=False).")
    wanted, views, scenes = recipe.objectives or FAMILIES, Views(data), data.scenes
    if wanted == ("itc",):
        scenes = None
    elif scenes is None:
        raise InputError("No two training products have both an image and a title.", "ECLIP pastes them together: add such products.")

    def step_updates(step: int) -> list[Update]:
        rows = pages[epoch_rows(len(pages), whole_share(recipe.batch, len(pages)), step, recipe.seed)]
        rng = own_generator(recipe.seed, step)

        def losses(drawn: Pages) -> Losses:
            found = contrast_update(model, drawn, recipe.chunk)
            if scenes is not None and step >= ALIGNING * recipe.steps:
                few = whole_share(max(world(), recipe.fused // PRODUCTS_A_SCENE), len(scenes))
                places = scenes.rows(share(epoch_rows(len(scenes), few, step, recipe.seed)))
                found |= instance_update(model, data, scenes, places, views, rng)
            return {name: loss for name, loss in found.items() if name in wanted}

        return [Update(lambda: draw_pages(data, rows), losses, lambda: data.names(rows))]

    return step_updates
