"""What training and evaluation draw batches from: products, queries and views, and the pairs between them.

A batch is a dict of named tensors with a presence mask a modality (`MASKS`): text_ids, text_mask `(B, T)` and text_tokens
`(B, T, W)`; image_tokens `(B, L, C)` and image_tokens_mask `(B, L)`; table_ids, table_parts, table_mask `(B, P)` and table_tokens
`(B, P, W)`; video_tokens `(B, F, C)` and video_mask `(B, F)`; audio_tokens `(B, N, M)` and audio_mask `(B, N)`. Text and image
are always there, if only as masks of zeros; a batch without a table, video or audio lacks their names. Tower tokens lie in float16
on the CPU; `Architecture.encode` takes a batch to the model.

Where towers learn there are no tokens yet, but what they are made of (`Pictures`): uint8 image `(B, 1, 3, H, W)` and image_mask
`(B, 1)`, video `(B, F, 3, H, W)` and video_mask `(B, F)`; `encode` makes the tokens, with a gradient.
Legend: N products, Q text queries, M views (image queries, further images, video frames), L tower tokens an image,
C channels, T text tokens.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

Batch = dict[str, Tensor]
MASKS = {"text": "text_mask", "image": "image_tokens_mask", "table": "table_mask", "video": "video_mask", "audio": "audio_mask"}
SOURCES = ("query", "view", "post")  # text -> product, image -> product, image and text -> product (papers.md 1.1)


@dataclass
class Texts:
    """Word pieces of texts or tables: ids `(N, T)`, mask `(N, T)`, tower tokens `(N, T, W)` float16 unless the architecture
    reads pieces alone, and of a table the part that each piece belongs to `(N, T)` (`objectives.masking.mask_pairs`).
    """

    ids: Tensor
    mask: Tensor
    tokens: Tensor | None = None
    parts: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor, name: str = "text") -> Batch:
        mask = self.mask[rows]
        longest = max(int(mask.sum(dim=1).max()), 1)
        found = {f"{name}_ids": self.ids[rows, :longest], f"{name}_mask": mask[:, :longest]}
        if self.tokens is not None:
            found[f"{name}_tokens"] = self.tokens[rows, :longest]
        if self.parts is not None:
            found[f"{name}_parts"] = self.parts[rows, :longest]
        return found


@dataclass
class Images:
    """Tower tokens of images: tokens `(N, L, C)` float16 and presence `(N,)`."""

    tokens: Tensor
    present: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: Tensor) -> Batch:
        tokens = self.tokens[rows]
        return {"image_tokens": tokens, "image_tokens_mask": self.present[rows][:, None].expand(-1, tokens.shape[1])}

    def none(self, count: int) -> Batch:
        """`count` rows without an image."""
        L, C = self.tokens.shape[1:]
        return {"image_tokens": torch.zeros(count, L, C), "image_tokens_mask": torch.zeros(count, L, dtype=torch.bool)}


@dataclass
class Frames:
    """Frames of videos or sounds: tokens `(N, F, C)` float16 and their mask `(N, F)`."""

    tokens: Tensor
    mask: Tensor

    def take(self, rows: Tensor, name: str) -> Batch:
        return {f"{name}_tokens": self.tokens[rows], f"{name}_mask": self.mask[rows]}


def picture_records(frames: int, side: int) -> np.dtype:
    """What a file of pictures holds of each row: at most `frames` square ones of `side` pixels, and which of them are there."""
    return np.dtype([("there", "?", (frames,)), ("pixels", "u1", (frames, 3, side, side))])


@dataclass
class Pictures:
    """Images (F = 1) or the frames of videos as pixels, for towers that learn. They stay on disk: `files` are memory-mapped arrays
    of `records` (`picture_records`), and `place` `(N,)` is a row's place in all of them one after the other, -1 where it has none.
    """

    records: np.dtype
    files: Sequence[np.ndarray]
    place: Tensor

    def __post_init__(self) -> None:
        self.starts = [0, *accumulate(len(file) for file in self.files)]

    def __len__(self) -> int:
        return len(self.place)

    @property
    def present(self) -> Tensor:
        """`(N,)` bool: the row has pictures."""
        return self.place >= 0

    def take(self, rows: Tensor, name: str = "image") -> Batch:
        found = self.none(len(rows), name)
        pixels, mask = found[name].numpy(), found[f"{name}_mask"].numpy()
        for index, place in enumerate(self.place[rows].tolist()):
            if place >= 0:
                file = bisect_right(self.starts, place) - 1
                row = self.files[file][place - self.starts[file]]
                pixels[index], mask[index] = row["pixels"], row["there"]
        return found

    def none(self, count: int, name: str = "image") -> Batch:
        """`count` rows without pictures."""
        F = self.records["there"].shape
        pixels = torch.zeros(count, *self.records["pixels"].shape, dtype=torch.uint8)
        return {name: pixels, f"{name}_mask": torch.zeros(count, *F, dtype=torch.bool)}


def only_text(texts: Batch, like: Images | Pictures) -> Batch:
    """A batch of texts without images."""
    return {**texts, **like.none(len(texts["text_ids"]))}


def only_images(images: Batch, like: Texts) -> Batch:
    """A batch of images without texts."""
    B = len(next(iter(images.values())))
    nothing = {"text_ids": torch.zeros(B, 1, dtype=torch.long), "text_mask": torch.zeros(B, 1, dtype=torch.bool)}
    if like.tokens is not None:
        nothing["text_tokens"] = torch.zeros(B, 1, like.tokens.shape[-1])
    return {**images, **nothing}


@dataclass
class Pairs:
    """Relevant (query, product) pairs of one kind: query rows `(P,)` and product rows `(P,)`, sorted by query."""

    query: Tensor
    product: Tensor

    def __len__(self) -> int:
        return len(self.query)


@dataclass
class Scenes:
    """Pictures of several training products, one row for each product in each: the S pictures, and of a row its scene
    `(P,)`, its product row `(P,)` and the cells inside the product's box `(P, L)`. The rows of a scene follow each other.
    """

    images: Images | Pictures
    scene: Tensor
    product: Tensor
    cells: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, scenes: Tensor) -> Tensor:
        """The rows of the given scenes."""
        return torch.isin(self.scene, scenes).nonzero().squeeze(1)


@dataclass
class ProductData:
    """A snapshot as tensors. `train`, `test`, ... are product rows by split; queries and views carry their own split."""

    product_ids: list[str]
    titles: list[str]
    categories: list[str]
    groups: Tensor  # (N,) integer leak group
    split: list[str]
    texts: Texts
    images: Images | Pictures
    query_ids: list[str]
    query_texts: list[str]
    query_split: list[str]
    queries: Texts
    view_ids: list[str]
    view_split: list[str]
    views: Images | Pictures
    query_pairs: Pairs
    view_pairs: Pairs
    documents: list[str] = field(default_factory=list)  # (N,) all words of a product, for the lexical baseline
    sources: list[str] = field(default_factory=list)  # (N,) where a product comes from; empty: not told
    translations: dict[str, dict[int, str]] = field(default_factory=dict)  # language -> product row -> title
    tables: Texts | None = None
    videos: Frames | Pictures | None = None
    audios: Frames | None = None
    scenes: Scenes | None = None

    def rows(self, *splits: str) -> Tensor:
        """Product rows of the given splits."""
        return torch.tensor([row for row, split in enumerate(self.split) if split in splits], dtype=torch.long)

    def names(self, rows: Tensor) -> list[str]:
        """The ids of products."""
        return [self.product_ids[row] for row in rows.tolist()]

    def whole_pages(self, *splits: str) -> Tensor:
        """Rows of the products of the given splits that have both an image and a text."""
        rows = self.rows(*splits)
        return rows[self.images.present[rows] & self.texts.mask[rows].any(dim=1)]

    def products(self, rows: Tensor) -> Batch:
        found = {**self.texts.take(rows), **self.images.take(rows)}
        if self.tables is not None:
            found |= self.tables.take(rows, "table")
        for name, frames in (("video", self.videos), ("audio", self.audios)):
            if frames is not None:
                found |= frames.take(rows, name)
        return found

    def text_queries(self, rows: Tensor) -> Batch:
        return only_text(self.queries.take(rows), self.images)

    def view_queries(self, rows: Tensor) -> Batch:
        return only_images(self.views.take(rows), self.texts)

    def posts(self, views: Tensor, queries: Tensor) -> Batch:
        """A view with a query's words beside it, as a shopper's post of the product would have."""
        return {**self.queries.take(queries), **self.views.take(views)}


def answers(pairs: Pairs, split: list[str], gallery: Tensor, wanted: str) -> dict[int, list[int]]:
    """Query row -> gallery positions of its relevant products, for the queries of the split `wanted` that have any there."""
    place = {row: index for index, row in enumerate(gallery.tolist())}
    found: dict[int, list[int]] = {}
    for query, product in zip(pairs.query.tolist(), pairs.product.tolist(), strict=True):
        if split[query] == wanted and product in place:
            found.setdefault(query, []).append(place[product])
    return dict(sorted(found.items()))
