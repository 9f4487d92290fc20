"""The frozen-feature cache: tower tokens of a snapshot, computed once, and `ProductData` assembled from them.

One file a shard of the snapshot; its name is a digest of the shard, the towers (weights and code) and the preprocessing, for
videos also of the code that chooses and decodes their frames. So an interrupted computation goes on after the last whole file, and
an unchanged shard is never computed again.
Legend: G image tokens, C channels, T text tokens, W width of the text tower.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from catalogue.media import decode_image, video_frames
from catalogue.snapshot import Snapshot
from goodsight.digests import code_digest, sha256_json
from goodsight.files import write_bytes
from goodsight.progress import track
from models.architectures.base import Architecture
from models.caches import Cache, decoder_digest, kept_at, sound_tokens
from models.dataset import Frames, Images, Pairs, Pictures, ProductData, Texts
from models.preprocess import Preprocess
from models.scenes import load_scenes
from models.towers import native_bf16

TOWER_BATCH = 64
VIDEO_VIEWS = 4  # frames of a product's video that serve as further views
HELD_OUT = ("train", "val", "test")  # equal queries of several splits are one query of the last of these


@dataclass
class Tables:
    """The training table: product and pair columns as lists, in one order."""

    products: dict[str, list[Any]]
    pairs: dict[str, list[Any]]

    @staticmethod
    def read(folder: Path) -> Tables:
        return Tables(*(pq.read_table(folder / f"{name}.parquet").to_pydict() for name in ("products", "pairs")))


class FeatureCache:
    """Tower tokens on disk, under `folder`, of one model's frozen towers and its preprocessing."""

    def __init__(self, folder: Path, model: Architecture, preprocess: Preprocess) -> None:
        self.folder, self.towers, self.preprocess, self.device = folder, model.towers.eval(), preprocess, model.device
        self.modalities, self.reads_text_tokens = model.config.modalities, model.reads_text_tokens
        self.image_grid = model.config.image_grid
        made = {"preprocess": preprocess.digest, "code": code_digest("models.towers")}
        image = {**made, "tower": self.towers.image_digest, "grid": self.towers.image_grid, "bf16": native_bf16(self.device)}
        text = {**made, "tower": self.towers.text_digest if self.reads_text_tokens else ""}
        self.image_key, self.text_key = sha256_json(image), sha256_json(text)
        self.video_key = sha256_json([self.image_key, decoder_digest()])

    def _path(self, kind: str, key: str, content: str) -> Path:
        return kept_at(self.folder, kind, key, content, "safetensors")

    def images(self, kind: str, content: str, images: Iterator[Image.Image], count: int) -> Tensor:
        """`(count, G, C)` float16 of `images`, from the cache when the content digest is known; views hold frames of videos."""
        path = self._path(kind, self.video_key if kind == "views" else self.image_key, f"{content} {count}")
        if not path.is_file():
            tokens = self._image_tokens(track(images, "image features", "images", total=count))
            write_bytes(path, save({"tokens": tokens}))
        return load_file(path)["tokens"]

    def pictures(self, parts: Sequence[Tensor], place: Tensor) -> Images:
        """One row of tokens for each of `place` `(N,)`: its place in the parts one after the other, -1 for a row without an image."""
        shape = (self.towers.image_grid**2, self.towers.image_channels)
        return Images(_aligned(parts, place, torch.zeros(*shape, dtype=torch.float16)), place >= 0)

    def _image_tokens(self, images: Iterable[Image.Image]) -> Tensor:
        rows = [torch.zeros(0, self.towers.image_grid**2, self.towers.image_channels).half()]
        pixels = (self.preprocess.pixels(image) for image in images)
        while batch := list(islice(pixels, TOWER_BATCH)):
            with torch.no_grad():
                rows.append(self.towers.image_tokens(torch.stack(batch).to(self.device)).half().cpu())
        return torch.cat(rows)

    def texts(self, kind: str, texts: Sequence[str]) -> Texts:
        """Ids, mask and tokens of `texts`, padded to the longest of them."""
        path = self._path(kind, self.text_key, sha256_json(list(texts)))
        if not path.is_file():
            ids, mask = self.preprocess.tokens(texts)
            write_bytes(path, save({"ids": ids, "mask": mask, **self._text_tokens(ids, mask)}))
        return Texts(**load_file(path))

    def tables(self, kind: str, tables: Sequence[dict[str, Any]]) -> Texts:
        """The same for property-value tables."""
        path = self._path(kind, self.text_key, sha256_json(list(tables)))
        if not path.is_file():
            ids, mask, parts = self.preprocess.tables(tables)
            write_bytes(path, save({"ids": ids, "mask": mask, "parts": parts, **self._text_tokens(ids, mask)}))
        return Texts(**load_file(path))

    @torch.no_grad()
    def _text_tokens(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """`tokens` `(N, T, W)` float16, unless the architecture reads word pieces alone."""
        if not self.reads_text_tokens:
            return {}
        tokens = torch.zeros(*ids.shape, self.towers.text.width, dtype=torch.float16)
        order = torch.argsort(mask.sum(dim=1), stable=True)
        for rows in track(order.split(TOWER_BATCH) if len(order) else (), "text features", "batches"):
            longest = max(int(mask[rows].sum(dim=1).max()), 1)
            found = self.towers.text_tokens(ids[rows, :longest].to(self.device), mask[rows, :longest].to(self.device))
            tokens[rows, :longest] = found.half().cpu() * mask[rows, :longest, None]
        return {"tokens": tokens}

    def videos(self, content: str, videos: Iterator[bytes], count: int) -> Tensor:
        """`(count, F, C)` float16: the mean image token of each frame, NaN where a video has fewer frames."""
        path = self._path("videos", self.video_key, f"{content} {count}")
        if not path.is_file():
            tokens = torch.full((count, self.preprocess.specs.video.frames, self.towers.image_channels), torch.nan).half()
            for place, data in enumerate(track(videos, "video features", "videos", total=count)):
                with torch.no_grad():
                    frames = self.towers.image_tokens(self.preprocess.frames(video_frames(data)).to(self.device)).mean(dim=1)
                tokens[place, : len(frames)] = frames.half().cpu()
            write_bytes(path, save({"tokens": tokens}))
        return load_file(path)["tokens"]

    def films(self, parts: Sequence[Tensor], place: Tensor) -> Frames:
        """The frames of videos, by rows as `pictures`."""
        return frames(parts, place)

    def sounds(self, content: str, sounds: Iterator[bytes], count: int) -> Tensor:
        """What `sound_tokens` makes of them."""
        return sound_tokens(self.folder, self.preprocess, content, sounds, count)


def _aligned(parts: Sequence[Tensor], place: Tensor, missing: Tensor) -> Tensor:
    """The rows of the parts at `place` `(N,)`, counted through all parts; `missing` where it is -1."""
    aligned, start = missing.repeat(len(place), *[1] * missing.ndim), 0
    for part in parts:
        inside = (place >= start) & (place < start + len(part))
        aligned[inside] = part[place[inside] - start]
        start += len(part)
    return aligned


def frames(parts: Sequence[Tensor], place: Tensor) -> Frames:
    """Frames of videos or sounds `(n, F, C)` by rows; NaN where there is none."""
    tokens = _aligned(parts, place, torch.full_like(parts[0][0], torch.nan))
    mask = ~tokens[..., 0].isnan()
    return Frames(tokens.masked_fill(~mask[..., None], 0.0), mask)


def load_product_data(snapshot: Path, table: Path, cache: Cache, scenes: bool = False) -> ProductData:
    """Everything that training, evaluation and indexing read, for the products of the training table; `scenes`: those too.

    Images and videos are what `cache` keeps of them: the tokens of frozen towers, or pixels for towers that learn.
    """
    opened, tables = Snapshot.open(snapshot), Tables.read(table)
    products, pairs = tables.products, tables.pairs
    row_of = {id: row for row, id in enumerate(products["product_id"])}
    attributes = [json.loads(text) for text in products["attributes"]]
    texts = [cache.preprocess.product_text(*page) for page in zip(products["title"], products["description"], strict=True)]
    media = _media(opened, cache, row_of)
    queries = _text_queries(pairs)
    query_row = {words: row for row, words in enumerate(queries)}
    view_row = {id: row for row, id in enumerate(media.view_ids)}
    split_of = dict(zip(products["product_id"], products["split"], strict=True))
    groups: dict[str, int] = {}
    return ProductData(
        product_ids=products["product_id"],
        titles=products["title"],
        categories=products["category"],
        groups=torch.tensor([groups.setdefault(group, len(groups)) for group in products["group"]], dtype=torch.long),
        split=products["split"],
        texts=cache.texts("product-texts", texts),
        images=media.images,
        query_ids=[id for id, _ in queries.values()],
        query_texts=list(queries),
        query_split=[split for _, split in queries.values()],
        queries=cache.texts("query-texts", list(queries)),
        view_ids=media.view_ids,
        view_split=[media.split.get(id) or split_of.get(media.owner[id], "catalogue") for id in media.view_ids],
        views=media.views,
        query_pairs=_pairs(pairs, query_row, row_of),
        view_pairs=_view_pairs(media, pairs, view_row, row_of),
        documents=[_document(*fields) for fields in zip(products["title"], products["description"], attributes, strict=True)],
        sources=_sources(opened, products["product_id"]),
        translations=_translations(opened, row_of),
        tables=cache.tables("tables", attributes) if "table" in cache.modalities else None,
        videos=_played(opened, "video", row_of, cache.videos, cache.films) if "video" in cache.modalities else None,
        audios=_played(opened, "audio", row_of, cache.sounds, frames) if "audio" in cache.modalities else None,
        scenes=load_scenes(opened, cache, row_of) if scenes else None,
    )


def _played(
    opened: Snapshot, column: str, row_of: dict[str, int], made: Callable[[str, Iterator[bytes], int], Any], by_row: Callable[..., Any]
) -> Any:
    """The products' videos or sounds in the order of the training table; None when no product has one."""
    ids: list[str] = []
    parts = []
    for shard in opened.shards("products"):
        content = opened.manifest["files"][shard.relative_to(opened.folder).as_posix()]
        having = [row["id"] for row in _batches(shard, ["id", column]) if row[column]]
        if having:
            data = (row[column] for row in _batches(shard, [column]) if row[column])
            parts.append(made(content, data, len(having)))
            ids += having
    return by_row(parts, _places(ids, row_of)) if parts else None


def _places(ids: list[str], row_of: dict[str, int]) -> Tensor:
    """`(N,)` where in `ids` the products of the training table are, -1 for those that are not."""
    places = torch.full((len(row_of),), -1)
    for place, id in enumerate(ids):
        if id in row_of:
            places[row_of[id]] = place
    return places


def _sources(opened: Snapshot, ids: list[str]) -> list[str]:
    known = opened.products(["id", "source"]).to_pydict()
    source = dict(zip(known["id"], known["source"], strict=True))
    return [source[id] or "" for id in ids]


def _translations(opened: Snapshot, row_of: dict[str, int]) -> dict[str, dict[int, str]]:
    """Language -> product row -> title in that language."""
    found: dict[str, dict[int, str]] = {}
    known = opened.products(["id", "title_i18n"]).to_pydict()
    for id, titles in zip(known["id"], known["title_i18n"], strict=True):
        for language, title in (json.loads(titles) if titles and id in row_of else {}).items():
            found.setdefault(language, {})[row_of[id]] = title
    return dict(sorted(found.items()))


def _document(title: str, description: str, attributes: dict[str, Any]) -> str:
    return " ".join([title, description, *(str(value) for value in attributes.values())])


def _text_queries(pairs: dict[str, list[Any]]) -> dict[str, tuple[str, str]]:
    """Words -> (id, split). Equal words are one query; it is held out when any of its rows is."""
    found: dict[str, tuple[str, str]] = {}
    rows = zip(pairs["query_id"], pairs["kind"], pairs["text"], pairs["split"], strict=True)
    for id, kind, text, split in rows:
        if kind == "text":
            first, known = found.get(query_words(text), (id, split))
            found[query_words(text)] = (first, max(known, split, key=HELD_OUT.index))
    return found


def query_words(text: str) -> str:
    """What makes two queries one: their words without case."""
    return " ".join(text.casefold().split())


def _pairs(pairs: dict[str, list[Any]], query_row: dict[str, int], row_of: dict[str, int]) -> Pairs:
    rows = zip(pairs["kind"], pairs["text"], pairs["product_id"], strict=True)
    return _as_pairs(
        sorted({(query_row[query_words(text)], row_of[product]) for kind, text, product in rows if kind == "text" and product in row_of})
    )


def _as_pairs(known: list[tuple[int, int]]) -> Pairs:
    columns = torch.tensor(known, dtype=torch.long).reshape(-1, 2)
    return Pairs(columns[:, 0], columns[:, 1])


@dataclass
class _Media:
    images: Images | Pictures
    views: Images | Pictures
    view_ids: list[str]
    owner: dict[str, str]  # view id -> product id, for further images and video frames
    split: dict[str, str]  # view id -> split, for image queries


def _media(opened: Snapshot, cache: Cache, row_of: dict[str, int]) -> _Media:
    """The images of products (the first of each), their further images and video frames, and those of image queries."""
    main_ids: list[str] = []
    view_ids: list[str] = []
    owner: dict[str, str] = {}
    split: dict[str, str] = {}
    main: list[Any] = []
    views: list[Any] = []
    for shard in opened.shards("products"):
        content = opened.manifest["files"][shard.relative_to(opened.folder).as_posix()]
        first, further = _product_view_ids(shard)
        main_ids += first
        main.append(cache.images("main", content, _main_images(shard), len(first)))
        if further:
            views.append(cache.images("views", content, _further_views(shard), len(further)))
            view_ids += [id for id, _ in further]
            owner |= dict(further)
    for shard in opened.shards("queries"):
        content = opened.manifest["files"][shard.relative_to(opened.folder).as_posix()]
        rows = _image_queries(shard)
        if rows:
            views.append(cache.images("image-queries", content, _query_images(shard), len(rows)))
            view_ids += [id for id, _ in rows]
            split |= dict(rows)
    return _Media(
        images=cache.pictures(main, _places(main_ids, row_of)),
        views=cache.pictures(views, torch.arange(len(view_ids))),
        view_ids=view_ids,
        owner=owner,
        split=split,
    )


def _batches(shard: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(shard).iter_batches(batch_size=256, columns=columns):
        yield from batch.to_pylist()


def _main_images(shard: Path) -> Iterator[Image.Image]:
    return (decode_image(row["images"][0]) for row in _batches(shard, ["images"]) if row["images"])


def _product_view_ids(shard: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Ids of the products with an image, and (view id, product id) of every further view."""
    first, further = [], []
    for row in _batches(shard, ["id", "images", "video"]):
        images = row["images"] or []
        if images:
            first.append(row["id"])
        further += [(f"{row['id']}#image-{index}", row["id"]) for index in range(1, len(images))]
        frames = VIDEO_VIEWS if row["video"] else 0
        further += [(f"{row['id']}#frame-{index}", row["id"]) for index in range(frames)]
    return first, further


def _further_views(shard: Path) -> Iterator[Image.Image]:
    for row in _batches(shard, ["images", "video"]):
        yield from (decode_image(data) for data in (row["images"] or [])[1:])
        if row["video"]:
            frames = video_frames(row["video"])
            yield from (frames[index * len(frames) // VIDEO_VIEWS] for index in range(VIDEO_VIEWS))


def _image_queries(shard: Path) -> list[tuple[str, str]]:
    return [(row["id"], row["split"]) for row in _batches(shard, ["id", "kind", "split"]) if row["kind"] == "image"]


def _query_images(shard: Path) -> Iterator[Image.Image]:
    return (decode_image(row["image"]) for row in _batches(shard, ["kind", "image"]) if row["kind"] == "image")


def _view_pairs(media: _Media, pairs: dict[str, list[Any]], view_row: dict[str, int], row_of: dict[str, int]) -> Pairs:
    """Image queries with their relevant products, further views with their own product."""
    known = [(view_row[id], row_of[product]) for id, product in media.owner.items() if product in row_of]
    asked = zip(pairs["query_id"], pairs["kind"], pairs["product_id"], strict=True)
    known += [(view_row[id], row_of[product]) for id, kind, product in asked if kind == "image" and product in row_of]
    return _as_pairs(sorted(known))
