"""What these tests are made of: a tiny model, and a small shop whose products can be told apart by words and pixels."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from models.architectures import build
from models.config import ModelConfig, model_config
from models.dataset import MASKS, Batch, Frames, Images, Pairs, ProductData, Scenes, Texts
from models.preprocess import Preprocess, preprocess_for
from models.recipes import Recipe
from models.towers import tokenizer_of

PRODUCTS = 24
CATEGORIES = ("Furniture > Seating > Chairs", "Furniture > Seating > Sofas", "Furniture > Tables", "Lamps")
SPLITS = ("train", "train", "test", "catalogue", "train", "test", "val", "train")
SHORT = Recipe(steps=6, batch=8, fused=4, learning_rate=1e-3, checkpoint_every=2)


def config(architecture: str = "commercemm") -> ModelConfig:
    return model_config(architecture, "tiny")


@lru_cache(maxsize=1)
def preprocess() -> Preprocess:
    return preprocess_for(config(), tokenizer_of("tiny"))


def tiny_model(seed: int = 0, classes: int = 0, architecture: str = "commercemm") -> Any:
    """A model in evaluation mode whose every trainable weight is random, also those that start at zero."""
    torch.manual_seed(seed)
    model = build(config(architecture), classes)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.requires_grad and name != "log_scale":
                value.add_(0.1 * torch.randn_like(value))
    return model.eval()


def texts(kind: Tensor, rng: torch.Generator) -> Texts:
    """`(N, T)` texts of 3 to 9 tokens; those of one kind share most of their words."""
    count, longest, width = len(kind), 9, config().width
    words = torch.randint(2000, 20000, (int(kind.max()) + 1, longest), generator=rng)
    vectors = torch.randn(int(kind.max()) + 1, longest, width, generator=rng)
    ids, tokens = words[kind].clone(), vectors[kind] + 0.3 * torch.randn(count, longest, width, generator=rng)
    ids[:, -1] = torch.randint(2000, 20000, (count,), generator=rng)
    mask = torch.arange(longest)[None] < torch.randint(3, longest + 1, (count, 1), generator=rng)
    return Texts(ids * mask, mask, (tokens * mask[..., None]).half())


def images(kind: Tensor, rng: torch.Generator, grid: int = 2) -> Images:
    """`(N, grid * grid, 16)` image tokens; those of one kind look alike."""
    looks = torch.randn(int(kind.max()) + 1, grid**2, 16, generator=rng)
    return Images(
        (looks[kind] + 0.3 * torch.randn(len(kind), grid**2, 16, generator=rng)).half(),
        torch.ones(len(kind), dtype=torch.bool),
    )


def frames(kind: Tensor, rng: torch.Generator, shape: tuple[int, int]) -> Frames:
    """`(N, *shape)` tokens of videos or sounds; every third product has none, the others miss the last token now and then."""
    looks = torch.randn(int(kind.max()) + 1, *shape, generator=rng)
    mask = torch.ones(len(kind), shape[0], dtype=torch.bool)
    mask[::2, -1] = False
    mask[::3] = False
    return Frames(((looks[kind] + 0.3 * torch.randn(len(kind), *shape, generator=rng)) * mask[..., None]).half(), mask)


def tables(kind: Tensor, rng: torch.Generator) -> Texts:
    """Tables of three pairs, `[CLS] p v v p v v p v v [SEP]`."""
    found = texts(kind, rng)
    parts = torch.tensor([0, 1, 2, 2, 3, 4, 4, 5, 0]).expand(len(kind), -1)
    return Texts(found.ids, found.mask, found.tokens, parts * found.mask)


def scenes(photos: Images, products: list[int], grid: int) -> Scenes:
    """Two products a scene: the left columns of one's picture beside the right columns of the other's."""
    left = (torch.arange(grid) < grid // 2).repeat(grid)
    rows = torch.tensor(products[: len(products) // 2 * 2]).view(-1, 2)
    tokens = torch.where(left[:, None], photos.tokens[rows[:, 0]], photos.tokens[rows[:, 1]])
    return Scenes(
        Images(tokens, torch.ones(len(rows), dtype=torch.bool)),
        torch.arange(len(rows)).repeat_interleave(2),
        rows.flatten(),
        torch.stack([left, ~left]).repeat(len(rows), 1),
    )


def shop(
    seed: int = 0,
    no_image: Collection[int] = (),
    no_text: Collection[int] = (),
    count: int = PRODUCTS,
    architecture: str = "commercemm",
) -> ProductData:
    """Products in 4 categories, a text query and a view for each of them. Products 0 and 1 are one leak group."""
    rng = torch.Generator().manual_seed(seed)
    category = torch.arange(count) % len(CATEGORIES)
    split = [SPLITS[row % len(SPLITS)] for row in range(count)]
    asked = ["train" if name == "catalogue" else name for name in split]
    shape = config(architecture)
    pages, photos = texts(category, rng), images(category, rng, shape.image_grid)
    photos.present[list(no_image)] = False
    pages.mask[list(no_text)] = False
    rows = torch.arange(count)
    shown = [row for row in range(count) if asked[row] == "train" and photos.present[row] and pages.mask[row].any()]
    return ProductData(
        product_ids=[f"p{row}" for row in range(count)],
        titles=[f"Thing {row}" for row in range(count)],
        categories=[CATEGORIES[row] for row in category.tolist()],
        groups=torch.where(rows == 1, 0, rows),
        split=split,
        texts=pages,
        images=photos,
        query_ids=[f"q{row}" for row in range(count)],
        query_texts=[f"thing {row}" for row in range(count)],
        query_split=asked,
        queries=texts(category, rng),
        view_ids=[f"v{row}" for row in range(count)],
        view_split=asked,
        views=images(category, rng, shape.image_grid),
        query_pairs=pairs([(row, row) for row in range(count)] + [(2, 5), (2, 3)]),
        view_pairs=pairs([(row, row) for row in range(count)]),
        documents=[f"thing {row} {CATEGORIES[row % 4]}" for row in range(count)],
        tables=tables(category, rng) if "table" in shape.modalities else None,
        videos=frames(category, rng, (shape.frames, 16)) if "video" in shape.modalities else None,
        audios=frames(category, rng, (shape.audio_tokens, shape.mels)) if "audio" in shape.modalities else None,
        scenes=scenes(photos, shown, shape.image_grid) if architecture == "eclip" else None,
    )


def pairs(known: list[tuple[int, int]]) -> Pairs:
    """Relevant (query row, product row) pairs."""
    query, product = torch.tensor(sorted(known)).T
    return Pairs(query.contiguous(), product.contiguous())


def close(one: Tensor, other: Tensor, within: float = 1e-5) -> bool:
    """Equal in every place up to the order in which sums are taken."""
    return one.shape == other.shape and bool((one - other).abs().max() <= within)


def without(batch: Batch, *names: str) -> Batch:
    """The batch with no row having the named modalities (`image`, `text`)."""
    there = [MASKS[name] for name in names if MASKS[name] in batch]
    return {**batch, **{mask: torch.zeros_like(batch[mask]) for mask in there}}
