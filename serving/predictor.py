"""The predictor: a candidate's two bundles and their index, answering requests. Knows no server, so any server can hold it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.bundle import Bundle
from models.candidate import load_candidate
from serving.index import Index
from serving.request import Request, parse


def _product(row: Mapping[str, Any], score: float) -> dict[str, Any]:
    price = row["price"]
    known = price is not None and math.isfinite(price)
    return {**row, "price": price if known else None, "score": score}


@dataclass(frozen=True)
class Predictor:
    """Answers `categorize` and `search` requests of any subset of modalities."""

    version: str
    candidate: str  # digest
    categorize: Bundle
    retrieve: Bundle
    index: Index

    @staticmethod
    def load(candidate: Path, index: Path, version: str = "") -> Predictor:
        """Loads and verifies everything. Raises `IntegrityError` when bytes differ or the parts do not belong together."""
        loaded = load_candidate(candidate)
        categorize, retrieve = loaded.bundles["categorize"], loaded.bundles["retrieve"]
        return Predictor(version, loaded.digest, categorize, retrieve, Index.load(index, retrieve.digest))

    def predict(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request. Raises `InputError` when it is malformed."""
        return self.predict_batch([parse(request)])[0]

    def predict_batch(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """One answer for each of `requests`, in order; requests of one task go through the model together."""
        results: dict[int, list[dict[str, Any]]] = {}
        for task, answer in (("categorize", self._categories), ("search", self._products)):
            places = [place for place, request in enumerate(requests) if request.task == task]
            if places:
                results.update(zip(places, answer([requests[place] for place in places]), strict=True))
        return [self._response(request, results[place]) for place, request in enumerate(requests)]

    def _response(self, request: Request, results: list[dict[str, Any]]) -> dict[str, Any]:
        versions = {"model_version": self.version, "candidate": self.candidate, "index": self.index.digest}
        return {"task": request.task, **versions, "results": results}

    @torch.inference_mode()
    def _categories(self, requests: Sequence[Request]) -> list[list[dict[str, Any]]]:
        batch = self.categorize.preprocess.batch([r.image for r in requests], [r.text for r in requests])
        probabilities = self.categorize.model.classify(batch).softmax(dim=1)  # (B, C)
        best = probabilities.sort(dim=1, descending=True)
        return [
            [{"category": self.categorize.labels[label], "probability": p} for label, p in zip(labels[: r.k], ps[: r.k], strict=True)]
            for r, labels, ps in zip(requests, best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def _products(self, requests: Sequence[Request]) -> list[list[dict[str, Any]]]:
        batch = self.retrieve.preprocess.batch([r.image for r in requests], [r.text for r in requests])
        vectors = self.retrieve.model.embed(batch).numpy()  # (B, D)
        found = self.index.search(vectors, max(r.k for r in requests))
        return [[_product(row, score) for row, score in near[: r.k]] for r, near in zip(requests, found, strict=True)]
