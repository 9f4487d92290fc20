"""What is answered under `/v1`, as the OpenAPI document tells it; what may be asked is `serving.request`'s."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from serving.request import FIELDS, Asked

LARGEST_BATCH = 32
MEDIA = ("image", "video", "audio")
MODALITIES = ("text", "image", "attributes", "video", "audio")

LARGEST_BATCH = 32
MEDIA = ("image", "video", "audio")
SAID = ("text", "attributes", *MEDIA, "liked")  # a request has one of them at least
Task = Literal["categorize", "search", "embed", "recommend"]
REQUESTS: dict[str, type[Asked]] = {task: FIELDS[task] for task in get_args(Task)}
FORMS: dict[str, type[Asked]] = {**REQUESTS, "explain": FIELDS["explain"]}  # one at a time: no batches


class _Told(BaseModel):
    """Answers may grow; what is named here stays."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class Product(_Told):
    """A product that was found; `score` orders the results of one request, and compares nothing across requests."""

    id: str
    title: str
    category: str
    price: float | None = Field(description="As it is now, where the feature store answers; else as the index knows it.")
    score: float
    discount: float | None = Field(default=None, description="Share of the catalogue's price that is off, 0 to 1.")
    popularity: float | None = Field(default=None, description="log(1 + views of 30 days).")
    conversion_30d: float | None = Field(default=None, description="Purchases a view.")


class Category(_Told):
    """A category and how likely it is."""

    category: str
    probability: float = Field(ge=0, le=1.000001)


class Vector(_Told):
    """An embedding of length 1: inner products of such vectors are what a search ranks by."""

    vector: list[float]


class _Answer(_Told):
    id: str = Field(description="A UUID: GET /v1/predictions/{id} tells what stands behind the answer.")
    task: str
    modalities: list[str] = Field(description="What was read of the request.")
    effort: str | None = None
    model_version: str
    candidate: str = Field(description="Digest of the model.")
    index: str = Field(description="Digest of the index.")
    features: str | None = Field(default=None, description="The feature store that prices and signals are from.")


class Products(_Answer):
    results: list[Product]


class Categories(_Answer):
    results: list[Category]


class Vectors(_Answer):
    results: list[Vector]


class HeatMap(_Told):
    """By how much the score falls where the picture is covered: `grid[row][column]`, the upper left first; below 0 it rises."""

    about: Literal["categorize", "search"]
    grid: list[list[float]]
    category: str | None = None
    probability: float | None = Field(default=None, description="Of the category, with nothing covered.")
    id: str | None = Field(default=None, description="Of the product.")
    score: float | None = Field(default=None, description="Of the product, with nothing covered.")


class Explained(_Answer):
    results: list[HeatMap]


class CountedCategory(_Told):
    """A category, with those below it."""

    category: str
    count: int = Field(ge=0, description="How many products are in it.")


class CountedValue(_Told):
    """A value of an attribute."""

    value: str
    count: int = Field(ge=0, description="How many products have it.")


class PriceRange(_Told):
    """The lowest price and the highest."""

    min: float
    max: float


class Facets(_Told):
    """What products can be filtered by."""

    category: list[CountedCategory]
    price: PriceRange | None
    attributes: dict[str, list[CountedValue]] = Field(description="By name, the commonest values first.")


ANSWERS: dict[str, type[_Answer]] = {"categorize": Categories, "search": Products, "embed": Vectors, "recommend": Products}

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "categorize": [{"category": "Living room", "probability": 0.97}],
    "search": [{"id": "sofa-1", "title": "Leather sofa", "category": "Living room", "price": 449.0, "score": 0.83}],
    "embed": [{"vector": [0.6, 0.8]}],
    "recommend": [{"id": "lamp-7", "title": "Reading lamp", "category": "Lighting", "price": 39.0, "score": 0.71}],
}


def example(task: str) -> dict[str, Any]:
    """An answer to show."""
    return {
        "id": "01938c5e-7a1b-7c3d-9e4f-2b6a8d0c1e5f", "task": task, "modalities": ["text"], "effort": "high", "model_version": "1",
        "candidate": "4c0b" * 16, "index": "9d27" * 16, "features": None, "results": EXAMPLES[task],
    }  # fmt: skip
