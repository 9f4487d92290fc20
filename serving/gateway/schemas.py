"""What may be asked and what is answered under `/v1`, as the OpenAPI document tells it.

Requests are checked by these models before they cost the model server anything; media are decoded there, and nowhere here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from serving.filters import Filters
from serving.request import MAX_K, MAX_LIKED, MAX_TEXT_CHARACTERS, ProductId

LARGEST_BATCH = 32
MEDIA = ("image", "video", "audio")
MODALITIES = ("text", "image", "attributes", "video", "audio")

EXAMPLE_IMAGE = (  # one red pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)

Task = Literal["categorize", "search", "embed", "recommend"]
Effort = Literal["low", "medium", "high"]
Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]
Count = Annotated[int, Field(ge=1, le=MAX_K, description="How many answers.")]


class _Asked(BaseModel):
    """What any request may have: at least one of text, image, attributes, video, audio."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str | None = Field(default=None, max_length=MAX_TEXT_CHARACTERS, description="A search, or the title of a product.")
    image: Base64 | None = Field(default=None, description="A JPEG, PNG, WebP, GIF, BMP or AVIF file.")
    attributes: dict[str, JsonValue] | None = Field(default=None, description="The product's properties and their values.")
    video: Base64 | None = Field(default=None, description="An MP4, MOV, WebM or MKV file, or an image file of square frames.")
    audio: Base64 | None = Field(default=None, description="A WAV, FLAC, Ogg or MP3 file.")
    k: Count = 10
    effort: Effort | None = Field(default=None, description="How deep the model computes; default: what was measured as best.")


class Categorize(_Asked):
    """Names the category of a product."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "red velvet sofa", "k": 3}]})


class Search(_Asked):
    """Finds products."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "red sofa", "k": 3, "filters": {"price": {"max": 500.0}}}]})

    filters: Filters | None = None
    lexical: float | None = Field(default=None, ge=0, le=1, description="Weight of the words beside the vectors; default: measured.")
    rerank: bool | None = Field(default=None, description="Compare the best answers with the request once more, more closely.")


class Embed(_Asked):
    """Gives the vector of a product or a query."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "red sofa"}]})


class Recommend(_Asked):
    """Recommends products for a topic, and for somebody who liked some products."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "a cosy reading corner", "k": 3}]})

    liked: list[ProductId] | None = Field(default=None, max_length=MAX_LIKED, description="Ids of products; never recommended again.")
    filters: Filters | None = None


class Explain(_Asked):
    """Shows what of a picture an answer hangs on: its likeliest category, or the score of a product.

    The model looks again and again, each time with another part of the picture covered: as long as some fifty requests.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "about": "categorize"}]})

    about: Literal["categorize", "search"] | None = Field(default=None, description="Default: categorize.")
    product: str | None = Field(default=None, description="About a search: the id of the product; default: the best one.")


REQUESTS: dict[str, type[_Asked]] = {"categorize": Categorize, "search": Search, "embed": Embed, "recommend": Recommend}
FORMS: dict[str, type[_Asked]] = {**REQUESTS, "explain": Explain}  # one at a time: no batches


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
