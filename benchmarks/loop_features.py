"""What the simulated year is made of: a catalogue as features, once from the real frozen towers of the size `small`, and kept on disk.

A product has a text and some photos, each as the old camera took it and as the new, dark one does. Image features are the tower's
grid pooled to one token, text features what CommerceMM's text projection starts from: so a retraining takes seconds.
Legend: N products, V photos of a product, C channels of the image tower, Q text queries, T word pieces, W width of the text tower.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance
from safetensors.torch import load_file, save
from torch import Tensor

from catalogue.media import decode_image, video_frames
from goodsight.digests import sha256_file, sha256_json
from goodsight.files import write_bytes
from models.caches import kept_at
from models.config import ModelConfig, model_config
from models.dataset import Texts
from models.features import FeatureCache
from models.preprocess import Preprocess, preprocess_for
from models.towers import Towers, tokenizer_of

ROOT = Path(__file__).resolve().parents[1]
FURNITURE = ROOT / "samples" / "furniture"
MOST_PRODUCTS, FEWEST_OF_A_CATEGORY, MOST_OF_A_CATEGORY = 3000, 20, 90
PHOTOS = 3  # the product's own image and two more: frames of its video, or retakes of the image
DARK = 0.42  # brightness of what the new camera takes
TEXT_BATCH = 128


@dataclass
class Shop:
    """A catalogue as read: one row a product, and the text queries that have an answer among them."""

    name: str
    folder: Path
    products: list[dict[str, Any]]
    queries: list[dict[str, Any]]
    whole: int  # products of the whole catalogue

    @property
    def categories(self) -> list[str]:
        return [" > ".join(row["category_path"]) for row in self.products]

    def document(self, row: int) -> str:
        """All words of a product, for the lexical baseline."""
        product = self.products[row]
        return " ".join([product["title"], product.get("description") or "", *map(str, product["attributes"].values())])


@dataclass
class Features:
    """Everything about a catalogue that no day changes."""

    shop: Shop
    config: ModelConfig
    preprocess: Preprocess
    towers: Towers
    texts: Texts  # of N products
    photos: Tensor  # (N, V, 2, C) float16: plain and dark
    queries: Texts  # of Q queries, as they are asked all year
    seasonal: Texts  # the same queries as they are asked in the season
    relevant: list[list[int]]  # of Q queries, product rows


def read_shop(folder: Path, most: int = MOST_PRODUCTS, seed: int = 17) -> Shop:
    """The catalogue in `folder`; of a large one the products of its larger categories, drawn by `seed`."""
    rows = [json.loads(line) for line in (folder / "products.jsonl").read_text().splitlines()]
    whole = len(rows)
    rows = [row for row in rows if row["images"] and row["split"] in ("train", "val", "test")]
    if len(rows) > most:
        rows = _drawn(rows, most, seed)
    place = {row["id"]: number for number, row in enumerate(rows)}
    queries = [json.loads(line) for line in (folder / "queries_text.jsonl").read_text().splitlines()]
    queries = [query for query in queries if any(product in place for product in query["relevant"])]
    return Shop(folder.resolve().name, folder, rows, queries, whole)


def _drawn(rows: list[dict[str, Any]], most: int, seed: int) -> list[dict[str, Any]]:
    """Some products of the categories that have enough of them, none with more than its share."""
    dice = np.random.default_rng(seed)
    counts = Counter(tuple(row["category_path"]) for row in rows)
    taken: Counter[tuple[str, ...]] = Counter()
    found = []
    for number in dice.permutation(len(rows)):
        category = tuple(rows[number]["category_path"])
        if counts[category] >= FEWEST_OF_A_CATEGORY and taken[category] < MOST_OF_A_CATEGORY:
            taken[category] += 1
            found.append(int(number))
    return [rows[number] for number in sorted(found[:most])]


def shots(row: dict[str, Any], folder: Path) -> list[Image.Image]:
    """The photos of one product: its image, and two frames of its video or two retakes."""
    image = decode_image((folder / row["images"][0]).read_bytes())
    if row.get("video"):
        frames = video_frames((folder / row["video"]).read_bytes())
        return [image, *(frames[place * len(frames) // (PHOTOS - 1)] for place in range(PHOTOS - 1))]
    dice = np.random.default_rng(list(sha256_json(row["id"]).encode()))
    return [image, *(_retaken(image, dice) for _ in range(PHOTOS - 1))]


def _retaken(image: Image.Image, dice: np.random.Generator) -> Image.Image:
    """The same thing photographed again: mirrored or not, closer, in other light."""
    share = dice.uniform(0.75, 0.95)
    wide, high = (int(side * share) for side in image.size)
    left, top = int(dice.integers(image.width - wide + 1)), int(dice.integers(image.height - high + 1))
    cut = image.crop((left, top, left + wide, top + high))
    cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if dice.random() < 0.5 else cut
    return ImageEnhance.Brightness(cut).enhance(dice.uniform(0.9, 1.1))


def darkened(image: Image.Image) -> Image.Image:
    """What the new camera takes of it: too little light, and flat."""
    return ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(DARK)).enhance(0.8)


def both_cameras(shop: Shop) -> Iterator[Image.Image]:
    """N x V photos, each plain and dark."""
    for row in shop.products:
        for image in shots(row, shop.folder):
            yield image
            yield darkened(image)


SEASON_WORDS = ("for the summer garden", "barbecue party", "holiday gift", "festival season offer")


def in_season(text: str, number: int) -> str:
    """How query `number` is asked in the season."""
    return f"{text} {SEASON_WORDS[number % len(SEASON_WORDS)]}"


@torch.no_grad()
def pooled(towers: Towers, ids: Tensor, mask: Tensor) -> Tensor:
    """`(B, 1, W)`: mean of the text tower's tokens plus the bag of words, what CommerceMM's text embedding starts from."""
    tokens = towers.text_tokens(ids, mask).float()
    mean = F.normalize((tokens * mask[..., None]).sum(dim=1), dim=-1)
    return F.normalize(mean + towers.text.bag_of_words(ids, mask), dim=-1)[:, None]


def read_texts(kept: FeatureCache, texts: Sequence[str]) -> Texts:
    """Word pieces and pooled features of `texts`, from the cache the second time."""
    path = kept_at(kept.folder, "loop-texts", kept.text_key, sha256_json(list(texts)), "safetensors")
    if not path.is_file():
        ids, mask = kept.preprocess.tokens(texts)
        parts = [pooled(kept.towers, *part) for part in zip(ids.split(TEXT_BATCH), mask.split(TEXT_BATCH), strict=True)]
        write_bytes(path, save({"ids": ids, "mask": mask, "tokens": torch.cat(parts).half()}))
    return Texts(**load_file(path))


def features_of(shop: Shop, cache: Path, size: str = "small") -> Features:
    """Reads every photo and text through the towers; photos come from `cache` the second time."""
    config = replace(model_config("commercemm", size), image_grid=1)
    towers, preprocess = Towers(config).load_pretrained(), preprocess_for(config, tokenizer_of(config.text_tower))
    kept = FeatureCache(cache, _Towered(config, towers), preprocess)  # type: ignore[arg-type]
    content = sha256_json([[row["id"] for row in shop.products], sha256_file(shop.folder / "products.jsonl"), DARK, PHOTOS])
    count = len(shop.products) * PHOTOS * 2
    photos = kept.images("loop", content, both_cameras(shop), count)
    asked = [query["text"] for query in shop.queries]
    place = {row["id"]: number for number, row in enumerate(shop.products)}
    pages = [preprocess.product_text(row["title"], row.get("description") or "") for row in shop.products]
    return Features(
        shop=shop,
        config=config,
        preprocess=preprocess,
        towers=towers,
        texts=read_texts(kept, pages),
        photos=photos.reshape(len(shop.products), PHOTOS, 2, -1),
        queries=read_texts(kept, asked),
        seasonal=read_texts(kept, [in_season(text, number) for number, text in enumerate(asked)]),
        relevant=[[place[product] for product in query["relevant"] if product in place] for query in shop.queries],
    )


@dataclass
class _Towered:
    """As much of an architecture as the feature cache asks of one."""

    config: ModelConfig
    towers: Towers
    reads_text_tokens: bool = True
    device: torch.device = torch.device("cpu")
