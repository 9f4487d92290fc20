"""The traffic of the simulated year: who asks what on which day, what a model answers, and what is known of it afterwards.

Requests are drawn once and are the same for every strategy. Sellers ask for the category of held-out products, shoppers search by
words and by photos among all that the catalogue has that day. Traits are computed by the code of the servers (`serving.traits`).
Legend: N products, V photos of a product, R requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from loop_features import DARK, Features, both_cameras, in_season
from loop_model import Heads, Known, Model, product_data, query_splits
from loop_world import World, time_of

from goodsight.digests import code_digest, sha256_json
from goodsight.files import whole_file
from lineage.traffic import SCHEMA, SKETCH
from models.dataset import Batch, Texts
from serving.traits import chances, language_of, of_image, sketch
from serving.words import words_of

SELLERS, SEARCHERS, PHOTOGRAPHERS = 260, 260, 220  # requests a day
SHOWN = (("text,image", 0.7), ("image", 0.2), ("text", 0.1))  # what a seller sends
LABELLED, LABEL_DAYS = 0.3, 2  # share of the categories that somebody confirms or corrects, and after how long
CLICKS = ((1, 0.6), (5, 0.35), (10, 0.15))  # chance of a click on the right product among the first so many
STRAY_CLICK = 0.02
FOUND = 5  # results among which a searcher must find the product
IN_SEASON = 6.0  # times as many queries of the season's categories
PICTURE = ("width", "height", "brightness", "contrast", "saturation", "sharpness")


@dataclass(frozen=True)
class Requests:
    """Of one day: product rows, photos and what was shown; queries; what feedback there would be (`dice` (R,), `labelled`)."""

    day: int
    seller: np.ndarray
    seller_photo: np.ndarray
    shown: np.ndarray
    query: np.ndarray
    photo: np.ndarray
    photo_view: np.ndarray
    dice: np.ndarray
    labelled: np.ndarray


@dataclass(frozen=True)
class Answered:
    """Which answers were right, by kind of request, and what is known of them; `table` of `lineage.traffic.SCHEMA`."""

    categories: np.ndarray
    queries: np.ndarray
    photos: np.ndarray
    table: pa.Table | None

    @property
    def right(self) -> int:
        return int(self.categories.sum() + self.queries.sum() + self.photos.sum())

    @property
    def count(self) -> int:
        return len(self.categories) + len(self.queries) + len(self.photos)


class Traffic:
    """Requests and their traits, of every day."""

    def __init__(self, world: World, cache: Path) -> None:
        self.world, self.features = world, world.features
        self._requests: dict[int, Requests] = {}
        self.pictures = picture_traits(self.features, cache)
        shop, said = self.features.shop, self.features.preprocess.product_text
        self.pages = [said(row["title"], row.get("description") or "") for row in shop.products]
        self.asked = {
            False: [query["text"] for query in shop.queries],
            True: [in_season(query["text"], number) for number, query in enumerate(shop.queries)],
        }
        self.splits = np.array(query_splits(self.features))
        self.language = {text: language_of(text) for texts in (self.pages, *self.asked.values()) for text in texts}

    def requests(self, day: int) -> Requests:
        """Of a day, drawn once."""
        if day not in self._requests:
            self._requests[day] = self._drawn(day)
        return self._requests[day]

    def _drawn(self, day: int) -> Requests:
        """Of a day: queries and photos of held-out products that the catalogue has by then."""
        world, dice = self.world, np.random.default_rng([self.world.seed, day])
        live = world.live(day)
        there = live[world.arrival[live] <= day]
        known = set(np.flatnonzero(world.arrival <= day).tolist())
        queries = [q for q in np.flatnonzero(self.splits == "test") if any(row in known for row in self.features.relevant[q])]
        wanted = np.array([self._wish(int(query), day) for query in queries])
        weights = np.array([2.0 if self._young(int(row), day) else 1.0 for row in live])
        every = SELLERS + SEARCHERS + PHOTOGRAPHERS
        return Requests(
            day=day,
            seller=dice.choice(live, SELLERS, p=weights / weights.sum()),
            seller_photo=dice.integers(self.features.photos.shape[1], size=SELLERS),
            shown=dice.choice(len(SHOWN), SELLERS, p=[share for _, share in SHOWN]),
            query=dice.choice(queries, SEARCHERS, p=wanted / wanted.sum()),
            photo=dice.choice(there, PHOTOGRAPHERS),
            photo_view=dice.integers(1, self.features.photos.shape[1], size=PHOTOGRAPHERS),
            dice=dice.random(every),
            labelled=dice.random(SELLERS) < LABELLED,
        )

    def _wish(self, query: int, day: int) -> float:
        """How often a query is asked beside others."""
        names = {self.world.base[row] for row in self.features.relevant[query]}
        return IN_SEASON if self.world.season(day) and names & self.world.in_season else 1.0

    def _young(self, row: int, day: int) -> bool:
        """Whether the product is of the new range, in its first weeks."""
        return self.world.base[row] in self.world.fresh and day < self.world.calendar.new_categories + 30

    def answered(self, model: Model, gallery: Gallery, day: int, told: bool = False) -> Answered:
        """What a model answers on a day; `told` with the table."""
        asked, dark, season = self.requests(day), int(self.world.dark(day)), self.world.season(day)
        shown = np.array([name for name, _ in SHOWN])[asked.shown]
        logits = _classified(model.categorize, _pages(self.features, asked.seller, asked.seller_photo, dark, shown))
        true = [self.world.truth(int(row), day) for row in asked.seller]
        guessed = [model.labels[place] for place in logits.argmax(axis=1)]
        texts = self.features.seasonal if season else self.features.queries
        words, pictures = _words(texts, asked.query), _pictures(self.features, asked.photo, asked.photo_view, dark)
        by_word = _embedded(model.retrieve, words, pictures, texts=True)
        by_photo = _embedded(model.retrieve, words, pictures, texts=False)
        relevant = [[gallery.place[row] for row in self.features.relevant[q] if row in gallery.place] for q in asked.query]
        own = [[gallery.place[int(row)]] for row in asked.photo]
        ranked = [_ranks(vectors @ gallery.vectors.T, wanted) for vectors, wanted in ((by_word, relevant), (by_photo, own))]
        found = Answered(np.array([one == other for one, other in zip(true, guessed, strict=True)]), *(r < FOUND for r in ranked), None)
        if not told:
            return found
        table = self._table(asked, gallery, shown, logits, model.labels, by_word, by_photo, np.concatenate(ranked))
        return Answered(found.categories, found.queries, found.photos, table)

    def _table(
        self,
        asked: Requests,
        gallery: Gallery,
        shown: np.ndarray,
        logits: np.ndarray,
        labels: list[str],
        by_word: np.ndarray,
        by_photo: np.ndarray,
        ranks: np.ndarray,
    ) -> pa.Table:
        """The rows of the prediction log."""
        dark, season = int(self.world.dark(asked.day)), self.world.season(asked.day)
        pages = [self.pages[row] if "text" in kind else None for row, kind in zip(asked.seller, shown, strict=True)]
        texts = [*pages, *(self.asked[season][query] for query in asked.query), *[None] * len(asked.photo)]
        seen = np.full((len(asked.seller) + len(asked.query) + len(asked.photo), len(PICTURE)), np.nan)
        with_image = np.array(["image" in kind for kind in shown])
        seen[: len(shown)][with_image] = self.pictures[asked.seller, asked.seller_photo, dark][with_image]
        seen[len(seen) - len(asked.photo) :] = self.pictures[asked.photo, asked.photo_view, dark]
        clicked = _clicked(ranks, asked.dice[len(shown) :])
        told = _Told(asked.day, gallery.version, [*shown, *["text"] * len(asked.query), *["image"] * len(asked.photo)], len(shown))
        scores = np.concatenate([np.sort(vectors @ gallery.vectors.T, axis=1)[:, -2:] for vectors in (by_word, by_photo)])
        return told.table(logits, labels, np.concatenate([by_word, by_photo]), scores, texts, self._of_texts(texts, gallery), seen, clicked)

    def _of_texts(self, texts: Sequence[str | None], gallery: Gallery) -> dict[str, list]:
        """The columns of texts; a word that no product of the gallery has is unknown."""
        found: dict[str, list] = {"text_chars": [], "text_words": [], "language": [], "oov": []}
        for text in texts:
            words = list(words_of(text)) if text else []
            known = sum(word in gallery.words for word in words)
            found["text_chars"].append(len(text) if text else None)
            found["text_words"].append(len(words) if text else None)
            found["language"].append(self.language[text] if text else None)
            found["oov"].append(1 - known / len(words) if words else None)
        return found

    def reference(self, model: Model, gallery: Gallery, known: Known, most: int = 600) -> pa.Table:
        """What the model answers on its own training and validation data, some of each kind, drawn by the world's seed."""
        dice = np.random.default_rng([self.world.seed, 1])
        own = np.array([place for place, split in enumerate(known.split) if split in ("train", "val") and not known.blank[place]])
        drawn = dice.choice(own, min(most, len(own)), replace=False)
        there = set(known.rows.tolist())
        queries = [query for query in np.flatnonzero(self.splits != "test") if any(row in there for row in self.features.relevant[query])]
        queries = dice.choice(queries, min(most, len(queries)), replace=False)
        rows, camera = known.rows[drawn], known.camera[drawn]
        views = dice.integers(1, self.features.photos.shape[1], size=len(rows))
        logits = _classified(
            model.categorize, _pages(self.features, rows, np.zeros_like(rows), camera, np.array(["text,image"] * len(rows)))
        )
        words, pictures = _words(self.features.queries, queries), _pictures(self.features, rows, views, camera)
        by_word, by_photo = (_embedded(model.retrieve, words, pictures, texts) for texts in (True, False))
        texts = [*(self.pages[row] for row in rows), *(self.asked[False][query] for query in queries), *[None] * len(rows)]
        seen = np.full((len(texts), len(PICTURE)), np.nan)
        seen[: len(rows)], seen[len(texts) - len(rows) :] = self.pictures[rows, 0, camera], self.pictures[rows, views, camera]
        told = _Told(0, gallery.version, [*["text,image"] * len(rows), *["text"] * len(queries), *["image"] * len(rows)], len(rows))
        scores = np.concatenate([np.sort(vectors @ gallery.vectors.T, axis=1)[:, -2:] for vectors in (by_word, by_photo)])
        vectors = np.concatenate([by_word, by_photo])
        return told.table(logits, model.labels, vectors, scores, texts, self._of_texts(texts, gallery), seen, None)


@dataclass
class Gallery:
    """The index of a day: what `model` makes of every product that the catalogue has; `place` by product row."""

    version: str
    vectors: np.ndarray
    place: dict[int, int]
    documents: list[str]

    @staticmethod
    def of(features: Features, model: Model, known: Known, version: str) -> Gallery:
        data = product_data(features, known)
        first: dict[int, int] = {}
        for place, row in enumerate(known.rows.tolist()):
            first.setdefault(row, place)
        places = torch.tensor(list(first.values()))
        with torch.inference_mode():
            vectors = torch.cat([model.retrieve.embed(data.products(part)) for part in places.split(512)]).float().numpy()
        return Gallery(
            version, vectors, {row: place for place, row in enumerate(first)}, [data.documents[place] for place in first.values()]
        )

    @cached_property
    def words(self) -> set[str]:
        return {word for document in self.documents for word in words_of(document)}


@dataclass
class _Told:
    """A table in the making: its day and version, the modalities of its rows, and how many of them ask for a category."""

    day: int
    version: str
    modalities: list[str]
    sellers: int

    def table(
        self,
        logits: np.ndarray,
        labels: list[str],
        vectors: np.ndarray,
        scores: np.ndarray,
        texts: Sequence[str | None],
        of_texts: dict[str, list],
        seen: np.ndarray,
        clicked: np.ndarray | None,
    ) -> pa.Table:
        """Columns of `SCHEMA`; `scores` (searches, 2) of the second and the best result, `clicked` (searches,)."""
        count, sure = len(self.modalities), np.square([chances(row) for row in logits])
        best = [labels[place] for place in sure.argmax(axis=1)]
        two = np.concatenate([np.sort(sure, axis=1)[:, -2:], scores])
        sketches = np.array([*(sketch(chances(row)) for row in logits), *(sketch(row) for row in vectors)], np.float32)
        clicks = [None] * self.sellers + ([None] * len(vectors) if clicked is None else clicked.tolist())
        pictures = {name: pa.array(seen[:, place], SCHEMA.field(name).type, from_pandas=True) for place, name in enumerate(PICTURE[2:], 2)}
        sides = {
            name: pa.array([None if np.isnan(v) else int(v) for v in seen[:, place]], pa.int32()) for place, name in enumerate(PICTURE[:2])
        }
        columns = {
            "id": [f"{self.day:03}-{number:04}" for number in range(count)],
            "time": [time_of(self.day + number / count) for number in np.argsort(np.argsort(_shuffled(count, self.day)))],
            "task": ["categorize"] * self.sellers + ["search"] * len(vectors),
            "modalities": self.modalities,
            "model_version": [self.version] * count,
            "status": ["ok"] * count,
            "top": [*best, *["product"] * len(vectors)],
            "score": two[:, 1],
            "second": two[:, 0],
            "results": [min(5, len(labels))] * self.sellers + [10] * len(vectors),
            "latency_ms": [0.0] * count,
            "fields": [None] * count,
            "category": [*best, *[None] * len(vectors)],
            "sketch": pa.FixedSizeListArray.from_arrays(pa.array(sketches.ravel()), SKETCH),
            "clicked": clicks,
            **of_texts,
            **pictures,
            **sides,
        }
        return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _shuffled(count: int, day: int) -> np.ndarray:
    return np.random.default_rng([day, 3]).permutation(count)


def _clicked(ranks: np.ndarray, dice: np.ndarray) -> np.ndarray:
    """Whether a searcher clicked, by the place of the right product."""
    chance = np.full(len(ranks), STRAY_CLICK)
    for first, share in reversed(CLICKS):
        chance[ranks < first] = share
    return dice < chance


def _ranks(scores: np.ndarray, relevant: Sequence[Sequence[int]]) -> np.ndarray:
    """0-based place of the best relevant product of each request."""
    return np.array([int((row > row[wanted].max()).sum()) for row, wanted in zip(scores, relevant, strict=True)])


def _pages(features: Features, rows: np.ndarray, photos: np.ndarray, camera: np.ndarray | int, shown: np.ndarray) -> Batch:
    """Pages as sellers show them: with an image, a text or both."""
    chosen, texts = torch.from_numpy(rows), features.texts
    assert texts.tokens is not None
    text, image = (torch.tensor([kind in each for each in shown])[:, None] for kind in ("text", "image"))
    tokens = features.photos[chosen, torch.from_numpy(photos), torch.as_tensor(camera)][:, None]
    mask = texts.mask[chosen] & text
    return {
        "text_ids": texts.ids[chosen],
        "text_mask": mask,
        "text_tokens": texts.tokens[chosen],
        "image_tokens": tokens,
        "image_tokens_mask": image,
    }


def _words(texts: Texts, queries: np.ndarray) -> Batch:
    return texts.take(torch.from_numpy(np.asarray(queries)))


def _pictures(features: Features, rows: np.ndarray, views: np.ndarray, camera: np.ndarray | int) -> torch.Tensor:
    return features.photos[torch.from_numpy(rows), torch.from_numpy(views), torch.as_tensor(camera)][:, None]


@torch.inference_mode()
def _classified(model: Heads, batch: Batch) -> np.ndarray:
    return model.classify(batch).float().numpy()


@torch.inference_mode()
def _embedded(model: Heads, words: Batch, pictures: torch.Tensor, texts: bool) -> np.ndarray:
    """Vectors of searches by words, or by photos."""
    if texts:
        B = len(words["text_ids"])
        batch = {**words, "image_tokens": torch.zeros(B, *pictures.shape[1:]), "image_tokens_mask": torch.zeros(B, 1, dtype=torch.bool)}
    else:
        B = len(pictures)
        nothing = {"text_ids": torch.zeros(B, 1, dtype=torch.long), "text_mask": torch.zeros(B, 1, dtype=torch.bool)}
        batch = {
            **nothing,
            "text_tokens": torch.zeros(B, 1, words["text_tokens"].shape[-1]),
            "image_tokens": pictures,
            "image_tokens_mask": torch.ones(B, 1, dtype=torch.bool),
        }
    return model.embed(batch).float().numpy()


def picture_traits(features: Features, cache: Path) -> np.ndarray:
    """(N, V, 2, 6) of every photo by either camera, kept in `cache`."""
    N, V = features.photos.shape[:2]
    made_of = [[row["id"] for row in features.shop.products], V, DARK, code_digest("serving.traits")]
    path = cache / f"traits-{sha256_json(made_of)}.npy"
    if not path.is_file():
        found = [[of_image(image)[name] for name in PICTURE] for image in both_cameras(features.shop)]
        with whole_file(path) as aside, aside.open("wb") as file:
            np.save(file, np.array(found, np.float32))
    return np.load(path).reshape(N, V, 2, len(PICTURE))
