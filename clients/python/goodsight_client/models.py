"""What the server answers. A newer server may say more than what is named here; it is kept."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict


class _Told(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class Product(_Told):
    """A product that was found; `score` orders the results of one request, and compares nothing across requests."""

    id: str
    title: str
    category: str
    score: float
    price: float | None = None
    discount: float | None = None  # share of the catalogue's price that is off, 0 to 1
    popularity: float | None = None  # log(1 + views of 30 days)
    conversion_30d: float | None = None  # purchases a view


class Category(_Told):
    """A category and how likely it is."""

    category: str
    probability: float


class Vector(_Told):
    """An embedding, of length 1."""

    vector: list[float]


class Feedback(_Told):
    """What was said of an answer is kept: now (`new`), or since it was said before."""

    id: str
    new: bool


class Problem(_Told):
    """Why a request was not answered (RFC 9457)."""

    status: int
    title: str = ""
    detail: str = ""
    request_id: str = ""
    id: str | None = None

    def __str__(self) -> str:
        return f"{self.status} {self.title}: {self.detail}"


Result = TypeVar("Result")


class Answer(_Told, Generic[Result]):
    """Keep `id`: `Client.passport(id)` tells what stands behind the answer."""

    id: str
    task: str
    modalities: list[str]
    model_version: str
    candidate: str
    index: str
    features: str | None = None
    effort: str | None = None
    results: list[Result]


Products = Answer[Product]
Categories = Answer[Category]
Vectors = Answer[Vector]
