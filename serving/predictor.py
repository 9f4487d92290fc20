"""The predictor: a candidate's two bundles and their index, answering requests. Knows no server, so any server can hold it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from goodsight.errors import InputError
from lineage.answered import FINDS_PRODUCTS
from lineage.signing import verify
from models.bundle import Bundle
from models.candidate import load_candidate
from models.config import MODALITIES, Effort
from models.dataset import Batch
from serving.explain import of_category, of_product
from serving.index import Index, Wanted
from serving.precision import TITLES, Precision, choose, converted
from serving.request import Request, parse
from serving.timings import Timings

DEFAULT_EFFORT: Effort = "high"
DIGITS = 7  # of a number of a vector in an answer: more than float32 has
Results = list[dict[str, Any]]


def _product(row: Mapping[str, Any], score: float) -> dict[str, Any]:
    price = row["price"]
    known = price is not None and math.isfinite(price)
    return {**row, "price": price if known else None, "score": score}


def _batch(bundle: Bundle, requests: Sequence[Request]) -> Batch:
    """The tensors of what the bundle's architecture reads of the requests."""
    read = bundle.config.modalities
    texts, images, *others = ([getattr(r, name) if name in read else None for r in requests] for name in MODALITIES)
    return bundle.preprocess.batch(images, texts, *others)


@dataclass
class _Forward:
    """What a bundle made of some requests, by their place: a row each, and the effort that was in force."""

    rows: dict[int, np.ndarray] = field(default_factory=dict)
    efforts: dict[int, Effort] = field(default_factory=dict)


@torch.inference_mode()
def _forward(bundle: Bundle, face: Literal["classify", "embed"], asked: Mapping[int, Request], timings: Timings) -> _Forward:
    """The requests `asked` (by place) through one face of the model, those of one effort together."""
    found = _Forward()
    for effort in dict.fromkeys(request.effort or DEFAULT_EFFORT for request in asked.values()):
        chosen = {place: request for place, request in asked.items() if (request.effort or DEFAULT_EFFORT) == effort}
        with timings.on("preprocessing"):
            batch = _batch(bundle, list(chosen.values()))
        with timings.on("forward"), bundle.model.at_effort(effort) as done:
            rows = getattr(bundle.model, face)(batch).float()
        found.rows |= dict(zip(chosen, rows.numpy(), strict=True))
        found.efforts |= dict.fromkeys(chosen, done)
    return found


def _unit(vector: np.ndarray) -> np.ndarray:
    """The vector at length 1; a vector of zeros stays."""
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


@dataclass(frozen=True)
class Predictor:
    """Answers requests of every task: categories from one bundle, vectors and products from the other and the index.

    One thread at a time: the effort of a request is set on the model while it runs.
    """

    version: str
    candidate: str  # digest
    categorize: Bundle
    retrieve: Bundle
    index: Index

    @staticmethod
    def load(candidate: Path, index: Path, version: str = "") -> Predictor:
        """Loads what was registered, once both signatures are found to be right, before anything else is read.

        Raises `IntegrityError` when bytes differ, a signer is not trusted, or the parts do not belong together.
        """
        for folder in (candidate, index):
            verify(folder)
        loaded = load_candidate(candidate)
        categorize, retrieve = loaded.bundles["categorize"], loaded.bundles["retrieve"]
        return Predictor(version, loaded.digest, categorize, retrieve, Index.load(index, retrieve.digest).served())

    def on_this_machine(self, home: Path) -> tuple[Predictor, Precision]:
        """The predictor in the precision that is best here, and which that is; measured once, and kept in `home`."""
        titles = [row["title"] for row in self.index.listing.take(np.arange(min(TITLES, self.index.listing.count)))]
        bundles = self.categorize, self.retrieve
        taken = choose(bundles, [title for title in titles if title] or ["a product"], home).taken
        categorize, retrieve = (converted(bundle, taken) for bundle in bundles)
        return replace(self, categorize=categorize, retrieve=retrieve), taken

    def predict(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request. Raises `InputError` when it is malformed or cannot be answered, see `answerable`."""
        return self.predict_batch([self.answerable(parse(request))])[0]

    def answerable(self, request: Request) -> Request:
        """The request itself. Raises `InputError` when the model reads none of its modalities or does not re-rank, and
        `NotFoundError` when the index lacks a product that it names.
        """
        config = self.retrieve.config
        if request.products:
            self.index.vectors_of(request.products)
        elif not self._read(request):
            given = ", ".join(request.modalities)
            raise InputError(f"Bad request: {config.architecture} reads {', '.join(config.modalities)}, and the request has {given} alone.")
        if request.rerank:
            raise InputError("Bad request: rerank: there is no second look; it was measured, and made answers worse.")
        return request

    def _read(self, request: Request) -> list[str]:
        return [name for name in request.modalities if name in self.retrieve.config.modalities]

    def predict_batch(
        self, requests: Sequence[Request], timings: Timings | None = None, made: dict[int, np.ndarray] | None = None
    ) -> list[dict[str, Any]]:
        """One answer for each of `requests`, which are `answerable`, in order; requests of one model and effort go through it
        together. `timings` is told how long each part of the work took, `made` what a model made of a request, by its place: its
        embedding (D,), or the logits (C,) of its category.
        """
        timings = timings or Timings()
        explained = {place: self._explained(request, timings) for place, request in enumerate(requests) if request.task == "explain"}
        content = {place: request for place, request in enumerate(requests) if self._read(request) and place not in explained}
        named = {place: request for place, request in content.items() if request.task == "categorize"}
        classes = _forward(self.categorize, "classify", named, timings)
        vectors = _forward(self.retrieve, "embed", {place: each for place, each in content.items() if place not in named}, timings)
        if made is not None:
            made |= classes.rows | vectors.rows
        with timings.on("search"):
            results = self._products(requests, vectors.rows)
        results |= {place: self._categories(requests[place], logits) for place, logits in classes.rows.items()}
        embedded = [place for place, request in enumerate(requests) if request.task == "embed"]
        results |= {place: [{"vector": vectors.rows[place].astype(float).round(DIGITS).tolist()}] for place in embedded}
        efforts = classes.efforts | vectors.efforts
        results |= {place: maps for place, (maps, _) in explained.items()}
        efforts |= {place: effort for place, (_, effort) in explained.items()}
        return [self._response(request, efforts.get(place), results[place]) for place, request in enumerate(requests)]

    def _explained(self, request: Request, timings: Timings) -> tuple[Results, Effort]:
        """The heat-map of the request's image for the answer that it would get, or for the product that it names."""
        bundle = self.categorize if request.about == "categorize" else self.retrieve
        found: dict[str, Any] = {"id": request.product}
        if not request.product:
            [found] = self.predict_batch([replace(request, task=request.about, k=1)], timings)[0]["results"]
        row = _batch(bundle, [request])
        with timings.on("forward"), bundle.model.at_effort(request.effort or DEFAULT_EFFORT) as done:
            if request.about == "categorize":
                return [of_category(bundle, row, found["category"])], done
            return [of_product(bundle, row, found["id"], self.index.vectors_of([found["id"]])[0])], done

    def _response(self, request: Request, effort: Effort | None, results: Results) -> dict[str, Any]:
        """`effort` is None where no model was asked: products like known ones are found in the index."""
        versions = {"model_version": self.version, "candidate": self.candidate, "index": self.index.digest}
        return {"task": request.task, "modalities": self._read(request), "effort": effort, **versions, "results": results}

    def _categories(self, request: Request, logits: np.ndarray) -> Results:
        """The likeliest categories by logits `(C,)`."""
        probabilities = torch.from_numpy(logits).softmax(dim=0)
        best = probabilities.topk(min(request.k, len(probabilities)))
        labels = (self.categorize.labels[label] for label in best.indices.tolist())
        return [{"category": label, "probability": p} for label, p in zip(labels, best.values.tolist(), strict=True)]

    def _products(self, requests: Sequence[Request], vectors: Mapping[int, np.ndarray]) -> dict[int, Results]:
        """The products that each request finds, by its place; `vectors` are those of the contents."""
        places = [place for place, request in enumerate(requests) if request.task in FINDS_PRODUCTS]
        if not places:
            return {}
        queries = np.stack([self._query(requests[place], vectors.get(place)) for place in places])
        found = self.index.search(queries, [_wanted(requests[place]) for place in places])
        return {place: [_product(row, score) for row, score in near] for place, near in zip(places, found, strict=True)}

    def _query(self, request: Request, content: np.ndarray | None) -> np.ndarray:
        """Where a request looks `(D,)`: at its content, at the mean of the products that it names, or between the two."""
        if not request.products:
            assert content is not None
            return content
        named = _unit(self.index.vectors_of(request.products).mean(axis=0))
        return named if content is None else _unit(named + _unit(content))


def _wanted(request: Request) -> Wanted:
    """What a request wants of the index. Products that it names are no news to who asks."""
    text = request.text if request.task == "search" else None
    return Wanted(request.k, request.filters, text, request.lexical, request.products)
