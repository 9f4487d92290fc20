"""Which rows a step sees: a pure function of (seed, step), so that a resumed training sees what the uninterrupted one saw."""

from __future__ import annotations

import torch
from torch import Tensor

from goodsight.errors import InputError
from models.dataset import SOURCES, ProductData
from models.distributed import world
from models.draws import generator


def whole_share(batch: int, count: int) -> int:
    """The largest batch of at most `batch` of `count` rows that all processes have an equal share of.

    Raises `InputError` when there is not a row for each.
    """
    size = min(batch, count) // world() * world()
    if not size:
        raise InputError(f"A batch of {min(batch, count)} rows cannot be shared by {world()} processes.", "Train with fewer processes.")
    return size


def epoch_rows(count: int, batch: int, step: int, seed: int) -> Tensor:
    """`(batch,)` positions of step `step`: every epoch is a new permutation; batches cross its end."""
    start = step * batch
    positions: list[int] = []
    while len(positions) < batch:
        epoch, offset = divmod(start + len(positions), count)
        order = torch.randperm(count, generator=generator(seed, epoch))
        positions += order[offset : offset + batch - len(positions)].tolist()
    return torch.tensor(positions)


class PairSampler:
    """Cross-pairs of the training products: one row a query (or view, or post), with one of its relevant products each time."""

    def __init__(self, data: ProductData, splits: tuple[str, ...] = ("train", "catalogue")) -> None:
        kept = {int(row) for row in data.rows(*splits)}
        self.products = {
            "query": _by_query(data.query_pairs, [split == "train" for split in data.query_split], kept),
            "view": _by_query(data.view_pairs, [split == "train" for split in data.view_split], kept),
        }
        by_product: dict[int, list[int]] = {}
        for query, products in self.products["query"].items():
            for product in products:
                by_product.setdefault(product, []).append(query)
        self.post_queries = by_product
        self.posts = [(view, p) for view, products in self.products["view"].items() for p in products if p in by_product]

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources this catalogue has."""
        return tuple(name for name in SOURCES if self.count(name))

    def count(self, source: str) -> int:
        return len(self.posts) if source == "post" else len(self.products[source])

    def draw(self, source: str, batch: int, step: int, seed: int) -> dict[str, Tensor]:
        """`query` and/or `view` rows and the `product` row of each pair, `(B,)`; B <= `batch` when there are fewer pairs."""
        count = self.count(source)
        positions = epoch_rows(count, whole_share(batch, count), step, seed)
        dice = generator(seed, step, 7)
        if source == "post":
            view, product = zip(*(self.posts[p] for p in positions.tolist()), strict=True)
            query = [_pick(self.post_queries[row], dice) for row in product]
            return {"view": torch.tensor(view), "query": torch.tensor(query), "product": torch.tensor(product)}
        names = list(self.products[source])
        rows = [names[p] for p in positions.tolist()]
        return {source: torch.tensor(rows), "product": torch.tensor([_pick(self.products[source][r], dice) for r in rows])}


def _pick(choices: list[int], dice: torch.Generator) -> int:
    return choices[int(torch.randint(len(choices), (1,), generator=dice))]


def _by_query(pairs: object, in_train: list[bool], kept: set[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for query, product in zip(pairs.query.tolist(), pairs.product.tolist(), strict=True):  # type: ignore[attr-defined]
        if in_train[query] and product in kept:
            found.setdefault(query, []).append(product)
    return found
