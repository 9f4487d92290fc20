"""The predictor: a candidate's two bundles and their index, answering requests. Knows no server, so any server can hold it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from goodsight.errors import InputError
from lineage.signing import verify
from models.bundle import Bundle
from models.candidate import load_candidate
from models.config import MODALITIES
from models.dataset import Batch
from serving.index import Index, Wanted
from serving.request import Request, parse


def _product(row: Mapping[str, Any], score: float) -> dict[str, Any]:
    price = row["price"]
    known = price is not None and math.isfinite(price)
    return {**row, "price": price if known else None, "score": score}


def _batch(bundle: Bundle, requests: Sequence[Request]) -> Batch:
    """The tensors of what the bundle's architecture reads of the requests."""
    read = bundle.config.modalities
    texts, images, *others = ([getattr(r, name) if name in read else None for r in requests] for name in MODALITIES)
    return bundle.preprocess.batch(images, texts, *others)


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
        """Loads what was registered, once both signatures are found to be right, before anything else is read.

        Raises `IntegrityError` when bytes differ, a signer is not trusted, or the parts do not belong together.
        """
        for folder in (candidate, index):
            verify(folder)
        loaded = load_candidate(candidate)
        categorize, retrieve = loaded.bundles["categorize"], loaded.bundles["retrieve"]
        return Predictor(version, loaded.digest, categorize, retrieve, Index.load(index, retrieve.digest))

    def predict(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request. Raises `InputError` when it is malformed or has nothing that the model reads."""
        return self.predict_batch([self.readable(parse(request))])[0]

    def readable(self, request: Request) -> Request:
        """The request itself. Raises `InputError` when the model reads none of its modalities."""
        if not self._read(request):
            config, given = self.retrieve.config, ", ".join(request.modalities)
            raise InputError(f"Bad request: {config.architecture} reads {', '.join(config.modalities)}, and the request has {given} alone.")
        return request

    def _read(self, request: Request) -> list[str]:
        return [name for name in request.modalities if name in self.retrieve.config.modalities]

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
        return {"task": request.task, "modalities": self._read(request), **versions, "results": results}

    @torch.inference_mode()
    def _categories(self, requests: Sequence[Request]) -> list[list[dict[str, Any]]]:
        probabilities = self.categorize.model.classify(_batch(self.categorize, requests)).softmax(dim=1)  # (B, C)
        best = probabilities.sort(dim=1, descending=True)
        return [
            [{"category": self.categorize.labels[label], "probability": p} for label, p in zip(labels[: r.k], ps[: r.k], strict=True)]
            for r, labels, ps in zip(requests, best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def _products(self, requests: Sequence[Request]) -> list[list[dict[str, Any]]]:
        vectors = self.retrieve.model.embed(_batch(self.retrieve, requests)).numpy()  # (B, D)
        found = self.index.search(vectors, [Wanted(r.k) for r in requests])
        return [[_product(row, score) for row, score in near] for near in found]
